from dataclasses import replace
from types import SimpleNamespace

import pytest
from onnxbench.budgets import BUDGETS
from onnxbench.errors import Interrupted, OutOfMemory, RuntimeFailed, StorageFailed, Unsupported, WorkerDied, WorkerTimeout
from onnxbench.evidence import Block, Cold, Failed, Finished, Inspected, StepFailed, Verified, Warm
from onnxbench.results.store.journal import read_journal
from onnxbench.results.store.record import CellRecord
from onnxbench.runners.sweep.cells import ActiveCell, RunContext, resume_cell
from onnxbench.runners.sweep.interrupt import Stop
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.spec import Concurrency, Load, Settings, Sweep

QUICK, NORMAL = BUDGETS["quick"], BUDGETS["normal"]
FAILED = Failed(status="failed", reason="x")


@pytest.fixture
def held(make_cell, tmp_path):
    return lambda **known: CellRecord(cell=make_cell(), folder=tmp_path, **known)


@pytest.fixture
def planned(make_cell, make_artifact):
    return lambda **changes: PlannedCell(cell=make_cell(**changes), artifact=make_artifact())


def blocks(count, first=0):
    return {number: Block(round=number) for number in range(first, first + count)}


def finished(half_width, budget=None):
    return Finished(why="?", of="p50", half_width=half_width, budget=budget)


def state(found):
    return found.rounds, found.last_round, found.cold, found.verified, found.concurrency, found.finished, found.out


def test_a_cell_that_was_never_measured_begins_at_nothing(planned, held):
    assert state(resume_cell(planned(), held(), Sweep())) == (0, -1, 0, False, None, False, False)


def test_a_resumed_cell_keeps_what_is_known_of_it(planned, held):
    way = Concurrency(lanes=4, streams=2, threads=1)
    known = held(warm=Warm(concurrency=way), inspected=Inspected(), cold=(Cold(), Cold()), blocks=blocks(3, first=5))
    assert state(resume_cell(planned(), known, Sweep())) == (3, 7, 2, True, way, False, False)


def test_a_cell_whose_kernels_were_never_told_is_compared_again(planned, held):
    assert not resume_cell(planned(), held(parity=Verified(sqnr_db=90)), Sweep()).verified


def test_a_process_that_was_started_for_its_memory_alone_was_no_cold_start(planned, held):
    known = held(cold=(Cold(peak_rss_mb=90), Cold(peak_rss_mb=90, cold_s=2)))
    assert [resume_cell(planned(), known, Sweep(cold=cold)).cold for cold in (False, True)] == [2, 1]


def test_a_warm_up_that_told_no_concurrency_is_as_none(planned, held):
    assert resume_cell(planned(), held(warm=Warm(lanes=2)), Sweep()).concurrency is None


def test_a_cell_that_failed_begins_anew(planned, held):
    known = held(failed=FAILED, inspected=Inspected(), blocks=blocks(3), finished=finished(0.01))
    assert state(resume_cell(planned(), known, Sweep())) == state(resume_cell(planned(), held(), Sweep()))


@pytest.mark.parametrize(
    ("count", "width", "budget", "ended"),
    [
        (10, 0.019, NORMAL, True),
        (10, 0.020, NORMAL, True),
        (10, 0.021, NORMAL, False),  # time was used up; there may be some now
        (NORMAL.rounds, 0.5, NORMAL, True),
        (NORMAL.rounds, 0.5, QUICK, True),
        (NORMAL.rounds, None, NORMAL, True),
        (5, None, QUICK, True),
        (5, None, NORMAL, False),
        (10, 0.019, BUDGETS["thorough"], False),
        (10, 0.015, BUDGETS["thorough"], True),
    ],
)
def test_what_ended_a_cell_ends_it_again_if_this_budget_would(planned, held, count, width, budget, ended):
    known = held(blocks=blocks(count), finished=finished(width))
    assert resume_cell(planned(), known, Sweep(budget=budget)).finished is ended


def test_a_cell_whose_time_was_used_up_is_not_measured_on_in_the_same_budget(planned, held):
    known = held(blocks=blocks(10), finished=finished(0.5, "normal"))
    assert resume_cell(planned(), known, Sweep(budget=BUDGETS["normal"])).finished
    assert not resume_cell(planned(), known, Sweep(budget=BUDGETS["thorough"])).finished


def test_a_cell_that_nothing_ended_goes_on_however_many_rounds_it_has(planned, held):
    assert not resume_cell(planned(), held(blocks=blocks(20)), Sweep(budget=QUICK)).finished


