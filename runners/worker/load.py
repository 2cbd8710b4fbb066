"""The worker's job that answers items as they arrive, and measures their responses. NumPy and the package
only.

Arrival times are drawn before the run, and a response starts when its item is due. A late item delays the
items behind it, and every item counts (no coordinated omission). There is no generator thread, because it
would compete for the CPU with the runtime. The lanes take due items from the list, and sleep while no item is
due.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Session
from ...backends.recurrence import starter
from ...evidence import LoadPoint
from ...results.stats.percentiles import quantiles
from . import lanes, measure
from .blocks import count_noise, rest_before
from .clock import Clock
from .jobs import ApplyLoad, Reporter
from .serve import State

LEAD_SHARE = 0.1  # of the items: they meet an empty queue, and do not count
REWARM_NS = 20_000_000
AHEAD_NS = 2_000_000  # from the drawing of the times to the first of them

Times = NDArray[np.int64]


def load(state: State, report: Reporter, job: ApplyLoad) -> LoadPoint:
    """Measure the responses to items that arrive at random.

    `latency_ns` maps percentiles to responses; None where the number of items is too small for the
    percentile. `overloaded`: an item waited longer than `give_up_ms` before its call began, and the load
    stopped.
    """
    open_cell = state.open_cells[job.key]
    sessions = open_cell.lanes(job.concurrency)
    rest_before(state, job.key)
    with measure.quiet(), count_noise(state, open_cell.cell) as counts:
        lanes.throughput(sessions, state.clock.now_ns, lanes.Length(least_ns=REWARM_NS))
        due = arrivals(job.items, job.rate_per_s, job.seed) + state.clock.now_ns() + AHEAD_NS
        wait_ns, give_up_ns = int(job.wait_ms * 1e6), int(job.give_up_ms * 1e6)
        queue = Queue(due=due, batch=open_cell.cell.batch, wait_ns=wait_ns, give_up_ns=give_up_ns)
        responses = serve(sessions, queue, state.clock)
    measure.settle(state.clock)
    responses = responses[int(len(responses) * LEAD_SHARE) :]
    return LoadPoint(
        rate_per_s=job.rate_per_s,
        items=len(responses),
        calls=queue.calls,
        overloaded=queue.given_up,
        latency_ns={} if queue.given_up else quantiles(responses),
        deploy=open_cell.deploy(job.concurrency),
        noise=counts(),
        late=None if job.limit_ms is None else _late(responses, job),
    )


def _late(responses: Times, job: ApplyLoad) -> float:
    """Share of the items after the lead with a response above the limit, or with none because the load stopped."""
    items = job.items - int(job.items * LEAD_SHARE)
    in_time = np.count_nonzero(responses <= (job.limit_ms or 0.0) * 1e6)
    return 1 - min(1.0, float(in_time) / items)


def arrivals(items: int, rate_per_s: float, seed: int) -> Times:
    """Arrival times of `items` items of a Poisson process: sorted int64 ns from its begin.

    Given their number, the arrivals of a Poisson process are uniform and independent (Kingman, Poisson
    Processes, 2.4). Such a draw has exactly the requested rate.
    """
    span_ns = items / rate_per_s * 1e9
    return np.sort(np.random.default_rng(seed).uniform(0, span_ns, items)).astype(np.int64)


@dataclass(kw_only=True)
class Queue:
    """Items in the order of their `due` times (ns of the clock); a call takes up to `batch` of them.

    A call waits until its batch is full, or until its first item has waited `wait_ns`. After an item has
    waited `give_up_ns`, the queue gives no more items.
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
        """Wait until the next call is due, and return its items; None without further items."""
        with self._lock:
            first, last = self._next, self._next + self.batch - 1
            if self.given_up or first >= len(self.due):
                return None
            # Times are read inside the lock: two lanes never take the same items.
            timeout_ns = int(self.due[first]) + (self.wait_ns if self.batch > 1 else 0)
            full_ns = int(self.due[last]) if last < len(self.due) else timeout_ns
            now_ns = _sleep_until(min(timeout_ns, full_ns), clock)
            self.given_up = now_ns - int(self.due[first]) > self.give_up_ns
            waiting = int(np.searchsorted(self.due, now_ns, "right")) - first
            self._next = first + max(1, min(self.batch, waiting))
            self.calls += 1
            return slice(first, self._next)


def _sleep_until(end_ns: int, clock: Clock) -> int:
    """Sleep until `end_ns` at least; return the time after it."""
    while (now_ns := clock.now_ns()) < end_ns:
        clock.sleep_s((end_ns - now_ns) / 1e9)
    return now_ns


def serve(sessions: Sequence[Session], queue: Queue, clock: Clock) -> Times:
    """Response times of the items of `queue` that were answered, in order, int64 ns from their due times."""
    responses = np.full(len(queue.due), -1, np.int64)
    errors: list[BaseException] = []

    def lane(session: Session) -> None:
        try:
            session.enter()
            start = starter(session)
            while not errors and (items := queue.take(clock)):
                start()
                session.wait()
                responses[items] = clock.now_ns() - queue.due[items]
        except BaseException as error:  # the caller's thread raises it again
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
