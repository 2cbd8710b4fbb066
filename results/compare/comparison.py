"""A comparison as a table: one row for each metric of each cell, for any format. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...axes import AXES, Scalar, values
from ..store.head import SCHEMA
from ..table.column import Field
from ..table.columns import BY_NAME
from ..table.findings import Finding, sentences
from ..table.table import RowValues, Table
from .compare import PROCESS, Change, Sides

RATIO: dict[str, Any] = {"decimals": 3}
POINTS: dict[str, Any] = {"decimals": 2, "unit": "points"}
FIELDS: tuple[Field, ...] = (
    *(BY_NAME[name] for name in AXES),
    Field(name="options", number=False, priority=3, definition="Options of the runtime."),
    Field(name="metric", number=False, priority=0, definition="Column that is compared."),
    Field(name="unit", number=False, priority=9, definition="Unit of base and new."),
    Field(name="base", priority=5, definition="Figure of the base side."),
    Field(name="new", priority=5, definition="Figure of the new side."),
    Field(
        name="ratio",
        title="new/base",
        priority=2,
        definition="New over base, divided by the control's where there is one.",
        **RATIO,
    ),
    Field(name="ratio_ci_low", title="from", priority=4, definition="Lower end of the ratio's 95 % interval.", **RATIO),
    Field(name="ratio_ci_high", title="to", priority=4, definition="Upper end of the ratio's 95 % interval.", **RATIO),
    Field(name="change_points", title="new-base", priority=6, definition="New minus base, for accuracy.", **POINTS),
    Field(name="change_ci_low_points", title="from", priority=7, definition="Lower end of its 95 % interval.", **POINTS),
    Field(name="change_ci_high_points", title="to", priority=7, definition="Upper end of its 95 % interval.", **POINTS),
    Field(name="method", number=False, priority=10, definition="What the interval rests on: runs, one run, or samples."),
    Field(name="verdict", number=False, priority=1, definition="Conclusion, corrected for the number of changes (Holm)."),
    Field(name="reason", number=False, priority=8, definition="Reason for a verdict that is inconclusive."),
)
NAMES = tuple(field.name for field in FIELDS)
VARYING = (*AXES, "options", "method", "reason")  # people are shown those that differ between rows
DRIFT = (
    "one run a side and no control: drift between the runs is not known;"
    f" intervals allow {PROCESS:.0%} for two processes, and no more"
)


def tabulate(sides: Sides, changes: Sequence[Change], remarks: Sequence[Finding]) -> Table:
    """All `changes`; what differs between the sides above them, and below what could not be compared, and `remarks`."""
    rows = [_row(finding) for finding in changes]
    return Table(
        names=NAMES,
        rows=tuple(rows),
        fields=tuple(field for field in FIELDS if _stands(field.name, rows)),
        facts=tuple(facts(sides, changes)),
        findings=(*sides.match.left, *remarks),
        head={
            "schema": SCHEMA,
            "changed": sentences(sides.match.changed),
            "not_compared": sentences(sides.match.left),
            "control": sides.control,
            "remarks": sentences(remarks),
            "findings": [finding.wire() for finding in (*sides.match.changed, *sides.match.left, *remarks)],
        },
    )


def facts(sides: Sides, changes: Sequence[Change]) -> list[str]:
    """What differs between the sides, and what the intervals do not know."""
    alone = any(item.ends and item.method == "one run" and item.metric.kind == "time" for item in changes)
    control = [f"timings are over those of the control {sides.control}"] if sides.control else []
    return [
        *sentences(sides.match.changed),
        *control,
        *([DRIFT] if alone and sides.match.same_host else []),
    ]


def _row(found: Change) -> RowValues:
    cell, points = found.pair.cell, found.metric.in_points
    low, high = found.ends or (None, None)
    ratio, change = ((None,) * 3, (found.change, low, high)) if points else ((found.change, low, high), (None,) * 3)
    row: tuple[Scalar, ...] = (
        *values(cell).values(),
        " ".join(f"{name}={value}" for name, value in cell.settings.options) or None,
        *(found.metric.column, found.metric.unit, found.base, found.new),
        *ratio,
        *change,
        *(found.method or None, found.verdict, found.reason or None),
    )
    return dict(zip(NAMES, row, strict=True))


def _stands(name: str, rows: Sequence[RowValues]) -> bool:
    """True if people are shown a column: axes that vary, and figures that some row has."""
    if name in VARYING and name != "backend":
        return len({row[name] for row in rows}) > 1
    return any(row[name] is not None for row in rows)
