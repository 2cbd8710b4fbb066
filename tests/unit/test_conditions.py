import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import BadInput
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.columns import COLUMNS
from onnxbench.results.table.conditions import UNITS, broken, judged, metrics, parse, undecided
from onnxbench.results.table.findings import Finding
from onnxbench.results.table.render import render
from onnxbench.results.table.table import Table


def limit(text, most=True):
    """The condition that `text`, such as `p99=10ms`, is."""
    (found,) = parse([tuple(text.split("=", 1))], most=most)
    return found


def row(**values):
    who = {"backend": "ort-cpu", "precision": "int8", "batch": 8, "status": "ok"}
    return {**dict.fromkeys(column.name for column in COLUMNS), **who, **values}


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("p99=10ms", "p99_ms", 10),
        ("p99=10", "p99_ms", 10),
        ("p99_ms=10", "p99_ms", 10),
        ("p99= 0.01 s ", "p99_ms", 10),
        ("p50=250us", "p50_ms", 0.25),
        ("p50=250µs", "p50_ms", 0.25),
        ("build=500ms", "build_s", 0.5),
        ("cold=2s", "cold_s", 2),
        ("artifact=1.5GB", "artifact_mb", 1500),
        ("artifact=700KB", "artifact_mb", 0.7),
        ("throughput=100/s", "throughput_per_s", 100),
        ("top1=97.5%", "top1", 97.5),
        ("top1_drop=.5", "top1_drop", 0.5),
        ("top1_drop=0.5points", "top1_drop", 0.5),
        ("top1_drop_ci_high=0.5 %", "top1_drop_ci_high", 0.5),
        ("top1_drop=-1", "top1_drop", -1),
        ("sqnr=30dB", "sqnr_db", 30),
        ("energy=1J", "energy_mj", 1000),
        ("gpu_power=0.3kW", "gpu_power_w", 300),
        ("gpu_mhz=1.7GHz", "gpu_mhz", 1700),
        ("gpu_temperature=80C", "gpu_temperature_c", 80),
        ("speedup=1.5x", "speedup", 1.5),
        ("rel_err=1e-3", "rel_err", 0.001),
        ("max_abs_err=2.5E+2", "max_abs_err", 250),
        ("images=+2000", "images", 2000),
    ],
)
def test_a_limit_is_in_the_columns_unit_or_in_one_that_it_names(text, column, value):
    found = limit(text)
    assert (found.column.name, found.limit) == (column, pytest.approx(value))


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_a_limit(value):
    assert limit(f"rel_err={value!r}").limit == value


@pytest.mark.parametrize(("most", "text"), [(True, "--max p99=10 ms"), (False, "--min p99=10 ms")])
def test_a_condition_is_named_as_it_was_given(most, text):
    found = limit("p99=10 ms", most=most)
    assert (found.most, found.text) == (most, text)


def test_conditions_keep_their_order_and_may_be_none():
    assert [found.limit for found in parse([("p50", "2"), ("p99", "1"), ("p50", "3")], most=True)] == [2, 1, 3]
    assert parse([], most=True) == []


@pytest.mark.parametrize(("most", "holds"), [(True, [True, True, False]), (False, [False, True, True])])
def test_the_limit_itself_is_kept(most, holds):
    found = limit("top1_drop=0.5", most)
    assert [found.holds(value) for value in (0.4, 0.5, 0.6)] == holds


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("p98", "did you mean 'p9"),
        ("top1_dorp", "did you mean 'top1_drop'"),
        ("sqnr_bd", "did you mean 'sqnr_db'"),
        ("nonsense", "choose from: agreement, "),
        ("", "choose from: agreement, "),
    ],
)
@pytest.mark.parametrize("most", [True, False])
def test_an_unknown_metric_is_refused_with_what_was_meant(name, hint, most):
    with pytest.raises(BadInput, match=re.escape(f"{name!r} is not a metric; {hint}")):
        parse([(name, "1")], most=most)


@pytest.mark.parametrize(
    "name", ["model", "status", "executed", "placement", "conversion", "stopped", "verdict", "grade", "notes"]
)
def test_a_column_of_words_is_no_metric(name):
    with pytest.raises(BadInput, match="is not a metric"):
        parse([(name, "1")], most=True)


@pytest.mark.parametrize(
    "text", ["", "ms", "fast", "1.2.3", ".", "1,5", "--5", "1 h", "10MS", "10 m s", "1e", "nan", "inf", "1_000", "٣", "5 < 6"]
)
def test_what_is_no_number_or_has_another_unit_is_refused(text):
    with pytest.raises(BadInput, match=re.escape(f"{text!r} is not a limit for p99; give a number, such as p99=1ms")):
        parse([("p99", text)], most=True)


@pytest.mark.parametrize("text", ["p99=1e999", "rel_err=-1e999", "artifact=1e306GB"])
def test_a_limit_that_no_row_could_ever_break_is_refused(text):
    with pytest.raises(BadInput, match="is not a limit for"):
        limit(text)


