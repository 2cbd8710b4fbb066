"""What recommend prints can be pasted: its program runs in a fresh process, on real runtimes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnxfiles
import pytest
from onnxfiles import MINI

pytestmark = pytest.mark.long


def pasted(shell, folder, *how, run="run"):
    """Output of `recommend`, and the items per second of the program in it, which runs in `folder`."""
    done = shell.bench("recommend", run, *how)
    assert done.returncode == 0, done.stderr
    program = shell.folder / "program.py"
    program.write_text(done.stdout.partition("to paste:\n\n")[2])
    out = subprocess.run([sys.executable, program], cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    return done.stdout, float(re.fullmatch(r"([0-9.]+) items/s\n", out.stdout)[1])


@pytest.mark.parametrize("backend", ["ort-cpu", "openvino-cpu"])
def test_a_pasted_program_runs_a_file_with_inputs_of_every_kind_from_any_folder(shell, backend, tmp_path_factory):
    onnxfiles.write(shell.folder / "model.onnx", onnxfiles.mixed())
    done = shell.bench("infer", "--model", "model.onnx", "--backend", backend, "--batch", "1,4", "--out", "run", *MINI)
    assert done.returncode == 0, done.stderr
    said, rate = pasted(shell, tmp_path_factory.mktemp("elsewhere"))
    assert said.startswith(f"pick: {backend} ")
    assert rate > 10


def test_a_pasted_program_runs_a_module_with_its_weights_from_any_folder(trained, tmp_path_factory):
    how = ("--backend", "torch-cpu", "--batch", "8", "--precision", "fp32", "--images", "16", "--out", "of-torch")
    assert trained.bench("infer", *how, *MINI).returncode == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    said, rate = pasted(trained, elsewhere, "--objective", "latency", run="of-torch")
    assert "torch.set_num_threads" in said
    assert rate > 1


def test_the_default_sweep_has_an_answer_and_limits_change_it(trained, table):
    told = json.loads(trained.bench("recommend", "run", "--format", "json").stdout)
    best = max(table[0]["rows"], key=lambda row: row["throughput_per_s"])
    assert told["pick"]["row"]["throughput_per_s"] == best["throughput_per_s"]
    assert Path(best["model"]).name in told["pick"]["snippet"]
    slow = sorted(row["p50_ms"] for row in table[0]["rows"])[0]
    bound = json.loads(trained.bench("recommend", "run", "--max", f"p50={slow}ms", "--format", "json").stdout)
    assert bound["pick"]["row"]["p50_ms"] == slow
    assert {item["condition"] for item in bound["binding"]} <= {f"--max p50={slow}ms"}
    nothing = trained.bench("recommend", "run", "--max", "p50=1us")
    assert (nothing.returncode, "would be enough" in nothing.stdout) == (1, True)
