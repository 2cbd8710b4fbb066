"""Every job in workers that see none of the parent's folders: what they need and what they make goes through the pool."""

from dataclasses import replace
from pathlib import Path

import fake_libraries
import numpy as np
import pytest
from onnxbench.budgets import BUDGETS
from onnxbench.errors import BadInput, BoundMissed
from onnxbench.exporters import manifest
from onnxbench.results.store import record
from onnxbench.results.table import conditions
from onnxbench.runners.check import check
from onnxbench.runners.infer import Surroundings, infer
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.prepare import exports, parallel, train
from onnxbench.runners.prepare.bound_search import SearchRequest, export_within
from onnxbench.runners.prepare.bounds import bounds_of
from onnxbench.runners.prepare.request import ExportRequest
from onnxbench.runners.preview import preview
from onnxbench.runners.worker.file_jobs import (
    ConvertFormat,
    CountWork,
    DecodeImages,
    Describe,
    DescribeLibrary,
    Draw,
    FetchLibrary,
    MakeRoof,
    MeasureFloor,
    ReadSizeUse,
    Refer,
    ReferenceCall,
    WriteSamples,
)
from onnxbench.runners.worker.jobs import (
    Build,
    CopyEngine,
    Data,
    Here,
    Open,
    ReadEnergy,
    There,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from onnxbench.runners.worker.profile_jobs import Profile, ReadGraph
from onnxbench.runners.worker.rank_jobs import CountGpus
from onnxbench.runners.worker.tasks import BY_NAME, task_of
from onnxbench.spec import Concurrency, Conversion, Load, Sweep
from PIL import Image

from .blind import Blind
from .conftest import REQUIRED, unpack

TINY = replace(
    BUDGETS["quick"], looks=(1,), block_ms=5, rate_ms=5, warmup_ms=5, warmup_limit_ms=50, images=32, cold_starts=1, load_s=0.05
)


@pytest.fixture
def parent(tmp_path, monkeypatch):
    """The parent's folder: a model, labelled images, and its cache."""
    folder = unpack("v0_1", tmp_path / "parent")
    monkeypatch.setenv("ONNXBENCH_CACHE", str(folder / "cache-of-parent"))
    return folder


def pictures(folder, count=10):
    """Images of two classes in folders of their names."""
    draw = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture
def pool(parent):
    made = Blind(hidden=parent)
    try:
        context = Context(logs=parent / "logs", progress=Silent(), timeout_s=60, pool=made)
        with made.start(parent / "logs/first.log") as worker, pytest.raises(BadInput, match=r"small\.onnx"):
            worker.inner.ask(Describe(file=Here(path=str(parent / "artifacts/small.onnx")), model="small"), 60)
    except Exception as error:
        refuse = pytest.fail if "namespaces" in REQUIRED else pytest.skip
        refuse(f"no folder can be hidden here: {error}")
    yield made, context
    made.close()


def _search(model, data, folder, context):
    """Search for a file that no scheme gives."""
    bounds = bounds_of(conditions.parse([("sqnr", "1000")], most=False))
    request = ExportRequest(model=model, dataset=data, precisions=("int8",), folder=folder)
    with pytest.raises(BoundMissed):
        export_within(request, SearchRequest(bounds=bounds, schemes=("layers",)), context)


def _lower(model, opset, folder, context):
    (made,) = exports.export_model(
        ExportRequest(model=model, dataset=None, precisions=("fp32",), opset=opset, folder=folder), context
    )
    assert made.exported.artifact.opset == opset
    samples, how = str(folder / "samples.npz"), Conversion(scheme="portable", method="minmax")
    context.ask(WriteSamples(artifact=made.exported.artifact, precision="int8", how=how, file=There(path=samples)))
    assert Path(samples).is_file()


def _library(parent, blind, context):
    """Export a library's model with random weights, and fail to download the others."""
    blind.packages = str(fake_libraries.write(parent.parent / "site"))
    asked = ExportRequest(model="torchvision:tinynet", dataset=None, precisions=("fp32",), folder=parent / "library")
    with pytest.raises(BadInput):
        exports.export_model(asked, context)
    (made,) = exports.export_model(replace(asked, random_weights=True), context)
    assert made.exported.artifact.source.random
    with blind.start(parent / "logs/library.log") as worker:
        assert worker.ask(DescribeLibrary(model=asked.model, random=True), 60).identity
        worker.ask(FetchLibrary(model=asked.model, random=True), 60)


def _profile(worker, cell, file, folder):
    """Profile an open cell, and read the graph that its runtime wrote."""
    calls = worker.ask(Profile(key=cell.key, folder=There(path=str(folder)), turns=1, turn_ms=1), 60)
    runtime = Here(path=str(folder / calls.graph))
    assert worker.ask(ReadGraph(artifact=file, shapes=cell.shapes, runtime=runtime), 60).runtime


def test_a_measurement_and_a_check_are_done_by_workers_that_see_none_of_the_parents_folders(parent, pool):
    blind, _ = pool
    asked = {"artifacts": str(parent / "artifacts"), "backends": ("ort-cpu",), "batches": (1,)}
    infer(Sweep(**asked, precisions=("fp32", "int8"), budget=TINY), Surroundings(out=parent / "measured", pool=blind))
    rows = record.read_run(parent / "measured").cells
    assert [(row.cell.precision, row.status, len(row.calls(0, "latency"))) for row in rows] == [
        (precision, "ok", row.blocks[0].calls) for precision, row in zip(("fp32", "int8"), rows)
    ]
    check(Sweep(**asked, precisions=("int8",)), Surroundings(out=parent / "checked", pool=blind), ())
    (checked,) = record.read_run(parent / "checked").cells
    assert checked.status == "ok"
    used = (Draw, Refer, Open, WarmUp, TimeLatency, TimeThroughput, Verify)
    assert {task_of(job).name for job in used} <= set(blind.asked)


@pytest.mark.long
def test_every_job_is_done_by_workers_that_see_none_of_the_parents_folders(parent, pool):
    blind, context = pool
    data = f"npz:{parent / 'images.npz'}"
    several = parallel.Parallel(pipeline=(2,), schedules=("gpipe",), microbatches=4)
    training = train.Training(dataset=data, epochs=1, batch_size=32, parallel=several)
    results, _ = train.run_training(training, context.logs, blind, Silent())
    assert [(trained.status, len(trained.epochs), trained.processes) for trained in results] == [("ok", 1, 1), ("ok", 1, 2)]

    named = ExportRequest(model="cnn", precisions=("fp32",), dataset=data, folder=parent / "named")
    assert [item.exported.made.exporter for item in exports.export_model(named, context)] == ["torch.onnx (dynamo)"]
    model = str(parent / "artifacts/small.onnx")
    exports.export_model(ExportRequest(model=model, dataset=data, folder=parent / "made"), context)
    files = {item.artifact.precision: item.artifact for item in manifest.read_manifest(parent / "made")}
    assert set(files) == {"fp32", "fp16", "int8"}

    asked = {"artifacts": str(parent / "made"), "backends": ("ort-cpu",), "batches": (1,)}
    sweep = Sweep(**asked, precisions=("fp32", "int8"), budget=TINY, cold=True, load=Load(percentile=50, limit_ms=1000))
    assert len(preview(sweep, context.logs, blind, Silent()).rows) == 2
    infer(sweep, Surroundings(out=parent / "measured", pool=blind))
    rows = {(row.cell.backend, row.cell.precision): row for row in record.read_run(parent / "measured").cells}
    assert {rows["ort-cpu", precision].status for precision in ("fp32", "int8")} == {"ok"}
    row = rows["ort-cpu", "int8"]
    assert (row.parity.images, row.load.asked.percentile, len(row.cold)) == (32, 50, TINY.cold_starts)
    assert len(row.calls(0, "latency")) == row.blocks[0].calls

    limits = conditions.parse([("top1_drop_ci_high", "60")], most=True)
    check(Sweep(**asked, precisions=("int8",)), Surroundings(out=parent / "checked", pool=blind), limits, explain=True)
    (checked,) = record.read_run(parent / "checked").cells
    assert (checked.status, checked.explained.why_not) == ("ok", None)

    _search(model, data, parent / "searched", context)
    _lower(model, files["fp32"].opset - 1, parent / "lowered", context)
    _library(parent, blind, context)
    cell, file, inputs = rows["ort-cpu", "fp32"].cell, files["fp32"], str(parent / "drawn")
    with blind.start(parent / "logs/last.log") as worker:  # jobs that a CPU alone does not need
        assert worker.ask(CountGpus(), 60).gpus >= 0
        assert not worker.ask(ReadSizeUse(artifact=file), 60).needs_shapes
        assert worker.ask(CountWork(artifact=file, shapes=cell.shapes), 60).layer_flops > 0
        assert not worker.ask(MakeRoof(kind="nodes", size=32, precision="fp32"), 60).artifact.dataset
        decoded = worker.ask(DecodeImages(data=Data.named(f"images:{pictures(parent / 'pictures')}?size=8")), 60)
        assert (decoded.images.images, decoded.images.classes) == (20, 2)
        assert worker.ask(Build(cell=cell, artifact=file), 60).build_s is None
        copy = CopyEngine(cell=cell, artifact=file, file=There(path=f"{inputs}.e"), record=There(path=f"{inputs}.json"))
        assert worker.ask(copy, 60).sha256 is None
        scratch = There(path=str(parent / "scratch"))
        assert worker.ask(ConvertFormat(cell=cell, artifact=file, scratch=scratch), 60).converted is None
        worker.ask(Draw(artifact=file, shapes=cell.shapes, seed=0, folder=There(path=inputs)), 60)
        call = ReferenceCall(
            shapes=cell.shapes, batch=cell.batch, inputs=Here(path=inputs), outputs=There(path=str(parent / "expected"))
        )
        worker.ask(Refer(artifact=file, calls=(call,), samples=There(path=str(parent / "samples")), images=0), 60)
        compared = {"artifact": file, "shapes": cell.shapes, "batch": cell.batch, "inputs": Here(path=inputs)}
        worker.ask(MeasureFloor(**compared, outputs=Here(path=str(parent / "expected")), precision="fp32"), 120)
        worker.ask(Open(cell=cell, artifact=file, inputs=Here(path=inputs)), 60)
        _profile(worker, cell, file, parent / "own")
        assert worker.ask(ReadEnergy(key=cell.key, block_ms=5, concurrency=Concurrency()), 60).reason
    assert set(blind.asked) == set(BY_NAME)
