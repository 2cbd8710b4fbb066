"""Plot of a profile's roofline: the layers of each side, below what the machine attained. matplotlib, inside functions."""

from __future__ import annotations

from ...errors import cut
from ..profile.lines import Line, ProfiledCase, cases_of, short
from ..profile.roofs import SideWork
from ..table.render import bare_paths, plain
from .data import Report
from .plots import LETTERS, Plot
from .points import Point
from .roofline import GIGA, Roof, attained, draw_roofline, highest, roofs_of
from .sheet import Sheet

SHOWN = 40  # layers of each side, those with most time


def layer_roofline(report: Report, sheet: Sheet) -> Plot | None:
    """Layers below their roofs. None for runs without a profile with --roof."""
    for case in cases_of(report.runs):
        works = [work for side in case.sides if (work := SideWork.of(side))]
        points = [point for work in works for point in _points(case, work)]
        roofs = highest([roof for work in works for roof in _roofs(case, work)])
        if points and roofs:
            caption = (
                f"Layers with multiply-adds of {plain(bare_paths(case.name))}: nominal operations a second of the kernels,"
                f" against operations for each byte that the layer reads or writes at least. {attained(roofs)}"
            )
            about = {"name": "layer-roofline", "title": "Roofline of the layers", "caption": caption}
            return draw_roofline(report, sheet, points, roofs, about, ("what a layer reads and writes", "layers"))
    return None


def _points(case: ProfiledCase, work: SideWork) -> list[Point]:
    """Layers of a side that have operations, of those with most time."""
    place, cell = case.sides.index(work.side), work.side.record.cell
    lines = sorted(case.lines, key=lambda line: -_ns(line, place))[:SHOWN]
    layers = [(line, work.of_line(line, line.parts[place])) for line in lines]
    return [
        Point(
            name=cut(plain(f"{bare_paths(work.side.label)}: {line.operators} {short(line.main.name)}"), LETTERS * 2),
            target=plain(bare_paths(str(cell.target))),
            precision=cell.precision,
            x=layer.flops / layer.nbytes,
            y=layer.flops_per_s / GIGA,
        )
        for line, layer in layers
        if line.main and layer.flops and layer.nbytes and layer.flops_per_s
    ]


def _ns(line: Line, place: int) -> float:
    part = line.parts[place]
    return part.ns if part else 0.0


def _roofs(case: ProfiledCase, work: SideWork) -> list[Roof]:
    """Roofs of the types in which the layers of a side ran."""
    place = case.sides.index(work.side)
    parts = [(line, part) for line in case.lines if (part := line.parts[place]) and part.types]
    shares = [(part.types.partition("+")[0], work.of_line(line, part).shares) for line, part in parts]
    return [roof for type, own in shares for roof in roofs_of(type, work.side.record, own)]
