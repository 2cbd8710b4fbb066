"""The first slower version: the halving, the decisions, what is skipped, and what is refused. No version is installed."""

import json
import math
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.errors import BadInput, Unavailable
from onnxbench.results.bisect.halving import between
from onnxbench.results.bisect.steps import bisected, tabulate
from onnxbench.results.bisect.trials import RUN_COUNTS, judge
from onnxbench.results.stats.intervals import LIFE, ROUND, Repeated
from onnxbench.results.table.render import render
from onnxbench.runners.bisect import Bisector, Question, Runs, environment_name
from onnxbench.runners.infer import Surroundings
from onnxbench.runners.pool import packages
from onnxbench.runners.pool.progress import Silent
from onnxbench.spec import Sweep

from .in_process import TINY

VERSIONS = ("1.31.0", "1.9.0", "1.30.1", "1.30.0", "1.29.0", "1.28.1", "1.28.0", "1.32.0")
SHAKEN = np.exp(np.linspace(-0.004, 0.004, 10))


class Shelf:
    """Environments that are made without pip: all of them are this interpreter."""

    def __init__(self, broken=(), versions=VERSIONS):
        self.broken, self.listed, self.made = broken, versions, []

    def versions(self, package):
        return self.listed

    def environment(self, package, version):
        if version in self.broken:
            raise Unavailable(f"{package} {version} has no wheel")
        self.made.append(version)
        return sys.executable


class Scale:
    """A measurer: `losses` by environment, and the scatter between runs."""

    def __init__(self, losses, scatter=0.0, failed=(), unit=ROUND):
        self.losses, self.scatter, self.failed, self.unit, self.names = losses, scatter, failed, unit, []
        self.chance = np.random.default_rng(0)

    def ratios(self, pythons, name):
        self.names.append(name)
        (_, _), (target, _) = pythons
        version = target.partition("@")[2].replace("_", ".")
        if version in self.failed:
            return "error: it crashed"
        process = math.exp(self.scatter * self.chance.normal())
        return Repeated([self.losses.get(version, 1.0) * process * factor for factor in SHAKEN], self.unit)


def bisect(scale, shelf=None, options=(), **question):
    question = Question(**{"package": "onnxruntime", "good": "1.28.0", "bad": "1.31.0", **question})
    sweep = Sweep(backends=("null",), options=options)
    bisector = Bisector(sweep=sweep, question=question, progress=Silent(), measurer=scale, installer=shelf or Shelf())
    bisector.run()
    return bisector.result


def slow_from(*versions, loss=1.1):
    return Scale(dict.fromkeys(versions, loss))


@pytest.mark.parametrize("first", range(1, 6))
def test_the_first_slower_version_is_found_wherever_it_is(first):
    versions = between(VERSIONS, "1.28.0", "1.31.0", "onnxruntime")
    assert versions == ("1.28.0", "1.28.1", "1.29.0", "1.30.0", "1.30.1", "1.31.0")
    result = bisect(slow_from(*versions[first:]))
    values = dict(result.conclusion.values)
    assert (result.conclusion.kind, values["version"], values["before"]) == (
        "bisect_first",
        versions[first],
        versions[first - 1],
    )
    assert len(result.trials) <= 4
    assert values["low"] < 10 < values["high"]
    assert result.is_found


def test_a_bad_version_that_is_not_slower_ends_at_once():
    result = bisect(Scale({}))
    assert [trial.version for trial in result.trials] == ["1.31.0"]
    assert (result.conclusion.kind, result.is_found) == ("bisect_none", False)
    assert result.trials[0].runs == RUN_COUNTS[-1]
    faster = bisect(slow_from("1.31.0", loss=0.8))
    assert (faster.trials[0].verdict, faster.trials[0].runs) == ("not slower", 1)


def test_an_undecided_step_is_measured_longer():
    scale = slow_from("1.30.0", "1.30.1", "1.31.0", loss=1.04)
    result = bisect(scale)
    assert dict(result.conclusion.values)["version"] == "1.30.0"
    assert {trial.version: trial.runs for trial in result.trials} == {"1.31.0": 1, "1.30.0": 3, "1.29.0": 3}
    assert scale.names[0] == "01-1_31_0-run1"


