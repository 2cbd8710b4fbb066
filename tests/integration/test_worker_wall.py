"""Every job of a worker in an environment that has NumPy and ONNX Runtime, and nothing else: what a job loads is in it."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnxfiles
import pytest
from onnxbench.errors import Unavailable
from onnxbench.runners.pool.process import ProcessWorker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.file_jobs import (
    Adopt,
    CompareFile,
    Convert,
    ConvertFormat,
    CountImages,
    CountWork,
    DecodeImages,
    Describe,
    DescribeLibrary,
    Draw,
    Explain,
    Export,
    ExportLibrary,
    FetchLibrary,
    Lower,
    MakeRoof,
    MeasureFloor,
    ReadSizeUse,
    Refer,
    ReferenceCall,
    RuntimeFile,
    Train,
    WriteSamples,
)
from onnxbench.runners.worker.jobs import (
    ApplyLoad,
    Build,
    Close,
    CompareTimed,
    Copied,
    CopyEngine,
    Data,
    Here,
    Inspect,
    Open,
    Probe,
    ReadEnergy,
    StartCold,
    Support,
    Supported,
    There,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from onnxbench.runners.worker.profile_jobs import Profile, ReadGraph
from onnxbench.runners.worker.rank_jobs import CountGpus, JoinRanks, MeasureStages, OpenRendezvous, TrainRank
from onnxbench.runners.worker.search_jobs import CountParts, EvaluateInt8, RankNodes
from onnxbench.runners.worker.tasks import TASKS
from onnxbench.spec import Artifact, Cell, Concurrency, Conversion, Settings, TensorSpec

OF_TRAINING = (Train, MeasureStages, JoinRanks, TrainRank, OpenRendezvous, CountGpus)
# need onnx, PyTorch or Pillow
OF_LIBRARIES = (DescribeLibrary, FetchLibrary, ExportLibrary)
OF_SEARCH = (RankNodes, EvaluateInt8)
OF_CONVERSION = (Convert, Lower, ReadSizeUse, CountWork, MakeRoof, Explain, *OF_SEARCH)
OF_FILES = (Describe, ReadGraph, DecodeImages, Adopt, Export, *OF_CONVERSION, Refer, MeasureFloor, *OF_LIBRARIES, *OF_TRAINING)
SPECS = {
    "inputs": (TensorSpec(name="x", dtype="float32", shape=("N", 4)),),
    "outputs": (TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
}
ONE = Concurrency()
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
    """The answer to every job that measures or makes inputs, by its type, in one worker after the other."""
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
    of_cell, key = {"cell": asked, "artifact": artifact}, {"key": asked.key}
    drawn, outputs, samples = (str(folder / name) for name in ("inputs", "outputs", "samples"))
    data = Data.named(f"tensors:{folder / 'labelled.npz'}")
    labelled = replace(artifact, dataset=data.name)
    call = ReferenceCall(shapes=asked.shapes, batch=2, inputs=Here(path=drawn), outputs=There(path=outputs))
    how = Conversion(scheme="portable", method="minmax")
    arriving = {"items": 50, "rate_per_s": 1000.0, "seed": 0, "wait_ms": 1.0, "give_up_ms": 500.0}
    refer = Refer(artifact=labelled, calls=(call,), samples=There(path=samples), images=8, data=data)
    with ProcessWorker(folder / "reference.log", Clock(), sys.executable) as worker:  # it reads the graph with onnx
        worker.ask(Draw(artifact=artifact, shapes=asked.shapes, seed=0, folder=There(path=drawn)), 60)
        worker.ask(refer, 60)
    requests = (
        Probe(backend="ort-cpu"),
        Support(**of_cell),
        CountImages(data=data),
        CountParts(artifact=labelled, precision="int8", how=how, data=data),
        WriteSamples(artifact=labelled, precision="int8", how=how, data=data, file=There(path=str(folder / "to/samples.npz"))),
        Draw(artifact=artifact, shapes=asked.shapes, seed=0, folder=There(path=f"{drawn}-again")),
        Build(**of_cell),
        CopyEngine(**of_cell, file=There(path=str(folder / "no.engine")), record=There(path=str(folder / "no.json"))),
        ConvertFormat(**of_cell, scratch=There(path=str(folder / "scratch"))),
        Open(**of_cell, inputs=Here(path=drawn)),
        Verify(**key, reference=Here(path=outputs), samples=Here(path=samples)),
        Inspect(**key, timed=False),
        Profile(**key, folder=There(path=str(folder / "own")), turns=1, turn_ms=1),
        WarmUp(**key, least_ms=20, limit_ms=100, passes=1),
        TimeLatency(**key, block_ms=5, calls=1, samples=There(path=str(folder / "block.npz")), keep=True),
        TimeThroughput(**key, block_ms=5, concurrency=ONE, keep=True),
        CompareTimed(**key, reference=Here(path=outputs), concurrency=ONE),
        ReadEnergy(**key, block_ms=5, concurrency=ONE),
        ApplyLoad(**key, **arriving, concurrency=ONE),
        Close(**key),
        StartCold(**of_cell, inputs=Here(path=drawn)),
        CompareFile(artifact=artifact, shapes=asked.shapes, batch=2, inputs=Here(path=drawn), outputs=Here(path=outputs)),
    )
    with ProcessWorker(folder / "worker.log", Clock(), bare_python) as worker:
        return {type(job): worker.ask(job, 60) for job in requests}


def test_every_job_is_tried(answers):
    assert {*answers, *OF_FILES} == {task.kind() for task in TASKS}


def test_jobs_that_measure_answer_in_an_environment_of_numpy_and_a_runtime(answers, folder):
    assert answers[Probe].available
    assert answers[Support] == Supported(reason=None)
    assert answers[CopyEngine] == Copied()
    assert answers[ConvertFormat] == RuntimeFile()
    assert answers[CountImages].images > 0
    assert answers[CountParts].proof == answers[CountImages].images
    assert answers[Verify].sqnr_db > 80
    assert [(each.part, each.sqnr_db > 80) for each in answers[CompareTimed].answers] == [
        ("latency", True),
        ("throughput", True),
    ]
    assert answers[Verify].top1_drop == 0
    assert answers[Open].info.executed == "fp32"
    assert answers[ApplyLoad].latency_ns["50"] > 0
    assert answers[ReadEnergy].reason
    assert answers[Profile].kernels_ns > 0
    assert answers[CompareFile].parts[0].sqnr_db > 80
    assert answers[StartCold].answered_ns > answers[StartCold].up_ns
    with np.load(folder / "to/samples.npz") as arrays:
        assert {name: array.shape[1:] for name, array in arrays.items()} == {"x": (4,)}
    with np.load(folder / "block.npz") as times:
        assert set(times.files) == set(KINDS)


@pytest.mark.parametrize("kind", OF_FILES)
def test_a_job_that_needs_more_names_what_is_missing(bare_python, folder, artifact, answers, kind):
    file = {"file": Here(path=artifact.path), "model": "tiny"}
    making = {"artifact": artifact, "precision": "int8", "how": Conversion(scheme="portable", method="minmax")}
    how = {"device": "cpu", "precision": "fp32", "epochs": 1, "batch_size": 8, "lr": 0.1, "seed": 0, "threads": 1}
    arrays = {"inputs": Here(path=str(folder / "inputs")), "outputs": Here(path=str(folder / "outputs"))}
    compared = {"artifact": artifact, "shapes": (("x", (2, 4)),), "batch": 2, **arrays}
    checkpoint = There(path=str(folder / "none.safetensors"))
    training = {"model": "cnn", "factory": "onnxbench.models.cnn:cnn", "data": Data.named("digits"), **how}
    member = {"parallel": "data", "rank": 0, "ranks": 2, "address": "127.0.0.1:1", "peer_s": 1, "join_s": 1}
    requests = {
        Describe: file,
        ReadGraph: {"artifact": artifact, "shapes": (("x", (2, 4)),)},
        DecodeImages: {"data": Data.named("images:none")},
        Adopt: file,
        Export: {"model": "cnn", "factory": "onnxbench.models.cnn:cnn", "inputs": ()},
        DescribeLibrary: {"model": "torchvision:resnet50"},
        FetchLibrary: {"model": "torchvision:resnet50"},
        ExportLibrary: {"model": "torchvision:resnet50", "name": "torchvision:resnet50"},
        Convert: making,
        Lower: {**making, "opset": 16},
        ReadSizeUse: {"artifact": artifact},
        CountWork: {"artifact": artifact, "shapes": ()},
        MakeRoof: {"kind": "nodes", "size": 32, "precision": "fp32"},
        Explain: making,
        RankNodes: making,
        EvaluateInt8: {**making, "backend": "ort-cpu", "device": "cpu"},
        Refer: {"artifact": artifact, "calls": (), "samples": There(path=str(folder / "none")), "images": 0},
        MeasureFloor: {**compared, "precision": "fp32"},
        Train: {**training, "checkpoint": checkpoint},
        MeasureStages: {**training, "stages": 2, "microbatch": 4},
        JoinRanks: {**training, **member},
        TrainRank: {"checkpoint": checkpoint},
        OpenRendezvous: {"ranks": 2},
        CountGpus: {},
    }
    log = folder / f"{kind.__name__}.log"
    with ProcessWorker(log, Clock(), bare_python) as worker, pytest.raises(Unavailable) as raised:
        worker.ask(kind(**requests[kind]), 60)
    assert any(name in str(raised.value) for name in ("onnx", "torch", "PyTorch", "Pillow"))


def test_a_rate_under_load_is_found_there(shell, null_file, bare_python):
    asked = ("--model", null_file, "--backend", "ort-cpu", "--python", f"ort-cpu={bare_python}", "--batch", "1")
    how = ("--load", "poisson", "--slo", "p90=50ms", "--max-wait", "1ms", "--out", "run")
    (row,) = shell.rows("infer", *asked, "--budget", "quick", *how)
    assert row["slo"] == "p90 <= 50 ms, poisson arrivals"
    assert 0 < row["slo_rate_per_s"] < 3 * row["throughput_per_s"]
    assert "rate under load with intra_op_num_threads=" in shell.bench("show", "run").stdout
    assert json.loads(next(shell.folder.glob("run/run.json")).read_text())["versions"].keys() == {"ort-cpu"}
    assert sys.executable != bare_python
