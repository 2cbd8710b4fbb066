import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.commands import options
from onnxbench.results.table.column import SCIENTIFIC, Field
from onnxbench.results.table.render import FORMATS, bare_paths, plain, render, with_columns
from onnxbench.results.table.table import Table

FIELDS = (
    Field(name="backend", number=False),
    Field(name="batch", title="batch"),
    Field(name="p50_ms", title="p50", unit="ms"),
    Field(name="speedup", title="speed-up", unit="x"),
)
NAMES = tuple(field.name for field in FIELDS)
EVIL = "\x1b[31mred\x1b[0m [bold]loud[/bold] :smile: a|b"


def make(*rows, **rest):
    return Table(**{"names": NAMES, "rows": tuple(dict(zip(NAMES, row)) for row in rows), "fields": FIELDS, **rest})


def lines(text):
    """The words of each line that has some."""
    return [line.split() for line in text.splitlines() if line.strip(" ─")]


def grid(markdown):
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("rows", [(), (("ort-cpu", 1, 0.5, None),), (('a\n"é', 1, 0.5, 2.0), ("", 0, -0.0, None))])
@pytest.mark.parametrize("head", [{}, {"schema": 2, "rows_of": [], "host": {"cpu": ["x", {}]}}])
def test_json_is_indented_as_the_standard_library_does_it(rows, head):
    table = make(*rows, head=head)
    assert render(table, "json") == json.dumps({**head, "rows": table.rows}, indent=1) + "\n"


@pytest.mark.parametrize("texts", [("ort", "ort-cpu"), ("é漢字", "ort-cpu"), ("", "x  ")])
def test_columns_are_as_wide_as_a_terminal_shows_their_widest_text(texts):
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    table = make(*((text, number, None, 1.0) for number, text in enumerate(texts)), grouped=False)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, side in (("backend", "left"), ("batch", "right"), ("p50 ms", "right"), ("speed-up x", "right")):
        grid.add_column(Text(title), justify=side, no_wrap=True)
    for number, text in enumerate(texts):
        grid.add_row(Text(text), Text(str(number)), Text(""), Text("1.00"))
    sink = io.StringIO()
    Console(file=sink, width=1000, color_system=None).print(grid)
    assert ["", *render(table, "table").splitlines()] == [line.rstrip() for line in sink.getvalue().splitlines()]


def test_the_formats_are_those_of_the_command_line():
    assert list(FORMATS) == ["table", "markdown", "csv", "json"]
    assert tuple(FORMATS) == options.TABLE_FORMATS


@pytest.mark.parametrize("format", FORMATS)
def test_a_table_ends_in_one_newline(format):
    text = render(make(("ort-cpu", 1, 0.5, 2.0), facts=("host x",), remarks=("row: why",)), format)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_table_can_be_shown(format):
    assert render(make(), format).endswith("\n")
    assert render(make(fields=()), format).endswith("\n")


def test_a_table_for_people():
    text = render(
        make(("torch-cpu", 1, 1.0, 1.0), ("ort-cpu", 1, 0.5, 2.0), facts=("host x",), remarks=("all rows: why",)), "table"
    )
    assert lines(text) == [
        ["host", "x"],
        ["backend", "batch", "p50", "ms", "speed-up", "x"],
        ["torch-cpu", "1", "1.000", "1.00"],
        ["ort-cpu", "1", "0.500", "2.00"],
        ["all", "rows:", "why"],
    ]


def test_a_table_in_markdown():
    text = render(
        make(("ort-cpu", 1, 0.5, None), best=frozenset({0}), facts=("host x",), remarks=("all rows: why",)), "markdown"
    )
    assert text.splitlines() == [
        "host x  ",
        "",
        "| backend | batch | p50 ms | speed-up x |",
        "| --- | ---: | ---: | ---: |",
        "| ort-cpu | 1 | 0.500 \\* |  |",
        "",
        "- \\* lowest p50 of its batch",
        "- all rows: why",
    ]


@pytest.mark.parametrize(
    ("values", "title", "texts"),
    [
        ((0.5, 2.0), "p50 ms", ["0.500", "2.000"]),
        ((0.1, 0.1), "p50 ms", ["0.100", "0.100"]),
        ((0.099, 0.0123), "p50 µs", ["99.0", "12.3"]),
        ((12.34, 567.8), "p50 ms", ["12.3", "567.8"]),
        ((999.0, 999.0), "p50 ms", ["999", "999"]),
        ((1000.0, 2345.0), "p50 s", ["1.00", "2.35"]),
        ((None, 0.05), "p50 µs", ["", "50.0"]),
        ((None, None), "p50 ms", ["", ""]),
    ],
)
def test_all_latencies_have_the_unit_that_suits_the_middle_one(values, title, texts):
    head, _, *rows = grid(render(make(*(("x", 1, value, None) for value in values)), "markdown"))
    assert head[2] == title
    assert [row[2] for row in rows] == texts