def test_a_step_that_stays_undecided_is_part_of_the_answer():
    losses = {"1.31.0": 1.2, "1.30.1": 1.2, "1.30.0": math.sqrt(1.2), "1.29.0": 1.0}
    result = bisect(Scale(losses, scatter=0.001))
    values = dict(result.conclusion.values)
    assert (result.conclusion.kind, result.is_found) == ("bisect_range", False)
    assert (values["between"], values["candidates"], values["before"]) == ("1.30.0", "1.30.0, 1.30.1", "1.29.0")
    assert {t.version: t.runs for t in result.trials}["1.30.0"] == RUN_COUNTS[-1]


def test_versions_that_cannot_be_installed_or_measured_are_skipped():
    scale = slow_from("1.30.0", "1.30.1", "1.31.0")
    scale.failed = ("1.29.0",)
    result = bisect(scale, Shelf(broken=("1.30.0",)))
    skipped = {trial.version: trial.reason for trial in result.trials if trial.verdict == "skipped"}
    assert skipped == {"1.29.0": "error: it crashed", "1.30.0": "onnxruntime 1.30.0 has no wheel"}
    assert result.conclusion.kind == "bisect_range"
    assert bisect(slow_from("1.31.0"), Shelf(broken=("1.31.0",))).conclusion.kind == "bisect_unmeasured"
    with pytest.raises(Unavailable, match="no wheel"):
        bisect(slow_from("1.31.0"), Shelf(broken=("1.28.0",)))


def test_a_threshold_replaces_half_of_the_loss():
    scale = Scale({"1.29.0": 1.06, "1.30.0": 1.06, "1.30.1": 1.3, "1.31.0": 1.3})
    assert dict(bisect(scale).conclusion.values)["version"] == "1.30.1"
    assert dict(bisect(scale, threshold=0.02).conclusion.values)["version"] == "1.29.0"
    assert bisect(scale, threshold=0.5).conclusion.kind == "bisect_none"


def test_one_run_allows_for_two_processes_and_few_rounds_decide_nothing():
    def verdict(*runs, unit=ROUND):
        return judge("1", [Repeated(values, unit) for values in runs], 1.0)

    assert verdict([1.01 * factor for factor in SHAKEN]).verdict == "undecided"
    assert verdict([1.05 * factor for factor in SHAKEN]).verdict == "slower"
    few = verdict([1.5, 1.5, 1.5])
    assert (few.verdict, few.low) == ("undecided", None)
    assert verdict([1.5, 1.51, 1.5], [1.49, 1.5, 1.51], [1.5, 1.49, 1.52]).verdict == "slower"
    assert verdict([1.01 * factor for factor in SHAKEN], unit=LIFE).verdict == "slower"
    assert verdict([1.02, 1.03, 1.01], [1.02, 1.03, 1.01], unit=LIFE).verdict == "slower"


def test_a_version_without_its_last_part_is_the_newest_of_them():
    assert between(VERSIONS, "1.28", "1.30", "p")[-1] == "1.30.0"
    assert between(("1.1.0", "1.2.1", "1.2.3"), "1.1", "1.2", "p")[-1] == "1.2.3"
    assert environment_name("1.28.0rc1") == "1_28_0rc1"


def test_the_table_has_every_step_in_every_format():
    result = bisect(slow_from("1.30.0", "1.30.1", "1.31.0"))
    data = json.loads(render(tabulate(result), "json"))
    assert (data["first_slower"], len(data["rows"])) == ("1.30.0", len(result.trials))
    for format in ("table", "markdown", "csv"):
        assert "1.30.0" in render(tabulate(result), format)


