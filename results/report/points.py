"""Data of the plots: rows, their figures, and the numbers of rows that a plot leaves out. Pure, with NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..recommend.recommend import undominated
from ..stats.percentiles import percentile
from ..store.series import samples
from ..table.render import bare_paths, plain
from ..table.row import MEASURED, Row
from ..table.table import RowValues, name_of, target_of
from .data import Report, compute_once

LINES, DOTS = 24, 250  # rows of a plot of rows, and points of a plot of points, at most
QUANTILES = (5, 25, 50, 75, 90, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row in a plot: its position (`x`, `y`), and the ends of an interval (`low`, `high`). A `marked` point is ringed."""

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
    """A row's latencies in ms by quantile, without the quantiles for which the row has too few samples."""

    name: str
    target: str
    precision: str
    quantiles: Mapping[int, float]


@compute_once
def spreads(report: Report) -> tuple[list[Spread], int]:
    """The LINES rows with the lowest p50, the fastest first, and the number of all rows."""
    rows = sorted(_good(report), key=lambda line: float(line[1]["p50_ms"] or 0))
    return [_spread(row, cells, _name(cells, report)) for row, cells in rows[:LINES]], len(rows)


def _spread(row: Row, cells: RowValues, name: str) -> Spread:
    calls = samples(row.record, "latency")
    times_ns = {quantile: percentile(calls, quantile) for quantile in QUANTILES}
    times_ms = {quantile: time_ns / 1e6 for quantile, time_ns in times_ns.items() if time_ns is not None}
    return Spread(name=name, target=_target(cells), precision=str(cells["precision"]), quantiles=times_ms)


@compute_once
def frontier(report: Report) -> list[Point]:
    """p50 (ms) and throughput (items a second) of every row with the status ok. Marked is the Pareto set of a model: no other
    row of the model is better in one figure and at least as good in the other."""
    rows = [cells for _, cells in _good(report) if cells["throughput_per_s"]]
    points = [named_point(cells, report, float(cells["p50_ms"] or 0), float(cells["throughput_per_s"] or 0)) for cells in rows]
    models: dict[object, list[int]] = {}
    for index, cells in enumerate(rows):
        models.setdefault(cells["model"], []).append(index)
    best: set[int] = set()
    for own in models.values():
        # `undominated` takes larger as better, and latency is better if smaller
        best |= {own[place] for place in undominated([(-points[index].x, points[index].y) for index in own])}
    return [replace(point, marked=index in best) for index, point in enumerate(points)]


@compute_once
def accuracy(report: Report, metric: str) -> list[Point]:
    """`metric` (top1_drop with its interval, or sqnr_db) by precision; `x` is 0. Equal points of a target appear once."""
    rows = [cells for cells in report.table.rows if cells["status"] in MEASURED and _number(cells[metric]) is not None]
    points: dict[tuple[object, ...], Point] = {}
    for cells in rows:
        low, high = (_number(cells.get(f"{metric}_ci_{end}")) for end in ("low", "high"))
        point = replace(named_point(cells, report, 0.0, float(cells[metric] or 0)), low=low, high=high)
        # accuracy does not depend on the batch, so rows of several batches are one point
        points.setdefault((cells["model"], point.target, point.precision, point.y), point)
    return list(points.values())


@compute_once
def speedups(report: Report) -> tuple[list[Point], int]:
    """The LINES rows with the largest speed-up over the baseline (`x`), the largest first, and the number of all such rows. The
    baseline's own rows are none of them."""
    rows = [
        cells
        for row, cells in report.measured
        if cells["status"] == "ok" and cells["speedup"] is not None and row.base is not row.record
    ]
    points = [
        replace(
            named_point(cells, report, float(cells["speedup"] or 0), 0.0),
            low=_number(cells["speedup_ci_low"]),
            high=_number(cells["speedup_ci_high"]),
        )
        for cells in rows
    ]
    return sorted(points, key=lambda point: -point.x)[:LINES], len(points)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most DOTS of `points`: all marked points, and an even choice of the others in the order of x."""
    if len(points) <= DOTS:
        return list(points)
    marked = [point for point in points if point.marked]
    others = sorted((point for point in points if not point.marked), key=lambda point: point.x)
    # every marked point stays, since captions and rings refer to them
    room = max(1, DOTS - len(marked))
    return [*marked, *(others[index * len(others) // room] for index in range(min(room, len(others))))]


def _good(report: Report) -> list[tuple[Row, RowValues]]:
    """Rows with the status ok and a p50. Instruments are left out."""
    return [
        (row, cells) for row, cells in report.measured if cells["status"] == "ok" and cells["p50_ms"] and not row.instrument
    ]


def named_point(cells: RowValues, report: Report, x: float, y: float) -> Point:
    """A row at the position `x`, `y`."""
    return Point(name=_name(cells, report), target=_target(cells), precision=str(cells["precision"]), x=x, y=y)


def _name(cells: RowValues, report: Report) -> str:
    """A row's name, with its model and its run where these are columns of the table."""
    model = f"{cells['model']} " if "model" in report.columns else ""
    run = f" ({cells['run']})" if "run" in report.columns else ""
    return plain(bare_paths(f"{model}{name_of(cells)}{run}"))


def _target(cells: RowValues) -> str:
    return plain(bare_paths(str(target_of(cells))))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
