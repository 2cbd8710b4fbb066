"""What a GPU did while a cell was measured, over the rounds that count, from what NVML told of each part of a visit. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from .record import CellRecord
from .series import counted, disturbed

PARTS = ("latency", "throughput")

Counts = Mapping[str, Any]


def power_w(record: CellRecord) -> float | None:
    """Mean power of the whole board over the throughput blocks, idle power included.

    The energy of all rounds over their time, since the counter is renewed every 20 to 100 ms, as long as one block is. None
    where no round has a counter, or where it stood still.
    """
    known = [counts for counts in _told(record, "throughput") if counts.get("energy_mj") is not None]
    energy_mj, wall_ns = sum(counts["energy_mj"] for counts in known), sum(counts["wall_ns"] for counts in known)
    return energy_mj / wall_ns * 1e6 if energy_mj and wall_ns else None


def clock_mhz(record: CellRecord) -> float | None:
    """The median clock of the multiprocessors at the end of each part of a visit."""
    known = _levels(record, "sm_mhz")
    return float(median(known)) if known else None


def temperature_c(record: CellRecord) -> float | None:
    """The highest temperature at the end of any part of a visit."""
    return max(_levels(record, "temperature_c"), default=None)


def untold(record: CellRecord) -> str | None:
    """Why some of the evidence is missing; None for a cell that has all of it, and for one that ran on no GPU."""
    reasons = (counts.get("reason") for part in PARTS for counts in _told(record, part))
    return next((str(reason) for reason in reasons if reason), None)


def _levels(record: CellRecord, name: str) -> list[float]:
    found = [counts.get(name) for part in PARTS for counts in _told(record, part)]
    return [float(level) for level in found if level is not None]


def _told(record: CellRecord, part: str) -> list[Counts]:
    """What NVML told of one part of each visit that counts."""
    noises = [record.blocks[number].get("noise", {}).get(part, {}) for number in counted(record.blocks, disturbed(record))]
    return [noise["gpu"] for noise in noises if isinstance(noise, Mapping) and noise.get("gpu")]
