"""The package as others get it: from a wheel, without a runtime, and on an older Python."""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxfiles
import pytest
from onnxbench.runners.pool.process import ProcessWorker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import Here, Open, Probe, StartCold, There, TimeLatency, TimeThroughput, WarmUp
from onnxbench.spec import Artifact, Cell, Concurrency, Settings, TensorSpec

ROOT = Path(__file__).resolve().parents[2]
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """The Python of an environment that holds the wheel and its own requirements alone."""
    root = tmp_path_factory.mktemp("lean")
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "artifacts", "runs", "__pycache__")
    shutil.copytree(ROOT, root / "source", ignore=ignored)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", root / "dist", root / "source")
    (wheel,) = (root / "dist").glob("*.whl")
    venv.create(root / "venv", with_pip=True)
    python = root / "venv/bin/python"
    run(python, *PIP, "-c", ROOT / "constraints.txt", wheel)
    return python


def test_the_wheel_works_elsewhere_and_names_what_is_missing(lean, tmp_path):
    bench = lean.with_name("bench")
    assert "Usage: bench" in run(bench, "--help", cwd=tmp_path)
    text = run(bench, "backends", cwd=tmp_path)
    for extra in ("torch", "ort", "ort-gpu", "openvino"):
        assert f"pip install 'onnxbench[{extra}]'" in text


def test_the_wheel_measures_without_a_runtime(lean, tmp_path):
    bench, environment = lean.with_name("bench"), {**os.environ, "ONNXBENCH_CACHE": str(tmp_path / "cache")}
    path = onnxfiles.write(tmp_path / "tiny.onnx", onnxfiles.dense())
    how = ("--model", path, "--budget", "quick", "--batch", "1", "--format", "csv")
    out = run(bench, "infer", "--backend", "null", *how, cwd=tmp_path, env=environment)
    assert ",ok," in out
    done = subprocess.run([bench, "infer", "--backend", "ort-cpu", *how], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3
    assert "pip install 'onnxbench[ort]'" in done.stdout


def test_nothing_installed_at_all_is_said_in_one_sentence(lean, tmp_path):
    path = onnxfiles.write(tmp_path / "tiny.onnx", onnxfiles.dense())
    done = subprocess.run([lean.with_name("bench"), "infer", "--model", path], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "bench backends" in done.stderr.splitlines()[-1]


def test_a_worker_runs_on_python_3_10_with_numpy_alone(old_python, tmp_path):
    spec = TensorSpec(name="x", dtype="float32", shape=("N", 4))
    ends = {"inputs": (spec,), "outputs": (replace(spec, name="y"),)}
    artifact = Artifact(model="tiny", precision="fp32", path="none", sha256="0", nbytes=0, opset=17, **ends)
    cell = Cell(
        model="tiny",
        sha256="0",
        backend="null",
        device="cpu",
        precision="fp32",
        batch=2,
        shapes=(("x", (2, 4)),),
        settings=Settings(threads=1),
    )
    np.save(tmp_path / "0.npy", np.zeros((2, 4), np.float32))
    with ProcessWorker(tmp_path / "log", Clock(), str(old_python)) as worker:
        assert worker.ask(Probe(backend="null"), 60).available
        worker.ask(Open(cell=cell, artifact=artifact, inputs=Here(path=str(tmp_path))), 60)
        worker.ask(WarmUp(key=cell.key, least_ms=20, limit_ms=100, passes=1), 60)
        path = tmp_path / "block.npz"
        answer = worker.ask(TimeLatency(key=cell.key, block_ms=20, calls=1, samples=There(path=str(path))), 60)
        two = Concurrency(lanes=2, streams=1, threads=1)
        assert worker.ask(TimeThroughput(key=cell.key, block_ms=20, concurrency=two), 60).rate.calls > 100
        fresh = worker.ask(StartCold(cell=cell, artifact=artifact, inputs=Here(path=str(tmp_path))), 60)
        assert fresh.peak_rss_mb > 5
    with np.load(path) as arrays:
        assert len(arrays["latency"]) == answer.calls > 100
