"""The worker's job that measures the energy of an item on a GPU or a CPU, under a load longer than the counter's interval.

NVML renews its energy counter about every 100 ms on an H100, which is as long as a block. Differences over
blocks therefore carry little information. A thread records each renewal while the lanes are busy. Power is
the slope between two renewals, which has no phase error. RAPL renews its counters about every ms. They are read
less often, because the reading takes time of the CPU that computes. Standard library and the package only.
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
CPU_POLL_S = 0.02
LEAD_MS = 200.0  # two renewals: the first value covers time before the load
LEAST_RENEWALS = 2

Renewal = tuple[int, float]  # time of the reading in ns, and the counter in mJ
Read = Callable[[], tuple[float | None, str | None]]


@dataclass(kw_only=True)
class Polled:
    """Renewals of the counter in order. `reason` explains an early end, where the counter cannot be read."""

    renewals: list[Renewal] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """Counter of a device: the function that reads it, and the time between two readings."""

    read: Read
    poll_s: float = POLL_S


def energy(state: State, report: Reporter, job: ReadEnergy) -> Energy:
    """Keep all lanes busy after a lead of LEAD_MS, and read the energy of the device meanwhile.

    The answer contains `reason` alone if the counter cannot be read.
    """
    open_cell, clock = state.open_cells[job.key], state.clock
    device = Device.parse(open_cell.cell.device)
    meter = _meter(state, device)
    if meter is None:
        return Energy(reason=f"no counter of energy is read for the device {device}")
    value, reason = meter.read()
    if value is None:
        return Energy(reason=reason)
    sessions = open_cell.lanes(job.concurrency)
    length = lanes.Length(least_ns=int(job.block_ms * 1e6), lead_ns=int(LEAD_MS * 1e6))
    with measure.quiet(), poll_counter(meter.read, clock, meter.poll_s) as record:
        begin_ns = clock.now_ns()
        rate = lanes.throughput(sessions, clock.now_ns, length)
        end_ns = clock.now_ns()
    measure.settle(clock)  # after the reading of the counter: idle power would lower the mean
    if record.reason:
        return Energy(reason=record.reason)
    return figures(record.renewals, (begin_ns + length.lead_ns, end_ns), rate.calls_per_s * open_cell.cell.batch)


def _meter(state: State, device: Device) -> Meter | None:
    """Counter of `device`; None for a device that has none."""
    if device.kind == "cuda":
        return Meter(read=lambda: state.gpu.energy_mj(device.index))
    if device.kind == "cpu":
        return Meter(read=state.packages.energy_mj, poll_s=CPU_POLL_S)
    return None


def figures(renewals: Sequence[Renewal], loaded: tuple[int, int], items_per_s: float) -> Energy:
    """Mean power and energy an item between the first and the last renewal inside `loaded` (ns).

    `power_w` is in W, and `energy_mj` in mJ an item at that power. `renewals` is the number of counter
    intervals between the two. With too few renewals, or a counter that decreased, `reason` replaces both
    figures.
    """
    inside = [renewal for renewal in renewals if loaded[0] <= renewal[0] <= loaded[1]]
    base = Energy(items_per_s=items_per_s, renewals=max(0, len(inside) - 1))
    if len(inside) < LEAST_RENEWALS:
        load_ms = (loaded[1] - loaded[0]) / 1e6
        return replace(
            base, reason=f"energy needs {LEAST_RENEWALS} renewals of the counter, got {len(inside)} in {load_ms:.0f} ms of load"
        )
    if sorted(inside, key=lambda renewal: renewal[1]) != inside:
        return replace(base, reason="the energy counter decreased")
    (first_ns, first_mj), (last_ns, last_mj) = inside[0], inside[-1]
    power_w = (last_mj - first_mj) / (last_ns - first_ns) * 1e6
    return replace(base, power_w=power_w, energy_mj=power_w / items_per_s * 1e3)


@contextmanager
def poll_counter(read: Read, clock: Clock, poll_s: float = POLL_S) -> Iterator[Polled]:
    """Read a counter every `poll_s` in a thread of its own while the `with` block runs."""
    record, ended = Polled(), threading.Event()
    thread = threading.Thread(target=_poll, args=(read, clock, poll_s, ended.is_set, record), daemon=True)
    thread.start()
    try:
        yield record
    finally:
        ended.set()
        thread.join()


def _poll(read: Read, clock: Clock, poll_s: float, ended: Callable[[], bool], record: Polled) -> None:
    """Append a renewal for every value that differs from the previous value."""
    previous: float | None = None
    try:
        while not ended():
            value, reason = read()
            if value is None:
                record.reason = reason
                return
            # The age of the first value is unknown, therefore it is no renewal.
            if previous is not None and value != previous:
                record.renewals.append((clock.now_ns(), value))
            previous = value
            clock.sleep_s(poll_s)
    except Exception as error:  # an exception would end the thread in silence
        record.reason = f"the energy counter cannot be read ({one_line(error)})"
