"""Plot of a profile: the time of the layers of a call on every side. matplotlib, inside functions."""

from __future__ import annotations

from typing import Any

from ...errors import cut
from ..profile.lines import Line, ProfiledCase, cases_of, short
from ..table.render import bare_paths, plain
from .data import Report
from .plots import HATCHES, LETTERS, LINE, Plot, legend_below, looks, new_figure
from .sheet import Sheet

SHOWN = 15  # layers of the plot


def layers(report: Report, sheet: Sheet) -> Plot | None:
    """Plot the layers with most time, a bar for each side. None for runs without a profile."""
    cases = [case for case in cases_of(report.runs) if any(side.total_ns for side in case.sides)]
    if not cases:
        return None
    case = cases[0]
    lines = sorted(case.lines, key=lambda line: -line.most_ns)[:SHOWN]
    sides = len(case.sides)
    figure, (axes,) = new_figure(sheet, 1.4 + 0.5 * LINE * len(lines) * (sides + 1) * (1.4 if sheet.narrow else 1))
    look, hover, handles = looks(report), {}, []
    for number, side in enumerate(case.sides):
        cell = side.record.cell
        style = {"color": look(plain(bare_paths(str(cell.target))), cell.precision)["color"]}
        style["hatch"] = HATCHES.get(cell.precision, "")
        for place, line in enumerate(lines):
            part = line.parts[number]
            ms = part.ns / 1e6 if part else 0.0
            bar = axes.barh(place + (number - (sides - 1) / 2) * 0.8 / sides, ms, 0.8 / sides, **style)
            name = f"layers-{number}-{place}"
            bar[0].set_gid(name)
            share = 100 * ms * 1e6 / side.total_ns if side.total_ns else 0.0
            hover[name] = f"{_text(side.label)}, {_name(line)}: {ms:.4g} ms, {share:.1f} %"
        bar.set_label(cut(_text(side.label), LETTERS))
        handles.append(bar)
    axes.set_yticks(range(len(lines)), [cut(_name(line), LETTERS - (14 if sheet.narrow else 0)) for line in lines])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("time in one call, ms")
    legend_below(figure, handles, sheet)
    about: dict[str, Any] = {"name": "layers", "title": "Layers of a call"}
    return Plot(**about, caption=_caption(case, len(lines), len(cases)), figure=figure, hover=hover)


def _text(text: str) -> str:
    return plain(bare_paths(text))


def _name(line: Line) -> str:
    return plain(f"{line.operators} {short(line.main.name)}") if line.main else "not mapped"


def _caption(case: ProfiledCase, drawn: int, cases: int) -> str:
    left = len(case.lines) - drawn
    rest = f" {left} lines with less time are not drawn." if left else ""
    others = f" The plot is of {_text(case.name)}, the first of {cases} cases." if cases > 1 else ""
    totals = ", ".join(f"{_text(side.label)} {side.total_ns / 1e6:.4g} ms" for side in case.sides)
    return (
        "Milliseconds in one call of the nodes with most time, by each runtime's own profiler. A bar is a node, or the nodes"
        f" that a runtime fused. All kernels: {totals}.{rest}{others}"
    )
