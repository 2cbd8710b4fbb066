import base64
import hashlib
import io
import json
import re
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from onnxbench.cli import main
from onnxbench.results.recommend.candidates import parse_request
from onnxbench.results.report import exports, points
from onnxbench.results.report.cards import card, without_folders
from onnxbench.results.report.data import gather, machines
from onnxbench.results.report.grid import grid, ordered, same
from onnxbench.results.report.inline import inline
from onnxbench.results.report.page import CARDS, PLAIN_ROWS, embedded, page
from onnxbench.results.report.plots import HOVERED, draw, draw_dots, image, plain_ticks
from onnxbench.results.report.points import DOTS, LINES, Point
from onnxbench.results.report.sheet import NARROW, WIDE
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.column import Field
from onnxbench.results.table.columns import COLUMNS

ASKED = parse_request("throughput", (), (), ())
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "$x_$ {{ 7 * 7 }} &amp;\u2028",
)
FAST, SLOW = "openvino-cpu", "ort-cpu"


@pytest.fixture
def folder(run_folder, make_cell):
    """The path of a run with a row for each of what cells differ in: row n takes n + 1 ms a call, in 40 calls a round."""

    def make(*changes, name="run", rounds=10, sqnr=(), **head):
        cells = [make_cell(**change) for change in changes]
        made = run_folder(*cells, name=name, **head)
        for nth, cell in enumerate(cells):
            made.measured(cell, (nth + 1) * 1_000_000, rounds)
            if nth < len(sqnr):
                made.verified(cell, sqnr[nth], top1=97.0, top1_drop=1.0, images=1000, lost=15, gained=5)
        return made.path

    return make


@pytest.fixture
def check(run_folder, make_cell):
    made = run_folder(cell := make_cell(), name="check", kind="check")
    made.opened(cell)
    made.inspected(cell, "fp32 Conv")
    made.verified(cell, 120.0)
    return made.path


def report(*paths, baseline=None):
    return gather([read_run(path) for path in paths], ASKED, baseline)


def column(told, name):
    return next(item for item in told["columns"] if item["name"] == name)


def drawn(told):
    return {plot.name: plot for plot in draw(told)}


def test_a_grid_holds_every_figure_and_says_texts_once(folder):
    told = grid(report(folder({"backend": FAST}, {}, {"batch": 8})).table)
    assert told["rows"] == 3
    assert column(told, "p50_ms")["values"] == [1.0, 2.0, 3.0]
    backends = column(told, "backend")
    assert [backends["texts"][place] for place in backends["values"]] == [FAST, SLOW, SLOW]
    assert told["selects"] == ["backend", "batch"]
    assert [len(item["values"]) for item in told["columns"]] == [3] * len(told["columns"])


def test_what_is_the_same_in_all_rows_is_said_once(folder):
    told = report(folder({}, {"batch": 8})).table
    assert ("model", "cnn") in same(told)
    assert ("rounds", "10") in same(told)
    names = {item["name"] for item in grid(told)["columns"]}
    assert names.isdisjoint({"model", "rounds", "top1", "energy_mj"})
    known = {name for name in told.names if any(row[name] is not None for row in told.rows)}
    assert known == names | {c.name for c in COLUMNS if (c.name in known) and len({row[c.name] for row in told.rows}) == 1}


def test_a_half_written_run_is_used_and_said_to_be_one(folder, make_cell, run_folder):
    made = run_folder(done := make_cell(), make_cell(batch=8), name="half")
    made.measured(done, 10**6)
    told = report(made.path)
    assert [(note.kind, dict(note.values)["finished"]) for note in told.notes] == [("half_written", 1)]
    (pick,) = told.picks
    assert card(pick).name == "ort-cpu fp32 b1"
    assert not [text for text in card(pick).cautions if text == told.notes[0].sentence]


