"""Verdicts on parity: which limit holds for a part, and which part decides."""

import pytest
from onnxbench.evidence import PartDistance, Verified
from onnxbench.results.store.verdict import judge, needs_floor, with_verdict


def part(sqnr_db, output="y", **more):
    return PartDistance(output=output, sqnr_db=sqnr_db, **more)


def verdict(precision, *parts, **more):
    return judge(precision, Verified(sqnr_db=0.0, parts=parts, **more))


LABELS = {"agreement": 97.0, "images": 100}


@pytest.mark.parametrize(
    ("precision", "measured", "status", "limit_db"),
    [
        ("fp32", part(80.0), "ok", 80.0),
        ("fp32", part(79.9), "mismatch", 80.0),
        ("fp32", part(79.9, floor_db=150.0), "mismatch", 80.0),
        ("fp32", part(35.4, floor_db=33.4), "ok", 23.4),
        ("fp32", part(23.3, floor_db=33.4), "mismatch", 23.4),
        ("fp32", part(15.0, floor_db=19.9), "undetermined", 9.9),
        ("fp32", part(10.0, floor_db=20.0), "ok", 10.0),
        ("fp32", part(0.0, floor_db=20.0), "mismatch", 10.0),
        ("fp32", part(81.0, floor_db=5.0), "ok", 80.0),
        ("fp32", part(79.9, floor_db=-200.0), "undetermined", -210.0),
        ("tf32", part(54.9), "mismatch", 55.0),
        ("bf16", part(34.9), "mismatch", 35.0),
        ("fp16", part(49.7, floor_db=52.0), "ok", 42.0),
        ("fp16", part(49.9), "mismatch", 50.0),
        ("int8", part(20.0), "ok", 20.0),
        ("int8", part(19.9, floor_db=28.0), "ok", 18.0),
    ],
)
def test_the_limit_is_the_class_floor_or_10_db_under_the_measured_one(precision, measured, status, limit_db):
    found = verdict(precision, measured)
    assert (found.status, found.limit_db, found.part) == (status, pytest.approx(limit_db), measured)


def test_the_part_that_misses_its_limit_most_decides():
    near, far = part(81.0, "near"), part(45.0, "far", floor_db=50.0)
    assert verdict("fp32", far, near).part is near
    assert verdict("fp32", part(30.0, "relaxed", floor_db=30.0), far, part(40.0, "wrong", floor_db=80.0)).part.output == "wrong"
    assert verdict("fp32", part(5.0, floor_db=12.0), part(100.0)).status == "undetermined"
    assert verdict("fp32", part(5.0, floor_db=12.0), part(70.0)).status == "mismatch"


def test_another_shape_is_a_mismatch_whatever_the_floor_is():
    found = verdict("fp32", part(-200.0, shape="8x4 instead of 7x4", floor_db=-200.0), **LABELS)
    assert (found.status, found.cause) == ("mismatch", "other_shape")


@pytest.mark.parametrize(
    ("measured", "labels", "status", "cause"),
    [
        (part(40.0, file_db=42.0), {}, "ok", None),
        (part(32.0, file_db=42.0), {}, "ok", None),
        (part(31.9, file_db=42.0), {}, "mismatch", "runtime"),
        (part(31.9, file_db=42.0), LABELS, "mismatch", "runtime"),
        (part(11.0, file_db=21.0), {}, "ok", None),
        (part(25.0, file_db=19.9), {}, "mismatch", "conversion"),
        (part(19.9, file_db=19.9), LABELS, "ok", None),
        (part(9.8, file_db=19.9), LABELS, "mismatch", "runtime"),
        (part(0.0, file_db=0.0, dead=True), LABELS, "mismatch", "conversion"),
        (part(110.0, file_db=200.0), {}, "ok", None),
        (part(60.0, file_db=200.0), {}, "mismatch", "runtime"),
        (part(35.0, file_db=200.0, floor_db=33.0), {}, "ok", None),
        (part(5.0, file_db=8.0, floor_db=15.0), {}, "undetermined", None),
    ],
)
def test_an_int8_row_has_a_test_of_its_file_and_one_of_its_runtime(measured, labels, status, cause):
    found = verdict("int8", measured, **labels)
    assert found.status == status
    assert cause is None or found.cause == cause


def test_a_conversion_is_judged_by_the_files_own_figure():
    found = verdict("int8", part(22.0, file_db=3.0))
    assert (found.sqnr_db, found.limit_db) == (3.0, 20.0)


def test_labels_prove_no_output_beside_a_dead_one():
    parts = (part(19.0, "classes", file_db=19.0), part(0.0, "boxes", file_db=40.0, dead=True))
    assert verdict("int8", *parts, **LABELS).status == "mismatch"
    assert verdict("int8", parts[0], agreement=96.9, images=1000).status == "mismatch"
    assert verdict("int8", parts[0], agreement=100.0, images=99).status == "mismatch"


@pytest.mark.parametrize(
    ("precision", "measured", "cause"),
    [
        ("fp32", part(60.0, floor_db=130.0), "runtime"),
        ("fp16", part(30.0), ""),
        ("fp16", part(30.0, file_db=55.0), "runtime"),
        ("fp16", part(30.0, file_db=31.0), "conversion"),
    ],
)
def test_a_mismatch_names_its_cause_as_far_as_it_is_measured(precision, measured, cause):
    found = verdict(precision, measured)
    assert (found.status, found.cause) == ("mismatch", cause)


def test_labels_prove_a_converted_file_and_never_an_fp32_row():
    assert verdict("fp16", part(45.0), **LABELS).status == "ok"
    assert verdict("fp16", part(45.0, file_db=60.0), **LABELS).status == "mismatch"
    assert verdict("fp32", part(45.0), **LABELS).status == "mismatch"
    assert verdict("bf16", part(30.0), **LABELS).status == "mismatch"


def test_a_row_of_version_0_1_has_no_verdict():
    assert verdict("fp32") is None


def test_a_floor_is_measured_only_where_it_may_relax_a_limit():
    assert not needs_floor("fp32", [part(80.0), part(-200.0, shape="1 instead of 2")])
    assert needs_floor("fp32", [part(100.0), part(79.0)])
    assert not needs_floor("int8", [part(35.0, file_db=40.0)])
    assert needs_floor("int8", [part(29.0, file_db=40.0)])


def test_a_record_keeps_the_figures_of_the_part_that_decides():
    parts = (part(100.0, "boxes"), part(35.4, "scores", slices="axis 2: 4-83", floor_db=33.4))
    kept = with_verdict("fp32", Verified(sqnr_db=35.4, parts=parts, top1=97.0))
    assert (kept.sqnr_db, kept.output, kept.top1) == (35.4, "scores (axis 2: 4-83)", 97.0)
    assert (kept.limit_db, kept.floor_db) == (pytest.approx(23.4), 33.4)
    assert with_verdict("fp32", Verified(sqnr_db=90.0)) == Verified(sqnr_db=90.0)
