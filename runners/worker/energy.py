"""The worker's job that measures what a GPU uses for an item, under a load that lasts longer than its counter needs.

NVML's energy counter stands still between renewals, about 100 ms apart on an H100: as long as a block, so that differences
over blocks say little. Here a thread notes when it is renewed while the lanes are busy, and power is taken from one renewal to
another, which leaves no error of phase. Standard library and the package's own; a runtime computes beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ...errors import one_line
from ...evidence import Energy
from ...spec import Device
from . import lanes, measure
from .clock import Clock
from .jobs import ReadEnergy, Reporter
from .serve import State

POLL_S = 0.002
LEAD_MS = 200.0  # two renewals: what the counter says first is partly of the time before
LEAST_RENEWALS = 2

Renewal = tuple[int, float]  # when it was seen, in ns of the clock, and the counter then, in mJ
Read = Callable[[], tuple[float | None, str | None]]


@dataclass(kw_only=True)
class Polled:
    """The counter's renewals in order; `reason` says why there are no more, where it could not be read."""

    renewals: list[Renewal] = field(default_factory=list)
    reason: str | None = None


def energy(state: State, report: Reporter, job: ReadEnergy) -> Energy:
    """Keep all lanes busy after a lead of LEAD_MS, and read the GPU's energy meanwhile.

    The answer has a `reason` alone where the counter cannot be read.
    """
    open_cell, clock = state.open_cells[job.key], state.clock
    index = Device.parse(open_cell.cell.device).index

    def read() -> tuple[float | None, str | None]:
        return state.gpu.energy_mj(index)

    value, reason = read()
    if value is None:
        return Energy(reason=reason)
    sessions = open_cell.lanes(job.concurrency)
    length = lanes.Length(least_ns=int(job.block_ms * 1e6), lead_ns=int(LEAD_MS * 1e6))
    with measure.quiet(), polled(read, clock) as seen:
        begin_ns = clock.now_ns()
        rate = lanes.throughput(sessions, clock.now_ns, length)
        end_ns = clock.now_ns()
    measure.settle(clock)
    if seen.reason:
        return Energy(reason=seen.reason)
    return figures(seen.renewals, (begin_ns + length.lead_ns, end_ns), rate.calls_per_s * open_cell.cell.batch)


def figures(renewals: Sequence[Renewal], loaded: tuple[int, int], items_per_s: float) -> Energy:
    """`power_w`, the mean from the first renewal inside `loaded` (ns) to the last, and `energy_mj`, mJ an item at that power.

    `renewals`: how many intervals of the counter these span. Too few, or a counter that was set back, have a `reason`
    instead of both.
    """
    inside = [renewal for renewal in renewals if loaded[0] <= renewal[0] <= loaded[1]]
    told = Energy(items_per_s=items_per_s, renewals=max(0, len(inside) - 1))
    if len(inside) < LEAST_RENEWALS:
        load_ms = (loaded[1] - loaded[0]) / 1e6
        return replace(told, reason=f"the energy counter was renewed {len(inside)}x in {load_ms:.0f} ms of load")
    if sorted(inside, key=lambda renewal: renewal[1]) != inside:
        return replace(told, reason="the energy counter was set back")
    (first_ns, first_mj), (last_ns, last_mj) = inside[0], inside[-1]
    power_w = (last_mj - first_mj) / (last_ns - first_ns) * 1e6
    return replace(told, power_w=power_w, energy_mj=power_w / items_per_s * 1e3)


@contextmanager
def polled(read: Read, clock: Clock) -> Iterator[Polled]:
    """Read a counter every POLL_S in a thread of its own, as long as the block inside takes."""
    found, over = Polled(), threading.Event()
    thread = threading.Thread(target=_poll, args=(read, clock, over.is_set, found), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _poll(read: Read, clock: Clock, over: Callable[[], bool], found: Polled) -> None:
    """Note every value that is another than the one before. How old the first one is cannot be known, so it is none."""
    known: float | None = None
    try:
        while not over():
            value, reason = read()
            if value is None:
                found.reason = reason
                return
            if known is not None and value != known:
                found.renewals.append((clock.now_ns(), value))
            known = value
            clock.sleep_s(POLL_S)
    except Exception as error:  # in a thread it would be lost
        found.reason = f"the energy counter cannot be read ({one_line(error)})"
