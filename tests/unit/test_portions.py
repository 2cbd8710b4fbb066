"""Order in which engines are built and cells are measured, with a clock that only builds move."""

from types import SimpleNamespace

import pytest
from onnxbench.errors import WorkerDied, WorkerTimeout
from onnxbench.evidence import Built, Finished
from onnxbench.results.store.journal import read_journal
from onnxbench.runners.sweep.builds import build_engines
from onnxbench.runners.sweep.cells import ActiveCell, RunContext
from onnxbench.runners.sweep.interrupt import Stop
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.sweep.portions import SPAN_S, build_portions, units
from onnxbench.spec import Sweep

from .in_process import Notes


class BuildClock:
    def __init__(self):
        self.now_s = 0.0

    def now_ns(self):
        return int(self.now_s * 1e9)

    def since_s(self, begin_ns):
        return self.now_s - begin_ns / 1e9


@pytest.fixture
def clock():
    return BuildClock()


@pytest.fixture
def run(tmp_path, clock):
    with Journal(tmp_path / "run") as journal:
        context = SimpleNamespace(progress=Notes(), clock=clock)
        yield RunContext(sweep=Sweep(baseline="ort-cuda"), journal=journal, context=context, stop=Stop(), total=3)


@pytest.fixture
def cell_of(make_cell, make_artifact):
    def make(backend, batch=1, precision="fp16", **changes):
        cell = make_cell(backend=backend, device="cuda:0", batch=batch, precision=precision)
        planned = PlannedCell(cell=cell, artifact=make_artifact(), builds=backend == "tensorrt")
        return ActiveCell(planned=planned, **changes)

    return make


def names(cells):
    return [f"{active.planned.cell.backend} {active.planned.cell.precision} b{active.planned.cell.batch}" for active in cells]


def measured(run, cells, clock, seconds):
    """Names of the cells of each portion, where each engine takes `seconds`; all cells end when they are measured."""
    events = []

    def build(unit):
        for active in unit:
            if active.planned.builds and not active.built:
                clock.now_s += seconds
                active.built = True

    for portion in build_portions(run, cells, build):
        events.append((round(clock.now_s), names(portion)))
        for active in portion:
            active.finished = True
    return events


def test_rows_come_after_the_first_engine_and_not_after_the_last(run, cell_of, clock):
    cells = [cell_of(backend, batch) for batch in (1, 8, 64) for backend in ("ort-cuda", "tensorrt")]
    portions = measured(run, cells, clock, seconds=50)
    assert portions == [
        (50, ["ort-cuda fp16 b1", "tensorrt fp16 b1"]),
        (100, ["ort-cuda fp16 b8", "tensorrt fp16 b8"]),
        (150, ["ort-cuda fp16 b64", "tensorrt fp16 b64"]),
    ]


def test_engines_that_are_there_share_the_rounds_of_all_cells(run, cell_of, clock):
    cells = [cell_of(backend, batch) for batch in (1, 8, 64) for backend in ("ort-cuda", "tensorrt")]
    ((_, together),) = measured(run, cells, clock, seconds=0.5)
    assert len(together) == 6


def test_quick_builds_fill_a_portion(run, cell_of, clock):
    cells = [cell_of("tensorrt", batch) for batch in (1, 2, 4, 8)]
    portions = measured(run, cells, clock, seconds=SPAN_S * 0.6)
    assert [len(together) for _, together in portions] == [2, 2]


def test_a_sweep_without_builds_is_one_portion(run, cell_of, clock):
    cells = [cell_of("ort-cuda", batch, precision) for batch in (1, 8) for precision in ("fp32", "fp16")]
    assert [len(together) for _, together in measured(run, cells, clock, seconds=50)] == [4]


def test_nothing_is_one_portion_at_most(run, cell_of, clock):
    assert measured(run, [], clock, seconds=50) == []
    done = cell_of("tensorrt", finished=True, built=True)
    assert measured(run, [done], clock, seconds=50) == [(0, ["tensorrt fp16 b1"])]


def test_a_baseline_is_measured_with_the_first_cells_that_need_it(run, cell_of):
    cells = [
        cell_of("tensorrt", precision="int8"),
        cell_of("ort-cuda", precision="fp32"),
        cell_of("tensorrt", precision="fp32"),
    ]
    first, *others = units(cells, run.sweep)
    assert names(first) == ["tensorrt int8 b1", "ort-cuda fp32 b1"]
    assert [names(unit) for unit in others] == [["tensorrt fp32 b1"]]


def test_every_live_cell_is_in_one_unit(run, cell_of):
    cells = [
        cell_of(backend, batch, precision)
        for batch in (1, 8)
        for precision in ("fp32", "fp16")
        for backend in ("ort-cuda", "tensorrt")
    ]
    cells[0].out = True
    members = [active.key for unit in units(cells, run.sweep) for active in unit]
    assert sorted(members) == sorted(active.key for active in cells[1:])


def test_units_without_builds_come_first(run, cell_of):
    cells = [cell_of("tensorrt", 1), cell_of("ort-cuda", 8), cell_of("tensorrt", 64, built=True)]
    assert [names(unit) for unit in units(cells, run.sweep)] == [
        ["ort-cuda fp16 b8"],
        ["tensorrt fp16 b64"],
        ["tensorrt fp16 b1"],
    ]


class Builder:
    """A worker whose answers are given: an error among them is raised."""

    def __init__(self, answers, jobs):
        self.answers, self.jobs, self.dismissed = answers, jobs, False

    def ask(self, job, timeout_s):
        self.jobs.append((job.without_timings, timeout_s))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def dismiss(self):
        self.dismissed = True


@pytest.fixture
def builders():
    """Hires builders that give these answers one after the other; `jobs` and `hired` are what became of them."""

    def make(*answers):
        left, jobs, hired = list(answers), [], []

        def hire(active):
            hired.append(Builder(left, jobs))
            return hired[-1]

        return hire, jobs, hired

    return make


def test_a_builder_that_crashes_builds_once_more_without_timings(run, cell_of, builders):
    hire, jobs, hired = builders(WorkerDied("the worker was killed by SIGSEGV"), Built(build_s=3.0))
    one = cell_of("tensorrt")
    build_engines(run, [one], hire)
    assert jobs == [(False, 300.0), (True, 300.0)]
    assert [worker.dismissed for worker in hired] == [True, True]
    assert one.built
    ((_, event),) = read_journal(run.journal.folder)
    assert "SIGSEGV" in event.remark


def test_a_builder_that_crashes_twice_is_a_row_with_a_reason(run, cell_of, builders):
    hire, _, hired = builders(WorkerDied("crash"), WorkerDied("crash"), Built(build_s=3.0))
    cells = [cell_of("tensorrt", batch) for batch in (1, 8)]
    build_engines(run, cells, hire)
    assert [(active.built, active.out) for active in cells] == [(False, True), (True, False)]
    assert [worker.dismissed for worker in hired] == [True, True, True]


def test_a_build_has_its_own_limit(run, cell_of, builders):
    run.sweep = Sweep(build_timeout_s=42.0)
    hire, jobs, _ = builders(WorkerTimeout("no answer within 42 s"))
    one = cell_of("tensorrt")
    build_engines(run, [one], hire)
    assert jobs == [(False, 42.0)]
    ((_, event),) = read_journal(run.journal.folder)
    assert (event.status, "--build-timeout" in event.reason) == ("timeout", True)
    assert not isinstance(event, Finished)
