"""Plot of a history: p50 of the cases by run, with the runs at which it changed. matplotlib, inside functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import BadInput, cut, one_line
from ..history.history import CaseHistory, History, RunPoint, Subject, finding_of, gather
from ..history.order import date_of
from ..stats.steps import LEAST_SERIES
from ..store.head import CHECK, PROFILE
from ..store.record import Run
from ..table.render import bare_paths, plain
from .data import Report, compute_once
from .plots import HEIGHT, INK, LETTERS, NAMED, Plot, legend_below, looks, new_figure, plain_ticks
from .sheet import Sheet

LABELS, NARROW_LABELS = 8, 4  # dates below the axis, at most


@compute_once
def _gathered(report: Report) -> History:
    return gather(_timed(report), Subject())


def _timed(report: Report) -> list[Run]:
    return [run for run in report.runs if run.head.kind not in (CHECK, PROFILE)]


def history(report: Report, sheet: Sheet) -> Plot | None:
    """Plot p50 of the cases by date. None for fewer runs than a step needs; a plot without a figure for runs that differ."""
    if len(_timed(report)) < LEAST_SERIES:
        return None
    about: dict[str, Any] = {"name": "history", "title": "History of p50"}
    try:
        gathered = _gathered(report)
    except BadInput as error:
        return Plot(**about, caption=f"There is no plot of the history: {plain(bare_paths(one_line(error)))}.")
    # cases with steps first: a page has room for few
    cases = sorted(gathered.cases, key=lambda case: not case.steps)[:NAMED]
    figure, (axes,) = new_figure(sheet, HEIGHT + 0.6)
    dates = sorted({_date(point) for case in cases for point in case.points})
    places = {date: place for place, date in enumerate(dates)}
    hover: dict[str, str] = {}
    for number, case in enumerate(cases):
        hover |= _line(axes, case, [places[_date(point)] for point in case.points], f"history-{number}", looks(report))
    axes.set_yscale("log")
    axes.margins(0.08)
    plain_ticks(axes.yaxis)
    every = -(-len(dates) // (NARROW_LABELS if sheet.narrow else LABELS))
    axes.set_xticks(range(0, len(dates), every), [date[:16].replace(" ", "\n") for date in dates[::every]])
    axes.set(ylabel="p50 of one call, ms (log)")
    legend_below(figure, axes.get_legend_handles_labels()[0], sheet)
    return Plot(**about, caption=_caption(gathered, cases), figure=figure, hover=hover)


def _line(axes: Any, case: CaseHistory, places: Sequence[int], gid: str, look: Callable[..., dict[str, Any]]) -> dict[str, str]:
    """Draw one case, with a ring at the first run after each step. Returns the texts for the pointer."""
    style = look(plain(bare_paths(str(case.cell.target))), case.cell.precision)
    values, name = [point.value for point in case.points], plain(bare_paths(case.name))
    axes.plot(places, values, label=cut(name, LETTERS), linewidth=1, **{**style, "markersize": 5})
    for place, point in zip(places, case.points):
        if point.low is not None and point.high is not None:
            axes.plot([place, place], [point.low, point.high], color=style["color"], linewidth=1)
    ring = {"marker": "o", "markersize": 13, "fillstyle": "none", "color": INK, "linestyle": "none"}
    for step in case.steps:
        axes.plot([places[step.at]], [values[step.at]], gid=f"{gid}-{step.at}", **ring)
    return {f"{gid}-{step.at}": f"{name}: changed at {plain(bare_paths(case.points[step.at].name))}" for step in case.steps}


def _date(point: RunPoint) -> str:
    return date_of(point.run, point.record) or ""


def _caption(gathered: History, cases: Sequence[CaseHistory]) -> str:
    steps = [plain(bare_paths(finding_of(step, case, gathered).sentence)) for case in cases for step in case.steps]
    left = len(gathered.cases) - len(cases)
    rest = f" {len(cases)} of {len(gathered.cases)} cases are drawn, those with a step first." if left else ""
    changes = f" {'. '.join(steps)}." if steps else " No step is shown."
    return (
        "p50 in ms by the date of the run, with 95 % intervals from the rounds. A ring marks the first run after a change of"
        f" the level.{changes}{rest}"
    )
