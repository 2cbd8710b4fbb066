"""Metrics by which two sides of runs are compared, from the columns that say so; and changes too small to matter. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..table.column import ACCURACY, MEMORY, MORE, TIME, Column
from ..table.columns import COLUMNS

THRESHOLD, POINTS = 0.05, 1.0
"""Changes too small to matter, unless --fail-on says otherwise: a share of a figure, and percentage points of accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A column that is compared. `name`: without its unit. `words`: the verdicts for better and worse. `scale`: from what is
    stored to its unit."""

    name: str
    column: str
    unit: str
    kind: str
    scale: float = 1.0
    more_is_better: bool = False
    words: tuple[str, str] = ("faster", "slower")

    @property
    def in_points(self) -> bool:
        """True if it is compared by a difference, and not by a ratio."""
        return self.kind == ACCURACY


def _metric(column: Column) -> Metric:
    ns = column.compared == TIME and column.unit == "ms"  # rounds are stored in ns
    return Metric(
        name=column.metric,
        column=column.name,
        unit=column.unit,
        kind=column.compared,
        scale=1e-6 if ns else 1.0,
        more_is_better=column.better == MORE,
        words=("faster", "slower") if column.compared == TIME else ("better", "worse"),
    )


COMPARED: Mapping[str, Metric] = {
    column.metric: _metric(column) for kind in (TIME, MEMORY, ACCURACY) for column in COLUMNS if column.compared == kind
}


def told(limit: float, metric: Metric) -> str:
    """A limit in the words of its metric: `5 %` or `0.3 points`."""
    return f"{limit:g} points" if metric.in_points else f"{100 * limit:g} %"