def test_a_check_has_its_accuracy_and_sentences_for_the_rest(check):
    told = report(check)
    assert [pick.decision for pick in told.picks] == [None]
    assert "measures no time" in card(told.picks[0]).problems[0]
    assert {name for name, plot in drawn(told).items() if plot.figure} == {"accuracy"}
    assert all(plot.caption for plot in drawn(told).values())
    assert "measures no time" in page(told)


def test_runs_that_cannot_be_ranked_together_are_shown_all_the_same(folder):
    told = report(folder({}), folder({"sha256": "cd" * 32}, name="other"))
    assert [(pick.model, pick.decision) for pick in told.picks] == [("cnn", None)]
    assert "fp32 files (sha256)" in told.picks[0].undecided
    assert len(told.table.rows) == 2
    assert len(machines(told)) == 2


def test_each_model_has_a_pick_of_its_own(folder):
    path = folder({}, {"backend": FAST}, {"model": "other", "batch": 8}, {"model": "other"})
    told = report(path)
    assert [pick.model for pick in told.picks] == ["cnn", "other"]
    assert [card(pick).name for pick in told.picks] == ["ort-cpu fp32 b1", "ort-cpu fp32 b8"]
    assert {item.cells["model"] for item in told.picks[0].decision.ranked} == {"cnn"}
    assert {item.cells["model"] for item in told.picks[1].decision.ranked} == {"other"}


def test_a_model_whose_files_differ_leaves_the_picks_of_other_models(folder):
    other = folder({"sha256": "cd" * 32}, {"model": "other"}, name="second")
    picks = {pick.model: pick for pick in report(folder({}), other).picks}
    assert picks["cnn"].decision is None
    assert picks["other"].decision.pick.name == "ort-cpu fp32 b1"


def figures(made):
    return {figure.title: figure for figure in made.figures}


def test_a_card_has_the_figures_of_its_pick(folder):
    made = card(report(folder({}, {"backend": FAST}, sqnr=(100, 100))).picks[0])
    shown = figures(made)
    assert shown["p50 of a call"].text == "1 ms"
    assert shown["throughput"].text == "100 /s"
    assert shown["top-1 change"].text == "-1.00 points"
    assert "97.00 % on 1000 images" in shown["top-1 change"].note
    assert shown["grade"].note.startswith("10 rounds")
    assert ("batch", "1") in made.settings
    assert made.program
    assert [(bar.picked, bar.share) for bar in made.bars] == [(True, 100), (False, 100)]


def test_a_card_has_the_interval_of_p50_or_the_rounds_that_it_lacks(folder):
    sure, unsure = (card(report(folder({}, name=f"of{rounds}", rounds=rounds)).picks[0]) for rounds in (10, 3))
    assert figures(sure)["p50 of a call"].note.startswith("batch 1; 95 %: 1 to 1 ms")
    assert "3 rounds" in figures(unsure)["p50 of a call"].note


def test_a_card_without_labels_has_the_distance_of_the_answers(run_folder, make_cell):
    made = run_folder(cell := make_cell())
    made.measured(cell, 10**6)
    made.verified(cell, 120.0)
    shown = figures(card(report(made.path).picks[0]))
    assert "top-1 change" not in shown
    assert shown["SQNR"].text == "120.0 dB"


def test_a_card_compares_the_pick_with_the_runner_up(folder):
    path = folder({}, {"backend": FAST})
    (pick,) = gather([read_run(path)], parse_request("latency", (), (), ()), None).picks
    assert all(part in card(pick).comparison for part in (f"{FAST} fp32 b1 (2 ms)", "is 100 % higher", "95 %: 100 to 100 %"))
    few = folder({}, {"backend": FAST}, name="few", rounds=2)
    (pick,) = gather([read_run(few)], parse_request("latency", (), (), ()), None).picks
    assert "not certain" in card(pick).comparison


def test_a_card_of_several_runs_names_the_run_of_its_pick(folder):
    one, two = folder({"backend": FAST}, name="one"), folder({}, name="two")
    (pick,) = report(one, two).picks
    assert dict(card(pick).settings)["run"] == pick.decision.pick.run.folder.name
    assert "run" not in dict(card(report(one).picks[0]).settings)