def test_every_column_of_milliseconds_has_the_same_unit():
    fields = (*FIELDS, Field(name="first_ms", title="first", unit="ms"))
    rows = ({"backend": "x", "batch": 1, "p50_ms": 0.05, "speedup": None, "first_ms": 3.0},)
    head, _, row = grid(render(make(fields=fields, rows=rows), "markdown"))
    assert (head[-1], row[-1]) == ("first µs", "3000")


def test_columns_with_the_same_title_keep_their_own_figures():
    ends = tuple(Field(name=name, title="to", unit=unit) for name, unit in (("p50_ci_high_ms", "ms"), ("speedup_ci_high", "x")))
    rows = ({"p50_ci_high_ms": 5.25, "speedup_ci_high": 2.75},)
    head, _, row = grid(render(make(fields=ends, rows=rows), "markdown"))
    assert (head, row) == (["to ms", "to x"], ["5.25", "2.75"])


def test_the_numbers_of_a_column_have_the_same_decimals():
    *_, slow, fast = grid(render(make(("x", 1, 1.0, 0.123456), ("x", 1, 1.0, 45.678)), "markdown"))
    assert (slow[3], fast[3]) == ("0.123", "45.678")


def column(values, **field):
    """The texts of a column of `values`."""
    built = make(names=("figure",), fields=(Field(name="figure", title="figure", **field),))
    _, _, *rows = grid(render(replace(built, rows=tuple({"figure": value} for value in values)), "markdown"))
    return [text for (text,) in rows]


@pytest.mark.parametrize(
    ("values", "decimals", "texts"),
    [
        ((97.5, 100.0, None), 2, ["97.50", "100.00", ""]),
        ((0.001234, 1.5), 2, ["0.00", "1.50"]),
        ((-0.275, 12.5), 2, ["-0.28", "12.50"]),
        ((0.000123,), 5, ["0.00012"]),
        ((2.5, 1234.5), 0, ["2", "1234"]),
        ((0.0, 0.0), 2, ["0.00", "0.00"]),
        ((360, 2000), 2, ["360", "2000"]),
    ],
)
def test_a_column_may_have_a_number_of_decimals(values, decimals, texts):
    assert column(values, decimals=decimals) == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.00123, 45.6), ["1.2e-03", "4.6e+01"]),
        ((0.0, None), ["0.0e+00", ""]),
        ((-1e-300, 1e300), ["-1.0e-300", "1.0e+300"]),
        ((3, "none"), ["3", "none"]),
    ],
)
def test_figures_of_very_different_sizes_are_shown_in_powers_of_ten(values, texts):
    assert column(values, digits=SCIENTIFIC) == texts


def test_programs_have_every_digit_of_a_figure_that_people_see_rounded():
    fields = (Field(name="rel_err", title="rel error", digits=SCIENTIFIC), Field(name="top1", title="top1", decimals=2))
    built = Table(names=("rel_err", "top1"), rows=({"rel_err": 0.00123456, "top1": 97.4321},), fields=fields)
    assert render(built, "csv").splitlines()[1] == "0.00123456,97.4321"
    assert json.loads(render(built, "json"))["rows"] == [{"rel_err": 0.00123456, "top1": 97.4321}]


def test_words_are_aligned_at_their_left_and_figures_at_their_right():
    names = ("backend", "executed", "placement", "top1")
    built = make(names=names, fields=tuple(Field(name=name, number=name == "top1") for name in names))
    assert grid(render(built, "markdown"))[1] == ["---", "---", "---", "---:"]


def test_marked_rows_are_marked_and_the_mark_is_explained():
    text = render(make(("torch-cpu", 1, 1.0, 1.0), ("ort-cpu", 1, 0.5, 2.0), best=frozenset({1})), "table")
    assert lines(text)[1:] == [
        ["torch-cpu", "1", "1.000", "1.00"],
        ["ort-cpu", "1", "0.500", "*", "2.00"],
        ["*", "lowest", "p50", "of", "its", "batch"],
    ]


@pytest.mark.parametrize("best", [{0}, {1}, {0, 1}])
def test_a_mark_does_not_shift_the_figures(best):
    text = render(make(("a", 1, 10.0, 1.0), ("b", 1, 0.5, 2.0), best=frozenset(best)), "table")
    assert len({line.index(".") for line in text.splitlines()[2:4]}) == 1


def test_without_a_mark_nothing_is_explained():
    assert "lowest" not in render(make(("ort-cpu", 1, 0.5, 2.0)), "table")


