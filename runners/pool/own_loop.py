"""Worker that measures a loop of the user's own: the jobs of a cell, answered from the latencies of the loop. NumPy only.

program.py drives a program, and call.py makes a call of Python. A sweep asks both as it asks the worker of a backend: the
rounds, the warm-up, the intervals and the journal are the same.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from ...errors import BadInput, BenchError, Unsupported
from ...evidence import Counts, Info, Inspected, Opened, Rate, Warm
from ...loop import LATENCY, Times
from ...spec import Concurrency
from ..worker import measure
from ..worker.blocks import save_times
from ..worker.clock import Clock
from ..worker.jobs import Close, Done, Inspect, Job, Open, TimedLatency, TimedThroughput, TimeLatency, TimeThroughput, WarmUp
from .process import OnReport

Answer = TypeVar("Answer")
COPIES = ("copy_in", "copy_out")


class OwnLoop(abc.ABC):
    """Worker of one row, whose loop has one call in flight. It implements pool.Worker.

    `form`: the way in which the loop is measured, for the record. `threads`: those that the row requests. `copies`: the loop
    reports the time of copies.
    """

    network = "open"
    form: str

    def __init__(self, threads: int, clock: Clock) -> None:
        self._threads, self._clock, self._timeout_s = threads, clock, 0.0
        self.begin_ns = clock.now_ns()
        self._first_ms: float | None = None
        self.copies = False
        self._last: Times | None = None
        self._sent: Job[Any] | None = None

    @property
    def can_pause(self) -> bool:
        """False: the loop is in this process, or in a program that the user started."""
        return False

    def pause(self) -> None:  # noqa: B027 (nothing can be stopped)
        """Do nothing."""

    def check(self, timeout_s: float) -> None:
        """Make the first call. Raises `BadInput` for a loop that gives no latency, before any long work."""
        self._timeout_s = timeout_s
        try:
            self._start()
        except BadInput:
            raise
        except BenchError as error:
            raise BadInput(error.message, error.hint) from error

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """Do `job` and return its answer."""
        self._timeout_s = timeout_s
        return cast(Answer, self._answer(job))

    def send(self, job: Job[Any]) -> None:
        """Store `job` until `receive`."""
        self._sent = job

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """Do the stored job."""
        return self.ask(job, timeout_s, on_report)

    def _answer(self, job: Job[Any]) -> object:
        answers: dict[type[Job[Any]], Callable[[Any], object]] = {
            Open: self._open,
            Inspect: lambda _: Inspected(),
            WarmUp: self._warm,
            TimeLatency: self._time_latency,
            TimeThroughput: self._time_throughput,
            Close: self._close,
        }
        if type(job) not in answers:
            raise Unsupported("a program of your own is measured with one call in flight, and nothing else", "")
        return answers[type(job)](job)

    def _note_first(self, times: Times) -> None:
        """Store the facts of the first call."""
        self._first_ms = times.latency[0] / 1e6
        self.copies = bool(times.phases.keys() & set(COPIES))

    def _open(self, job: Open) -> Opened:
        if not self._is_ready():
            self._start()
        return Opened(first_ms=self._first_ms, program=self.form, info=Info())

    def _warm(self, job: WarmUp) -> Warm:
        with measure.quiet():
            result = self._warm_up(int(job.least_ms * 1e6), int(job.limit_ms * 1e6))
        one = Concurrency(threads=self._threads)
        return Warm(**asdict(result), lanes=1, concurrency=one, settled=self._settle())

    def _time_latency(self, job: TimeLatency) -> TimedLatency:
        with measure.quiet(), self._counted() as counts:
            times = self._block(int(job.block_ms * 1e6), job.calls)
        self._last = times
        kinds = {LATENCY: times.latency, **times.phases}
        # A call that copies its inputs or its outputs goes from host memory to host memory.
        kinds["end_to_end"] = times.latency if times.phases.keys() & set(COPIES) else []
        arrays = {kind: np.array(values, np.int64) for kind, values in {**kinds, "device": []}.items()}
        save_times(Path(job.samples.path), arrays)
        p50_ns = {kind: float(np.percentile(ns, 50, method="inverted_cdf")) for kind, ns in arrays.items() if len(ns)}
        return TimedLatency(calls=len(times.latency), p50_ns=p50_ns, noise=counts.pop(), settled=self._settle())

    def _time_throughput(self, job: TimeThroughput) -> TimedThroughput:
        """Rate of the calls of the last block: the loop has one call in flight, and another block would be the same."""
        times = self._last or self._block(int(job.block_ms * 1e6), 1)
        rate = Rate(calls=len(times.latency), took_ns=sum(times.latency), lanes=1)
        return TimedThroughput(rate=rate, noise=Counts(), settled=True)

    def _close(self, job: Close) -> Done:
        self.dismiss()
        return Done()

    def _settle(self) -> bool:
        """Wait until the loop's threads are idle, for the next cell's sake."""
        return measure.settle(self._clock)

    @abc.abstractmethod
    def _is_ready(self) -> bool:
        """True if the loop has made its first call, and can measure a block."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Start the loop and make its first call."""

    @abc.abstractmethod
    def _warm_up(self, least_ns: int, limit_ns: int) -> measure.WarmUpResult:
        """Make calls until their latency is stationary, or for `limit_ns`."""

    @abc.abstractmethod
    def _block(self, least_ns: int, least_calls: int) -> Times:
        """Make untimed calls, then calls for about `least_ns`, and at least `least_calls`."""

    @contextmanager
    @abc.abstractmethod
    def _counted(self) -> Iterator[list[Counts]]:
        """Count disturbances inside the `with` block. The yielded list has them after its end."""

    @abc.abstractmethod
    def resident_mb(self) -> float:
        """Resident memory in MB."""

    def kill(self) -> None:
        """End the loop."""
        self.dismiss()

    @abc.abstractmethod
    def dismiss(self) -> None:
        """End the loop."""

    def __enter__(self) -> OwnLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()
