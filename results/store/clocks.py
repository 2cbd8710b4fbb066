"""Clock of a GPU in each round, and durations in its cycles: time x clock. Pure.

A latency block follows untimed calls, and its clock is the mean of the readings before and after it. Before a throughput block
the GPU is idle, and its clock is the reading after it. Transfers do not depend on the clock, so only the parts of a call that
compute have the same number of cycles at every clock.
"""

from __future__ import annotations

from statistics import fmean, median

from ...evidence import Block
from ..stats.intervals import Repeated
from . import series
from .record import CellRecord

LATENCY, THROUGHPUT = "latency", "throughput"
METRICS = ("p50", "e2e_p50", THROUGHPUT)
CPU = "cpu"
MHZ = 1e6
CYCLES_PER_NS = 1e-3  # at 1 MHz


def block_mhz(block: Block, part: str) -> float | None:
    """Clock in MHz of one part of a block; None on a CPU, and where NVML does not report it."""
    counts = block.noise.latency if part == LATENCY else block.noise.throughput
    gpu = counts and counts.gpu
    readings = [gpu.sm_mhz, gpu.sm_begin_mhz if part == LATENCY else None] if gpu else []
    present = [mhz for mhz in readings if mhz]
    return fmean(present) if present else None


def record_mhz(record: CellRecord, part: str = LATENCY) -> float | None:
    """Median clock in MHz over the rounds that count and have one; None without any."""
    clocks = [mhz for number in series.counted(record) if (mhz := block_mhz(record.blocks[number], part))]
    return median(clocks) if clocks else None


def _clocks(record: CellRecord, part: str, other: CellRecord | None = None) -> dict[int, float]:
    """Clock in MHz by round that counts; empty if one of them has none."""
    metric = THROUGHPUT if part == THROUGHPUT else "p50"
    clocks: dict[int, float] = {}
    for number in series.counted(record, other, metric):
        mhz = block_mhz(record.blocks[number], part)
        if not mhz:
            return {}
        clocks[number] = mhz
    return clocks


def cycles(record: CellRecord, metric: str) -> Repeated:
    """Figure of `metric` in cycles, for each life or round: cycles a call, or items a cycle for the throughput.

    Empty where a round that counts has no clock.
    """
    return series.by_life(_cycles(record, metric), record)


def ratios(base: CellRecord, new: CellRecord) -> Repeated:
    """Speed-up of `new` over `base` by the cycles of p50, paired as in time; empty where a round that counts has no clock."""
    of_base, of_new = _cycles(base, "p50", new), _cycles(new, "p50", base)
    paired = {number: of_base[number] / of_new[number] for number in of_base if number in of_new}
    return series.by_life(paired, base, new)


def _cycles(record: CellRecord, metric: str, other: CellRecord | None = None) -> dict[int, float]:
    """Figure of `metric` in cycles by round; empty on the CPU. `other`: a second record that must have the rounds too."""
    if record.cell.device == CPU:
        return {}
    value_of, part = series.ROUND_METRICS[metric], THROUGHPUT if metric == THROUGHPUT else LATENCY
    figures = {number: (value_of(record, number), mhz) for number, mhz in _clocks(record, part, other).items()}
    if part == THROUGHPUT:
        return {number: rate / (mhz * MHZ) for number, (rate, mhz) in figures.items()}
    return {number: ns * mhz * CYCLES_PER_NS for number, (ns, mhz) in figures.items()}