def test_the_mark_is_explained_where_it_stands():
    table = make(("a", 1, 10.0, 1.0), ("b", 1, 0.5, 2.0), best=frozenset([1]))
    marked = {names: "lowest p50" in render(with_columns(table, names), "table") for names in (("p50_ms",), ("backend",))}
    assert marked == {("p50_ms",): True, ("backend",): False}
    assert "of its" not in render(with_columns(table, ("p50_ms",)), "table")


def test_a_gap_stands_between_batches():
    text = render(make(("a", 1, 1.0, None), ("b", 1, 1.0, None), ("a", 8, 1.0, None)), "table")
    assert [line.split() for line in text.splitlines()[2:6]] == [["a", "1", "1.00"], ["b", "1", "1.00"], [], ["a", "8", "1.00"]]


@pytest.mark.parametrize("format", ["table", "markdown"])
@pytest.mark.parametrize("part", ["rows", "facts", "remarks"])
def test_text_from_outside_does_nothing(format, part, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    parts = {"rows": ({"backend": EVIL, "batch": 1, "p50_ms": 1.0, "speedup": None},)} if part == "rows" else {part: (EVIL,)}
    text = render(make(**{"rows": (), **parts}), format)
    assert "\x1b" not in text
    assert "�[31mred�[0m [bold]loud[/bold] :smile: a" in text.replace("\\", "")
    assert format == "table" or "\\[bold\\]" in text


def test_a_name_cannot_make_a_column_of_markdown():
    *_, row = render(make(("a|b", 1, 1.0, None)), "markdown").splitlines()
    assert row == "| a\\|b | 1 | 1.00 |  |"


def test_a_name_cannot_make_a_line():
    text = render(make(("a\nb\r\tc\u2028d\u202e", 1, 1.0, None)), "markdown")
    assert "| a�b��c�d� | 1 | 1.00 |  |" in text.splitlines()


@given(text=st.text())
def test_plain_text_is_as_long_as_it_was_and_printable(text):
    assert len(plain(text)) == len(text)
    assert plain(text).isprintable()


def test_printable_text_is_left_alone():
    assert plain("größer µs [x] | 日本") == "größer µs [x] | 日本"


def test_a_figure_is_never_cut():
    """As many columns as a usual run has, and more than a terminal is wide."""
    names = [f"figure{number}_ms" for number in range(30)]
    fields = (*FIELDS, *(Field(name=name, title=name, unit="ms") for name in names))
    row = {"backend": "openvino-cpu", "batch": 32, "p50_ms": 11.234, "speedup": 2.345, **dict.fromkeys(names, 11.234)}
    assert "…" not in render(make(fields=fields, rows=(row,)), "table")


@pytest.mark.parametrize("length", [100, 300, 500])
def test_without_a_width_nothing_is_cut(length):
    assert "x" * length in render(make(("x" * length, 1, 1.0, 1.0)), "table")


def test_csv_has_all_columns_and_nothing_else():
    names = (*NAMES, "reason")
    text = render(
        Table(names=names, rows=({"backend": "a", "batch": 1, "p50_ms": 0.5, "speedup": None, "reason": None},), fields=()),
        "csv",
    )
    assert text == "backend,batch,p50_ms,speedup,reason\na,1,0.5,,\n"


@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_csv_gives_back_any_printable_name(name):
    rows = list(csv.reader(io.StringIO(render(make((name, 1, 0.1, None)), "csv"), newline="")))
    formula = plain(name).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert rows == [list(NAMES), ["'" * formula + plain(name), "1", "0.1", ""]]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_computes_nothing_of_a_cell(name):
    rows = list(csv.reader(io.StringIO(render(make((name, 1, 0.1, None)), "csv"))))
    assert rows[1][0] == f"'{name}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("npz:/home/jo/data/images.npz", "npz:images.npz"),
        ("/home/jo/venv/bin/python: no numpy", "python: no numpy"),
        ("12/12 CPU, a/b/c", "12/12 CPU, a/b/c"),
        ("https://host/a/b", "https://host/a/b"),
        ("see </td> and /tmp", "see </td> and /tmp"),
    ],
)
def test_a_path_keeps_its_last_part(text, found):
    assert bare_paths(text) == found


@given(
    name=st.text(st.characters(exclude_categories=["Cs"])),
    p50=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_json_gives_back_any_row(name, p50):
    text = render(make((name, 1, p50, None), head={"schema": 1, "host": {"cpu": name}}), "json")
    assert json.loads(text) == {
        "schema": 1,
        "host": {"cpu": name},
        "rows": [{"backend": name, "batch": 1, "p50_ms": p50, "speedup": None}],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_never_holds_what_json_has_not(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        render(make(("x", 1, value, None)), "json")
