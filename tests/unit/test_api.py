"""The commands as functions of Python, on stored runs: their values, their errors and their laziness."""

import json
import subprocess
import sys
from pathlib import Path

import click
import onnxbench as ob
import pytest
from click.testing import CliRunner
from onnxbench.cli import COMMANDS, main
from onnxbench.commands import keywords
from onnxbench.errors import BadInput, BenchError, StorageFailed

VERSIONS = {"good": "1.28", "bad": "1.31"}
WORDS = ("--good", "1.28", "--bad", "1.31")
RUN = Path(__file__).resolve().parents[1] / "data/v0_1/run"


def printed(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_import_loads_nothing_of_the_package_and_no_library():
    code = (
        "import sys, onnxbench; print([n for n in sys.modules if n.split('.')[0] in ('onnxbench', 'numpy', 'click', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['onnxbench']"


def test_every_public_name_is_there_and_completed():
    assert set(ob.PUBLIC) <= set(dir(ob))
    assert all(getattr(ob, name).__name__ == name for name in ob.PUBLIC)
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = ob.nothing_of_this_name


def test_a_table_of_a_stored_run_is_that_of_the_command():
    rows = ob.table(RUN, baseline="ort-cpu")
    assert str(rows) == printed("show", RUN, "--baseline", "ort-cpu").stdout
    assert rows.to_dict() == json.loads(printed("show", RUN, "--baseline", "ort-cpu", "--format", "json").stdout)
    assert len(rows) == len(list(rows)) == len(rows.rows)
    assert rows[0] == rows.rows[0]


def test_columns_may_be_a_list_or_a_text():
    names = ["backend", "batch", "p50_ms"]
    assert list(ob.table(RUN, columns=names)[0]) == list(ob.table(RUN, columns="batch,backend,p50_ms")[0])
    assert ob.table(RUN).columns(*names)[0] == ob.table(RUN, columns=names)[0]
    with pytest.raises(BadInput, match="p50_mss"):
        ob.table(RUN, columns=["p50_mss"])


def test_a_stored_run_is_read_as_a_measurement():
    result = ob.read(RUN)
    assert result.folder == RUN
    assert result.exit_code in (0, 3)
    assert ob.table(result).rows == result.rows


def test_pandas_has_numbers_for_every_column_of_numbers():
    frame = ob.read(RUN).to_pandas()
    assert list(frame.columns) == list(ob.read(RUN).table.names)
    assert frame["p50_ms"].dtype == "float64"
    assert frame["device_p50_ms"].dtype == "float64"  # no row of a CPU has one
    assert frame["p50_ms"].tolist() == pytest.approx([row["p50_ms"] for row in ob.read(RUN)], nan_ok=True)


def test_html_has_the_figures_and_escapes_every_text(make_run):
    page = ob.table(make_run(model="<script>alert(1)</script>"))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == 2
    assert "text-align: right" in page


@pytest.fixture
def make_run(run_folder, make_cell):
    """A run folder with one measured cell, whose fields are given."""

    def make(name="run", **fields):
        cell = make_cell(**fields)
        folder = run_folder(cell, name=name)
        folder.measured(cell, 2_000_000)
        return folder.path

    return make


def test_a_comparison_has_the_verdict_of_the_command(make_run):
    old, new = make_run("old"), make_run("new")
    change = ob.compare(old, new, fail_on="p50>5%", inconclusive="warn")
    data = json.loads(printed("compare", old, new, "--format", "json").stdout)
    assert change.verdict == data["verdict"]
    assert (change.failed, change.exit_code) == (False, 0)
    assert ob.compare([old], [ob.read(new)]).verdict == change.verdict
    assert "verdict" in change[0]


def test_a_recommendation_has_the_pick_of_the_command():
    choice = ob.recommend(RUN, objective="latency", max={"p50": "1s"})
    data = json.loads(printed("recommend", RUN, "--objective", "latency", "--max", "p50=1s", "--format", "json").stdout)
    assert choice.to_dict() == data
    assert choice.pick.name == data["pick"]["name"]
    assert choice.pick.row["p50_ms"] == data["pick"]["row"]["p50_ms"]
    assert choice.exit_code == 0
    assert str(choice) == printed("recommend", RUN, "--objective", "latency", "--max", "p50=1s").stdout
    assert choice.to_pandas()["rank"].tolist() == list(range(1, len(data["rows"]) + 1))
    assert choice.pick.name in choice._repr_html_()


def test_without_a_feasible_row_there_is_no_pick():
    choice = ob.recommend(RUN, max={"p50": "0.000001us"})
    assert choice.pick is None
    assert choice.exit_code == 1
    assert choice._repr_html_()


def test_several_models_have_picks_by_name(make_run):
    choice = ob.recommend(make_run("a", model="a"), make_run("b", model="b", sha256="cd" * 32))
    assert set(choice.picks) == {"a", "b"}
    with pytest.raises(BadInput, match="a, b"):
        _ = choice.pick
    assert choice._repr_html_().count("<h4>") == 2


def test_a_report_is_written(tmp_path):
    assert ob.report(RUN, out=tmp_path / "table.csv") == (tmp_path / "table.csv",)
    assert ob.report(RUN, out=tmp_path / "table", format="csv") == (tmp_path / "table",)
    assert (tmp_path / "table").read_bytes() == (tmp_path / "table.csv").read_bytes()
    with pytest.raises(BadInput):
        ob.report(RUN, out=None, format="csv")


def test_a_history_needs_two_runs(make_run):
    assert len(ob.history([make_run("old"), make_run("new")], metric="p50", by="given")) == 2
    with pytest.raises(BadInput, match="2 runs"):
        ob.history(make_run("alone"))


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda: ob.table(RUN, baseline="ort"), ("show", RUN, "--baseline", "ort")),
        (lambda: ob.recommend(RUN, max={"p50": "fast"}), ("recommend", RUN, "--max", "p50=fast")),
        (lambda: ob.recommend(RUN, objective="cost"), ("recommend", RUN, "--objective", "cost")),
        (lambda: ob.compare(RUN, RUN, inconclusive="fail"), ("compare", RUN, RUN, "--inconclusive", "fail")),
        (lambda: ob.infer(slo={"p99": "10ms"}), ("infer", "--slo", "p99=10ms")),
        (lambda: ob.infer(batch="x"), ("infer", "--batch", "x")),
        (lambda: ob.export(int8="best,ort"), ("export", "--int8", "best,ort")),
        (lambda: ob.train("net.onnx"), ("train", "--model", "net.onnx")),
        (
            lambda: ob.bisect("net.onnx", backend="all", **VERSIONS),
            ("bisect", *WORDS, "--model", "net.onnx", "--backend", "all"),
        ),
        (lambda: ob.bisect(backend="null", **VERSIONS), ("bisect", *WORDS, "--backend", "null")),
        (lambda: ob.bisect(threshold="3", **VERSIONS), ("bisect", *WORDS, "--threshold", "3")),
    ],
)
def test_an_error_has_the_sentence_of_the_command(call, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError) as caught:
        call()
    assert str(caught.value) in " ".join(printed(*command).stderr.split())