def test_as_a_value_of_python_it_has_the_first_slower_version():
    found = bisected(bisect(slow_from("1.30.0", "1.30.1", "1.31.0")), ["a note"])
    assert (found.first_slower, found.exit_code, found.notes) == ("1.30.0", 0, ("a note",))
    assert found.to_dict()["first_slower"] == "1.30.0"
    assert found[0]["version"] == "1.31.0"
    assert str(found) == render(found.table, "table")
    none = bisected(bisect(Scale({})))
    assert (none.first_slower, none.exit_code) == (None, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"good": "1.27"}, "1.27"),
        ({"bad": "9"}, "9"),
        ({"good": "1.31.0", "bad": "1.28.0"}, "older"),
        ({"good": "1.28.0", "bad": "1.28"}, "older"),
        ({"options": (("null@1_27_0.work", "1"),)}, "null@1_28_0"),
    ],
)
def test_wrong_versions_are_refused_before_anything_is_installed(changes, text):
    shelf = Shelf()
    with pytest.raises(BadInput, match=text):
        bisect(Scale({}), shelf, **changes)
    assert shelf.made == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--good", "1", "--bad", "2"), "--backend"),
        (("--good", "1", "--bad", "2", "--backend", "null"), "--package"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu,openvino-cpu"), "one backend"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu@old"), "one backend"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpy"), "ort-cpu"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--batch", "1,8"), "--batch has 2 values"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--precision", "fp32,int8"), "--precision"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--dim", "seq=16,128"), "--dim seq"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--python", "ort-cpu=/x"), "--python"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--package", "../x"), "../x"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--threshold", "3"), "3%"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--threshold", "-3%"), "3%"),
        (("--good", "1", "--backend", "ort-cpu"), "--bad"),
        (("--good", "1", "--bad", "2", "--backend", "ort-cpu", "--model", "none.onnx"), "none.onnx"),
    ],
)
def test_a_wrong_option_is_one_sentence(words, text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "_run", lambda *_: pytest.fail("pip must not run"))
    done = CliRunner().invoke(main, ["bisect", *words], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


def test_pip_lists_versions_and_its_failure_is_a_sentence(monkeypatch):
    monkeypatch.setattr(packages, "_run", lambda *_: "onnxruntime (2.0)\nAvailable versions: 2.0, 1.9\n  INSTALLED: 1.9\n")
    assert packages.Pip().versions("onnxruntime") == ["2.0", "1.9"]
    monkeypatch.undo()
    with pytest.raises(Unavailable, match="gone"):
        packages._run([sys.executable, "-c", "import sys; sys.exit('WARNING: x\\nERROR: it is gone')"], 60, "pip")
    with pytest.raises(Unavailable, match="took more"):
        packages._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, "pip")
    with pytest.raises(Unavailable, match="cannot be run"):
        packages._run(["/nowhere/python"], 1, "pip")


def test_an_environment_is_made_once_and_not_kept_after_a_failure(monkeypatch, cache_folder):
    commands = []

    def run(command, *_):
        commands.append(command)
        if "broken==1" in command:
            raise Unavailable("no wheel")
        return ""

    monkeypatch.setattr(packages, "_run", run)
    folder = packages.Pip().environment("p", "1.0")
    assert packages.Pip().environment("p", "1.0") == folder
    assert folder.is_relative_to(cache_folder)
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert "p==1.0" in commands[1]
    with pytest.raises(Unavailable):
        packages.Pip().environment("broken", "1")
    assert [path.name for path in (cache_folder / packages.KIND).iterdir()] == [folder.name]


@pytest.mark.parametrize("metric", ["p50", "throughput"])
def test_both_versions_are_measured_in_one_run(bench, metric):
    made = bench()
    around = Surroundings(out=made.out, progress=made.progress, pool=made.works)
    sweep = Sweep(artifacts=str(made.artifacts), precisions=("fp32",), budget=TINY)
    sweep = Sweep(**{**vars_of(sweep), "options": (("null@2_0.work", "100"), ("null@3_0.work", "7"))})
    runs = Runs(sweep=sweep, metric=metric, surroundings=around)
    ratios = runs.ratios((("null@1_0", sys.executable), ("null@2_0", sys.executable)), "01-2_0-run1")
    assert len(ratios.values) == 1
    assert ratios.values[0] > 0
    assert (made.out / "01-2_0-run1/run.json").exists()


def vars_of(sweep):
    return {name: getattr(sweep, name) for name in sweep.__dataclass_fields__}


def test_several_cases_are_refused_before_anything_is_measured(bench):
    made = bench()
    around = Surroundings(out=made.out, progress=made.progress, pool=made.works)
    runs = Runs(sweep=Sweep(artifacts=str(made.artifacts), batches=(1, 2), budget=TINY), metric="p50", surroundings=around)
    with pytest.raises(BadInput, match="one case"):
        runs.ratios((("null@1_0", sys.executable), ("null@2_0", sys.executable)), "x")
