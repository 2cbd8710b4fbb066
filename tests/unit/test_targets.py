"""Environments of one backend side by side: in the plan, in the run, in the table and in the exit code."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import BadInput, Unavailable, WorkerDied
from onnxbench.results.store import outcome, record
from onnxbench.results.store.head import read_head
from onnxbench.results.table import table
from onnxbench.results.table.explain import explain
from onnxbench.runners.pool.survey import ProbedBackend
from onnxbench.runners.sweep import rounds
from onnxbench.runners.sweep.cells import ActiveCell
from onnxbench.runners.sweep.plan import Defaults, PlannedCell, plan
from onnxbench.spec import Sweep, Target, from_wire, to_wire

from .in_process import FP32, TINY

MS = 10**6
NAMES = st.text("abcXYZ019_-", min_size=1)
ORT = ProbedBackend(name="ort-cpu", available=True, device_kind="cpu", options={"graph": "on or off", "arena": "on or off"})
OLD = replace(ORT, environment="old", python="py-old")
NEW = replace(ORT, environment="new", python="py-new")
DEAD = ProbedBackend(name="ort-cpu", environment="dead", available=False, device_kind="", reason="it died")
TORCH = ProbedBackend(name="torch-cpu", available=True, device_kind="cpu", options={"compile": "yes or no"})


@given(backend=NAMES, environment=st.one_of(st.just(""), NAMES))
def test_a_target_is_read_as_it_is_shown(backend, environment):
    target = Target(backend=backend, environment=environment)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize("text", ["", "@", "@new", "null@", "null@a@b", "null@a b", "null@a.b", "null@ä", "null@a\n"])
def test_anything_else_is_no_target(text):
    with pytest.raises(BadInput, match="is not BACKEND or BACKEND@ENV"):
        Target.parse(text)


def test_a_sweep_of_before_has_no_interpreters():
    old = {name: value for name, value in to_wire(Sweep()).items() if name != "pythons"}
    assert from_wire(Sweep, old) == Sweep()


@pytest.mark.parametrize(
    ("backends", "names"),
    [
        ((), ("a@x", "b")),
        (("all",), ("a@x", "b")),
        (("null", "all"), ("null", "a@x", "b")),
        (("a@x", "b@fast"), ("a@x", "b@fast")),
    ],
)
def test_who_gives_an_interpreter_names_what_is_measured_in_it(backends, names):
    assert Sweep(backends=backends, pythons=(("a@x", "1"), ("b", "2"))).named == names


def planned(sweep, artifacts, *found):
    return plan(replace(sweep, batches=(1,)), artifacts, found, Defaults(shapes={}, threads=2))


def test_a_row_knows_its_environment_and_its_interpreter(make_artifact):
    rows = planned(Sweep(), [make_artifact()], ORT, OLD)
    assert [(str(row.cell.target), row.python) for row in rows] == [("ort-cpu", sys.executable), ("ort-cpu@old", "py-old")]
    assert len({row.cell.key for row in rows}) == 2


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({"graph": "1"}, {"ort-cpu": "1", "ort-cpu@old": "1", "ort-cpu@new": "1"}),
        ({"ort-cpu.graph": "1"}, {"ort-cpu": "1", "ort-cpu@old": "1", "ort-cpu@new": "1"}),
        ({"ort-cpu@new.graph": "1"}, {"ort-cpu@new": "1"}),
        ({"ort-cpu@new.graph": "1", "ort-cpu.graph": "2"}, {"ort-cpu": "2", "ort-cpu@old": "2", "ort-cpu@new": "1"}),
        ({"ort-cpu.graph": "1", "graph": "2"}, {"ort-cpu": "1", "ort-cpu@old": "1", "ort-cpu@new": "1"}),
    ],
)
def test_the_more_exactly_an_option_says_whom_it_is_for_the_more_it_counts(make_artifact, options, taken):
    rows = planned(Sweep(options=tuple(options.items())), [make_artifact()], ORT, OLD, NEW, TORCH)
    found = {str(row.cell.target): dict(row.cell.settings.options) for row in rows}
    assert {name: options["graph"] for name, options in found.items() if options} == taken


def test_an_option_of_an_environment_that_is_not_measured_is_refused(make_artifact):
    with pytest.raises(BadInput, match=r"ort-cpu@new\.graph names no backend of this run; add ort-cpu@new to --backend"):
        planned(Sweep(options=(("ort-cpu@new.graph", "off"),)), [make_artifact()], ORT)


def test_an_option_of_who_did_not_answer_is_in_its_row(make_artifact):
    sweep = Sweep(backends=("ort-cpu@dead",), options=(("ort-cpu@dead.graph", "off"),))
    (row,) = planned(sweep, [make_artifact()], DEAD)
    assert row.refused == ("unavailable", "it died")
    assert row.cell.settings.options == (("graph", "off"),)


def test_who_was_given_an_interpreter_has_a_row_where_it_cannot_run_too(make_artifact):
    artifacts, pythons = [make_artifact()], (("ort-cpu@dead", "py"),)
    assert [str(row.cell.target) for row in planned(Sweep(), artifacts, ORT, DEAD)] == ["ort-cpu"]
    rows = planned(Sweep(pythons=pythons), artifacts, ORT, DEAD)
    assert [row.refused for row in rows] == [None, ("unavailable", "it died")]


@pytest.mark.parametrize(("baseline", "fits"), [("ort-cpu@old", True), ("ort-cpu", False), ("ort-cpu@new", False)])
def test_a_baseline_is_one_environment(make_artifact, make_cell, run_folder, baseline, fits):
    cell = make_cell(environment="old")
    active = ActiveCell(planned=PlannedCell(cell=cell, artifact=make_artifact()))
    assert rounds.is_base(active, active, Sweep(baseline=baseline)) is fits
    run = record.read_run(run_folder(cell).path)
    assert (run.base_of(run.cells[0], baseline) is run.cells[0]) is fits
    if fits:
        assert planned(Sweep(baseline=baseline), [make_artifact()], OLD)
        return
    with pytest.raises(BadInput, match=f"baseline '{baseline}' is not among .* did you mean 'ort-cpu@old'"):
        planned(Sweep(baseline=baseline), [make_artifact()], OLD)
    with pytest.raises(BadInput, match=f"baseline '{baseline}'; did you mean 'ort-cpu@old'"):
        table.build([run], baseline)


@pytest.fixture
def three(run_folder, make_cell):
    """A run of ort-cpu at 3 ms, ort-cpu@old at 4 ms and ort-cpu@new at 2 ms."""
    times = {"": 3, "old": 4, "new": 2}
    cells = {name: make_cell(environment=name) for name in times}
    folder = run_folder(*cells.values(), versions={"ort-cpu": "1.23", "ort-cpu@old": "1.20", "ort-cpu@new": "1.31"})
    for name, cell in cells.items():
        folder.measured(cell, times[name] * MS, 9)
    folder.add("warm", cells["new"], deploy="2 threads")
    return folder


def test_environments_have_rows_of_their_own_in_the_table(three):
    built = table.build([record.read_run(three.path)], "ort-cpu@old")
    rows = {row["environment"]: row for row in built.rows}
    assert {name: (row["backend"], row["speedup"]) for name, row in rows.items()} == {
        None: ("ort-cpu", pytest.approx(4 / 3)),
        "old": ("ort-cpu", 1.0),
        "new": ("ort-cpu", pytest.approx(2)),
    }
    assert [built.rows[index]["environment"] for index in built.best] == ["new"]
    assert [field.name for field in built.fields][:2] == ["backend", "environment"]


def test_people_are_told_of_environments_by_name(three):
    built = table.build([record.read_run(three.path)], "ort-cpu@old")
    assert "ort-cpu 1.23 · ort-cpu@old 1.20 · ort-cpu@new 1.31" in built.facts
    assert "speed-up against ort-cpu@old fp32 at the same batch" in built.facts
    assert "ort-cpu@new fp32 b1: throughput with 2 threads" in built.settings


def test_without_environments_there_is_no_such_column(run_folder, make_cell):
    folder = run_folder(make_cell())
    folder.measured(make_cell(), MS)
    built = table.build([record.read_run(folder.path)])
    assert "environment" not in {field.name for field in built.fields}


@pytest.mark.parametrize(("backend", "code"), [("ort-cpu", 3), ("ort-cpu@new", 3), ("ort-cpu@old", 0)])
def test_an_environment_that_was_named_and_has_no_row_is_no_success(run_folder, make_cell, backend, code):
    folder = run_folder(make_cell(environment="old"))
    folder.measured(make_cell(environment="old"), MS)
    run = record.read_run(folder.path)
    assert outcome.exit_code(run, Sweep(backends=(backend,))) == code
    assert outcome.exit_code(run, Sweep(pythons=((backend, "py"),))) == code
    assert outcome.check_exit_code(run, Sweep(backends=(backend,)), ()) == code


def test_int8_is_held_against_fp32_of_its_own_environment(run_folder, make_cell):
    cells = [make_cell(environment=name, precision=which) for name in ("old", "new") for which in ("fp32", "int8")]
    folder = run_folder(*cells, kind="check")
    for cell, ns in zip(cells, (4 * MS, MS, 2 * MS, MS)):
        folder.opened(cell)
        folder.inspected(cell, f"{cell.precision} Conv {ns}")
    times = [finding for finding in explain(record.read_run(folder.path))["speed"] if finding.kind == "int8_time"]
    assert {finding.rows: dict(finding.values)["fp32_ms"] for finding in times} == {
        ("cnn/ort-cpu@old/cpu/int8/b1",): 4.0,
        ("cnn/ort-cpu@new/cpu/int8/b1",): 2.0,
    }


@pytest.fixture
def link(tmp_path):
    """Another path of this interpreter."""
    path = tmp_path / "python"
    path.symlink_to(sys.executable)
    return str(path)


def test_every_worker_of_an_environment_is_of_its_interpreter(bench, link):
    found = bench().infer(
        backends=("null", "null@old"),
        pythons=(("null@old", link),),
        precisions=("fp32", "int8"),
        batches=(1,),
        budget=replace(TINY, memory=True),
    )
    assert found.rows.keys() == {"fp32/1", "int8/1"}
    logs = {worker.log: worker.python for worker in found.works.started}
    own = {log: python for log, python in logs.items() if log.startswith("null@old")}
    assert own == dict.fromkeys(("null@old.log", "null@old-cold.log", "null@old-int8.log"), link)
    assert {python for log, python in logs.items() if log not in own} == {sys.executable}
    assert {"null.log", "null-cold.log", "null-int8.log"} <= logs.keys()
    assert read_head(found.out).versions.keys() == {"null", "null@old"}


def test_a_check_has_rows_of_every_environment(bench, link):
    found = bench().check(backends=("null", "null@old"), pythons=(("null@old", link),), precisions=("fp32",))
    assert {str(row.cell.target): row.status for row in record.read_run(found.out).cells} == {"null": "ok", "null@old": "ok"}


@pytest.mark.parametrize("error", [Unavailable("it is too old", "take another"), WorkerDied("it ended", "it said nothing")])
def test_an_interpreter_that_will_not_do_is_a_row_that_says_which(bench, link, error):
    def plot(job, name, nth):
        return {"raised": error} if job == "probe" and nth == 1 else {}

    found = bench(plot=plot).infer(
        backends=("null", "null@old"), pythons=(("null@old", link),), precisions=("fp32",), batches=(1,)
    )
    rows = {str(row.cell.target): row for row in record.read_run(found.out).cells}
    assert rows["null"].status == "ok"
    assert (rows["null@old"].status, rows["null@old"].reason) == ("unavailable", f"{link}: {error}")


def test_what_is_known_of_a_runs_targets_grows(bench, link):
    run = bench(FP32).infer(batches=(1,))
    run.infer(backends=("null@old",), pythons=(("null@old", link),), batches=(1,), resume=True)
    head = read_head(run.out)
    assert head.versions.keys() == {"null", "null@old"}
    assert head.networks.keys() == {"null", "null@old", "describe"}