@pytest.mark.parametrize(
    "example", ["p99=1ms", "build=1s", "artifact=1MB", "top1=1%", "top1_drop=1points", "throughput=1/s", "sqnr=1dB", "images=1"]
)
def test_the_example_in_a_hint_has_the_columns_own_unit(example):
    with pytest.raises(BadInput) as caught:
        limit(f"{example.partition('=')[0]}=much")
    assert caught.value.hint == f"give a number, such as {example}"
    assert limit(example).limit == 1


@pytest.mark.parametrize("text", ["top1=97ms", "sqnr=30%", "rel_err=1%", "images=10MB", "artifact=3s", "throughput=5x"])
def test_a_unit_of_another_metric_is_refused(text):
    with pytest.raises(BadInput, match="is not a limit for"):
        limit(text)


@pytest.mark.parametrize("name", metrics())
def test_every_metric_takes_a_number_in_its_own_unit(name):
    unit = metrics()[name].unit
    assert limit(f"{name}=2{unit}").limit == 2
    assert not unit or UNITS[unit][unit] == 1


def test_no_two_metrics_have_the_same_name():
    names = {name: column.name for name, column in metrics().items()}
    columns = {column.name for column in COLUMNS if column.number}
    assert set(names.values()) == columns
    assert all(names[column] == column for column in columns)
    assert all(column.startswith(name) for name, column in names.items())


@pytest.mark.parametrize(
    ("text", "most", "values"),
    [
        ("top1_drop=0.5", True, {"top1_drop": 1.25}),
        ("sqnr=30", False, {"sqnr_db": 21.456}),
        ("rel_err=1e-3", True, {"rel_err": 0.0123456}),
        ("p99=10us", True, {"p99_ms": 0.5}),
        ("images=2000", False, {"images": 360}),
    ],
)
def test_a_row_beyond_a_limit_is_said_with_its_figure(text, most, values):
    (finding,) = broken(limit(text, most), [row(**values)])
    ((name, value),) = values.items()
    assert (finding.kind, finding.rows) == ("limit_missed", ("ort-cpu int8 b8",))
    assert dict(finding.values) | {"column": name, "value": value} == dict(finding.values)


def test_every_row_beyond_the_limit_is_said_and_no_other():
    rows = [row(batch=batch, sqnr_db=db) for batch, db in ((1, 40.0), (2, 30.0), (4, 29.9), (8, -200.0))]
    found = broken(limit("sqnr=30", most=False), rows)
    assert [(finding.rows, dict(finding.values)["value"]) for finding in found] == [
        (("ort-cpu int8 b4",), 29.9),
        (("ort-cpu int8 b8",), -200.0),
    ]


def test_rows_without_a_value_do_not_count_beside_others():
    rows = [row(top1_drop=0.0), row(batch=1), row(batch=2, status="unsupported")]
    assert broken(limit("top1_drop=0.5"), rows) == []


@pytest.mark.parametrize("most", [True, False])
@pytest.mark.parametrize("rows", [[], [row()], [row(batch=1), row(status="failed")]], ids=len)
def test_a_limit_for_what_no_row_has_is_broken(most, rows):
    found = limit("top1_drop=0.5", most)
    assert broken(found, rows) == [Finding.of("limit_unknown", limit=found.text, column="top1_drop")]


@pytest.mark.parametrize("status", ["failed", "timeout", "unsupported", "unavailable"])
def test_a_row_without_figures_cannot_keep_a_limit(status):
    assert broken(limit("batch=100"), [row(status=status)]) == [
        Finding.of("limit_unknown", limit="--max batch=100", column="batch")
    ]


def test_a_mismatch_must_keep_the_limits_too():
    (finding,) = broken(limit("sqnr=30", most=False), [row(status="mismatch", sqnr_db=3.0)])
    assert finding.kind == "limit_missed"


def test_a_limit_holds_for_every_model():
    rows = [row(model="a", top1_drop=9.0), row(model="b", top1_drop=0.0)]
    assert [finding.rows for finding in broken(limit("top1_drop=0.5"), rows)] == [("a ort-cpu int8 b8",)]


def test_a_limit_holds_for_every_row_whatever_it_is_called():
    rows = [row(threads=threads, sqnr_db=db) for threads, db in ((1, 20.0), (2, 40.0), (4, 10.0))]
    assert [dict(finding.values)["value"] for finding in broken(limit("sqnr=30", most=False), rows)] == [20.0, 10.0]


def test_a_row_of_several_models_is_undecided_by_its_models_name():
    rows = [row(model=model, top1_drop=0.1, top1_drop_ci_high=high, images=360) for model, high in (("a", 0.2), ("b", 1.2))]
    (finding,) = undecided([limit("top1_drop=0.5")], rows)
    assert finding.rows == ("b ort-cpu int8 b8",)


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0])
def test_a_drop_within_its_limit_whose_interval_is_not_is_undecided(value):
    rows = [row(top1_drop=value, top1_drop_ci_high=1.239, images=360)]
    (finding,) = undecided([limit("top1_drop=0.5")], rows)
    assert (finding.kind, finding.rows) == ("drop_unsure", ("ort-cpu int8 b8",))
    assert dict(finding.values) == {"limit": 0.5, "images": 360, "high": 1.239}


