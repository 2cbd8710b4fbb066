"""Rows whose file has a higher opset than their backend takes, with a context that answers as a test says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from onnxbench.errors import StorageFailed, Unsupported
from onnxbench.evidence import Lowered, Parity
from onnxbench.exporters.manifest import Maker
from onnxbench.runners.sweep.lowering import lower_rows, lowerings
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker.file_jobs import CacheEntry, Convert, Export, Lower, ReadSizeUse, SizeUse
from onnxbench.runners.worker.jobs import There
from onnxbench.spec import Source, Sweep

from .in_process import FP16, FP32, INT8, Notes

PARITY = Parity(sqnr_db=150.0, runtime="ort-cpu", data="random", samples=2)


class Worker:
    """Context of a run. `fails`: error of the answer to each kind of job. `needs_shapes`: as all files do."""

    def __init__(self, fails=(), needs_shapes=False):
        self.jobs, self.fails, self.progress, self.needs_shapes = [], dict(fails), Notes(), needs_shapes

    def ask(self, job):
        self.jobs.append(job)
        if error := self.fails.get(type(job)):
            raise error
        if isinstance(job, ReadSizeUse):
            return SizeUse(needs_shapes=self.needs_shapes)
        opset = getattr(job, "opset", job.artifact.opset if isinstance(job, Convert) else 0)
        source = job.artifact if not isinstance(job, Export) else FP32
        made = replace(source, path="low.onnx", sha256=f"{opset:02}" * 32, opset=opset, source=None)
        return CacheEntry(folder=There(path="/cache"), cached=False, artifact=made, made=Maker(exporter="x", parity=PARITY))

    @property
    def kinds(self):
        return [type(job) for job in self.jobs]


@pytest.fixture
def row(make_cell):
    def of(file=FP32, opset=17, backend="tensorrt", **changes):
        cell = make_cell(sha256=FP32.sha256, backend=backend, precision=file.precision)
        origin = None if file is FP32 else FP32
        return PlannedCell(**{"cell": cell, "artifact": file, "origin": origin, "opset": opset, **changes})

    return of


def lower(rows, context=None):
    return lower_rows(rows, Sweep(), context or Worker())


@pytest.mark.parametrize("change", [{"opset": 0}, {"opset": 18}, {"opset": 20}, {"refused": ("unsupported", "no")}])
def test_a_row_that_needs_nothing_stays(row, change):
    context = Worker()
    one = row(**change)
    assert lower([one], context) == [one]
    assert context.jobs == []


def test_a_row_gets_the_lowered_file_and_keeps_its_cell(row):
    one = row()
    (found,) = lower([one])
    assert (found.cell, found.source, found.reference) == (one.cell, FP32, FP32)
    assert (found.artifact.path, found.artifact.opset) == ("/cache/low.onnx", 17)
    assert found.lowered == Lowered(source=18, opset=17, sqnr_db=150.0)
    assert found.listed_by_0_1 == one.listed_by_0_1


def test_a_converted_file_still_has_its_fp32_file_as_reference(row):
    for file in (FP16, INT8):
        (found,) = lower([row(file)])
        assert (found.reference, found.source, found.artifact.precision) == (FP32, file, file.precision)


def test_a_file_is_lowered_once_for_each_opset(row):
    context = Worker()
    rows = lower([row(), row(backend="other"), row(opset=16), row(FP16)], context)
    assert [(job.artifact.precision, job.opset) for job in context.jobs] == [("fp32", 17), ("fp32", 16), ("fp16", 17)]
    assert [item.artifact.opset for item in rows] == [17, 17, 16, 17]
    assert len(context.progress.told) == 3


def test_a_row_of_a_file_that_cannot_be_lowered_has_the_reason(row):
    error = Unsupported("BitwiseAnd-18 (bits) cannot be lowered to opset 17", "do without")
    first, other = lower([row(), row(opset=0)], Worker({Lower: error}))
    assert first.refused[0] == "unsupported"
    for word in ("tensorrt takes opset 17", "opset 18", "BitwiseAnd-18", "do without"):
        assert word in first.refused[1]
    assert other.refused is None


def test_a_full_disk_ends_the_run(row):
    with pytest.raises(StorageFailed):
        lower([row()], Worker({Lower: StorageFailed("full", "free some")}))


MODULE = replace(FP32, source=Source(factory="nets:net", weights="/art/net.safetensors"))


def test_a_module_is_exported_again_only_if_its_file_cannot_be_lowered(row):
    context = Worker()
    lower([row(MODULE)], context)
    assert context.kinds == [Lower]
    context = Worker({Lower: Unsupported("no equivalent")})
    (found,) = lower([row(MODULE)], context)
    assert context.kinds == [Lower, Export]
    assert (context.jobs[1].factory, context.jobs[1].opset, context.jobs[1].outputs) == ("nets:net", 17, ("logits",))
    assert (found.refused, found.lowered.exporter, found.artifact.source) == (None, "torchscript", MODULE.source)


def test_an_fp16_file_is_converted_from_the_file_that_was_exported_again(row):
    context = Worker({Lower: Unsupported("no equivalent")})
    half = replace(FP16, source=MODULE.source)
    (found,) = lower([row(half)], context)
    assert context.kinds == [Lower, Export, Convert]
    assert (context.jobs[2].precision, found.refused) == ("fp16", None)


def test_an_int8_file_is_not_calibrated_again(row):
    context = Worker({Lower: Unsupported("no equivalent")})
    (found,) = lower([row(replace(INT8, source=MODULE.source))], context)
    assert (context.kinds, found.refused[0]) == ([Lower], "unsupported")


def test_both_reasons_are_given_where_the_export_fails_too(row):
    fails = {Lower: Unsupported("no equivalent"), Export: Unsupported("no trace")}
    (found,) = lower([row(MODULE)], Worker(fails))
    assert "no equivalent" in found.refused[1]
    assert "no trace" in found.refused[1]


def test_a_preview_names_each_file_once(row):
    assert len(lowerings([row(), row(), row(FP16), row(opset=0)])) == 2


def test_a_program_has_no_file_to_lower(row):
    one = row(program=SimpleNamespace(name="mine"))
    assert lower([one]) == [one]


OPEN = replace(FP32, inputs=(replace(FP32.inputs[0], shape=("N", *FP32.inputs[0].shape[1:])),))


def shapes_row(row, batch=1, file=OPEN, **changes):
    one = row(file, fixes_shapes=True, **changes)
    shapes = tuple((spec.name, (batch, *spec.shape[1:])) for spec in file.inputs)
    return replace(one, cell=replace(one.cell, batch=batch, shapes=shapes))


def made_of(context):
    return [(job.opset, job.fixed) for job in context.jobs if isinstance(job, Lower)]


def test_a_file_that_needs_its_shapes_is_written_once_for_each_batch(row):
    context = Worker(needs_shapes=True)
    one, eight = shapes_row(row), shapes_row(row, 8)
    found = lower([one, eight, one], context)
    assert made_of(context) == [(17, one.cell.shapes), (17, eight.cell.shapes)]
    assert context.kinds.count(ReadSizeUse) == 1
    assert [item.lowered.shapes.rpartition("=")[2].partition("x")[0] for item in found] == ["1", "8", "1"]
    assert [item.source for item in found] == [OPEN] * 3


@pytest.mark.parametrize("opset", [0, 18])
def test_a_file_of_an_opset_that_the_backend_takes_keeps_it(row, opset):
    context = Worker(needs_shapes=True)
    (found,) = lower([shapes_row(row, opset=opset)], context)
    assert made_of(context) == [(18, found.cell.shapes)]
    assert (found.lowered.source, found.lowered.opset) == (18, 18)


def test_a_file_that_does_not_need_its_shapes_is_one_for_all_batches(row):
    context = Worker()
    found = lower([shapes_row(row), shapes_row(row, 8)], context)
    assert made_of(context) == [(17, ())]
    assert {item.lowered.shapes for item in found} == {""}


def test_a_backend_that_computes_all_sizes_needs_no_answer(row):
    context = Worker(needs_shapes=True)
    lower([row(OPEN, opset=0)], context)
    assert context.jobs == []


def test_a_file_of_fixed_shapes_may_need_them_too(row):
    closed = replace(OPEN, inputs=(replace(OPEN.inputs[0], shape=(1, 3, 4, 4)),))
    context = Worker(needs_shapes=True)
    one = shapes_row(row, file=closed, opset=0)
    lower([one], context)
    assert made_of(context) == [(18, one.cell.shapes)]


def test_a_row_whose_shapes_cannot_be_fixed_keeps_its_file(row):
    one = shapes_row(row, opset=0)
    assert lower([one], Worker({Lower: Unsupported("other answers")}, needs_shapes=True)) == [one]
