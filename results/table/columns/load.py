"""Columns of items that arrive at random, and the summary of a row: its grade and its notes. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ....axes import Scalar
from .. import load
from ..column import ARRIVALS, LOAD, MORE, RANKING_VIEW, TAG_VIEW, Column, timed
from ..findings import Finding
from ..row import Row


def _slo(row: Row) -> Scalar:
    limit = load.limit_of(row.record, row.sweep)
    return None if limit is None else f"p{limit.percentile:g} <= {limit.limit_ms:g} ms, {limit.arrivals} arrivals"


def _slo_rate(row: Row) -> Scalar:
    return row.sustained.rate_per_s if row.sustained else None


def _bound(end: str) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        bounds = row.sustained.interval if row.sustained else None
        return float(getattr(bounds, end)) if bounds else None

    return value


def _no_bound(end: str) -> Callable[[Row], Finding]:
    """Reason for a missing end: no load, or too few passes."""
    name = f"slo_rate_ci_{end}_per_s"
    return lambda row: Finding.of("absent_passes", column=name) if row.record.load else _no_load(name)(row)


def _no_load(name: str) -> Callable[[Row], Finding]:
    """Return a function for the reason why a figure under load is missing."""

    def why(row: Row) -> Finding:
        is_replicated = row.record.cell != row.record.cell.alone
        return Finding.of("absent_load_on_gpus" if is_replicated else "absent_load", column=name)

    return why


def _slo_settings(row: Row) -> Scalar:
    # a cell that misses the limit at every rate has a curve, and no settings to recommend
    return row.sustained.load_curve.deploy if row.sustained and row.sustained.capacity.rate_per_s else None


def _notes(row: Row) -> Scalar:
    return "; ".join(finding.sentence for finding in row.findings) or None


COLUMNS = (
    timed(
        "slo",
        _slo,
        varies=True,
        number=False,
        label="under load",
        priority=35,
        absent=_no_load("slo"),
        definition="Limit of latency for items that arrive at random (--load, --slo).",
    ),
    timed(
        "slo_rate_per_s",
        _slo_rate,
        unit="/s",
        title="rate under load",
        priority=16,
        better=MORE,
        compared=LOAD,
        objective="slo_rate",
        in_flight=ARRIVALS,
        absent=_no_load("slo_rate_per_s"),
        definition="Highest rate of arrivals whose responses keep the limit.",
    ),
    timed(
        "slo_settings",
        _slo_settings,
        shown=False,
        number=False,
        absent=_no_load("slo_settings"),
        definition="The runtime's own settings that give the rate under load.",
    ),
    timed(
        "grade",
        lambda row: row.trust[0],
        number=False,
        priority=13,
        views=(RANKING_VIEW, TAG_VIEW),
        definition="Trust in the row's figures: A keeps every requirement, B misses one, C misses more or has too few rounds.",
    ),
    Column(
        name="notes",
        value=_notes,
        number=False,
        shown=False,
        views=(TAG_VIEW,),
        definition="Sentences of the row's findings.",
    ),
)
BOUNDS = tuple(
    timed(
        f"slo_rate_ci_{end}_per_s",
        _bound(end),
        unit="/s",
        shown=False,
        absent=_no_bound(end),
        definition=f"{side} end of the 95 % confidence interval of the rate under load, from its passes.",
    )
    for end, side in (("low", "Lower"), ("high", "Upper"))
)
