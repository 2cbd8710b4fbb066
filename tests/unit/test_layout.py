"""Which columns fit into a width, and how lines are wrapped and coloured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import BadInput
from onnxbench.results.table.column import Field
from onnxbench.results.table.layout import GREEN, LONGEST_TEXT, PIPE, Screen, fitting, shortened
from onnxbench.results.table.render import with_columns
from onnxbench.results.table.table import Table


def fields(*priorities):
    return [Field(name=f"f{number}", priority=priority) for number, priority in enumerate(priorities)]


@pytest.mark.parametrize(
    ("width", "shown"),
    [(1, [0]), (13, [0, 2]), (25, [0, 1, 2]), (49, [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4])],
)
def test_columns_of_low_priority_numbers_come_first_and_ends_of_an_interval_together(width, shown):
    assert fitting(fields(0, 5, 1, 9, 9), [3, 10, 7, 10, 10], width) == shown


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1), st.integers(1, 200))
def test_what_is_shown_fits_or_is_of_the_first_priority(columns, width):
    priorities, widths = zip(*columns)
    shown = fitting(fields(*priorities), widths, width)
    assert shown == sorted(set(shown))
    total = 1 + sum(widths[index] for index in shown) + 2 * (len(shown) - 1)
    assert total <= width or {priorities[index] for index in shown} == {min(priorities)}
    assert {priorities[index] for index in shown}.isdisjoint(set(priorities) - {priorities[index] for index in shown})
    assert all((priorities[index] in {priorities[i] for i in shown}) == (index in shown) for index in range(len(columns)))


@given(st.text("abc …-/", max_size=60))
def test_a_long_text_keeps_its_head_and_its_tail(text):
    short = shortened(text)
    assert len(short) <= LONGEST_TEXT
    assert short == text or (text.startswith(short.partition("…")[0]) and "…" in short)


def test_a_pipe_wraps_and_colours_nothing():
    text = "word " * 60
    assert PIPE.wrapped(text) == [text]
    assert PIPE.styled("x", GREEN) == "x"
    assert Screen(width=80, colour=True).styled("x", GREEN) == f"\x1b[{GREEN}mx\x1b[0m"
    assert all(len(line) <= 80 for line in Screen(width=80).wrapped(text, "  "))


def test_named_columns_stand_in_the_order_of_the_table():
    table = Table(names=("a", "backend", "b"), rows=({"a": 1, "backend": "x", "b": 2},), fields=tuple(fields(0)))
    found = with_columns(table, ["b", "a"])
    assert (found.names, found.rows) == (("a", "b"), ({"a": 1, "b": 2},))
    assert [field.name for field in found.fields] == ["a", "b"]


def test_a_column_that_the_table_lacks_is_refused_with_the_nearest_name():
    with pytest.raises(BadInput) as error:
        with_columns(Table(names=("p50_ms",), rows=(), fields=()), ["p50"])
    assert "p50_ms" in str(error.value.hint)
