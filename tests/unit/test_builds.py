"""What is built before anything is measured, by workers that answer as they are told; and what becomes of it in the table."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from onnxbench.errors import Interrupted, OutOfMemory, RuntimeFailed, WorkerDied
from onnxbench.evidence import Built, Failed
from onnxbench.results.store.journal import NAMES, read_journal
from onnxbench.results.store.record import CellRecord, read_run
from onnxbench.results.table import table
from onnxbench.runners.sweep.builds import build_engines
from onnxbench.runners.sweep.cells import ActiveCell, RunContext, resume_cell
from onnxbench.runners.sweep.interrupt import Stop
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker.jobs import Build
from onnxbench.spec import Sweep, to_wire

from .in_process import Notes

BUILT = Built(build_s=12.34, engine_cached=False, remark="")
FOUND = Built(build_s=99.0, engine_cached=True, remark="")


class Workers:
    """Hires workers, who answer what `plot` says of a cell's batch: data, or an error that they raise. `stop` is asked for
    while that batch is built."""

    def __init__(self, stop):
        self.hired, self.asked, self.plot, self.stop, self.stop_at = [], [], {}, stop, None

    def __call__(self, active):
        self.hired.append(Worker(self, str(active.planned.cell.target)))
        return self.hired[-1]

    @property
    def working(self):
        return [worker for worker in self.hired if not worker.dismissed]


class Worker:
    def __init__(self, workers, target):
        self.workers, self.target, self.dismissed = workers, target, 0

    def ask(self, job, timeout_s):
        assert not self.dismissed
        batch = job.cell.batch
        self.workers.asked.append((job, self.workers.hired.index(self), batch))
        self.workers.stop.requested = batch == self.workers.stop_at
        answer = self.workers.plot.get(batch, BUILT)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def dismiss(self):
        self.dismissed += 1


@pytest.fixture
def run(tmp_path):
    with Journal(tmp_path / "run") as journal:
        yield RunContext(sweep=Sweep(), journal=journal, context=SimpleNamespace(progress=Notes()), stop=Stop(), total=3)


@pytest.fixture
def workers(run):
    return Workers(run.stop)


@pytest.fixture
def active_of(make_cell, make_artifact):
    """A visit of a cell that TensorRT builds, unless it says otherwise."""

    def make(batch=1, builds=True, **changes):
        how = {"backend": "tensorrt", "device": "cuda:0", "batch": batch, **changes}
        return ActiveCell(planned=PlannedCell(cell=make_cell(**how), artifact=make_artifact(), builds=builds))

    return make


def asked(workers):
    """Which worker was asked for which batch."""
    return [(worker, batch) for _, worker, batch in workers.asked]


def events(run):
    return [(NAMES[type(event)], key) for key, event in read_journal(run.journal.folder)]


def test_what_a_runtime_compiles_is_built_by_one_worker_and_written_down(run, workers, active_of):
    cells = [active_of(batch) for batch in (1, 8)]
    build_engines(run, cells, workers)
    assert (asked(workers), workers.working, workers.hired[0].dismissed) == ([(0, 1), (0, 8)], [], 1)
    assert [item.built for item in cells] == [True, True]
    assert list(read_journal(run.journal.folder)) == [(item.key, BUILT) for item in cells]


def test_a_worker_is_told_the_cell_and_its_file(run, workers, active_of):
    one = active_of()
    build_engines(run, [one], workers)
    ((job, _, _),) = workers.asked
    assert job == Build(cell=one.planned.cell, artifact=one.planned.artifact)


def test_nobody_is_hired_where_nothing_is_to_be_built(run, workers, active_of):
    done = active_of(8)
    done.built = True
    build_engines(run, [active_of(builds=False), done], workers)
    assert (workers.hired, events(run)) == ([], [])


def test_every_backend_in_every_environment_has_a_worker_of_its_own(run, workers, active_of):
    places = (
        {},
        {"environment": "old"},
        {"backend": "other"},
        {"environment": "old", "precision": "fp16"},
        {"device": "cuda:1"},
    )
    build_engines(run, [active_of(batch, **place) for batch, place in enumerate(places)], workers)
    assert [worker.target for worker in workers.hired] == ["tensorrt", "tensorrt@old", "other"]
    assert asked(workers) == [(0, 0), (0, 4), (1, 1), (1, 3), (2, 2)]
    assert workers.working == []


def test_a_cell_that_cannot_be_built_has_its_reason_and_the_others_go_on_with_the_worker(run, workers, active_of):
    cells, workers.plot = [active_of(batch) for batch in (1, 8, 32)], {8: RuntimeFailed("no kernel")}
    build_engines(run, cells, workers)
    assert asked(workers) == [(0, 1), (0, 8), (0, 32)]
    assert [(item.built, item.out) for item in cells] == [(True, False), (False, True), (True, False)]
    assert events(run) == [("built", cells[0].key), ("failed", cells[1].key), ("built", cells[2].key)]


def test_a_worker_without_memory_is_replaced_for_the_next_cell(run, workers, active_of):
    cells, workers.plot = [active_of(batch) for batch in (1, 8, 32)], {8: OutOfMemory("cannot build the model: out of memory")}
    build_engines(run, cells, workers)
    assert asked(workers) == [(0, 1), (0, 8), (1, 32)]
    assert ([worker.dismissed for worker in workers.hired], cells[1].out) == ([1, 1], True)


def test_a_worker_that_crashes_is_replaced_once_for_its_cell_and_again_for_the_next(run, workers, active_of):
    cells, workers.plot = [active_of(batch) for batch in (1, 8, 32)], {8: WorkerDied("killed")}
    build_engines(run, cells, workers)
    assert asked(workers) == [(0, 1), (0, 8), (1, 8), (2, 32)]
    assert ([worker.dismissed for worker in workers.hired], cells[1].out) == ([1, 1, 1], True)


def test_nobody_is_hired_again_after_the_last_cell_lost_its_worker(run, workers, active_of):
    workers.plot = {8: WorkerDied("killed")}
    build_engines(run, [active_of(batch) for batch in (1, 8)], workers)
    assert ([worker.dismissed for worker in workers.hired], len(events(run))) == ([1, 1], 2)


def test_the_user_is_obeyed_between_two_cells_and_nobody_works_on(run, workers, active_of):
    cells, workers.stop_at = [active_of(batch) for batch in (1, 8, 32)], 8
    with pytest.raises(Interrupted, match="--resume"):
        build_engines(run, cells, workers)
    assert (asked(workers), workers.working) == ([(0, 1), (0, 8)], [])
    assert [item.built for item in cells] == [True, True, False]


@pytest.mark.parametrize(
    ("answer", "notes"),
    [
        (BUILT, ["built cnn/tensorrt/cuda:0/fp32/b1 in 12.3 s"]),
        (FOUND, []),
        (replace(BUILT, remark="it was damaged"), ["built cnn/{0} in 12.3 s", "cnn/{0}: it was damaged"]),
    ],
    ids=["built", "found", "built again"],
)
def test_people_are_told_what_took_time_and_what_was_odd(run, workers, active_of, answer, notes):
    workers.plot = {1: answer}
    build_engines(run, [active_of()], workers)
    assert run.context.progress.told == [note.format("tensorrt/cuda:0/fp32/b1") for note in notes]


def test_a_resumed_cell_is_not_built_again_unless_it_failed(active_of, tmp_path):
    planned = active_of().planned
    built = BUILT
    held = CellRecord(cell=planned.cell, folder=tmp_path, built=built)
    assert resume_cell(planned, held, Sweep()).built
    assert not resume_cell(planned, CellRecord(cell=planned.cell, folder=tmp_path), Sweep()).built
    failed = CellRecord(cell=planned.cell, folder=tmp_path, built=built, failed=Failed(status="failed", reason="x"))
    assert not resume_cell(planned, failed, Sweep()).built


@pytest.fixture
def row(run_folder, make_cell):
    """The row of a measured cell for which these events were written before."""

    def of(*events, **opened):
        cell = make_cell(backend="tensorrt", device="cuda:0")
        folder = run_folder(cell)
        for event in events:
            folder.add("built", cell, **to_wire(event))
        folder.measured(cell, 1000, **opened)
        return table.build([read_run(folder.path)]).rows[0]

    return of


@pytest.mark.parametrize(
    ("events", "opened", "build_s"),
    [
        ([], {}, None),
        ([BUILT], {}, 12.34),
        ([BUILT], to_wire(FOUND), 12.34),
        ([BUILT, FOUND], {}, 99),
        ([], to_wire(FOUND), 99),
    ],
)
def test_building_took_what_it_took_when_it_was_done(row, events, opened, build_s):
    assert row(*events, **opened)["build_s"] == build_s


def test_a_reader_is_told_what_was_on_the_shelf(row):
    assert "an engine of TensorRT 8" in row(replace(BUILT, remark="the cache had an engine of TensorRT 8"))["notes"]


def test_a_cell_that_failed_and_is_built_anew_begins_anew(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.add("built", cell, **to_wire(replace(BUILT, remark="damaged")))
    folder.opened(cell)
    folder.add("failed", cell, status="failed", reason="x")
    folder.add("built", cell, **to_wire(FOUND))
    (record,) = read_run(folder.path).cells
    assert (record.built.remark, record.opened, record.failed) == ("", None, None)
