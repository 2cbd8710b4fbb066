"""The worker's jobs that measure a block of an open cell: latency and throughput. NumPy and a runtime only.

Each block ends with the answers of its last calls, where the parent wants to compare them: timed_answers.py fetches them
after the clock has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.protocol import Array
from ...evidence import LATENCY, THROUGHPUT, Counts
from ...spec import Cell, Device
from . import lanes, measure, procfs, timed_answers
from .array_turns import Turns, median
from .clock import Clock
from .jobs import Reporter, TimedLatency, TimedThroughput, TimeLatency, TimePart, TimeThroughput
from .serve import State

APART_SHARE = 4  # blocks of end-to-end calls and of device times last a latency block divided by this
COLD_CALLS, COLD_APART = 5, 2  # least calls of a block with cold caches: a flush takes longer than most calls
LEAD_SHARE = 0.1  # of a throughput block: uncounted calls before it


def latency(state: State, report: Reporter, job: TimeLatency) -> TimedLatency:
    """Measure one block of latency: untimed calls, single calls, end-to-end calls, device times.

    The .npz file `samples` receives the times as `latency`, `end_to_end` and `device` (int64 ns). `p50_ns`
    are their nearest-rank medians: a comparison of thousands of cells then opens no samples. The noise covers
    all timed calls.
    """
    open_cell, now = state.open_cells[job.key], state.clock.now_ns
    rested = rest_before(state, job.key)
    session, least_ns, is_cold = open_cell.session, to_ns(job.block_ms), open_cell.flush is not None
    calls = max(job.calls, COLD_CALLS) if is_cold else job.calls
    apart: dict[str, int] = {"least_ns": least_ns // APART_SHARE, "least_calls": COLD_APART if is_cold else calls}
    with measure.quiet():
        measure.rewarm(session, now, block_ns=least_ns)
        turns = Turns.of(session, job)
        with count_noise(state, open_cell.cell) as counts, open_cell.cold():
            if turns and job.round % 2:  # the two orders in turn: neither block is always the later one
                turns.repeat(now, **apart)
            single = measure.latency(session, now, least_ns=least_ns, least_calls=calls)
            if job.keep:  # the next calls overwrite the outputs
                timed_answers.keep(open_cell, LATENCY, [session])
            if turns and not job.round % 2:
                turns.repeat(now, **apart)
            whole = measure.end_to_end(session, open_cell.inputs, now, **apart)
            device = measure.on_device(session, now, **apart)
    times = {"latency": single, "end_to_end": whole, "device": device}
    save_times(Path(job.samples.path), times)
    return TimedLatency(
        calls=len(single),
        p50_ns={kind: median(ns) for kind, ns in times.items() if len(ns)},
        noise=counts(),
        settled=_rest_after(state, job) and rested,
        by_array=turns.by_array(single) if turns else None,
    )


def save_times(path: Path, times: Mapping[str, Array]) -> None:
    """Write `times` to a new file at `path`, in place of an earlier attempt. No link is followed."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        np.savez(file, **times)  # type: ignore[arg-type]


def throughput(state: State, report: Reporter, job: TimeThroughput) -> TimedThroughput:
    """Measure one block of throughput with all lanes in flight, after a lead, and the noise over both."""
    open_cell, now = state.open_cells[job.key], state.clock.now_ns
    rested = rest_before(state, job.key)
    sessions = open_cell.lanes(job.concurrency)
    length = lanes.Length(least_ns=to_ns(job.block_ms), lead_ns=int(to_ns(job.block_ms) * LEAD_SHARE))
    with measure.quiet():
        wait_until(job.begin_ns, state.clock)
        with count_noise(state, open_cell.cell) as counts:
            begin_cpu_ns = state.clock.cpu_ns()
            rate = lanes.throughput(sessions, now, length)
            cpu_ns = state.clock.cpu_ns() - begin_cpu_ns
        if job.begin_ns:  # the workers of other GPUs may still count, and their load must not change
            lanes.throughput(sessions, now, lanes.Length(least_ns=length.lead_ns))
    if job.keep:
        timed_answers.keep(open_cell, THROUGHPUT, sessions)
    return TimedThroughput(rate=rate, noise=counts(), settled=_rest_after(state, job) and rested, cpu_ns=cpu_ns)


def rest_before(state: State, key: str) -> bool:
    """Wait until the threads of another cell than `key` are idle, where its visit did not; False if they never are."""
    spinning, state.spinning = state.spinning, ""
    return measure.settle(state.clock) if spinning not in ("", key) else True


def _rest_after(state: State, job: TimePart[Any]) -> bool:
    """Wait until the threads of the job's cell are idle, if it says so; False if they never are."""
    state.spinning = "" if job.rest else job.key
    return measure.settle(state.clock) if job.rest else True


def wait_until(begin_ns: int, clock: Clock) -> None:
    """Sleep until `begin_ns` of the monotonic clock; not at all for a time that is over."""
    left_s = -clock.since_s(begin_ns)
    if begin_ns and left_s > 0:
        clock.sleep_s(left_s)


@contextmanager
def count_noise(state: State, cell: Cell) -> Iterator[Callable[[], Counts]]:
    """Count disturbances inside the `with` block; the yielded function returns the counts after its end.

    On a GPU the counts include NVML's.
    """
    result: list[Counts] = []
    gpu = gpu_of(cell)
    # NVML runs outside the span of the CPU's counters, which would count its own calls.
    watched = None if gpu is None else state.gpu.watch(gpu)
    before = state.counters(state.clock)
    yield result.pop
    counts = procfs.growth(before, state.counters(state.clock))
    result.append(replace(counts, gpu=watched()) if watched else counts)


def gpu_of(cell: Cell) -> int | None:
    """CUDA's index of the cell's GPU; None for other devices."""
    device = Device.parse(cell.device)
    return device.index if device.kind == "cuda" else None


def to_ns(ms: float) -> int:
    """Nanoseconds of `ms` milliseconds."""
    return int(ms * 1e6)
