"""What two sides of runs are compared by: each metric's column, its verdicts, and what is too little to matter. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..store.series import MEDIANS

THRESHOLD, POINTS = 0.05, 1.0
"""What is too little to matter where nobody says it: a share of a figure, and percentage points of accuracy."""


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
        """Whether it is compared by a difference, and not by a ratio."""
        return self.kind == "accuracy"


def _memory(name: str) -> Metric:
    return Metric(name=name, column=f"{name}_mb", unit="MB", kind="memory", words=("better", "worse"))


def _accuracy(name: str, **how: bool) -> Metric:
    unit = "points" if name == "top1_drop" else "%"
    return Metric(name=name, column=name, unit=unit, kind="accuracy", words=("better", "worse"), **how)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(Metric(name=name, column=f"{name}_ms", unit="ms", kind="time", scale=1e-6) for name in MEDIANS),
        Metric(name="throughput", column="throughput_per_s", unit="/s", kind="time", more_is_better=True),
        *(_memory(name) for name in ("peak_rss", "device_mem")),
        _accuracy("top1_drop"),
        _accuracy("top1", more_is_better=True),
    )
}


def told(limit: float, metric: Metric) -> str:
    """A limit in the words of its metric: `5 %` or `0.3 points`."""
    return f"{limit:g} points" if metric.in_points else f"{100 * limit:g} %"
