import json

import pytest
from onnxbench.results.store.head import SCHEMA
from onnxbench.results.table.preview import build
from onnxbench.results.table.render import FORMATS, render
from onnxbench.spec import COLD

FACTS = ("2 cells at quick: about 9 to 12 s", "")


def test_a_cell_that_would_be_measured_is_planned(make_cell):
    assert build([(make_cell(batch=8), None)], FACTS).rows == (
        {
            "model": "cnn",
            "backend": "ort-cpu",
            "environment": None,
            "device": "cpu",
            "precision": "fp32",
            "scheme": None,
            "dims": None,
            "feedback": None,
            "inputs": None,
            "cache": None,
            "batch": 8,
            "threads": 2,
            "status": "planned",
            "reason": None,
            "shapes": "input=1x3x48x48",
        },
    )


def test_a_cell_that_is_refused_says_why(make_cell):
    row = build([(make_cell(precision="int8"), ("unsupported", "it has no int8"))], FACTS).rows[0]
    assert (row["precision"], row["status"], row["reason"]) == ("int8", "unsupported", "it has no int8")


def test_rows_stand_as_they_do_in_the_measured_table(make_cell):
    cells = [
        make_cell(model=model, precision=precision, batch=batch, backend=backend)
        for model in ("b", "a")
        for precision in ("int8", "fp32")
        for batch in (32, 8)
        for backend in ("torch-cpu", "ort-cpu")
    ]
    rows = build([(cell, None) for cell in cells], FACTS).rows
    assert [(row["model"], row["batch"], row["precision"]) for row in rows[::2]] == [
        (model, batch, precision) for model in "ab" for batch in (8, 32) for precision in ("fp32", "int8")
    ]
    assert [row["backend"] for row in rows] == ["torch-cpu", "ort-cpu"] * 8


def test_all_columns_stand_in_the_table_and_no_row_is_marked(make_cell):
    rare = {"environment": "new", "scheme": "portable", "dims": (("seq", 8),), "feedback": (("h_out", "h"),)}
    cell = make_cell(precision="int8", inputs=3, cache=COLD, **rare)
    built = build([(cell, None)], FACTS)
    assert tuple(field.name for field in built.fields) == built.names == tuple(built.rows[0])
    assert (built.best, built.remarks) == (frozenset(), ())


def test_environments_stand_there_where_there_are_any(make_cell):
    built = build([(make_cell(), None)], FACTS)
    assert [name for name in built.names if name not in {field.name for field in built.fields}] == [
        "environment",
        "scheme",
        "dims",
        "feedback",
        "inputs",
        "cache",
    ]


def test_facts_that_say_nothing_are_left_out(make_cell):
    built = build([(make_cell(), None)], FACTS)
    assert built.facts == FACTS[:1]
    assert built.head == {"schema": SCHEMA, "plan": [FACTS[0]]}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [0, 1])
def test_a_preview_has_every_format(make_cell, format, count):
    text = render(build([(make_cell(), None)] * count, FACTS), format)
    assert text.count("planned") == count
    assert format != "json" or len(json.loads(text)["rows"]) == count
