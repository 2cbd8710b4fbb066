"""`bench infer --tune` on ONNX Runtime, as a user runs it."""

import re
import subprocess
import sys

import onnxfiles
from onnxbench.results.store.record import read_run

FIXED = {"enable_cpu_mem_arena": "1", "inter_op_num_threads": "1", "graph_optimization_level": "all"}
ASKED = ("--backend", "ort-cpu", "--precision", "fp32", "--batch", "1", *onnxfiles.MINI, "--out", "run")


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
    again = shell.bench("infer", "--out", "run", "--resume")
    assert "searched its options" not in again.stderr
    found = record.tuned.latency if not record.tuned.is_default else ()
    program = re.sub("WARM_UP_S, SECONDS = .*", "WARM_UP_S, SECONDS = 0.01, 0.01", record.warm.single.snippet)
    assert all(name in program for name, _ in found)
    assert "items/s" in subprocess.run([sys.executable, "-c", program], cwd=shell.folder, capture_output=True, text=True).stdout
