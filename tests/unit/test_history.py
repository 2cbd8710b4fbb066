"""One metric over many runs: its order, its steps, its control, and what is refused."""

import json
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.errors import BadInput
from onnxbench.results.history.formats import export, tool_of
from onnxbench.results.history.history import Subject, gather
from onnxbench.results.history.order import Order, numbered, version_key
from onnxbench.results.history.timeline import tabulate
from onnxbench.results.store.record import read_run
from onnxbench.results.table.render import render
from onnxbench.spec import COLD

MS = 10**6
DAY = 86_400
SHAKEN = np.exp(np.linspace(-0.003, 0.003, 10))
JITTER = (1, 1.004, 0.996, 1.002, 0.998, 1.003, 0.997, 1.001, 0.999, 1.0)


@pytest.fixture
def history(run_folder, make_cell):
    """Runs of one day each; `took`: ms of the cell ort-cpu in each run, `control`: of the cell `null`."""

    def of(took, control=(), heads=None, cell=None, rounds=SHAKEN):
        cells = [cell or make_cell(), *([make_cell(backend="null")] if control else [])]
        paths = []
        for number, ms in enumerate(took):
            head = {"began_unix_s": 1.7e9 + DAY * number, **(heads[number] if heads else {})}
            folder = run_folder(*cells, name=f"run{number:02}", **head)
            for item, time in zip(cells, (ms, *(control[number : number + 1]))):
                folder.series(item, [round(time * MS * factor) for factor in rounds])
            paths.append(folder.path)
        return paths

    return of


def gathered(paths, **subject):
    return gather([read_run(path) for path in paths], Subject(**subject))


def stepped(levels, each=5):
    return [level * JITTER[n % len(JITTER)] for n, level in enumerate(np.repeat(levels, each))]


