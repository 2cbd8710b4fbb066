"""Metrics that `bench compare` compares, from the declarations of the columns, and changes too small to matter. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..table.column import ACCURACY, LOAD, MEMORY, MORE, TIME, Column
from ..table.columns import COLUMNS

THRESHOLD, POINTS = 0.05, 1.0
"""Changes too small to matter, unless --fail-on names another: a share of a figure, and percentage points of accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A column that is compared.

    `name`: the column without its unit. `words`: verdicts of a better and of a worse figure. `scale`: factor from the stored
    figure to `unit`.
    """

    name: str
    column: str
    unit: str
    kind: str
    scale: float = 1.0
    more_is_better: bool = False
    words: tuple[str, str] = ("faster", "slower")

    @property
    def in_points(self) -> bool:
        """True if the metric is compared by a difference, and not by a ratio."""
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
    column.metric: _metric(column) for kind in (TIME, LOAD, MEMORY, ACCURACY) for column in COLUMNS if column.compared == kind
}


def limit_text(limit: float, metric: Metric) -> str:
    """Text of a limit in the unit of its metric: `5 %` or `0.3 points`."""
    return f"{limit:g} points" if metric.in_points else f"{100 * limit:g} %"
