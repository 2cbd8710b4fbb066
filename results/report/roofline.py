"""Plot of a roofline: operations a second against operations a byte, below what the machine attains. matplotlib, inside
functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.record import CellRecord
from ..table.render import bare_paths, plain
from ..table.roof import RoofShares, types_of
from ..table.row import Row
from ..table.table import RowValues
from .data import Report
from .plots import HEIGHT, INK, Plot, draw_dots, draw_legend, looks, new_figure, plain_ticks
from .points import Point, named_point, thinned
from .sheet import Sheet

GIGA = 1e9
LINES = 6  # roofs that are drawn, at most


@dataclass(frozen=True, kw_only=True)
class Roof:
    """One roof: `gflops_per_s` of a type of arithmetic, and `gbytes_per_s` of the memory."""

    name: str
    gflops_per_s: float
    gbytes_per_s: float

    def at(self, intensity: float) -> float:
        """Attained GFLOP/s at so many operations a byte."""
        return min(self.gflops_per_s, intensity * self.gbytes_per_s)


def roofline(report: Report, sheet: Sheet) -> Plot | None:
    """Rows below their roofs. None for runs without --roof."""
    rows = [(row, cells) for row, cells in report.measured if cells["of_roof"] is not None and cells["gflops"]]
    if not rows:
        return None
    points = [_point(row, cells, report) for row, cells in rows]
    roofs = highest([roof for row, _ in rows for roof in roofs_of(types_of(row.record)[0], row.record, row.limits)])
    caption = (
        "Nominal operations a second of single calls, against operations for each byte that a call moves at least."
        f" {attained(roofs)}"
    )
    about = {"name": "roofline", "title": "Roofline", "caption": caption}
    return draw_roofline(report, sheet, thinned(points), roofs, about, ("weights, inputs and outputs", "single calls"))


def draw_roofline(
    report: Report,
    sheet: Sheet,
    points: Sequence[Point],
    roofs: Sequence[Roof],
    about: Mapping[str, Any],
    of: tuple[str, str],
) -> Plot:
    """Plot `points` below `roofs`. `about`: name, title and caption. `of`: what has the bytes, and what the operations."""
    figure, (axes,) = new_figure(sheet, HEIGHT + 0.9)
    ridges = [roof.gflops_per_s / roof.gbytes_per_s for roof in roofs]
    ends = [min([*ridges, *(point.x for point in points)]) / 2, max([*ridges, *(point.x for point in points)]) * 2]
    for roof, ridge in zip(roofs, ridges):
        places = [ends[0], ridge, ends[1]]
        axes.plot(places, [roof.at(place) for place in places], color=INK, linewidth=1)
        axes.annotate(roof.name, (places[-1], roof.at(places[-1])), (0, 4), textcoords="offset points", ha="right", fontsize=8)
    form = "{0.y:.4g} GFLOP/s at {0.x:.3g} FLOP a byte"
    hover = draw_dots(axes, points, looks(report), about["name"], form, sheet)
    axes.margins(0.1)
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        plain_ticks(axis)
    axes.set(xlabel=f"operations a byte of {of[0]} (log)", ylabel=f"GFLOP/s of {of[1]} (log)")
    draw_legend(figure, report, points, sheet)
    return Plot(**about, figure=figure, hover=hover)


def _point(row: Row, cells: RowValues, report: Report) -> Point:
    work = row.record.work
    nbytes = (work and work.least_bytes()) or 1.0
    return named_point(cells, report, float(cells["gflops"] or 0) * GIGA / nbytes, float(cells["gflops_per_s"] or 0))


def roofs_of(type: str, record: CellRecord, shares: RoofShares) -> list[Roof]:
    """Roof of the arithmetic `type` on the device of `record`; none without its figures."""
    if not shares.flops_per_s or not shares.bytes_per_s:
        return []
    name = f"{type} on {record.cell.alone.device}"
    return [Roof(name=name, gflops_per_s=shares.flops_per_s / GIGA, gbytes_per_s=shares.bytes_per_s / GIGA)]


def highest(roofs: Sequence[Roof]) -> list[Roof]:
    """The highest roof of each name, the fastest first."""
    by_name: dict[str, Roof] = {}
    for roof in roofs:
        old = by_name.get(roof.name, roof)
        flops, nbytes = max(roof.gflops_per_s, old.gflops_per_s), max(roof.gbytes_per_s, old.gbytes_per_s)
        by_name[roof.name] = Roof(name=roof.name, gflops_per_s=flops, gbytes_per_s=nbytes)
    return sorted(by_name.values(), key=lambda roof: -roof.gflops_per_s)[:LINES]


def attained(roofs: Sequence[Roof]) -> str:
    """Sentences of a caption on the lines of `roofs`."""
    figures = "; ".join(
        f"{plain(bare_paths(roof.name))} {roof.gflops_per_s:.3g} GFLOP/s and {roof.gbytes_per_s:.3g} GB/s" for roof in roofs
    )
    return (
        f"The lines are what matrix products and sums attained in the same rounds, medians: {figures}. A point above its line"
        " computes with fewer operations than the nominal ones, as Winograd's algorithm does."
    )
