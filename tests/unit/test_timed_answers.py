"""Answers that are fetched after the clock has stopped: a runtime that lies while it is timed, or in one lane, is found."""

import pytest
from onnxbench.backends.null import Null, NullSession
from onnxbench.errors import WorkerDied
from onnxbench.evidence import Answered, StepFailed
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.runners.worker.cell_jobs import OpenCell
from onnxbench.runners.worker.timed_answers import compare_timed, walk_lanes
from onnxbench.runners.worker.verify import save_arrays
from onnxbench.runners.worker.walk import PARITY_STEPS, answer_all, walk_names
from onnxbench.spec import Concurrency

from .fake_worker import only
from .in_process import TINY, UNLABELLED, Bench, Works
from .test_feedback import FEEDBACK, ZERO, Counter

LANES = 2
TIMED_AFTER = 3  # calls in a row without a look at the answer: nobody verifies so


class Liar(NullSession):
    """Answers ones instead of zeros while it is timed, in its lanes from `first` on."""

    def __init__(self, artifact, cell, lane=0, first=0):
        super().__init__(artifact, cell)
        self.lane, self.first, self.calls = lane, first, 0

    def start(self):
        self.calls += 1

    def fetch(self):
        lies, self.calls = self.calls >= TIMED_AFTER and self.lane >= self.first, 0
        return {name: array + lies for name, array in super().fetch().items()}

    def fork(self):
        return Liar(self._artifact, self._cell, self.lane + 1, self.first)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A run of the null backend with sessions of the test, and two lanes."""
    monkeypatch.setattr(Null, "concurrencies", lambda _, threads: (Concurrency(lanes=LANES, threads=1),))

    def of(session, plot=lambda *_: {}, **asked):
        monkeypatch.setattr(Null, "_open", lambda _, artifact, cell, concurrency: session(artifact, cell))
        works = Works((UNLABELLED,), plot, 0, {})
        return Bench(tmp_path, works).infer(precisions=("fp32",), batches=(1,), budget=TINY, **asked)

    return of


def answered(bench):
    return [event for _, event in bench.events if isinstance(event, Answered)]


def test_right_answers_are_right_when_timed_too(bench):
    found = bench(NullSession)
    (event,) = answered(found)
    assert (event.answers, event.worst.sqnr_db, found.states) == (1 + LANES, 200.0, {"fp32/1": "ok"})
    assert [row["timed_sqnr_db"] for row in table.build([read_run(found.out)]).rows] == [200.0]


@pytest.mark.parametrize(("first", "part", "lane"), [(0, "latency", 1), (1, "throughput", 2)])
def test_an_answer_that_is_wrong_only_while_timed_or_in_one_lane_is_a_mismatch(bench, first, part, lane):
    found = bench(lambda artifact, cell: Liar(artifact, cell, first=first))
    row = found.rows["fp32/1"]
    assert (row.status, row.verdict.status, row.answered.part, row.answered.lane) == ("mismatch", "ok", part, lane)
    assert f"lane {lane} of the last {part} block" in row.reason
    built = table.build([read_run(found.out)])
    assert {"status", "timed_answer"} <= {finding.kind for finding in built.findings}
    assert built.best == frozenset()


def test_a_worker_that_dies_of_the_question_leaves_the_figures(bench):
    found = bench(NullSession, only("compare_timed", "fp32/1", 0, raised=WorkerDied("killed")))
    row = found.rows["fp32/1"]
    assert (row.status, [step.step for step in row.failed_steps], row.finished.why) == ("ok", ["answers"], "budget")
    assert not answered(found)
    assert any(isinstance(event, StepFailed) for _, event in found.events)


def test_an_instrument_is_not_compared(tmp_path):
    works = Works((UNLABELLED,), lambda *_: {}, 0, {})
    bench = Bench(tmp_path, works)
    changed = {"open": {"instrument": True}}
    start = works.start

    def started(*args, **more):
        worker = start(*args, **more)
        worker.changed |= changed
        return worker

    works.start = started
    found = bench.infer(precisions=("fp32",), batches=(1,))
    assert (works.cells("compare_timed"), found.states) == ([], {"fp32/1": "ok"})
    assert not any(works.asked("latency", "keep"))


class Walker(Counter):
    """A lane that drifts, from a step on, if it is not the first one."""

    def __init__(self, wrong=False):
        super().__init__()
        self.wrong, self.forks = wrong, 0

    def fetch(self):
        return {name: array + self.wrong for name, array in super().fetch().items()}

    def fork(self):
        return Walker(wrong=True)


class AsynchronousWalker(Walker):
    asynchronous = True

    def fork(self):
        return AsynchronousWalker(wrong=True)


@pytest.mark.parametrize("kind", [Walker, AsynchronousWalker])
def test_lanes_with_a_state_make_the_steps_of_the_reference_from_the_initial_state(kind, tmp_path):
    found = opened(kind())
    walk_lanes(found, Concurrency(lanes=LANES))
    assert [kept.outputs["h_out"].tolist() for kept in found.last_answers["latency"]] == [[PARITY_STEPS]]
    assert [kept.outputs["h_out"].tolist() for kept in found.last_answers["throughput"]] == [[PARITY_STEPS], [2 * PARITY_STEPS]]
    assert found.session.recurrence.steps == 0


def opened(session):
    class Of:
        open = staticmethod(lambda *_: session)

    from types import SimpleNamespace

    outputs = tuple(SimpleNamespace(name=name) for name in ("y", "h_out"))
    cell = SimpleNamespace(inputs=1, feedback=tuple(FEEDBACK.items()), batch=1, settings=SimpleNamespace(threads=1))
    return OpenCell(artifact=SimpleNamespace(outputs=outputs), cell=cell, backend=Of, inputs=ZERO, session=session)


def test_a_lane_with_a_state_is_compared_at_the_last_step(tmp_path):
    names = walk_names(("y", "h_out"), FEEDBACK)
    expected = answer_all(Counter(), ZERO, FEEDBACK)
    save_arrays(tmp_path, {name: expected[name] for name in names})
    from types import SimpleNamespace

    state = SimpleNamespace(open_cells={"key": opened(Walker())})
    job = SimpleNamespace(key="key", reference=SimpleNamespace(path=tmp_path), random=(), concurrency=Concurrency(lanes=LANES))
    found = compare_timed(state, None, job).answers
    assert [(each.part, each.lane, each.sqnr_db > 100) for each in found] == [
        ("latency", 1, True),
        ("throughput", 1, True),
        ("throughput", 2, False),
    ]
