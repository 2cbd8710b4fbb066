"""Every job of a worker in an environment that has NumPy and ONNX Runtime, and nothing else: what a job loads is in it."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnxfiles
import pytest
from onnxbench.errors import Unavailable
from onnxbench.runners.pool.isolate import Worker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.serve import JOBS
from onnxbench.spec import Artifact, Cell, Concurrency, Conversion, Settings, Source, TensorSpec, to_wire

OF_FILES = (
    "describe",
    "adopt",
    "export",
    "convert",
    "explain",
    "train",
)  # need onnx or PyTorch: asked of this environment alone
SPECS = {
    "inputs": (TensorSpec(name="x", dtype="float32", shape=("N", 4)),),
    "outputs": (TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
}
ONE = to_wire(Concurrency())
KINDS = ("latency", "end_to_end", "device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("wall")


@pytest.fixture(scope="module")
def artifact(folder):
    path = onnxfiles.write(folder / "tiny.onnx", onnxfiles.dense())
    return Artifact(model="tiny", precision="fp32", path=str(path), sha256="0" * 64, nbytes=1, opset=17, **SPECS)


@pytest.fixture(scope="module")
def answers(bare_python, folder, artifact):
    """The answer to every job that measures or makes inputs, by its name, in one worker after the other."""
    asked = Cell(
        model="tiny",
        sha256=artifact.sha256,
        backend="ort-cpu",
        device="cpu",
        precision="fp32",
        batch=2,
        shapes=(("x", (2, 4)),),
        settings=Settings(threads=1),
    )
    np.savez(folder / "labelled.npz", x=np.random.default_rng(0).random((40, 4), np.float32), y=np.arange(40) % 2)
    file, cell, key = to_wire(artifact), to_wire(asked), {"key": asked.key}
    drawn, outputs, samples = (str(folder / name) for name in ("inputs", "outputs", "samples"))
    of_cell = {"cell": cell, "artifact": file}
    labelled = to_wire(replace(artifact, dataset=f"tensors:{folder / 'labelled.npz'}"))
    reference = [{"shapes": asked.shapes, "batch": 2, "inputs": drawn, "outputs": outputs}]
    arriving, waiting = {"items": 50, "rate_per_s": 1000.0, "seed": 0}, {"wait_ms": 1.0, "give_up_ms": 500.0}
    requests = {
        "probe": {"backend": "ort-cpu"},
        "supports": of_cell,
        "count": {"dataset": labelled["dataset"]},
        "draw": {"artifact": file, "shapes": asked.shapes, "seed": 0, "given": {}, "folder": drawn},
        "reference": {"artifact": labelled, "jobs": reference, "samples": samples, "images": 8},
        "build": of_cell,
        "open": {**of_cell, "inputs": drawn},
        "verify": {**key, "reference": outputs, "samples": samples},
        "inspect": {**key, "timed": False},
        "warm": {**key, "least_ms": 20, "limit_ms": 100, "passes": 1, "concurrency": None},
        "latency": {**key, "block_ms": 5, "calls": 1, "samples": str(folder / "block.npz")},
        "throughput": {**key, "block_ms": 5, "concurrency": ONE},
        "energy": {**key, "block_ms": 5, "concurrency": ONE},
        "load": {**key, "arriving": arriving, "waiting": waiting, "concurrency": ONE},
        "close": key,
        "cold": {**of_cell, "inputs": drawn},
    }
    with Worker(folder / "worker.log", Clock(), bare_python) as worker:
        return {job: worker.ask(job, 60, **request) for job, request in requests.items()}


def test_every_job_is_tried(answers):
    assert {*answers, *OF_FILES} == set(JOBS)


def test_jobs_that_measure_answer_in_an_environment_of_numpy_and_a_runtime(answers, folder):
    assert answers["probe"]["available"]
    assert answers["supports"] == {"reason": None}
    assert answers["count"]["images"] > 0
    assert answers["verify"]["sqnr_db"] > 80
    assert answers["verify"]["top1_drop"] == 0
    assert answers["open"]["info"]["executed"] == "fp32"
    assert answers["load"]["latency_ns"]["50"] > 0
    assert answers["energy"]["reason"]
    assert answers["cold"]["answered_ns"] > answers["cold"]["up_ns"]
    with np.load(folder / "block.npz") as times:
        assert set(times.files) == set(KINDS)


@pytest.mark.parametrize("job", OF_FILES)
def test_a_job_that_needs_more_names_what_is_missing(bare_python, folder, artifact, job):
    order = {"precision": "int8", "how": to_wire(Conversion(scheme="portable", method="minmax"))}
    source = Source(factory="onnxbench.models.cnn:cnn")
    how = {"device": "cpu", "precision": "fp32", "epochs": 1, "batch_size": 8, "lr": 0.1, "seed": 0, "threads": 1}
    requests = {
        "describe": {"path": artifact.path, "model": "tiny"},
        "adopt": {"file": artifact.path, "model": "tiny"},
        "export": {"recipe": {"model": "cnn", "source": to_wire(source), "inputs": []}},
        "convert": {"artifact": to_wire(artifact), "order": order},
        "explain": {"artifact": to_wire(artifact), "order": order},
        "train": {"model": "cnn", "dataset": "digits", "how": how, "checkpoint": str(folder / "none.safetensors")},
    }
    with Worker(folder / f"{job}.log", Clock(), bare_python) as worker, pytest.raises(Unavailable) as raised:
        worker.ask(job, 60, **requests[job])
    assert any(name in str(raised.value) for name in ("onnx", "torch", "PyTorch"))


def test_a_rate_under_load_is_found_there(shell, null_file, bare_python):
    asked = ("--model", null_file, "--backend", "ort-cpu", "--python", f"ort-cpu={bare_python}", "--batch", "1")
    how = ("--load", "poisson", "--slo", "p90=50ms", "--max-wait", "1ms", "--out", "run")
    (row,) = shell.rows("infer", *asked, "--budget", "quick", *how)
    assert row["slo"] == "p90 <= 50 ms, poisson arrivals"
    assert 0 < row["slo_rate_per_s"] < 3 * row["throughput_per_s"]
    assert "rate under load with intra_op_num_threads=" in shell.bench("show", "run").stdout
    assert json.loads(next(shell.folder.glob("run/run.json")).read_text())["versions"].keys() == {"ort-cpu"}
    assert sys.executable != bare_python
