"""Plot of a roofline: operations a second against operations a byte, below what the machine attains. matplotlib, inside
functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..table.render import bare_paths, plain
from ..table.roof import types_of
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
    drawn, roofs = thinned(points), roofs_of([row for row, _ in rows])
    figure, (axes,) = new_figure(sheet, HEIGHT + 0.9)
    ridges = [roof.gflops_per_s / roof.gbytes_per_s for roof in roofs]
    ends = [min([*ridges, *(point.x for point in points)]) / 2, max([*ridges, *(point.x for point in points)]) * 2]
    for roof, ridge in zip(roofs, ridges):
        places = [ends[0], ridge, ends[1]]
        axes.plot(places, [roof.at(place) for place in places], color=INK, linewidth=1)
        axes.annotate(roof.name, (places[-1], roof.at(places[-1])), (0, 4), textcoords="offset points", ha="right", fontsize=8)
    form = "{0.y:.4g} GFLOP/s at {0.x:.3g} FLOP a byte"
    hover = draw_dots(axes, drawn, looks(report), "roofline", form, sheet)
    axes.margins(0.1)
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        plain_ticks(axis)
    axes.set(xlabel="operations a byte of weights, inputs and outputs (log)", ylabel="GFLOP/s of single calls (log)")
    draw_legend(figure, report, drawn, sheet)
    return Plot(name="roofline", title="Roofline", caption=_caption(roofs), figure=figure, hover=hover)


def _point(row: Row, cells: RowValues, report: Report) -> Point:
    work = row.record.work
    nbytes = (work and work.least_bytes()) or 1.0
    return named_point(cells, report, float(cells["gflops"] or 0) * GIGA / nbytes, float(cells["gflops_per_s"] or 0))


def roofs_of(rows: Sequence[Row]) -> list[Roof]:
    """The highest roof of each device and type among `rows`, the fastest first."""
    highest: dict[str, Roof] = {}
    for row in rows:
        limits, name = row.limits, f"{types_of(row.record)[0]} on {row.record.cell.alone.device}"
        if limits.flops_per_s and limits.bytes_per_s:
            old = highest.get(name, Roof(name=name, gflops_per_s=0.0, gbytes_per_s=0.0))
            flops, nbytes = limits.flops_per_s / GIGA, limits.bytes_per_s / GIGA
            highest[name] = Roof(
                name=name, gflops_per_s=max(flops, old.gflops_per_s), gbytes_per_s=max(nbytes, old.gbytes_per_s)
            )
    return sorted(highest.values(), key=lambda roof: -roof.gflops_per_s)[:LINES]


def _caption(roofs: Sequence[Roof]) -> str:
    attained = "; ".join(
        f"{plain(bare_paths(roof.name))} {roof.gflops_per_s:.3g} GFLOP/s and {roof.gbytes_per_s:.3g} GB/s" for roof in roofs
    )
    return (
        "Nominal operations a second of single calls, against operations for each byte that a call moves at least. The lines"
        f" are what matrix products and sums attained in the same rounds, medians: {attained}. A row above its line computes"
        " with fewer operations than the nominal ones, as Winograd's algorithm does."
    )
