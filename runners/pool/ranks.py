"""Workers of one training that answer at the same time, and end together. Standard library.

Each worker has a thread that waits for its answer. The first failure ends all of them. Workers wait for each other, so one
failure causes others: the error is that of the worker that failed first by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ...errors import BenchError, PeerLost, WorkerTimeout
from ..worker.jobs import Job
from .pool import Pool, Worker
from .process import OnReport

Answer = TypeVar("Answer")

CAUSE_S = 2.0  # wait for the cause, once a rank has lost another one
LATE_S = 3.0  # between the limit of a rank, which then reports that it lost another one, and the parent's limit


@dataclass(frozen=True, kw_only=True)
class RankOutcome(Generic[Answer]):
    """End of one rank's job: its answer or its error."""

    rank: int
    answer: Answer | None = None
    error: BenchError | None = None


class Ranks:
    """Workers of one training, as a context manager: entering starts them, and leaving ends all of them."""

    def __init__(self, pool: Pool, log: Path, count: int) -> None:
        """`count` workers of `pool`. The output of rank 1 goes to the file `log` with `-1` at the end of its stem."""
        self.workers: list[Worker] = []
        self._pool, self._logs = pool, [log.with_stem(f"{log.stem}-{rank}") for rank in range(count)]
        self._stack = ExitStack()

    def __enter__(self) -> Ranks:
        with ExitStack() as stack:
            for log in self._logs:
                # the ranks meet on the loopback, which a worker without a network does not share
                self.workers.append(stack.enter_context(self._pool.start(log, network=True)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._kill()
        self._stack.__exit__(kind, error, trace)

    def _kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    def ask(self, jobs: Sequence[Job[Answer]], timeout_s: float, on_report: OnReport | None = None) -> list[Answer]:
        """Send one job to each worker, and return the answers in their order. Reports come from rank 0.

        Raises the first failure that another rank did not cause. All workers have ended by then.
        """
        outcomes: Queue[RankOutcome[Answer]] = Queue()
        threads = [
            Thread(target=_ask_one, args=(outcomes, rank, worker, job, timeout_s, None if rank else on_report), daemon=True)
            for rank, (worker, job) in enumerate(zip(self.workers, jobs, strict=True))
        ]
        for thread in threads:
            thread.start()
        done: dict[int, RankOutcome[Answer]] = {}
        try:
            done = _collect(outcomes, len(threads))
        finally:
            if len(done) < len(threads) or any(outcome.error for outcome in done.values()):
                self._kill()
            for thread in threads:  # no thread may read a pipe that is closed
                thread.join()
        failures = {outcome.rank: outcome.error for outcome in done.values() if outcome.error}
        if failures:
            raise cause(failures, sorted(set(range(len(threads))) - set(done)), timeout_s - LATE_S)
        return [cast(Answer, done[rank].answer) for rank in range(len(threads))]


def _ask_one(
    outcomes: Queue[RankOutcome[Any]], rank: int, worker: Worker, job: Job[Any], timeout_s: float, on_report: OnReport | None
) -> None:
    """Wait for the answer of one worker, in a thread of its own."""
    try:
        outcomes.put(RankOutcome(rank=rank, answer=worker.ask(job, timeout_s, on_report)))
    except BenchError as error:
        outcomes.put(RankOutcome(rank=rank, error=error))
    except BaseException as error:  # a thread that ends silently would leave `ask` waiting for ever
        outcomes.put(RankOutcome(rank=rank, error=BenchError(f"{type(error).__name__}: {error}")))


def _collect(outcomes: Queue[RankOutcome[Answer]], count: int) -> dict[int, RankOutcome[Answer]]:
    """Outcomes by rank, in the order of their arrival: all of them, or those until a failure has its cause."""
    done: dict[int, RankOutcome[Answer]] = {}
    waits = False
    while len(done) < count:
        try:
            outcome = outcomes.get(timeout=CAUSE_S if waits else None)
        except Empty:
            break
        done[outcome.rank] = outcome
        if outcome.error and not isinstance(outcome.error, PeerLost):
            break
        waits = waits or outcome.error is not None
    return done


def cause(failures: Mapping[int, BenchError], silent: Sequence[int], limit_s: float) -> BenchError:
    """The error to report: one that no other rank caused; else that of a rank which did not answer within `limit_s`.

    `failures` are in the order of their arrival. `silent`: ranks that had not answered when all were ended.
    """
    for rank, error in failures.items():
        if not isinstance(error, PeerLost):
            return type(error)(f"process {rank}: {error.message}", error.hint)
    if silent:
        names = " and ".join(map(str, silent))
        return WorkerTimeout(
            f"process {names} did not answer within {limit_s:g} s, and the other processes waited for it",
            "give a larger --timeout if its steps are that slow",
        )
    return next(iter(failures.values()))