@pytest.mark.parametrize(("finished", "out", "live"), [(False, False, True), (True, False, False), (False, True, False)])
def test_a_cell_is_live_until_it_has_had_enough_or_has_a_reason(planned, finished, out, live):
    assert ActiveCell(planned=planned(), finished=finished, out=out).live is live


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"batch": 8, "shapes": (("input", (8, 3, 48, 48)),)}, True),
        ({"backend": "torch-cpu"}, False),
        ({"environment": "new"}, False),
        ({"device": "cuda:0"}, False),
        ({"precision": "fp16"}, False),
        ({"settings": Settings(threads=2, options=(("graph", "off"),))}, False),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_cells_that_differ_in_their_batch_alone_share_a_process(planned, change, same):
    assert (ActiveCell(planned=planned()).crew == ActiveCell(planned=planned(**change)).crew) is same


def test_cells_of_two_files_share_no_process(planned, make_artifact):
    other = replace(planned(), artifact=make_artifact(sha256="cd" * 32))
    assert ActiveCell(planned=planned()).crew != ActiveCell(planned=other).crew


class Told:
    def __init__(self):
        self.steps, self.notes = [], []

    def note(self, text):
        self.notes.append(text)

    def step(self, what, done, total):
        self.steps.append((what, done, total))


@pytest.fixture
def run(tmp_path):
    with Journal(tmp_path / "run") as journal:
        yield RunContext(sweep=Sweep(), journal=journal, context=SimpleNamespace(progress=Told()), stop=Stop(), total=3)


def fail(error):
    def step(_):
        raise error

    return step


def events(run):
    return list(read_journal(run.journal.folder))


def test_a_step_is_done_and_told(run, planned):
    one, done = ActiveCell(planned=planned()), []
    run.attempt(one, done.append)
    assert (done, events(run)) == ([one], [])
    assert run.context.progress.steps == [("cnn/ort-cpu/cpu/fp32/b1", 1, 3)]


def test_progress_never_goes_beyond_its_end(run, planned):
    for _ in range(5):
        run.attempt(ActiveCell(planned=planned()), lambda _: None)
    assert [done for _, done, _ in run.context.progress.steps] == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeFailed("it broke", "mend it"), "failed", "it broke; mend it"),
        (Unsupported("no kernel"), "unsupported", "no kernel"),
        (WorkerTimeout("no answer"), "timeout", "no answer"),
        (WorkerDied("killed"), "failed", "killed"),
    ],
)
def test_what_goes_wrong_in_a_step_is_the_cells_reason(run, planned, error, status, reason):
    one = ActiveCell(planned=planned())
    run.attempt(one, fail(error))
    assert one.out
    assert events(run) == [(one.key, Failed(status=status, reason=reason))]


def test_nothing_is_done_for_a_cell_that_has_a_reason(run, planned):
    one = ActiveCell(planned=planned(), out=True)
    run.attempt(one, fail(RuntimeFailed("it broke")))
    assert (events(run), run.context.progress.steps, run.done) == ([], [], 1)


@pytest.mark.parametrize(
    ("error", "told"),
    [*((kind("x"), True) for kind in (WorkerDied, WorkerTimeout, OutOfMemory)), (RuntimeFailed("x"), False), (None, False)],
)
def test_only_a_worker_that_is_gone_or_has_no_memory_left_is_told_as_lost(run, planned, error, told):
    one, lost = ActiveCell(planned=planned()), []
    run.attempt(one, fail(error) if error else lambda _: None, lost.append)
    assert lost == [one] * told


def test_a_full_disk_is_nobodys_row(run, planned):
    one = ActiveCell(planned=planned())
    with pytest.raises(StorageFailed, match="no room"):
        run.attempt(one, fail(StorageFailed("no room")))
    assert (one.out, events(run)) == (False, [])


def test_an_error_of_the_tool_itself_is_not_taken_for_a_cells(run, planned):
    with pytest.raises(ZeroDivisionError):
        run.attempt(ActiveCell(planned=planned()), fail(ZeroDivisionError()))


def test_the_user_is_obeyed_where_nothing_is_lost_by_it(run, planned):
    run.check_stop()
    run.stop.requested = True
    with pytest.raises(Interrupted, match=r"bench infer --out .*run --resume"):
        run.check_stop()
    assert events(run) == []


def test_a_resumed_cell_that_lacks_its_rate_alone_keeps_its_figures_whatever_happens(run, planned, held):
    asked = Sweep(load=Load(percentile=99, limit_ms=1))
    known = held(finished=finished(0.01, "normal"), blocks=blocks(10))
    found = resume_cell(planned(), known, asked)
    assert (found.complete, found.finished) == (True, False)

    def fail(_):
        raise RuntimeFailed("it does not open again")

    run.attempt(found, fail)
    assert [(type(event), event.step) for _, event in events(run)] == [(StepFailed, "round")]
