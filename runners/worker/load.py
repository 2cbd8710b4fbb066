"""The worker's job that answers items as they arrive, and what each had to wait. NumPy and the package's own.

Items are due at times that are drawn before anything runs, and a response lasts from when its item was due: one that is
late makes those behind it late too, and none is left out (no coordinated omission). A generator thread would compete for
the CPU with what is measured, so there is none: the lanes take from the list what is due, and sleep where nothing is.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Session
from ...evidence import LoadPoint
from ...results.stats.percentiles import quantiles
from . import lanes, measure
from .cell_jobs import counted
from .clock import Clock
from .jobs import ApplyLoad, Reporter
from .serve import State

LEAD_SHARE = 0.1  # of the items, which find an empty queue and do not count
REWARM_NS = 20_000_000
AHEAD_NS = 2_000_000  # between the drawing of the times and the first of them

Times = NDArray[np.int64]


def load(state: State, report: Reporter, job: ApplyLoad) -> LoadPoint:
    """Measure the responses to items that arrive at random.

    `latency_ns`: percentiles of the responses, by their number, None for those that so many items do not carry.
    `overloaded`: an item had waited for `give_up_ms` before its call began, and the rest was left.
    """
    open_cell = state.open_cells[job.key]
    sessions = open_cell.lanes(job.concurrency)
    with measure.quiet(), counted(state, open_cell.cell) as counts:
        lanes.throughput(sessions, state.clock.now_ns, lanes.Length(least_ns=REWARM_NS))
        due = arrivals(job.items, job.rate_per_s, job.seed) + state.clock.now_ns() + AHEAD_NS
        wait_ns, give_up_ns = int(job.wait_ms * 1e6), int(job.give_up_ms * 1e6)
        queue = Queue(due=due, batch=open_cell.cell.batch, wait_ns=wait_ns, give_up_ns=give_up_ns)
        responses = serve(sessions, queue, state.clock)
    measure.settle(state.clock)
    kept = responses[int(len(responses) * LEAD_SHARE) :]
    return LoadPoint(
        rate_per_s=job.rate_per_s,
        items=len(kept),
        calls=queue.calls,
        overloaded=queue.given_up,
        latency_ns={} if queue.given_up else quantiles(kept),
        deploy=open_cell.backend.deploy(job.concurrency),
        noise=counts(),
    )


def arrivals(items: int, rate_per_s: float, seed: int) -> Times:
    """When `items` of a Poisson process are due, int64 ns from its begin, in order.

    Given their number, the arrivals of such a process are uniform and independent (Kingman, Poisson Processes, 2.4): drawn so,
    their rate is exactly the one asked for.
    """
    span_ns = items / rate_per_s * 1e9
    return np.sort(np.random.default_rng(seed).uniform(0, span_ns, items)).astype(np.int64)


@dataclass(kw_only=True)
class Queue:
    """Items in the order in which they are `due` (ns of the clock), to be taken up to `batch` at a time.

    A call waits until it is full, or its first item has waited for `wait_ns`. When an item has waited for `give_up_ns`, nothing
    more is taken.
    """

    due: Times
    batch: int
    wait_ns: int
    give_up_ns: int
    calls: int = 0
    given_up: bool = False
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, clock: Clock) -> slice | None:
        """The items of the next call, when it is to be made; None when there are no more."""
        with self._lock:
            first, last = self._next, self._next + self.batch - 1
            if self.given_up or first >= len(self.due):
                return None
            timeout_ns = int(self.due[first]) + (self.wait_ns if self.batch > 1 else 0)
            full_ns = int(self.due[last]) if last < len(self.due) else timeout_ns
            now_ns = _sleep_until(min(timeout_ns, full_ns), clock)
            self.given_up = now_ns - int(self.due[first]) > self.give_up_ns
            waiting = int(np.searchsorted(self.due, now_ns, "right")) - first
            self._next = first + max(1, min(self.batch, waiting))
            self.calls += 1
            return slice(first, self._next)


def _sleep_until(end_ns: int, clock: Clock) -> int:
    """The time after `end_ns` at which the thread goes on."""
    while (now_ns := clock.now_ns()) < end_ns:
        clock.sleep_s((end_ns - now_ns) / 1e9)
    return now_ns


def serve(sessions: Sequence[Session], queue: Queue, clock: Clock) -> Times:
    """How long after it was due each item of `queue` was answered, int64 ns; of those that were taken, in order."""
    responses = np.full(len(queue.due), -1, np.int64)
    errors: list[BaseException] = []

    def lane(session: Session) -> None:
        try:
            session.enter()
            while not errors and (taken := queue.take(clock)):
                session.start()
                session.wait()
                responses[taken] = clock.now_ns() - queue.due[taken]
        except BaseException as error:  # raised again by the caller's thread
            errors.append(error)

    if len(sessions) == 1:
        lane(sessions[0])
    else:
        threads = [threading.Thread(target=lane, args=(session,), daemon=True) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return responses[responses >= 0]
