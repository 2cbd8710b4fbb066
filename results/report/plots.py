"""Plots of a report, as figures that know no screen. matplotlib, inside functions.

Targets differ by colour and marker, precisions by the fill of a marker or the hatch of a bar: a reader needs no colours.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import cut
from ...spec import PRECISIONS
from ..table.render import bare_paths, plain
from .data import Report, compute_once
from .once import drawn_once
from .points import Point, Spread, accuracy, frontier, speedups, spreads, thinned
from .sheet import PAPER_SHEET, Sheet

INK, GRID, PAPER = "#1b1b1f", "#c9c9cf", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's, but for black and yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# zip ends at the shorter side: a new precision needs a fill and a hatch here
FILLS = dict(zip(PRECISIONS, ("full", "none", "left", "bottom", "right", "top")))
HATCHES = dict(zip(PRECISIONS, ("", "///", "...", "xxx", "\\\\\\", "ooo")))
LINE, HEIGHT = 0.27, 3.9  # inches
NAMED, HOVERED, LETTERS = 8, 120, 34
INSTALL = "pip install 'onnxbench[report]'"
NO_PLOTS = f"The page has no plots, because matplotlib is not installed. To add plots: {INSTALL}"
# text stays text in SVG (fonttype): pages are small and can be searched. A name may contain $, which is no formula
# (parse_math).
STYLE = {
    **{"svg.fonttype": "none", "text.parse_math": False, "font.size": 9, "font.family": "sans-serif", "hatch.linewidth": 0.6},
    **{"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6},
    **{"axes.axisbelow": True, "axes.unicode_minus": False},
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure with its caption. With nothing to draw, `figure` is None and the caption says why.

    `hover`: the text for the pointer by the id of an element. `sheet`: the name of the sheet.
    """

    name: str
    title: str
    caption: str
    figure: Any = None
    hover: Mapping[str, str] = field(default_factory=dict)
    sheet: str = ""

    @property
    def id(self) -> str:
        """An identifier that no other plot of a page has."""
        return f"{self.name}-{self.sheet}" if self.sheet else self.name