def run(*words):
    done = CliRunner().invoke(main, ["history", *map(str, words)], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_a_step_is_found_with_its_size_its_interval_and_its_run(history):
    found = gathered(history(stepped([4.0, 4.4])))
    (case,) = found.cases
    (step,) = case.steps
    assert case.points[step.at].name == "run05"
    (finding,) = [item for item in tabulate(found).findings if item.kind == "history_worse"]
    values = dict(finding.values)
    assert values["change"] == pytest.approx(10, abs=0.5)
    assert values["low"] < 10 < values["high"]
    assert (values["runs_before"], values["runs_after"], values["metric"]) == (5, 5, "p50")
    assert (values["before"], values["after"]) == pytest.approx((4, 4.4), rel=0.01)


def test_a_change_for_the_better_is_no_caution_and_the_direction_is_that_of_the_metric(history):
    paths = history(stepped([4.0, 3.0]))
    kinds = {metric: tabulate(gathered(paths, metric=metric)).findings[0].kind for metric in ("p50", "e2e_p50")}
    assert kinds == {"p50": "history_step", "e2e_p50": "history_step"}


def test_runs_are_sorted_by_date_whatever_their_order(history):
    paths = history(stepped([4.0, 4.4]))
    shuffled = gathered([paths[n] for n in (3, 9, 0, 6, 1, 8, 2, 7, 5, 4)])
    assert [point.name for point in shuffled.cases[0].points] == [path.name for path in paths]
    reverse = gathered(paths[::-1], order=Order(by="given"))
    assert [point.name for point in reverse.cases[0].points] == [path.name for path in paths[::-1]]


def test_runs_are_sorted_by_version(history):
    heads = [{"versions": {"ort-cpu": version}} for version in ("1.10.0", "1.9.1", "1.9.0", "1.10.0rc1")]
    found = gathered(history([1, 1, 1, 1], heads=heads), order=Order(by="version"))
    assert [point.name for point in found.cases[0].points] == ["run02", "run01", "run03", "run00"]
    assert version_key("1.28") == version_key("1.28.0") < version_key("1.28.0.post1") < version_key("1.28.1")


def test_runs_are_sorted_by_commit(history):
    commits = [letter * 40 for letter in "cab"]
    paths = history([1, 1, 1], heads=[{"commit": commit} for commit in commits])
    found = gathered(paths, order=Order(by="commit", commits=numbered(["a" * 40, "b" * 40, "c" * 40])))
    assert [point.name for point in found.cases[0].points] == ["run01", "run02", "run00"]
    with pytest.raises(BadInput, match="ccccccc"):
        gathered(paths, order=Order(by="commit", commits=numbered(["a" * 40, "b" * 40])))


def test_the_commits_of_a_repository_are_read_with_git(history, tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    commits = []
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", str(number))
        commits.append(git("rev-parse", "HEAD").strip())
    paths = history([1, 1, 1], heads=[{"commit": commits[n]} for n in (2, 0, 1)])
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(*paths, "--by", "commit", "--format", "json")
    assert code == 0
    assert [row["commit"] for row in json.loads(out)["rows"]] == commits


def test_drift_of_the_control_is_divided_out(history):
    drift = np.linspace(1, 1.5, 10)
    took, control = [4 * d * j for d, j in zip(drift, JITTER)], [2 * d for d in drift]
    paths = history(took, control)
    assert gathered(paths, where=(("backend", "ort-cpu"),)).cases[0].steps
    over = gathered(paths, control="null")
    assert [case.cell.backend for case in over.cases] == ["ort-cpu"]
    assert over.cases[0].steps == ()
    rows = tabulate(over).rows
    assert [row["ratio"] for row in rows] == pytest.approx([2.0] * 10, rel=0.01)


def test_a_step_is_found_under_the_drift_that_a_control_shares(history):
    drift = np.linspace(1, 1.5, 10)
    levels = np.repeat([4.0, 4.5], 5)
    paths = history([level * d * j for level, d, j in zip(levels, drift, JITTER)], [2 * d for d in drift])
    (case,) = gathered(paths, control="null").cases
    assert [step.at for step in case.steps] == [5]


def test_accuracy_is_followed_by_its_difference(run_folder, make_cell):
    paths = []
    for number, drop in enumerate([0.0, 0.1, 0.0, 1.2, 1.1, 1.2]):
        folder = run_folder(cell := make_cell(), name=f"run{number}", began_unix_s=1.7e9 + number)
        folder.verified(cell, sqnr_db=40 - 10 * drop)
        folder.series(cell, [4 * MS] * 10)
        paths.append(folder.path)
    (case,) = (found := gathered(paths, metric="sqnr")).cases
    assert case.linear
    values = dict(tabulate(found).findings[0].values)
    assert (values["change_unit"], values["change"]) == ("dB", pytest.approx(-11.3, abs=0.2))


def test_what_else_changed_at_the_step_is_named(history):
    heads = [{"versions": {"ort-cpu": "1.30" if n < 5 else "1.31"}} for n in range(10)]
    (finding,) = [f for f in tabulate(gathered(history(stepped([4, 4.4]), heads=heads))).findings if "worse" in f.kind]
    assert "1.30 -> 1.31" in dict(finding.values)["also"]


def test_cases_that_are_in_few_runs_are_named(history, run_folder, make_cell):
    paths = history([4.0, 4.0, 4.0])
    alone = run_folder(make_cell(), make_cell(batch=8), name="more", began_unix_s=1.8e9)
    for cell in (make_cell(), make_cell(batch=8)):
        alone.series(cell, [4 * MS] * 10)
    found = gathered([*paths, alone.path])
    assert {item.kind for item in found.left} == {"history_single", "history_level"}
    assert {item.kind for item in gathered(paths).left} == {"history_few"}


def test_an_interrupted_cell_has_no_point(history, run_folder, make_cell):
    folder = run_folder(cell := make_cell(), name="half", began_unix_s=1.8e9)
    folder.opened(cell)
    folder.block(cell, 0, [MS] * 40, [MS] * 40)
    found = gathered([*history([4.0, 4.0]), folder.path])
    assert [point.name for point in found.cases[0].points] == ["run00", "run01"]


def test_an_import_has_the_date_that_its_file_names(run_folder, make_cell):
    paths = []
    for number, ran in enumerate(("2026-11-28 10:00:00", "2026-11-27 10:00:00")):
        folder = run_folder(cell := make_cell(), name=f"log{number}", kind="import")
        figures = {"p50_ms": 2.0 + number}
        folder.add("imported", cell, tool="trtexec", figures=figures, version="8.6", facts={"ran": ran})
        paths.append(folder.path)
    rows = tabulate(gathered(paths)).rows
    assert [(row["date"], row["version"], row["value"]) for row in rows] == [
        ("2026-11-27 10:00:00", "8.6", 3.0),
        ("2026-11-28 10:00:00", "8.6", 2.0),
    ]


def test_every_format_has_the_rows(history):
    paths = history(stepped([4.0, 4.4]))
    table = tabulate(gathered(paths))
    for format in ("table", "markdown", "csv", "json"):
        assert render(table, format).count("run0") >= 10
    data = json.loads(render(table, "json"))
    assert (data["metric"], data["by"], len(data["steps"]), len(data["rows"])) == ("p50_ms", "date", 1, 10)
    assert data["rows"][5]["step"] == data["steps"][0]["change"]


def test_the_last_run_is_written_for_github_action_benchmark_and_bencher(history):
    found = gathered(history([4.0, 5.0]))
    (entry,) = json.loads(export(found, "github-action-benchmark"))
    assert entry["name"] == "cnn/ort-cpu/cpu/fp32/b1 p50"
    assert (entry["unit"], entry["value"]) == ("ms", pytest.approx(5.0, rel=0.01))
    assert set(entry) == {"name", "unit", "value", "range", "extra"}
    (measures,) = json.loads(export(found, "bencher")).values()
    figures = measures["p50_ms"]
    assert figures["lower_value"] < figures["value"] < figures["upper_value"]
    assert figures["value"] == pytest.approx(5.0, rel=0.01)
    assert tool_of(found) == "customSmallerIsBetter"
    assert tool_of(gathered(history_paths(found), metric="throughput")) == "customBiggerIsBetter"


def history_paths(found):
    return [point.run.folder for point in found.cases[0].points]


def test_one_run_is_enough_for_an_export(history):
    (path,) = history([4.0])
    for format in ("bencher", "github-action-benchmark"):
        code, out, _ = run(path, "--format", format)
        assert code == 0
        assert len(json.loads(out)) == 1
    assert run(path)[0] == 2


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--metric", "throughputt"), "throughput"),
        (("--metric", "status"), "status"),
        (("--metric", "top1"), "top1"),
        (("--where", "bakend=ort-cpu"), "backend"),
        (("--where", "backend=ort-cpy"), "ort-cpu"),
        (("--where", "backend"), "COLUMN=VALUE"),
        (("--control", "nul"), "nul"),
        (("--by", "commit"), "run00"),
        (("--by", "versionn"), "version"),
    ],
)
def test_a_wrong_option_is_one_sentence(history, words, names):
    code, out, err = run(*history([4.0, 4.0]), *words)
    assert (code, out) == (2, "")
    assert names in err


