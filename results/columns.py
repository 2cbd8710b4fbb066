"""What each column of the table is: its name, its unit, its digits, and how it is computed. Declared here, once.

Names only grow: people script against them. A value that does not apply is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..spec import PRECISIONS
from .record import CellRecord
from .stats import percentile, samples_needed, speed_up

Value = str | int | float | None

FIGURES = ("ok", "mismatch")
NOTED_PERCENTILES = (50, 90, 99)
STEAL_NOTE_TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a column's figure is computed from: a cell's record, its baseline's, and how many rounds were planned."""

    record: CellRecord
    base: CellRecord | None
    host: str
    rounds: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """`measured` columns are None unless the row's status has figures.

    In the table for people stand columns that are `shown`, or that `vary` and do so; what is the same in all rows is
    said once above it.
    """

    name: str
    value: Callable[[Row], Value]
    unit: str = ""
    digits: int = 3
    title: str = ""
    measured: bool = True
    shown: bool = True
    varies: bool = False

    def of(self, row: Row) -> Value:
        """This column's value in `row`."""
        return None if self.measured and row.record.status not in FIGURES else self.value(row)


def _axis(name: str, value: Callable[[Row], Value]) -> Column:
    return Column(name=name, value=value, measured=False, varies=True)


def _from(part: str, name: str) -> Callable[[Row], Value]:
    """A value as it was stored in one part of the record."""

    def value(row: Row) -> Value:
        stored: Value = (getattr(row.record, part) or {}).get(name)
        return stored

    return value


def _info(name: str) -> Callable[[Row], Value]:
    def value(row: Row) -> Value:
        stored: Any = (row.record.opened or {}).get("info", {}).get(name)
        if isinstance(stored, dict):
            return " ".join(f"{option}={setting}" for option, setting in stored.items())
        return None if stored is None else str(stored)

    return value


def _percentile(kind: str, which: float) -> Callable[[Row], Value]:
    def value(row: Row) -> Value:
        found = percentile(getattr(row.record, kind), which)
        return None if found is None else found / 1e6

    return value


def _throughput(row: Row) -> Value:
    rates = [block["throughput"] for block in row.record.blocks.values()]
    calls, took_ns = sum(rate["calls"] for rate in rates), sum(rate["took_ns"] for rate in rates)
    return float(row.record.cell.batch * calls / took_ns * 1e9)


def _speedup(row: Row) -> Value:
    """Over the rounds that both measured."""
    if row.base is None or row.base.status not in FIGURES:
        return None
    both = sorted(set(row.base.rounds) & set(row.record.rounds))
    base, new = ([float(np.median(record.rounds[number])) for number in both] for record in (row.base, row.record))
    return speed_up(base, new)


def _notes(row: Row) -> Value:
    """What a reader should know before trusting the row."""
    record, notes = row.record, []
    if row.rounds and len(record.blocks) < row.rounds:
        notes.append(f"measured in {len(record.blocks)} of {row.rounds} rounds")
    if record.warm and not record.warm["stationary"]:
        notes.append("latency was still changing when the warm-up ended")
    for which in NOTED_PERCENTILES:
        if len(record.samples) < samples_needed(which):
            notes.append(f"p{which} withheld: fewer than {samples_needed(which)} samples")
    executed = str(_info("executed")(row) or "")
    if set(executed.split("+")) & set(PRECISIONS) - {record.cell.precision}:
        notes.append(f"{record.cell.precision} was asked for and {executed} ran")
    if not all(block.get("settled", True) for block in record.blocks.values()):
        notes.append("its threads were still busy while others were measured")
    if sum(block["noise"]["steal_ticks"] for block in record.blocks.values()) > STEAL_NOTE_TICKS:
        notes.append("the hypervisor took CPU time away while it ran")
    return "; ".join(notes) or None


def _nothing(_: Row) -> Value:
    return None


def _unfilled(name: str, unit: str = "") -> Column:
    """A column of the contract that nothing measures yet."""
    return Column(name=name, value=_nothing, unit=unit)


COLUMNS: tuple[Column, ...] = (
    _axis("host", lambda row: row.host),
    _axis("model", lambda row: row.record.cell.model),
    Column(name="backend", value=lambda row: row.record.cell.backend, measured=False),
    _axis("device", lambda row: row.record.cell.device),
    _axis("precision", lambda row: row.record.cell.precision),
    Column(name="batch", value=lambda row: row.record.cell.batch, measured=False),
    _axis("status", lambda row: row.record.status),
    Column(name="reason", value=lambda row: row.record.reason, measured=False, shown=False),
    Column(name="executed", value=_info("executed"), varies=True),
    Column(name="placement", value=_info("placement"), shown=False),
    Column(name="settings", value=_info("settings"), shown=False),
    Column(name="p50_ms", value=_percentile("samples", 50), unit="ms", title="p50"),
    _unfilled("p50_ci_low_ms", "ms"),
    _unfilled("p50_ci_high_ms", "ms"),
    Column(name="p90_ms", value=_percentile("samples", 90), unit="ms", title="p90"),
    Column(name="p99_ms", value=_percentile("samples", 99), unit="ms", title="p99"),
    Column(name="samples", value=lambda row: len(row.record.samples), shown=False),
    Column(name="e2e_p50_ms", value=_percentile("end_to_end", 50), unit="ms", title="e2e p50"),
    _unfilled("device_p50_ms", "ms"),
    Column(name="throughput_per_s", value=_throughput, unit="/s", title="throughput"),
    Column(name="lanes", value=_from("warm", "lanes"), varies=True),
    Column(name="throughput_threads", value=lambda row: row.record.cell.settings.threads, shown=False),
    Column(name="threads", value=lambda row: row.record.cell.settings.threads, measured=False, varies=True),
    Column(name="speedup", value=_speedup, unit="x", title="speed-up"),
    _unfilled("speedup_ci_low", "x"),
    _unfilled("speedup_ci_high", "x"),
    Column(name="build_s", value=_from("opened", "build_s"), unit="s", title="build"),
    Column(name="load_s", value=_from("opened", "load_s"), unit="s", title="load"),
    Column(name="first_ms", value=_from("opened", "first_ms"), unit="ms", title="first"),
    Column(name="top1", value=_from("parity", "top1"), unit="%", varies=True),
    Column(name="top1_drop", value=_from("parity", "top1_drop"), unit="points", title="drop", varies=True),
    Column(name="agreement", value=_from("parity", "agreement"), unit="%", shown=False),
    Column(name="sqnr_db", value=_from("parity", "sqnr_db"), unit="dB", title="SQNR"),
    Column(name="max_abs_err", value=_from("parity", "max_abs_err"), shown=False),
    Column(name="rel_err", value=_from("parity", "rel_err"), shown=False),
    _unfilled("peak_rss_mb", "MB"),
    _unfilled("device_mem_mb", "MB"),
    Column(name="artifact_mb", value=_from("opened", "artifact_mb"), unit="MB", title="file", varies=True),
    _unfilled("energy_mj", "mJ"),
    _unfilled("slo_rate_per_s", "/s"),
    _unfilled("grade"),
    Column(name="notes", value=_notes, shown=False),
)