@pytest.mark.parametrize(
    ("drop", "high"),
    [(0.6, 1.2), (0.1, 0.5), (0.1, 0.3), (None, None), (0.1, None)],
    ids=["over", "at", "under", "none", "half"],
)
def test_a_drop_over_its_limit_or_surely_within_is_decided(drop, high):
    assert undecided([limit("top1_drop=0.5")], [row(top1_drop=drop, top1_drop_ci_high=high, images=360)]) == []


def test_every_limit_of_a_drop_may_leave_a_row_undecided():
    rows = [row(batch=batch, top1_drop=drop, top1_drop_ci_high=2.5, images=360) for batch, drop in ((1, 0.1), (8, 1.1))]
    found = undecided([limit("top1_drop=1"), limit("top1_drop=2"), limit("top1_drop=3")], rows)
    assert [(finding.rows, dict(finding.values)["limit"]) for finding in found] == [
        (("ort-cpu int8 b1",), 1.0),
        (("ort-cpu int8 b1", "ort-cpu int8 b8"), 2.0),
    ]


def test_rows_that_are_undecided_alike_are_told_of_once():
    rows = [row(batch=batch, top1_drop=0.1, top1_drop_ci_high=2.5, images=360) for batch in (1, 2, 4, 8)]
    (finding,) = undecided([limit("top1_drop=1")], rows)
    assert len(finding.rows) == 4


def test_other_limits_leave_nothing_undecided():
    doubtful = row(top1_drop=0.1, top1_drop_ci_high=1.2, images=360, sqnr_db=30.0)
    others = [limit("top1_drop=0.5", most=False), limit("top1_drop_ci_high=0.5"), limit("sqnr=40")]
    assert undecided(others, [doubtful]) == []


def test_a_judged_table_says_what_is_broken_below_it_and_in_its_head():
    rows = (
        row(top1_drop=0.9, top1_drop_ci_high=2.0, images=360),
        row(batch=1, top1_drop=0.1, top1_drop_ci_high=1.2, images=360),
    )
    before = Table(names=(), rows=rows, fields=(), remarks=("so far",), head={"schema": 2})
    limits = [limit("top1_drop=0.5"), limit("sqnr=30", most=False)]
    found = judged(before, limits)
    assert [(finding.kind, finding.rows) for finding in found.findings] == [
        ("limit_missed", ("ort-cpu int8 b8",)),
        ("limit_unknown", ()),
        ("drop_unsure", ("ort-cpu int8 b1",)),
    ]
    assert found.head == {
        "schema": 2,
        "conditions": ["--max top1_drop=0.5", "--min sqnr=30"],
        "broken": [": ".join((*finding.rows, finding.sentence)) for finding in found.findings[:2]],
        "findings": [finding.wire() for finding in found.findings],
    }
    assert found.remarks == ("so far",)
    assert (found.rows, found.fields) == (before.rows, before.fields)


def test_without_conditions_a_judged_table_says_that_nothing_is_broken():
    found = judged(Table(names=(), rows=(row(),), fields=()), [])
    assert (found.head["conditions"], found.head["broken"], found.findings) == ([], [], ())


def test_the_rows_of_a_check_are_held_against_the_limits(run_folder, make_cell):
    good, bad = make_cell(precision="fp16"), make_cell(precision="int8")
    folder = run_folder(good, bad, kind="check")
    for cell, lost in ((good, 0), (bad, 8)):
        folder.opened(cell)
        folder.verified(cell, top1=90.0, top1_drop=lost / 4, images=400, lost=lost, gained=0)
        folder.inspected(cell)
    limits = [limit("top1_drop=1"), limit("top1_drop_ci_high=1.5"), limit("top1_change_p=0.01", most=False), limit("p99=10ms")]
    found = judged(table.build([read_run(folder.path)]), limits)
    assert len(json.loads(render(found, "json"))["broken"]) == 4
    missed = {dict(finding.values)["column"]: finding for finding in found.findings if finding.kind == "limit_missed"}
    assert dict(missed["top1_drop"].values)["value"] == 2.0
    assert 4.0 < dict(missed["top1_drop_ci_high"].values)["value"] < 5.0
    assert dict(missed["top1_change_p"].values)["value"] == pytest.approx(0.0078, abs=1e-4)
    assert [dict(finding.values)["column"] for finding in found.findings if finding.kind == "limit_unknown"] == ["p99_ms"]
    (unsure,) = [finding for finding in found.findings if finding.kind == "drop_unsure"]
    assert unsure.rows == ("ort-cpu fp16 b1",)
    assert dict(unsure.values)["high"] == pytest.approx(1.09, abs=0.005)