def test_a_card_of_limits_that_nothing_keeps_names_the_nearest_row(folder):
    request = parse_request("throughput", (("p50", "0.5ms"),), (), ())
    made = card(gather([read_run(folder({}))], request, None).picks[0])
    assert (made.name, made.figures) == ("", ())
    assert any("ort-cpu fp32 b1" in line for line in made.problems)


def test_a_page_of_many_models_counts_the_cards_that_it_leaves_out(folder):
    told = page(report(folder(*({"model": f"m{n}"} for n in range(CARDS + 2)), rounds=1)))
    assert told.count('<article class="card"') == CARDS
    assert "2 more models" in told


def test_names_and_the_main_figures_stand_first_in_the_table(folder):
    told = report(folder({}, {"backend": FAST, "batch": 8}, sqnr=(100, 100)))
    names = [field.name for field in ordered(told.table)]
    assert names[:4] == ["backend", "batch", "p50_ms", "throughput_per_s"]
    assert sorted(names) == sorted(field.name for field in told.table.fields)
    ranks = {item["name"]: item["rank"] for item in grid(told.table)["columns"]}
    assert ranks["p50_ms"] < ranks["grade"] < ranks["load_s"]
    assert column(grid(told.table), "p50_ci_low_ms")["title"] == "p50 from ms"


def test_runs_of_one_host_have_names_in_the_plots_and_a_select(folder):
    told = report(folder({}, name="one"), folder({}, name="two"))
    rows = tuple({**row, "run": run.folder.name} for row, run in zip(told.table.rows, told.runs))
    named = replace(told.table, rows=rows, fields=(Field(name="run", title="run"), *told.table.fields))
    with_run = replace(told, table=named, measured=[(row, cells) for (row, _), cells in zip(told.measured, rows)])
    assert {point.name for point in points.frontier(with_run)} == {"ort-cpu fp32 b1 (one)", "ort-cpu fp32 b1 (two)"}
    assert next(field.name for field in ordered(named)) == "run"


@pytest.mark.parametrize(("count", "named"), [(HOVERED, HOVERED), (HOVERED + 1, 2)])
def test_many_points_share_artists_and_marked_ones_keep_their_text(count, named):
    points = [
        Point(name=f"row {n}", target=f"t{n % 3}", precision="fp32", x=n + 1.0, y=1.0, marked=n < 2) for n in range(count)
    ]
    for sheet, texts in ((WIDE, named), (NARROW, 0)):
        figure = Figure()
        axes = figure.subplots()
        hover = draw_dots(axes, points, lambda *_: {"marker": "o"}, "dots", "{0.x:g}", sheet)
        assert len(hover) == texts
        assert sum(len(line.get_xdata()) for line in axes.lines) == count
        assert len(axes.lines) <= texts + 3


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.6), (1.2, 1.25), (0.9, 30.0), (0.01, 900.0)])
def test_a_logarithmic_axis_has_several_labels(low, high):
    axes = Figure().subplots()
    axes.set_xlim(low, high)
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    assert 3 <= sum(low <= place <= high for place in axes.get_xticks()) <= 10


def test_a_plot_is_drawn_for_a_wide_and_for_a_narrow_screen(folder):
    told = report(folder({}, {"backend": FAST}, sqnr=(100, 100)))
    wide, narrow = ({plot.name: plot for plot in draw(told, sheet)} for sheet in (WIDE, NARROW))
    assert wide["latency"].figure.get_size_inches()[0] > 2 * narrow["latency"].figure.get_size_inches()[0]
    assert "narrow" in inline(narrow["latency"])
    texts = {
        name: [text.get_text() for text in sheet["latency"].figure.axes[0].texts]
        for name, sheet in (("w", wide), ("n", narrow))
    }
    assert texts == {"w": [], "n": ["ort-cpu fp32 b1", f"{FAST} fp32 b1"]}