@pytest.mark.parametrize("heads", [[{}, {"host": {"cpu": "Other CPU"}}], [{}, {"host": {"cpu": "Test CPU", "cores": 4}}]])
def test_runs_of_different_hosts_are_refused(history, heads):
    code, out, err = run(*history([4.0, 4.0], heads=heads))
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    for text in ("run00", "run01", "hosts"):
        assert text in err


def test_runs_without_a_common_case_a_date_or_a_version_are_refused(history, run_folder, make_cell):
    paths = history([4.0])
    other = run_folder(cell := make_cell(batch=32), name="other", began_unix_s=1.8e9)
    other.series(cell, [4 * MS] * 10)
    undated = run_folder(make_cell(), name="undated", versions={})
    undated.series(make_cell(), [4 * MS] * 10)
    for words, text in (
        ((other.path,), "no case"),
        ((undated.path,), "undated has no date"),
        ((undated.path, "--by", "version"), "undated has no version"),
    ):
        code, out, err = run(*paths, *words)
        assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
        assert text in err


def test_an_unreadable_run_is_one_sentence(history, tmp_path):
    (path,) = history([4.0])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for name in ("broken", "empty", "missing"):
        code, out, err = run(path, tmp_path / name)
        assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
        assert name in err
    code, _, err = run(path, path)
    assert code == 2
    assert "got 1" in err


