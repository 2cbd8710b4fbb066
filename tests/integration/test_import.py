"""benchmark_app as it is installed here, read and set beside a run of the same file."""

import os
import subprocess
import sys
from pathlib import Path

import onnxfiles
import pytest
from onnxbench.results.imports import benchmark_app

TOOL = Path(sys.executable).with_name("benchmark_app")


def report(shell, file, *more):
    """The report that benchmark_app leaves in the shell's folder."""
    if not TOOL.exists():
        refuse = pytest.fail if "openvino-cpu" in os.environ.get("BENCH_REQUIRE", "").split(",") else pytest.skip
        refuse("benchmark_app is not here: pip install openvino")
    command = [
        TOOL,
        "-m",
        file,
        "-d",
        "CPU",
        "-niter",
        "50",
        "-report_type",
        "no_counters",
        "-report_folder",
        shell.folder,
        *more,
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (shell.folder / "console.log").write_text(done.stdout + done.stderr)
    (found,) = shell.folder.glob("benchmark_report.*")
    return found


@pytest.mark.parametrize("more", [("-json_stats",), ()], ids=["json", "csv"])
def test_what_benchmark_app_reports_stands_beside_a_run(shell, more):
    file = onnxfiles.write(shell.folder / "tiny.onnx", onnxfiles.dense(batch=4))
    found = report(shell, file, "-api", "sync", "-hint", "latency", *more)
    (theirs,) = shell.rows("import", found, "--precision", "fp32", "--batch", "4", "--out", "theirs")
    assert (theirs["model"], theirs["backend"], theirs["environment"]) == ("tiny", "openvino-cpu", "benchmark_app")
    assert benchmark_app.UNSURE in theirs["notes"]
    assert theirs["p50_ms"] > 0
    assert (theirs["samples"], theirs["lanes"], theirs["grade"]) == (50, 1, None)
    assert theirs["throughput_per_s"] > 0
    assert 0 < theirs["load_s"] < 60
    shell.rows("infer", "--backend", "openvino-cpu", "--model", file, *onnxfiles.MINI, "--out", "ours")
    both = shell.rows("show", "theirs", "ours")
    assert [(row["environment"], row["status"]) for row in both] == [(None, "ok"), ("benchmark_app", "ok")]
    picked = shell.bench("recommend", "theirs", "ours", "--objective", "latency")
    assert picked.returncode == 0, picked.stderr


@pytest.mark.parametrize("api", ["sync", "async"])
def test_what_benchmark_app_prints_has_the_figures_of_its_report(shell, api):
    file = onnxfiles.write(shell.folder / "tiny.onnx", onnxfiles.dense(batch=4))
    found = report(shell, file, "-api", api, "-hint", "latency", "-infer_precision", "f32", "-json_stats")
    (reported,) = shell.rows("import", found, "--batch", "4", "--out", "reported")
    (printed,) = shell.rows("import", shell.folder / "console.log", "--model", "tiny", "--batch", "4", "--out", "printed")
    assert (printed["backend"], printed["device"], printed["precision"]) == ("openvino-cpu", "cpu", "fp32")
    # The report rounds times to 10 us, and what is printed may be in us.
    names = ("samples", "lanes", "throughput_per_s", "load_s", "first_ms", "precision")
    assert {name: printed[name] for name in names} == {name: reported[name] for name in names}
    latency = "p50_ms" if printed["lanes"] == 1 else "loaded_p50_ms"
    assert printed[latency] == pytest.approx(reported[latency] or 0, abs=0.0051)
    assert printed["threads"]
