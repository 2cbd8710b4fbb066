"""What the plots draw, as numbers: which rows, which figures of them, and what is left out. Pure, with NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..recommend.recommend import undominated
from ..stats.percentiles import percentile
from ..store.series import samples
from ..table.render import plain
from ..table.row import MEASURED, Row
from ..table.table import RowValues, name_of, target_of
from .data import Report

LINES, DOTS = 24, 500  # rows of a plot of rows, and points of a plot of points, at most
QUANTILES = (5, 25, 50, 75, 90, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row in a plot: where it stands (`x`, `y`), the ends of an interval (`low`, `high`), and whether it is `marked`."""

    name: str
    target: str
    precision: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A row's latencies in ms by quantile; without those that its samples cannot carry."""

    name: str
    target: str
    precision: str
    quantiles: Mapping[int, float]


def spreads(report: Report) -> tuple[list[Spread], int]:
    """The LINES rows with the lowest p50, the fastest first, and how many rows there are."""
    rows = sorted(_good(report), key=lambda line: float(line[1]["p50_ms"] or 0))
    return [_spread(row, cells, _name(cells, report)) for row, cells in rows[:LINES]], len(rows)


def _spread(row: Row, cells: RowValues, name: str) -> Spread:
    calls = samples(row.record, "latency")
    found = {which: percentile(calls, which) for which in QUANTILES}
    known = {which: value / 1e6 for which, value in found.items() if value is not None}
    return Spread(name=name, target=_target(cells), precision=str(cells["precision"]), quantiles=known)


def frontier(report: Report) -> list[Point]:
    """p50 (ms) and throughput (items a second) of every ok row; marked are the rows of a model that no other one of it beats
    in one of the two and equals in the other."""
    rows = [cells for _, cells in _good(report) if cells["throughput_per_s"]]
    found = [_point(cells, report, float(cells["p50_ms"] or 0), float(cells["throughput_per_s"] or 0)) for cells in rows]
    models: dict[object, list[int]] = {}
    for index, cells in enumerate(rows):
        models.setdefault(cells["model"], []).append(index)
    best: set[int] = set()
    for own in models.values():
        best |= {own[place] for place in undominated([(-found[index].x, found[index].y) for index in own])}
    return [replace(point, marked=index in best) for index, point in enumerate(found)]


def accuracy(report: Report, metric: str) -> list[Point]:
    """`metric` (top1_drop with its interval, or sqnr_db) by precision, the same one of a target once; `x` is 0."""
    rows = [cells for cells in report.table.rows if cells["status"] in MEASURED and _number(cells[metric]) is not None]
    found: dict[tuple[object, ...], Point] = {}
    for cells in rows:
        low, high = (_number(cells.get(f"{metric}_ci_{end}")) for end in ("low", "high"))
        point = replace(_point(cells, report, 0.0, float(cells[metric] or 0)), low=low, high=high)
        found.setdefault((cells["model"], point.target, point.precision, point.y), point)
    return list(found.values())


def speedups(report: Report) -> tuple[list[Point], int]:
    """The LINES rows with the largest speed-up over the baseline (`x`), the largest first, and how many there are of others
    than the baseline's own."""
    rows = [
        cells
        for row, cells in report.measured
        if cells["status"] == "ok" and cells["speedup"] is not None and row.base is not row.record
    ]
    found = [
        replace(
            _point(cells, report, float(cells["speedup"] or 0), 0.0),
            low=_number(cells["speedup_ci_low"]),
            high=_number(cells["speedup_ci_high"]),
        )
        for cells in rows
    ]
    return sorted(found, key=lambda point: -point.x)[:LINES], len(found)


def thinned(points: Sequence[Point]) -> list[Point]:
    """All marked `points`, and of the others so many, evenly taken in the order of x, that DOTS are left."""
    if len(points) <= DOTS:
        return list(points)
    marked = [point for point in points if point.marked]
    others = sorted((point for point in points if not point.marked), key=lambda point: point.x)
    room = max(1, DOTS - len(marked))
    return [*marked, *(others[index * len(others) // room] for index in range(min(room, len(others))))]


def _good(report: Report) -> list[tuple[Row, RowValues]]:
    """Rows that are ok, have a p50 and are no instruments."""
    return [
        (row, cells) for row, cells in report.measured if cells["status"] == "ok" and cells["p50_ms"] and not row.instrument
    ]


def _point(cells: RowValues, report: Report, x: float, y: float) -> Point:
    return Point(name=_name(cells, report), target=_target(cells), precision=str(cells["precision"]), x=x, y=y)


def _name(cells: RowValues, report: Report) -> str:
    """A row's name, with its model where that is a column."""
    several = any(field.name == "model" for field in report.table.fields)
    return plain(f"{cells['model']} {name_of(cells)}" if several else name_of(cells))


def _target(cells: RowValues) -> str:
    return plain(str(target_of(cells)))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