def drawable() -> bool:
    """True if matplotlib can be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def draw(report: Report, sheet: Sheet = PAPER_SHEET) -> list[Plot]:
    """Every plot of `report`, in the order of the page."""
    from .layer_roofline import layer_roofline  # all of these draw with the functions below
    from .layers import layers
    from .roofline import roofline
    from .timeline import history

    with _styled():
        plots = [
            plot(report, sheet) for plot in (latency, throughput, precision, speedup, roofline, history, layers, layer_roofline)
        ]
    return [replace(plot, sheet=sheet.name) for plot in plots if plot]


def image(plot: Plot, format: str, salt: str = "bench") -> bytes:
    """A drawn plot as png (200 dots an inch) or svg, on white; the same bytes for the same runs."""
    from matplotlib import rc_context

    sink = io.BytesIO()
    # ids with a random salt, and a date, would make other bytes of the same runs
    with _styled(), rc_context({"svg.hashsalt": salt}):
        when = {"metadata": {"Date": None}} if format == "svg" else {"dpi": 200}
        plot.figure.savefig(sink, format=format, facecolor=PAPER, **when)
    return sink.getvalue()


@contextmanager
def _styled() -> Iterator[None]:
    """Apply the style inside."""
    from matplotlib import rc_context

    # A font may lack a letter of a model's name. matplotlib then warns, and draws a box for the letter.
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield


def latency(report: Report, sheet: Sheet) -> Plot:
    """Quantiles of single calls, one line for each row."""
    rows, of = spreads(report)
    about: dict[str, Any] = {"name": "latency", "title": "Latency of single calls"}
    if not rows:
        return Plot(**about, caption="There is no plot of latencies: no row with the status ok has times.")
    figure, axes = _rows_figure(sheet, [row.name for row in rows])
    look, hover = looks(report), {}
    for place, row in enumerate(rows):
        hover[f"latency-{place}"] = f"{row.name}: " + ", ".join(f"p{q} {v:.4g} ms" for q, v in row.quantiles.items())
        _spread(axes, row, place, look(row.target, row.precision))
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set_xlabel("one call, ms (log)")
    left = "" if of <= len(rows) else f" The {len(rows)} rows with the lowest p50 are drawn, {of - len(rows)} rows are not."
    caption = (
        "Milliseconds of a call with no other call in flight. The mark is p50, the thick line p25 to p75, the thin line p5 to"
        f" p99. Where a row has too few samples for p99, its line ends at the last quantile that they allow.{left}"
    )
    return Plot(**about, caption=caption, figure=figure, hover=hover)


def _spread(axes: Any, row: Spread, place: int, look: Mapping[str, Any]) -> None:
    """Draw the quantiles of one row on the line `place`."""
    quantiles, colour = row.quantiles, look["color"]
    if not quantiles:
        return
    middle = quantiles.get(50)
    axes.plot([quantiles[min(quantiles)], quantiles[max(quantiles)]], [place, place], color=colour, linewidth=1)
    if {25, 75} <= set(quantiles):
        axes.plot([quantiles[25], quantiles[75]], [place, place], color=colour, linewidth=5, solid_capstyle="butt")
    if middle is not None:
        axes.plot([middle], [place], linestyle="none", gid=f"latency-{place}", **look)


def throughput(report: Report, sheet: Sheet) -> Plot:
    """Throughput against latency. The Pareto set of each model is ringed."""
    points = frontier(report)
    about: dict[str, Any] = {"name": "frontier", "title": "Latency and throughput"}
    if not points:
        return Plot(**about, caption="There is no plot of throughput: no row with the status ok has times.")
    drawn = thinned(points)
    figure, (axes,) = new_figure(sheet, HEIGHT + 0.9)
    best = sorted((point for point in drawn if point.marked), key=lambda point: point.x)
    one_model = len({row["model"] for row in report.table.rows}) == 1
    # a staircase, because no row lies between two measured ones; with several models a line would join different sets
    axes.plot(*_xy(best), color=INK, linewidth=1, linestyle="--" if one_model else "none", drawstyle="steps-post")
    axes.plot(*_xy(best), color=INK, linestyle="none", marker="o", markersize=12, fillstyle="none", markeredgewidth=1)
    hover = draw_dots(axes, drawn, looks(report), "frontier", "p50 {0.x:.4g} ms, {0.y:.4g} items/s", sheet)
    if not sheet.narrow and len(best) <= NAMED:  # on a narrow sheet names would cover each other; the caption has them
        for point in best:
            axes.annotate(_short(point.name), (point.x, point.y), (0, 9), textcoords="offset points", ha="center", fontsize=8)
    axes.margins(0.14)  # before the ticks, whose number depends on the range
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        plain_ticks(axis)
    axes.set(xlabel="p50 of one call, ms (log)", ylabel="items a second (log)")
    draw_legend(figure, report, drawn, sheet)
    return Plot(**about, caption=_frontier_caption(points, drawn, best), figure=figure, hover=hover)


def _frontier_caption(points: Sequence[Point], drawn: Sequence[Point], best: Sequence[Point]) -> str:
    left = "" if len(drawn) == len(points) else f" {len(drawn)} of {len(points)} rows are drawn, all ringed rows among them."
    names = f": {', '.join(point.name for point in best)}" if len(best) <= NAMED else ""
    return (
        "Items a second with the best number of lanes, against p50 of one call in flight in ms. Up and left is better."
        f" Rings mark the Pareto set of each model, {_count(len(best))}: no other row of the model is at least as good in both"
        f" figures, and better in one{names}.{left}"
    )


def precision(report: Report, sheet: Sheet) -> Plot:
    """Accuracy that a precision costs, and the distance of its answers from FP32's."""
    measured = {metric: accuracy(report, metric) for metric in ("top1_drop", "sqnr_db")}
    drawn = {metric: thinned(points) for metric, points in measured.items() if points}
    about: dict[str, Any] = {"name": "accuracy", "title": "Precision and accuracy"}
    if not drawn:
        return Plot(**about, caption="There is no plot of accuracy: no row's answers were compared with the FP32 reference's.")
    stacked = sheet.narrow and len(drawn) > 1
    figure, panels = new_figure(sheet, HEIGHT * (1.6 if stacked else 1), panels=len(drawn))
    hover: dict[str, str] = {}
    for (metric, points), axes in zip(drawn.items(), panels):
        hover |= _panel(axes, points, looks(report), metric, sheet)
    draw_legend(figure, report, [point for points in drawn.values() for point in points], sheet)
    complete = all(len(measured[metric]) == len(points) for metric, points in drawn.items())
    return Plot(**about, caption=_accuracy_caption(drawn, complete), figure=figure, hover=hover)


