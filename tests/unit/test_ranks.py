"""Workers of one training: they answer together, end together, and give the reason of the one that failed by itself."""

import threading
import time
from pathlib import Path

import pytest
from onnxbench.errors import BenchError, OutOfMemory, PeerLost, RuntimeFailed, WorkerDied, WorkerTimeout
from onnxbench.runners.pool import ranks
from onnxbench.runners.pool.ranks import LATE_S, Ranks, cause
from onnxbench.runners.worker.jobs import Probe

JOB = Probe(backend="null")
LOST = PeerLost("process 0 lost another process of the training (closed)")


class Rank:
    """A worker whose answer is a value, an error, or nothing until it is killed."""

    def __init__(self, outcome, reports=()):
        self.outcome, self.reports, self.ended, self.ends = outcome, reports, threading.Event(), []

    def ask(self, job, timeout_s, on_report=None):
        for report in self.reports:
            if on_report:
                on_report(report)
        if self.outcome is None:
            assert self.ended.wait(20)
            raise WorkerDied("killed by the parent")
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def kill(self):
        self.ended.set()

    def __enter__(self):
        return self

    def __exit__(self, *about):
        self.ends.append(about[0])


class Starts:
    """A pool of prepared workers, which records how each was started."""

    def __init__(self, *workers):
        self.workers, self.started = list(workers), []

    def start(self, log, python="", *, network=False):
        self.started.append((log.name, network))
        return self.workers[len(self.started) - 1]


def asked(*outcomes):
    """The answers of ranks with these outcomes, and the workers."""
    workers = [outcome if isinstance(outcome, Rank) else Rank(outcome) for outcome in outcomes]
    with Ranks(Starts(*workers), Path("x.log"), len(workers)) as group:
        return group.ask([JOB] * len(workers), 5.0), workers


@pytest.fixture(autouse=True)
def short_wait(monkeypatch):
    monkeypatch.setattr(ranks, "CAUSE_S", 0.1)


def test_answers_come_in_the_order_of_the_ranks():
    answers, workers = asked("first", "second", "third")
    assert answers == ["first", "second", "third"]
    assert [worker.ends for worker in workers] == [[None]] * 3


def test_ranks_have_the_network_and_a_log_each():
    pool = Starts(Rank(1), Rank(2))
    with Ranks(pool, Path("logs/train.log"), 2):
        pass
    assert pool.started == [("train-0.log", True), ("train-1.log", True)]


def test_reports_are_those_of_rank_0():
    seen, workers = [], [Rank("a", ("one", "two")), Rank("b", ("three",))]
    with Ranks(Starts(*workers), Path("x.log"), 2) as group:
        group.ask([JOB, JOB], 5.0, seen.append)
    assert seen == ["one", "two"]


@pytest.mark.parametrize("error", [RuntimeFailed("no such operator"), WorkerDied("killed"), OutOfMemory("full", "smaller")])
def test_a_rank_that_fails_ends_the_others_at_once(error):
    silent = Rank(None)
    begin = time.monotonic()
    with pytest.raises(type(error)) as raised:
        asked(silent, error)
    assert raised.value.message == f"process 1: {error.message}"
    assert raised.value.hint == error.hint
    assert silent.ended.is_set()
    assert time.monotonic() - begin < 5


def test_a_rank_that_another_one_took_along_is_not_the_reason():
    with pytest.raises(WorkerDied) as raised:
        asked(LOST, WorkerDied("the worker was killed by SIGKILL"))
    assert "process 1: " in raised.value.message


def test_a_rank_that_hangs_is_named_by_its_silence():
    with pytest.raises(WorkerTimeout) as raised:
        asked(LOST, None)
    assert "process 1 " in raised.value.message
    assert f" {5 - LATE_S:g} s" in raised.value.message


def test_an_unexpected_exception_in_a_thread_ends_all():
    with pytest.raises(BenchError, match="ZeroDivisionError"):
        asked(None, ZeroDivisionError("x"))


def test_ranks_that_lost_each_other_give_the_first_ones_words():
    assert cause({1: LOST, 0: PeerLost("later")}, [], 5) is LOST


def test_a_start_that_fails_ends_those_that_started():
    first = Rank("x")

    class Full(Starts):
        def start(self, log, python="", *, network=False):
            if self.started:
                raise OutOfMemory("no process")
            return super().start(log, network=network)

    with pytest.raises(OutOfMemory), Ranks(Full(first), Path("x.log"), 2):
        pass
    assert first.ends == [OutOfMemory]