@pytest.mark.parametrize("began", ["yesterday", -5, 1e300, True, [1], None])
def test_a_damaged_date_is_no_date(history, began):
    paths = history([4.0, 4.0], heads=[{"began_unix_s": began}, {}])
    code, _, err = run(*paths)
    assert code in (0, 2)
    assert "Traceback" not in err


def report_of(paths):
    from onnxbench.results.recommend.candidates import parse_request
    from onnxbench.results.report.data import gather as report
    from onnxbench.results.report.plots import draw

    return {plot.name: plot for plot in draw(report([read_run(path) for path in paths], parse_request("latency", (), (), ())))}


def test_the_report_draws_the_history_of_four_runs_or_more(history):
    pytest.importorskip("matplotlib")
    paths = history(stepped([4.0, 4.4]))
    plot = report_of(paths)["history"]
    assert plot.figure
    assert list(plot.hover.values()) == ["cnn/ort-cpu/cpu/fp32/b1: changed at run05"]
    assert "run05" in plot.caption
    assert "history" not in report_of(paths[:3])


def test_a_report_of_several_hosts_says_why_it_has_no_history(history):
    pytest.importorskip("matplotlib")
    paths = history([4.0] * 4, heads=[{}, {}, {}, {"host": {"cpu": "Other CPU"}}])
    plot = report_of(paths)["history"]
    assert plot.figure is None
    assert "Other CPU" in plot.caption


def without_throughput(path):
    """Remove the throughput from the journal of the run in `path`, as a run with cold caches has none."""
    journal = path / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    lines = [json.dumps({name: value for name, value in event.items() if name != "throughput"}) for event in events]
    journal.write_text("\n".join(lines) + "\n")


def test_rows_with_cold_caches_have_a_history_of_their_latency_alone(history, make_cell):
    paths = history(stepped([4.0, 4.4]), cell=make_cell(cache=COLD))
    for path in paths:
        without_throughput(path)
    (case,) = gathered(paths).cases
    assert [case.points[step.at].name for step in case.steps] == ["run05"]
    assert "cold" in case.name
    code, _, error = run(*paths, "--metric", "throughput")
    assert code == 2
    assert len(error.splitlines()) == 1


def test_cold_and_warm_rows_of_one_run_are_two_cases(run_folder, make_cell):
    cells, paths = [make_cell(), make_cell(cache=COLD)], []
    for number in range(6):
        folder = run_folder(*cells, name=f"run{number}", began_unix_s=1.7e9 + DAY * number)
        for cell, ms in zip(cells, (4, 9)):
            folder.series(cell, [round(ms * MS * factor) for factor in SHAKEN])
        paths.append(folder.path)
    assert [round(case.points[0].value) for case in gathered(paths).cases] == [4, 9]
    assert run(*paths, "--where", "cache=cold")[0] == 0
    (only,) = gathered(paths, where=(("cache", "cold"),)).cases
    assert round(only.points[0].value) == 9


def test_figures_of_fresh_processes_have_a_history(history, make_cell):
    cell = make_cell()
    paths = history([4.0] * 6, cell=cell)
    for number, path in enumerate(paths):
        with (path / "journal.jsonl").open("a") as journal:
            journal.write(json.dumps({"event": "cold", "cell": cell.key, "cold_s": 1.5 if number < 3 else 3.0}) + "\n")
    (case,) = gathered(paths, metric="cold_s").cases
    assert [point.value for point in case.points] == [1.5] * 3 + [3.0] * 3
