"""What a GPU did while a cell was measured, over the rounds that count, from what NVML told of each part of a visit. Pure."""

from __future__ import annotations

from statistics import median

from ...evidence import GpuCounts
from ..store.noise import POWER_CAP
from ..store.record import CellRecord
from ..store.series import counted, disturbed

PARTS = ("latency", "throughput")


def clock_mhz(record: CellRecord) -> float | None:
    """The median clock of the multiprocessors at the end of each part of a visit."""
    known = _levels(record, "sm_mhz")
    return float(median(known)) if known else None


def temperature_c(record: CellRecord) -> float | None:
    """The highest temperature at the end of any part of a visit."""
    return max(_levels(record, "temperature_c"), default=None)


def at_power_limit(record: CellRecord) -> bool:
    """Whether the board's power limit held the clocks down in most rounds: how a heavy load runs, and no disturbance."""
    rounds = _rounds(record)
    held = [any(POWER_CAP in (counts.throttle or ()) for counts in parts.values()) for parts in rounds]
    return sum(held) * 2 > len(rounds)


def untold(record: CellRecord) -> list[str]:
    """Why evidence is missing: the first reason in the rounds, and that of the energy, each once; nothing for a cell that
    has all of it, and for one that ran on no GPU."""
    reasons = [counts.reason for part in PARTS for counts in _told(record, part) if counts.reason]
    energy = [record.energy.reason] if record.energy and record.energy.reason else []
    return list(dict.fromkeys([*reasons[:1], *energy]))


def _levels(record: CellRecord, name: str) -> list[float]:
    found = [getattr(counts, name) for part in PARTS for counts in _told(record, part)]
    return [float(level) for level in found if level is not None]


def _told(record: CellRecord, part: str) -> list[GpuCounts]:
    """What NVML told of one part of each visit that counts."""
    return [parts[part] for parts in _rounds(record) if part in parts]


def _rounds(record: CellRecord) -> list[dict[str, GpuCounts]]:
    """What NVML told, by part, in each round that counts."""
    if record.cell.device == "cpu":
        return []
    noises = [record.blocks[number].noise for number in counted(record.blocks, disturbed(record))]
    return [{part: gpu for part in PARTS if (gpu := getattr(noise, part).gpu)} for noise in noises]