def _accuracy_caption(metrics: Mapping[str, Sequence[Point]], complete: bool) -> str:
    intervals = ", with 95 % intervals" if _has_intervals(metrics.get("top1_drop", ())) else "; the table has the intervals"
    parts = {
        "top1_drop": f"Points of top-1 accuracy lost against FP32 on the same images{intervals} (less is better).",
        "sqnr_db": "SQNR against the FP32 reference in dB (more is better).",
    }
    sentences = [parts[metric] for metric in metrics]
    if "top1_drop" not in metrics:
        sentences.append("No row has a drop in accuracy, because there were no labels. Give labels with --dataset.")
    if not complete:
        sentences.append("Not all rows are drawn.")
    return " ".join(sentences)


def _has_intervals(points: Sequence[Point]) -> bool:
    """True if the points are so few that their intervals are drawn."""
    return len(points) <= HOVERED


def _panel(
    axes: Any, points: Sequence[Point], look: Callable[..., dict[str, Any]], metric: str, sheet: Sheet
) -> dict[str, str]:
    """Draw one metric by precision, the targets of a precision side by side."""
    precisions, targets = _precisions(points), _targets(points)
    placed = []
    for point in points:
        # targets share 0.6 of the distance between two precisions
        aside = 0.6 * ((targets.index(point.target) + 0.5) / len(targets) - 0.5)
        place = precisions.index(point.precision) + aside
        placed.append(replace(point, x=place))
    # intervals of many points would cover each other, and the points too
    for target in targets if _has_intervals(points) else ():
        own = (point for point in placed if point.target == target)
        ends = [(point.x, point.low, point.high) for point in own if None not in (point.low, point.high)]
        if ends:
            axes.vlines(*zip(*ends), color=look(target, precisions[0])["color"], linewidth=1)
    axes.set_xticks(range(len(precisions)), precisions)
    axes.set_xlim(-0.6, len(precisions) - 0.4)
    axes.set_ylabel("top-1 drop, points" if metric == "top1_drop" else "SQNR, dB")
    if metric == "top1_drop":
        axes.axhline(0, color=INK, linewidth=0.8)
    form = "drop {0.y:.2f} points" if metric == "top1_drop" else "SQNR {0.y:.1f} dB"
    return draw_dots(axes, placed, look, metric, form, sheet)


def speedup(report: Report, sheet: Sheet) -> Plot:
    """Bars of speed-ups, with their intervals."""
    about: dict[str, Any] = {"name": "speedup", "title": "Speed-up"}
    if not report.baseline:
        return Plot(
            **about,
            caption="There is no plot of speed-ups, because there is no baseline. Give --baseline BACKEND[@ENV]: its fp32 rows"
            " count as 1.",
        )
    rows, of = speedups(report)
    if not rows:
        return Plot(
            **about, caption=f"There is no plot of speed-ups: no other row was measured beside {plain(report.baseline)} fp32."
        )
    figure, axes = _rows_figure(sheet, [row.name for row in rows])
    look, hover = looks(report), {}
    for place, row in enumerate(rows):
        height = 0.42 if sheet.narrow else 0.62
        (bar,) = axes.barh(
            [place], [row.x], height=height, facecolor=PAPER, edgecolor=look(row.target, row.precision)["color"],
            hatch=HATCHES.get(row.precision, ""), linewidth=1.6,
        )  # fmt: skip
        bar.set_gid(f"speedup-{place}")
        hover[f"speedup-{place}"] = f"{row.name}: {row.x:.3f} times" + _between(row)
        if row.low is not None and row.high is not None:
            axes.errorbar(row.x, place, xerr=[[row.x - row.low], [row.high - row.x]], color=INK, capsize=3, linewidth=1.4)
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.set_xlabel(f"times as fast as {_short(plain(report.baseline))} fp32, by p50")
    left = "" if of <= len(rows) else f" The {len(rows)} largest speed-ups are drawn, {of - len(rows)} are not."
    bare = sum(row.low is None for row in rows)
    no_interval = f" {_count(bare)} with too few rounds for an interval." if bare else ""
    caption = (
        f"p50 of {plain(report.baseline)} fp32 over the row's p50 at the same batch, with 95 % intervals.{no_interval}{left}"
    )
    return Plot(**about, caption=caption, figure=figure, hover=hover)


def _count(rows: int) -> str:
    return f"{rows} row{'' if rows == 1 else 's'}"


def _between(row: Point) -> str:
    return "" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})"