def test_a_run_with_roofs_has_a_roofline_and_others_have_none(run_folder, make_cell):
    row, product, total = make_cell(), make_cell(roof="compute", model="product"), make_cell(roof="memory", model="sum")
    run = run_folder(row, product, total)
    for cell, flops, ms in ((row, 10**9, 20), (product, 10**9, 10), (total, 0, 1)):
        run.measured(cell, ms * 10**6)
        run.add("work", cell, layer_flops=flops, weight_bytes=10**7, input_bytes=10**6, output_bytes=10**6, nodes=1)
    drawn = {plot.name: plot for plot in draw(report(run.path))}
    axes = drawn["roofline"].figure.axes[0]
    (ceiling,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert max(ceiling.get_ydata()) == pytest.approx(100)
    assert list(drawn["roofline"].hover) == ["roofline-0"]
    assert "100 GFLOP/s and 12 GB/s" in drawn["roofline"].caption
    bare = run_folder(row, name="bare")
    bare.measured(row, 10**6)
    assert "roofline" not in {plot.name for plot in draw(report(bare.path))}


def test_a_page_without_matplotlib_has_a_note_instead_of_plots(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = bench(folder({}), "--out", tmp_path / "made.html")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'made.html'}\n")
    assert "onnxbench[report]" in done.stderr
    made = (tmp_path / "made.html").read_text()
    assert "onnxbench[report]" in made
    assert "<figure" not in made
    assert bench(folder({}, name="second"), "--out", tmp_path / "made.png").exit_code == 3


def test_a_page_says_why_a_row_failed_and_what_is_to_be_known_of_the_others(run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (1, 8)]
    run = run_folder(*cells)
    run.measured(cells[0], 1_000_000, rounds=3)
    run.add("failed", cells[1], status="failed", reason="no kernel; no luck")
    told = report(run.path)
    text = unescape(page(told))
    lines = [told.table.line(finding) for finding in told.table.findings]
    assert {finding.kind for finding in told.table.findings} >= {"status", "no_interval"}
    assert [line for line in lines if line not in text] == []


def test_speed_ups_are_against_what_the_runs_were_measured_with(folder):
    path = folder({}, {"backend": FAST}, sweep={"baseline": SLOW})
    assert report(path).baseline == SLOW
    (bar,), of = points.speedups(report(path))
    assert (bar.target, bar.x, of) == (FAST, pytest.approx(0.5), 1)
    assert bar.low <= bar.x <= bar.high
    other = report(path, baseline=FAST)
    assert [point.target for point in points.speedups(other)[0]] == [SLOW]
    assert "--baseline" in drawn(report(folder({}, name="bare")))["speedup"].caption


def test_quantiles_are_of_the_calls_and_end_where_samples_do(run_folder, make_cell):
    made = run_folder(cell := make_cell())
    made.opened(cell)
    made.warm(cell)
    made.block(cell, 0, [n * 1000 for n in range(1, 101)])
    (spread,), of = points.spreads(report(made.path))
    assert of == 1
    assert {which: spread.quantiles.get(which) for which in (5, 50, 95, 99)} == pytest.approx(
        {5: 0.005, 50: 0.05, 95: 0.095, 99: None}
    )


def test_rows_that_are_left_out_of_a_plot_are_counted(folder):
    told = report(folder(*({"batch": 1 + n} for n in range(LINES + 3)), rounds=1))
    spreads, of = points.spreads(told)
    assert (len(spreads), of) == (LINES, LINES + 3)
    assert ", 3 rows are not" in drawn(told)["latency"].caption


def test_the_frontier_is_marked_for_each_model(folder):
    path = folder({"batch": 1}, {"batch": 8}, {"batch": 2}, {"model": "other"})
    told = {(point.name, point.marked) for point in points.frontier(report(path))}
    assert told == {
        ("cnn ort-cpu fp32 b1", True),
        ("cnn ort-cpu fp32 b8", True),
        ("cnn ort-cpu fp32 b2", False),
        ("other ort-cpu fp32 b1", True),
    }


def test_accuracy_has_the_drop_with_its_interval(folder):
    path = folder(
        {},
        {"precision": "int8", "sha256": "cd" * 32},
        {"precision": "int8", "sha256": "cd" * 32, "batch": 8},
        sqnr=(200, 40, 40),
    )
    drops = points.accuracy(report(path), "top1_drop")
    assert [(point.precision, point.y) for point in drops] == [("fp32", 1.0), ("int8", 1.0)]
    assert all(point.low < 1.0 < point.high for point in drops)
    assert [point.y for point in points.accuracy(report(path), "sqnr_db")] == [200, 40]


@given(st.integers(0, 3 * DOTS), st.sets(st.integers(0, 3 * DOTS), max_size=20))
def test_thinning_keeps_what_is_marked_and_no_more_than_can_be_drawn(count, marked):
    given_points = [Point(name=str(n), target="", precision="", x=n, y=0, marked=n in marked) for n in range(count)]
    left = points.thinned(given_points)
    assert len(left) == min(count, DOTS) == len({point.name for point in left})
    assert {point.name for point in given_points if point.marked} <= {point.name for point in left}


@given(st.recursive(st.text() | st.integers() | st.sampled_from(HOSTILE), st.lists))
def test_embedded_data_has_no_markup_and_is_what_it_was(data):
    text = embedded(data)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == data


class Tags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.found, self.urls, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.urls += [
            value for name, value in attrs if name in ("src", "href", "xlink:href", "action") and not value.startswith("#")
        ]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_hostile_names_are_text_in_the_page_and_in_its_plots(folder):
    path = folder(*({"model": name, "environment": "e", "backend": name} for name in HOSTILE), {}, sqnr=(100,) * 5)
    told = page(report(path, baseline=SLOW))
    tags = Tags(told)
    assert tags.found.count("script") == 2
    assert "img" not in tags.found
    assert (tags.urls, tags.handlers) == (["data:,"], [])
    assert HOSTILE[0].replace("<", "&lt;").replace(">", "&gt;") in told
    assert "{{ 7 * 7 }}" in told


def test_the_policy_allows_the_pages_own_script_alone(folder):
    told = page(report(folder({})))
    script = re.findall(r"<script>(.*?)</script>", told, re.DOTALL)
    allowed = re.search(r"script-src 'sha256-([^']+)'", told)[1]
    assert [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in script] == [allowed]
    assert "default-src 'none'" in told


def test_a_page_without_scripts_has_the_first_rows(folder):
    told = page(report(folder(*({"batch": 1 + n} for n in range(PLAIN_ROWS + 1)), rounds=1)))
    still = told.partition('<div class="still">')[2].partition("</section>")[0]
    assert still.count("<tr>") == PLAIN_ROWS + 1
    assert f"The first {PLAIN_ROWS} of {PLAIN_ROWS + 1} rows" in still


def test_an_inline_plot_follows_the_page_and_has_its_own_ids(folder):
    plot = drawn(report(folder({}, {"backend": FAST})))["frontier"]
    root = ElementTree.fromstring(inline(plot))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(name.startswith("frontier-") for name in ids)
    references = [value[1:] for e in root.iter() for name, value in e.attrib.items() if name.endswith("href")]
    assert references
    assert set(references) <= set(ids)
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "ort-cpu fp32 b1: p50 1 ms, 100 items/s" in titles
    assert (root.get("role"), root.get("aria-label")) == ("img", "Latency and throughput")
    assert not re.search(r"#[0-9a-f]{6}", inline(plot))
    assert "currentColor" in inline(plot)


def test_an_image_is_the_same_for_the_same_runs(folder):
    told = report(folder({}, {"backend": FAST}, sweep={"baseline": SLOW}))
    first, second = ([image(plot, "svg") for plot in draw(told) if plot.figure] for _ in range(2))
    assert first == second
    assert image(drawn(told)["latency"], "png").startswith(b"\x89PNG")


def test_exports_load_in_one_line_with_their_types(folder):
    run = read_run(folder({}, {"backend": FAST, "batch": 8}, sqnr=(100,)))
    built = table.build([run])
    frame = pandas.read_parquet(io.BytesIO(exports.parquet(built)))
    assert list(frame) == [column.name for column in COLUMNS]
    assert list(frame["p50_ms"]) == [1.0, 2.0]
    assert (frame["batch"].dtype, frame["p50_ms"].dtype, frame["energy_mj"].dtype) == ("int64", "float64", "float64")
    assert frame["top1"].isna().tolist() == [False, True]
    (csv,) = exports.export([run], "csv", None, ASKED, None)[0].values()
    assert pandas.read_csv(io.BytesIO(csv))["p50_ms"].tolist() == [1.0, 2.0]


def test_whole_numbers_are_stored_as_such(folder):
    row = table.build([read_run(folder({}, sqnr=(100.5,)))]).rows[0]
    whole = {column.name for column in COLUMNS if column.number and type(row[column.name]) is int}
    assert whole == set(exports.INTEGERS)


def bench(*words):
    return CliRunner().invoke(main, ["report", *map(str, words)])


@pytest.mark.parametrize(
    ("line", "passed_on"),
    [
        ("MODEL = '/home/me/of mine/cnn.onnx'  # measured", "MODEL = 'cnn.onnx'  # measured"),
        ("MODEL = \"/it's/it's.onnx\"", 'MODEL = "it\'s.onnx"'),
        ("MODEL = 'cnn.onnx'", "MODEL = 'cnn.onnx'"),
        ("FACTORY, WEIGHTS = 'nets:build', '/home/w.safetensors'", "FACTORY, WEIGHTS = 'nets:build', 'w.safetensors'"),
        ("    '/in/put': np.asarray(1),", "    '/in/put': np.asarray(1),"),
    ],
    ids=["folders", "quotes", "name", "weights", "name of an input"],
)
def test_a_program_in_a_report_has_no_folder_of_the_machine(line, passed_on):
    assert without_folders([line]) == [passed_on]


@pytest.mark.parametrize("suffix", ["html", "md", "csv", "parquet"])
def test_a_file_is_written_whole_and_named(folder, tmp_path, suffix):
    out = tmp_path / f"made.{suffix}"
    done = bench(folder({}), "--out", out)
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert out.stat().st_size > 400
    assert [path.name for path in tmp_path.iterdir() if "made" in path.name] == [out.name]


def test_images_are_a_file_each_and_the_others_are_explained(folder, tmp_path):
    done = bench(folder({}), "--out", tmp_path / "made.png")
    assert done.stdout.splitlines() == [str(tmp_path / f"made-{name}.png") for name in ("latency", "frontier")]
    assert all((tmp_path / f"made-{name}.png").exists() for name in ("latency", "frontier"))
    assert "--baseline" in done.stderr


def test_text_goes_to_stdout_without_a_file(folder):
    path = folder({})
    assert bench(path, "--format", "csv").stdout.startswith("host,model,backend")
    assert (
        bench(path, "--format", "markdown").stdout
        == CliRunner().invoke(main, ["show", str(path), "--format", "markdown"]).stdout
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "made.docx"), "made.docx is no format; use one of .html, .md"),
        (("--out", "nowhere/made.html"), "there is no folder nowhere"),
        (("--out", "."), "--out . is a folder"),
        ((), "--out is missing"),
        (("--format", "html"), "--out is missing"),
        (("--out", "made.html", "--baseline", "ort"), "no row has the baseline 'ort'"),
        (("--out", "made.html", "--max", "p51=1"), "'p51' is not a metric"),
        (("--out", "made.html", "--objective", "cost"), "needs a price"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_file(folder, tmp_path, monkeypatch, words, said):
    path = folder({})
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    done = bench(path, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


def test_what_is_no_run_leaves_the_old_file(tmp_path):
    out = tmp_path / "made.html"
    out.write_text("old")
    done = bench(tmp_path / "none", "--out", out)
    assert (done.exit_code, out.read_text()) == (2, "old")
    assert "is not a run folder" in done.stderr
