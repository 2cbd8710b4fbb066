"""Limits of a user for a column, such as `top1_drop=0.5` or `p99=10ms`, and the rows that break them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...axes import Scalar
from ...errors import BadInput
from ...spec import nearest
from .column import Column
from .columns import COLUMNS
from .findings import Finding, grouped
from .row import MEASURED
from .table import RowValues, Table, name_of

UNITS: Mapping[str, Mapping[str, float]] = {
    "ms": {"us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3},
    "s": {"ms": 1e-3, "s": 1},
    "MB": {"KB": 1e-3, "MB": 1, "GB": 1e3},
    "/s": {"/s": 1},
    "%": {"%": 1},
    "points": {"points": 1, "%": 1},
    "dB": {"dB": 1},
    "mJ": {"mJ": 1, "J": 1e3},
    "W": {"mW": 1e-3, "W": 1, "kW": 1e3},
    "MHz": {"MHz": 1, "GHz": 1e3},
    "°C": {"C": 1, "°C": 1},
    "x": {"x": 1},
    "cycles": {"cycles": 1},
}
NUMBER = re.compile(r"([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Limit for a column, in the column's unit: the largest accepted value if `most`, else the smallest."""

    column: Column
    limit: float
    most: bool
    text: str

    def holds(self, value: float) -> bool:
        """True if `value` is within the limit."""
        return value <= self.limit if self.most else value >= self.limit


def metrics() -> dict[str, Column]:
    """Columns that a condition may name, by their name with and without its unit. A name goes before one without a unit."""
    numbers = [column for column in COLUMNS if column.number]
    return {column.metric: column for column in numbers} | {column.name: column for column in numbers}


def parse(pairs: Sequence[tuple[str, str]], *, most: bool) -> list[Condition]:
    """Parse `pairs` of metric and limit. `BadInput` for an unknown metric, no number, or a unit that the metric lacks."""
    return [_parsed(name, text, most) for name, text in pairs]


def _parsed(name: str, text: str, most: bool) -> Condition:
    columns = metrics()
    if name not in columns:
        raise BadInput(f"{name!r} is not a metric", nearest(name, columns))
    column, parts = columns[name], NUMBER.fullmatch(text.strip())
    units = UNITS.get(column.unit, {})
    try:
        limit = float(parts[1]) * ({"": 1.0, **units}[parts[2]]) if parts else None
    except (ValueError, KeyError):  # the pattern accepts 1.2.3, and any unit
        limit = None
    if limit is None or not math.isfinite(limit):
        unit = column.unit if column.unit in units else ""
        raise BadInput(f"{text!r} is not a limit for {name}", f"give a number, such as {name}=1{unit}")
    return Condition(column=column, limit=limit, most=most, text=f"{'--max' if most else '--min'} {name}={text}")


def judged(table: Table, conditions: Sequence[Condition]) -> Table:
    """Add findings on the rows that break `conditions`, below the table and in its head for programs."""
    failed = [finding for condition in conditions for finding in broken(condition, table.rows)]
    unsure = undecided(conditions, table.rows)
    findings = (*table.findings, *failed, *unsure)
    texts = {"conditions": [condition.text for condition in conditions], "broken": [_line(finding) for finding in failed]}
    # the head has findings that are not below the rows (the INT8 doctor's), so the new ones join them
    head = {
        **table.head,
        "findings": [*table.head.get("findings", ()), *(finding.wire() for finding in (*failed, *unsure))],
        **texts,
    }
    return replace(table, findings=findings, head=head)


def _line(finding: Finding) -> str:
    return ": ".join((*finding.rows, finding.sentence))


def broken(condition: Condition, rows: Sequence[RowValues]) -> list[Finding]:
    """Findings on rows that break `condition`; a single finding if no row has the metric."""
    name, unit = condition.column.name, f" {condition.column.unit}".rstrip()
    measured = [row for row in rows if row["status"] in MEASURED]
    values = [(row, number) for row in measured if (number := _number(row[name])) is not None]
    if not values:
        return [Finding.of("limit_unknown", limit=condition.text, column=name)]
    wrong = [(_row_name(row, rows), number) for row, number in values if not condition.holds(number)]
    return [
        replace(Finding.of("limit_missed", limit=condition.text, column=name, value=number, unit=unit), rows=(row_name,))
        for row_name, number in wrong
    ]


def _row_name(row: RowValues, rows: Sequence[RowValues]) -> str:
    """Name of the row, with its model if the rows are of several models."""
    several = len({other["model"] for other in rows}) > 1
    return f"{row['model']} {name_of(row)}" if several else name_of(row)


def undecided(conditions: Sequence[Condition], rows: Sequence[RowValues]) -> list[Finding]:
    """Findings on rows whose drop of top-1 is within its limit while the end of its interval is not."""
    # only --max: a lower limit of the drop promises nothing about accuracy
    limits = [condition.limit for condition in conditions if condition.column.name == "top1_drop" and condition.most]
    unsure = []
    for row, limit in ((row, limit) for row in rows for limit in limits):
        drop, high = _number(row["top1_drop"]), _number(row["top1_drop_ci_high"])
        if drop is not None and high is not None and drop <= limit < high:
            values = {"limit": limit, "images": row["images"], "high": high}
            unsure.append((_row_name(row, rows), Finding.of("drop_unsure", **values)))
    return grouped(unsure)


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None
