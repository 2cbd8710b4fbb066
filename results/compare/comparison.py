"""A comparison as a table: one row for each metric of each cell, for any format. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...axes import AXES, Scalar, values
from ..store.head import SCHEMA
from ..table.findings import Finding, sentences
from ..table.table import Cells, Field, Table
from .compare import PROCESS, Change, Sides

NAMES = (
    *(*AXES, "options"),
    *("metric", "unit", "base", "new", "ratio", "ratio_ci_low", "ratio_ci_high"),
    *("change_points", "change_ci_low_points", "change_ci_high_points", "method", "verdict", "reason"),
)
VARYING = (*AXES, "options", "method", "reason")  # of which people are shown those that differ between rows
TITLES = {
    **{"ratio": "new/base", "ratio_ci_low": "from", "ratio_ci_high": "to"},
    **{"change_points": "new-base points", "change_ci_low_points": "from", "change_ci_high_points": "to"},
}
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
        fields=tuple(Field(name=n, title=TITLES.get(n, n), decimals=_decimals(n)) for n in NAMES if _stands(n, rows)),
        facts=tuple(facts(sides, changes)),
        remarks=tuple(sentences((*sides.match.left, *remarks))),
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


def _row(found: Change) -> Cells:
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


def _stands(name: str, rows: Sequence[Cells]) -> bool:
    """Whether people are shown a column: what varies, and figures that some row has."""
    if name in VARYING and name != "backend":
        return len({row[name] for row in rows}) > 1
    return any(row[name] is not None for row in rows)


def _decimals(name: str) -> int | None:
    return 3 if name.startswith("ratio") else 2 if name.startswith("change") else None
