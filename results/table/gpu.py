"""Clock, temperature and power limit of a GPU during a measurement, from NVML's reports in the rounds that count. Pure."""

from __future__ import annotations

from statistics import median

from ...evidence import GpuCounts
from ..store.clocks import CPU
from ..store.noise import POWER_CAP
from ..store.record import CellRecord
from ..store.series import counted

PARTS = ("latency", "throughput")


def clock_mhz(record: CellRecord) -> float | None:
    """Median clock of the multiprocessors in MHz, at the end of each part of a visit."""
    clocks = _levels(record, "sm_mhz")
    return float(median(clocks)) if clocks else None


def temperature_c(record: CellRecord) -> float | None:
    """Highest temperature in °C at the end of any part of a visit."""
    return max(_levels(record, "temperature_c"), default=None)


def at_power_limit(record: CellRecord) -> bool:
    """True if the board's power limit lowered the clocks in most rounds."""
    # a heavy load always runs at the power limit, so the limit is no disturbance of a block
    rounds = _rounds(record)
    limited = [any(POWER_CAP in (counts.throttle or ()) for counts in parts.values()) for parts in rounds]
    return sum(limited) * 2 > len(rounds)


def dropped(record: CellRecord) -> int | None:
    """Number of measurements that were dropped because of throttled clocks; None if NVML reports no causes of them, and for a
    cell on the CPU."""
    if record.cell.device == CPU:
        return None
    blocks = record.blocks.values()
    parts = [counts for block in blocks for counts in (block.noise.latency, block.noise.throughput) if counts]
    seen = any(counts.gpu and counts.gpu.throttle is not None for counts in parts)
    return sum(block.throttled for block in blocks) if seen else None


def missing_evidence(record: CellRecord) -> list[str]:
    """Distinct reasons for missing evidence: the first one in the rounds, and that of the energy. Empty without a GPU."""
    reasons = [counts.reason for part in PARTS for counts in _counts(record, part) if counts.reason]
    on_gpu = record.cell.device != CPU
    energy = [record.energy.reason] if on_gpu and record.energy and record.energy.reason else []
    return list(dict.fromkeys([*reasons[:1], *energy]))


def _levels(record: CellRecord, name: str) -> list[float]:
    levels = [getattr(counts, name) for part in PARTS for counts in _counts(record, part)]
    return [float(level) for level in levels if level is not None]


def _counts(record: CellRecord, part: str) -> list[GpuCounts]:
    """NVML's reports on one part of each visit that counts."""
    return [parts[part] for parts in _rounds(record) if part in parts]


def _rounds(record: CellRecord) -> list[dict[str, GpuCounts]]:
    """NVML's reports by part, in each round that counts; none for a cell on the CPU."""
    if record.cell.device == CPU:
        return []
    noises = [record.blocks[number].noise for number in counted(record)]
    return [{part: counts.gpu for part, counts in noise.parts.items() if counts.gpu} for noise in noises]