def test_an_unknown_option_is_answered_with_the_nearest_one():
    with pytest.raises(BadInput, match="did you mean 'budget'"):
        ob.infer(budgett="quick")
    with pytest.raises(BadInput, match="no option 'format'"):
        ob.infer(format="json")


def test_an_error_of_the_system_is_a_bench_error(tmp_path):
    with pytest.raises(StorageFailed):
        ob.report(RUN, out=tmp_path / ("x" * 300 + ".csv"))


@click.command()
@click.option("--many", multiple=True)
@click.option("--one")
@click.option("--flag", is_flag=True)
@click.option("--level", is_flag=False, flag_value="base")
@click.option("--shape", multiple=True)
@click.argument("runs", nargs=-1)
def sample(**_):
    """A command with each kind of option."""


def parsed(*arguments, **options):
    return keywords.context("sample", sample, arguments, options).params


def test_values_of_python_become_the_words_of_a_shell():
    assert parsed(many={"a": 1, "b": [2, 3]})["many"] == ("a=1", "b=2,3")
    assert parsed(many=["a", Path("b")])["many"] == ("a", "b")
    assert parsed(one=[1, 8])["one"] == "1,8"
    assert parsed(one={"size": 48, "crop": "center"})["one"] == "size=48,crop=center"
    assert parsed(one="-5")["one"] == "-5"
    assert parsed(shape={"x": (1, 3, "H"), "scale": ()})["shape"] == ("x=1x3xH", "scale=")
    assert (parsed(flag=True)["flag"], parsed(flag=False)["flag"], parsed(flag=None)["flag"]) == (True, False, False)
    assert (parsed(level=True)["level"], parsed(level=5)["level"], parsed(level=False)["level"]) == ("base", "5", None)
    assert parsed("--a", Path("b"))["runs"] == ("--a", "b")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"import"}))
def test_every_option_has_one_keyword(name):
    command = main.get_command(None, name)
    options = [param for param in command.params if isinstance(param, click.Option)]
    names = keywords.keywords(command)
    assert all(key.isidentifier() for key in names)
    assert len(options) - len(names) == sum(option.opts[0] in LEFT_OUT for option in options) - (name == "report")


LEFT_OUT = {"--format", "--wide", "--columns", "--debug", "--dry-run", "--all"}