def new_figure(sheet: Sheet, height: float, panels: int = 1) -> tuple[Any, list[Any]]:
    """A figure of `height` inches with so many `panels`: side by side, or stacked on a narrow sheet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn_once()(figsize=(sheet.width, height), layout="constrained")
    # pyplot would make the canvas, but it keeps every figure in memory and may look for a screen
    FigureCanvasAgg(figure)
    lines, columns = (panels, 1) if sheet.narrow else (1, panels)
    return figure, list(figure.subplots(lines, columns, squeeze=False).flat)


def _rows_figure(sheet: Sheet, names: Sequence[str]) -> tuple[Any, Any]:
    """A figure with a line for each of `names`, and its axes. On a narrow sheet a name stands above its line."""
    figure, (axes,) = new_figure(sheet, 1.1 + LINE * len(names) * (1.5 if sheet.narrow else 1))
    axes.set_yticks(range(len(names)), ["" if sheet.narrow else _short(name) for name in names])
    # from high to low, so that the first row is on top
    axes.set_ylim(len(names) - 0.4, -0.8 if sheet.narrow else -0.6)
    axes.grid(visible=False, axis="y")
    for place, name in enumerate(names if sheet.narrow else ()):
        axes.text(0.01, place - 0.3, cut(name, LETTERS + 10), transform=axes.get_yaxis_transform(), va="bottom", fontsize=8)
    return figure, axes


@compute_once
def looks(report: Report) -> Callable[[str, str], dict[str, Any]]:
    """The style of a target in a precision, as a function. It is the same in all plots."""
    targets = sorted({plain(bare_paths(str(record.cell.target))) for run in report.runs for record in run.cells})
    places = {target: place for place, target in enumerate(targets)}

    def look(target: str, precision: str) -> dict[str, Any]:
        place = places[target]
        fill = FILLS.get(precision, "full")
        style = {"marker": MARKERS[place % len(MARKERS)], "markersize": 6.5, "markeredgewidth": 1.2}
        return {**style, "color": COLOURS[place % len(COLOURS)], "fillstyle": fill, "markerfacecoloralt": "none"}

    return look


def draw_dots(
    axes: Any, points: Sequence[Point], look: Callable[..., dict[str, Any]], name: str, form: str, sheet: Sheet
) -> dict[str, str]:
    """Draw markers. Some are elements of their own with a text for the pointer, which is a point in the format `form`.

    Those are all of HOVERED points at most, else the marked ones. A narrow sheet has none: a touch screen has no pointer.
    """
    named = [] if sheet.narrow else [point for point in points if len(points) <= HOVERED or point.marked]
    single = {id(point) for point in named}
    # an artist for each of many points takes seconds and a megabyte, so the others of one look share an artist
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if id(point) not in single:
            groups.setdefault((point.target, point.precision), []).append(point)
    size = {"markersize": 4} if len(points) > HOVERED else {}
    for (target, precision), own in sorted(groups.items()):
        axes.plot(*_xy(own), linestyle="none", **{**look(target, precision), **size})
    for place, point in enumerate(named):
        axes.plot(
            [point.x], [point.y], linestyle="none", gid=f"{name}-{place}", **{**look(point.target, point.precision), **size}
        )
    return {f"{name}-{place}": f"{point.name}: {form.format(point)}" for place, point in enumerate(named)}


def draw_legend(figure: Any, report: Report, points: Sequence[Point], sheet: Sheet) -> None:
    """Draw the meaning of colours, markers and fills: of the first targets, and of precisions where there are several."""
    from matplotlib.lines import Line2D

    look = looks(report)
    precisions, targets = _precisions(points), _targets(points)
    plain_mark = {"marker": "o", "color": INK, "markersize": 6.5, "markerfacecoloralt": "none"}
    marks = [(target, look(target, precisions[0]) | {"fillstyle": "full"}) for target in targets[: 2 * NAMED]]
    marks += [(name, {**plain_mark, "fillstyle": FILLS[name]}) for name in precisions if len(precisions) > 1]
    handles = [Line2D([], [], linestyle="none", label=_short(name), **style) for name, style in marks]
    legend_below(figure, handles, sheet)


def legend_below(figure: Any, handles: Sequence[Any], sheet: Sheet) -> None:
    """Draw a legend below the panels; none for a single entry."""
    columns = min(2 if sheet.narrow else 4, len(handles))
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _precisions(points: Sequence[Point]) -> list[str]:
    return [name for name in PRECISIONS if any(point.precision == name for point in points)]


def _targets(points: Sequence[Point]) -> list[str]:
    return sorted({point.target for point in points})


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers instead of powers."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    factor = high / low if low > 0 else math.inf
    if factor < 4:
        # 1, 2 and 5 of a decade would leave one label, or none
        axis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 2.5, 5, 10)))
    else:
        # labels at 1, 2 and 5 of each decade overlap over a longer range
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if factor < 200 else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.x for point in points], [point.y for point in points]


def _short(name: str) -> str:
    return cut(name, LETTERS)
