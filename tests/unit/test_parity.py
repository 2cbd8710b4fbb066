"""Floors that a run requests for rows far from their reference, with workers in this process."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from onnxbench.errors import RuntimeFailed, StorageFailed
from onnxbench.evidence import PartDistance, Verified
from onnxbench.parity import figure_of
from onnxbench.runners.sweep.parity import settle
from onnxbench.spec import TensorSpec

from .fake_worker import only
from .in_process import FP16, FP32, INT8, UNLABELLED


@pytest.fixture
def far(bench):
    """A check whose rows are all zero, while the reference is not: 0 dB. Rounding alone gives `floor_db`."""

    def of(*files, floor_db=150.0, plot=lambda *_: {}, **how):
        found = bench(*files, plot=plot)
        found.works.offset, found.works.floor_db = 1, floor_db
        return found.check(**how)

    return of


def test_rows_near_their_reference_need_no_floor(bench):
    found = bench().check(batches=(1, 8))
    assert (found.works.cells("floor"), found.progress.told) == ([], [])
    assert {row.parity.limit_db for name, row in found.rows.items() if "int8" not in name} == {80.0, 50.0}
    assert {row.parity.output for row in found.rows.values()} == {"logits"}


def test_a_floor_is_measured_once_at_the_smallest_batch(far):
    found = far(FP32, batches=(1, 8, 32), floor_db=19.0)
    assert found.works.asked("floor", "precision") == ["fp32"]
    assert found.works.asked("floor", "batch") == [1]
    (calls,) = found.works.asked("reference", "calls")
    smallest = min(calls, key=lambda call: call.batch)
    assert found.works.asked("floor", "inputs") == [smallest.inputs]


def test_a_row_that_is_too_far_for_the_smallest_batch_has_a_floor_of_its_own_inputs(far):
    """Large values may occur in a large batch alone, and rounding then changes it more."""
    found = far(FP32, batches=(1, 8, 32))
    assert sorted(found.works.asked("floor", "batch")) == [1, 8, 32]
    assert sorted(place.path for place in found.works.asked("floor", "inputs")) == sorted(
        place.path for place in found.works.asked("open", "inputs")
    )


@pytest.mark.parametrize(
    ("floor_db", "status", "limit_db"), [(150.0, "mismatch", 80.0), (25.0, "mismatch", 15.0), (19.0, "undetermined", 9.0)]
)
def test_a_floor_relaxes_the_limit_down_to_where_nothing_is_proven(far, floor_db, status, limit_db):
    row = far(FP32, floor_db=floor_db).rows["fp32/8"]
    assert (row.status, row.parity.limit_db, row.parity.floor_db) == (status, limit_db, floor_db)
    assert row.reason


def test_a_converted_fp16_file_is_compared_by_itself_if_its_row_is_far(far):
    found = far(FP32, FP16)
    assert found.works.asked("floor", "precision") == ["fp32", "fp16"]
    assert [artifact.sha256 for artifact in found.works.asked("compare_file", "artifact")] == [FP16.sha256]
    assert found.rows["fp16/8"].verdict.cause == "runtime"  # the file itself is exact


def test_every_int8_file_is_compared_by_itself_once(bench):
    found = bench().check(batches=(1, 8))
    assert [item.sha256 for item in found.works.asked("compare_file", "artifact")] == [INT8.sha256]
    assert found.works.asked("compare_file", "batch") == [1]


def test_an_int8_row_that_is_far_is_compared_with_its_file_on_its_own_inputs(far):
    found = far(FP32, INT8, batches=(1, 8))
    assert found.works.asked("compare_file", "batch") == [1, 8]
    assert found.works.asked("compare_file", "inputs")[1] == found.works.asked("open", "inputs")[-2]
    # Both are of the FP32 rows. The INT8 rows use the first: their float layers compute in FP32.
    assert [found.works.asked("floor", name) for name in ("precision", "batch")] == [["fp32", "fp32"], [1, 8]]
    row = found.rows["int8/8"]
    assert (row.status, row.verdict.cause, row.verdict.part.file_db) == ("mismatch", "runtime", 200.0)


def test_an_int8_file_of_unknown_origin_is_its_own_reference(far):
    alone = replace(INT8, derived=None)
    found = far(alone)
    assert found.works.cells("compare_file") == []
    assert [(job.precision, job.artifact.sha256) for name, _, job in found.works.requests if name == "floor"] == [
        ("int8", INT8.sha256)
    ]


@pytest.mark.parametrize("job", ["floor", "compare_file"])
def test_a_figure_that_cannot_be_measured_is_noted_and_costs_no_row(far, job):
    found = far(FP32, FP16, INT8, plot=only(job, "", 0, raised=RuntimeFailed("no such operator")))
    assert set(found.states.values()) == {"mismatch"}
    assert [text for text in found.progress.told if "no such operator" in text]


@pytest.mark.parametrize("job", ["floor", "compare_file"])
def test_a_full_disk_ends_the_run(far, job):
    with pytest.raises(StorageFailed):
        far(FP32, INT8, plot=only(job, "", 0, raised=StorageFailed("no room")))


def test_the_figure_of_a_part_is_that_of_the_same_slices_or_of_the_worst_of_its_output():
    parts = [("y", "axis 1: 0-3", 90.0), ("y", "axis 1: 4-83", 30.0), ("z", "", 50.0)]
    floor = [PartDistance(output=output, slices=slices, sqnr_db=db) for output, slices, db in parts]

    def of(output, slices):
        return figure_of(PartDistance(output=output, slices=slices, sqnr_db=0.0), floor)

    assert (of("y", "axis 1: 0-3"), of("y", "axis 1: 0-9"), of("y", "")) == (90.0, 30.0, 30.0)
    assert (of("z", ""), of("other", "")) == (50.0, None)


def test_a_batch_that_the_model_fixes_is_that_of_the_floor(far):
    fixed = replace(UNLABELLED, inputs=(TensorSpec(name="input", dtype="float32", shape=(8, 2)),))
    assert far(fixed, batches=(8,)).works.asked("floor", "batch") == [8]


def test_a_comparison_that_proves_nothing_needs_no_floor(make_cell, make_artifact):
    """Neither the reference nor a worker is used: both are None."""
    active = SimpleNamespace(planned=SimpleNamespace(cell=make_cell(), artifact=make_artifact()), compared=object())
    random = Verified(sqnr_db=3.0, parts=(PartDistance(output="audio", sqnr_db=3.0),), undetermined="random", random=("audio",))
    assert settle(active, random, None) == replace(random, output="audio", limit_db=80.0)
