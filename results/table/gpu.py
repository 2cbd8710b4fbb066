"""What a GPU did while a cell was measured, over the rounds that count, from what NVML told of each part of a visit. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from ..store.noise import POWER_CAP
from ..store.record import CellRecord
from ..store.series import counted, disturbed

PARTS = ("latency", "throughput")

Counts = Mapping[str, Any]


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
    held = [any(POWER_CAP in (counts.get("throttle") or ()) for counts in parts.values()) for parts in rounds]
    return sum(held) * 2 > len(rounds)


def untold(record: CellRecord) -> list[str]:
    """Why evidence is missing: the first reason in the rounds, and that of the energy, each once; nothing for a cell that
    has all of it, and for one that ran on no GPU."""
    reasons = [str(counts["reason"]) for part in PARTS for counts in _told(record, part) if counts.get("reason")]
    energy = [str(record.energy["reason"])] if record.energy and record.energy.get("reason") else []
    return list(dict.fromkeys([*reasons[:1], *energy]))


def _levels(record: CellRecord, name: str) -> list[float]:
    found = [counts.get(name) for part in PARTS for counts in _told(record, part)]
    return [float(level) for level in found if level is not None]


def _told(record: CellRecord, part: str) -> list[Counts]:
    """What NVML told of one part of each visit that counts."""
    return [parts[part] for parts in _rounds(record) if part in parts]


def _rounds(record: CellRecord) -> list[dict[str, Counts]]:
    """What NVML told, by part, in each round that counts."""
    if record.cell.device == "cpu":
        return []
    noises = [record.blocks[number].get("noise", {}) for number in counted(record.blocks, disturbed(record))]
    return [
        {part: noise[part]["gpu"] for part in PARTS if isinstance(noise.get(part), Mapping) and noise[part].get("gpu")}
        for noise in noises
    ]
