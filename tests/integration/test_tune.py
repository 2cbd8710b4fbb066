"""`bench infer --tune` as a user runs it: on ONNX Runtime, and on a backend of another package that crashes with an option."""

import os
import re
import subprocess
import sys

import onnxfiles
import pytest
from onnxbench.results.store.record import read_run

FIXED = {"enable_cpu_mem_arena": "1", "inter_op_num_threads": "1", "graph_optimization_level": "all", "free_dimensions": "open"}
ASKED = ("--backend", "ort-cpu", "--precision", "fp32", "--batch", "1", "--threads", "1", *onnxfiles.MINI, "--out", "run")


def test_options_are_searched_measured_and_written_into_a_program(shell):
    onnxfiles.write(shell.folder / "net.onnx", onnxfiles.dense())
    options = [part for name, value in FIXED.items() for part in ("--option", f"{name}={value}")]
    default, tuned = shell.rows("infer", "--model", "net.onnx", *ASKED, *options, "--tune")
    assert (default["environment"], tuned["environment"], tuned["status"]) == (None, "tuned", "ok")
    assert default["tuned_latency"] is None
    assert None not in (tuned["tuned_latency"], tuned["tuned_throughput"])
    record = read_run(shell.folder / "run").cells[1]
    assert {name for item in record.tuned.candidates for name, _ in item.options} == {"allow_spinning"}
    assert record.tuned.is_default == (tuned["p50_ms"] == default["p50_ms"])
    assert shell.rows("show", "run")[1] == tuned
    found = record.tuned.latency if not record.tuned.is_default else ()
    program = re.sub("WARM_UP_S, SECONDS = .*", "WARM_UP_S, SECONDS = 0.01, 0.01", record.warm.single.snippet)
    assert all(name in program for name, _ in found)
    assert "items/s" in subprocess.run([sys.executable, "-c", program], cwd=shell.folder, capture_output=True, text=True).stdout


PLUGIN = '''
from dataclasses import replace

from onnxbench.backends.null import Null, NullSession
from onnxbench.tuning import Tunable


class Backend(Null):
    """A backend with a fast way, and with one that ends its process."""

    name = "hurried"
    options = {**Null.options, "way": "slow, crash or fast"}
    choices = {"way": ("slow", "crash", "fast")}
    tunables = (Tunable(name="way", values=("slow", "crash", "fast")),)

    def _open(self, artifact, cell, concurrency):
        way = dict(cell.settings.options).get("way", "slow")
        made = {"slow": (("work", "20000"),), "crash": (("fault", "crash@start:1"),), "fast": (("work", "2000"),)}[way]
        session = NullSession(artifact, replace(cell, settings=replace(cell.settings, options=made)))
        session.info = replace(session.info, settings=(("way", way),))
        return session
'''


@pytest.mark.long  # unit tests have the same with a worker that is no process
def test_an_option_that_ends_the_process_costs_no_row(shell, null_file):
    site = shell.folder / "site"
    (site / "hurried-1.0.dist-info").mkdir(parents=True)
    (site / "hurried_plugin.py").write_text(PLUGIN)
    (site / "hurried-1.0.dist-info/entry_points.txt").write_text("[onnxbench.backends]\nhurried = hurried_plugin:Backend\n")
    (site / "hurried-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: hurried\nVersion: 1.0\n")
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(site), *sys.path])
    asked = ("--backend", "hurried", "--precision", "fp32", "--batch", "1", "--threads", "1", *onnxfiles.MINI, "--out", "run")
    default, tuned = shell.rows("infer", "--model", null_file, *asked, "--tune")
    assert (default["status"], tuned["status"], tuned["tuned_latency"], tuned["settings"]) == ("ok", "ok", *["way=fast"] * 2)
    assert default["p50_ms"] > 2 * tuned["p50_ms"]
    (dropped,) = read_run(shell.folder / "run").cells[1].tuned.dropped
    assert (dropped.options, "SIGSEGV" in dropped.reason) == ((("way", "crash"),), True)
