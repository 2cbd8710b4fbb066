"""The plots of a report, as figures that know no screen. matplotlib, inside functions.

Targets differ by colour and marker, precisions by how a marker is filled or a bar is hatched, so that nothing rests on colour.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...errors import cut
from ...spec import PRECISIONS
from ..table.render import plain
from .data import Report
from .points import Point, Spread, accuracy, frontier, speedups, spreads, thinned

INK, GRID, PAPER = "#1b1b1f", "#c9c9cf", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's, but for black and yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FILLS = dict(zip(PRECISIONS, ("full", "none", "left", "bottom", "right", "top")))
HATCHES = dict(zip(PRECISIONS, ("", "///", "...", "xxx", "\\\\\\", "ooo")))
WIDTH, LINE, HEIGHT = 6.4, 0.27, 3.9  # inches
NAMED, HOVERED, LETTERS = 8, 300, 34
STYLE = {
    **{"svg.fonttype": "none", "text.parse_math": False, "font.size": 9, "font.family": "sans-serif", "hatch.linewidth": 0.6},
    **{"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6},
    **{"axes.axisbelow": True, "axes.unicode_minus": False},
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure with its caption; with nothing to draw, `figure` is None and the caption says why. `hover`: texts by the id
    of what they are about."""

    name: str
    title: str
    caption: str
    figure: Any = None
    hover: Mapping[str, str] = field(default_factory=dict)


def draw(report: Report) -> list[Plot]:
    """Every plot of `report`, in the order of the page."""
    with _styled():
        return [plot(report) for plot in (latency, throughput, precision, speedup)]


def image(plot: Plot, format: str, salt: str = "bench") -> bytes:
    """A drawn plot as png (200 dots an inch) or svg, on white; the same bytes for the same runs."""
    from matplotlib import rc_context

    sink = io.BytesIO()
    with _styled(), rc_context({"svg.hashsalt": salt}):
        when = {"metadata": {"Date": None}} if format == "svg" else {"dpi": 200}
        plot.figure.savefig(sink, format=format, facecolor=PAPER, **when)
    return sink.getvalue()


@contextmanager
def _styled() -> Iterator[None]:
    """The style; a font that lacks a letter of somebody's model name is no reason to say anything."""
    from matplotlib import rc_context

    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield


def latency(report: Report) -> Plot:
    """Quantiles of single calls, a line a row."""
    rows, of = spreads(report)
    about: dict[str, Any] = {"name": "latency", "title": "Latency of single calls"}
    if not rows:
        return Plot(**about, caption="There is no plot of latencies: no row that is ok measured times.")
    figure, axes = _figure(1.1 + LINE * len(rows))
    look, hover = _looks(report), {}
    for place, row in enumerate(rows):
        hover[f"latency-{place}"] = f"{row.name}: " + ", ".join(f"p{q} {v:.4g} ms" for q, v in row.quantiles.items())
        _spread(axes, row, place, look(row.target, row.precision))
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel("one call, ms (log)")
    _rows(axes, [row.name for row in rows])
    left = "" if of <= len(rows) else f" The {len(rows)} rows with the lowest p50 are drawn; {of - len(rows)} others are not."
    caption = (
        "Milliseconds a call, one in flight: the mark is p50, the thick line p25 to p75, the thin one p5 to p99, or to the last"
        f" quantile that its samples can carry.{left}"
    )
    return Plot(**about, caption=caption, figure=figure, hover=hover)


def _spread(axes: Any, row: Spread, place: int, look: Mapping[str, Any]) -> None:
    known, colour = row.quantiles, look["color"]
    if not known:
        return
    lowest, middle = min(known), known.get(50)
    axes.plot([known[lowest], known[max(known)]], [place, place], color=colour, linewidth=1)
    if {25, 75} <= set(known):
        axes.plot([known[25], known[75]], [place, place], color=colour, linewidth=5, solid_capstyle="butt")
    if middle is not None:
        axes.plot([middle], [place], linestyle="none", gid=f"latency-{place}", **look)


def throughput(report: Report) -> Plot:
    """Throughput against latency, with the rows that nothing beats in both."""
    points = frontier(report)
    about: dict[str, Any] = {"name": "frontier", "title": "Latency and throughput"}
    if not points:
        return Plot(**about, caption="There is no plot of throughput: no row that is ok measured times.")
    drawn = thinned(points)
    figure, axes = _figure(HEIGHT + 0.9)
    best = sorted((point for point in drawn if point.marked), key=lambda point: point.x)
    one_model = len({row["model"] for row in report.table.rows}) == 1
    axes.plot(*_xy(best), color=INK, linewidth=1, linestyle="--" if one_model else "none", drawstyle="steps-post")
    axes.plot(*_xy(best), color=INK, linestyle="none", marker="o", markersize=12, fillstyle="none", markeredgewidth=1)
    hover = _dots(axes, drawn, _looks(report), "frontier", "p50 {0.x:.4g} ms, {0.y:.4g} items/s")
    for point in best if len(best) <= NAMED else ():
        axes.annotate(_short(point.name), (point.x, point.y), (0, 9), textcoords="offset points", ha="center", fontsize=7)
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        _plain_ticks(axis)
    axes.set(xlabel="p50 of one call, ms (log)", ylabel="items a second (log)")
    axes.margins(0.14)
    _legend(figure, report, drawn)
    return Plot(**about, caption=_frontier_caption(points, drawn, best), figure=figure, hover=hover)


def _frontier_caption(points: Sequence[Point], drawn: Sequence[Point], best: Sequence[Point]) -> str:
    left = "" if len(drawn) == len(points) else f" {len(drawn)} of {len(points)} rows are drawn, all ringed ones among them."
    names = f": {', '.join(point.name for point in best)}" if len(best) <= NAMED else ""
    return (
        "Items a second with the lanes that were found, against p50 of one call in flight in ms; up and left is better."
        f" Ringed is the Pareto set, {len(best)} of the rows, which no other row of their model beats in both{names}.{left}"
    )


def precision(report: Report) -> Plot:
    """What a precision costs in accuracy, and how far its answers are from FP32's."""
    found = {metric: accuracy(report, metric) for metric in ("top1_drop", "sqnr_db")}
    known = {metric: thinned(points) for metric, points in found.items() if points}
    about: dict[str, Any] = {"name": "accuracy", "title": "Precision and accuracy"}
    if not known:
        return Plot(**about, caption="There is no plot of accuracy: no row's answers were compared with the FP32 reference's.")
    figure, panels = _figure(HEIGHT, panels=len(known))
    hover: dict[str, str] = {}
    for (metric, points), axes in zip(known.items(), panels):
        hover |= _panel(axes, points, _looks(report), metric)
    _legend(figure, report, [point for points in known.values() for point in points])
    parts = {
        "top1_drop": "Points of top-1 accuracy lost against FP32 on the same images, with 95 % intervals (less is better).",
        "sqnr_db": "SQNR against the FP32 reference in dB (more is better).",
    }
    told = [parts[metric] for metric in known]
    missing = (
        ["No row has a drop in accuracy: there were no labels (--dataset gives some)."] if "top1_drop" not in known else []
    )
    left = {len(found[metric]) - len(points) for metric, points in known.items()} - {0}
    thin = ["Of so many rows not all are drawn."] if left else []
    return Plot(**about, caption=" ".join([*told, *missing, *thin]), figure=figure, hover=hover)


def _panel(axes: Any, points: Sequence[Point], look: Callable[..., dict[str, Any]], metric: str) -> dict[str, str]:
    """One metric by precision, the targets of a precision side by side."""
    precisions, targets = _precisions(points), _targets(points)
    placed = []
    for point in points:
        aside = 0.6 * ((targets.index(point.target) + 0.5) / len(targets) - 0.5)
        place = precisions.index(point.precision) + aside
        placed.append(Point(**{**vars(point), "x": place}))
        if point.low is not None and point.high is not None:
            axes.plot([place, place], [point.low, point.high], color=look(point.target, point.precision)["color"], linewidth=1)
    axes.set_xticks(range(len(precisions)), precisions)
    axes.set_xlim(-0.6, len(precisions) - 0.4)
    axes.set_ylabel("top-1 drop, points" if metric == "top1_drop" else "SQNR, dB")
    if metric == "top1_drop":
        axes.axhline(0, color=INK, linewidth=0.8)
    return _dots(axes, placed, look, metric, "drop {0.y:.2f} points" if metric == "top1_drop" else "SQNR {0.y:.1f} dB")


def speedup(report: Report) -> Plot:
    """Bars of speed-ups, with their intervals."""
    about: dict[str, Any] = {"name": "speedup", "title": "Speed-up"}
    if not report.baseline:
        return Plot(
            **about, caption="There is no plot of speed-ups: give --baseline BACKEND[@ENV], whose fp32 rows count as 1."
        )
    rows, of = speedups(report)
    if not rows:
        return Plot(
            **about, caption=f"There is no plot of speed-ups: no other row was measured beside {plain(report.baseline)} fp32."
        )
    figure, axes = _figure(1.1 + LINE * len(rows))
    look, hover = _looks(report), {}
    for place, row in enumerate(rows):
        (bar,) = axes.barh(
            [place], [row.x], height=0.62, facecolor=PAPER, edgecolor=look(row.target, row.precision)["color"],
            hatch=HATCHES.get(row.precision, ""), linewidth=1.6,
        )  # fmt: skip
        bar.set_gid(f"speedup-{place}")
        hover[f"speedup-{place}"] = f"{row.name}: {row.x:.3f} times" + _between(row)
        if row.low is not None and row.high is not None:
            axes.errorbar(row.x, place, xerr=[[row.x - row.low], [row.high - row.x]], color=INK, capsize=3, linewidth=1.4)
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.set_xlabel(f"times as fast as {_short(plain(report.baseline))} fp32, by p50")
    _rows(axes, [row.name for row in rows])
    left = "" if of <= len(rows) else f" The {len(rows)} largest are drawn; {of - len(rows)} others are not."
    bare = sum(row.low is None for row in rows)
    no_interval = f" {bare} rows have too few rounds for an interval." if bare else ""
    caption = (
        f"How many times as fast as {plain(report.baseline)} fp32 at the same batch, with 95 % intervals.{no_interval}{left}"
    )
    return Plot(**about, caption=caption, figure=figure, hover=hover)


def _between(row: Point) -> str:
    return "" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})"


def _figure(height: float, panels: int = 0) -> tuple[Any, Any]:
    """A figure with one pair of axes, or with so many `panels` side by side, a list of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(1, panels), squeeze=False)[0]
    return figure, list(axes) if panels else axes[0]


def _looks(report: Report) -> Callable[[str, str], dict[str, Any]]:
    """How a target in a precision is drawn: the same in all plots."""
    targets = sorted({plain(str(record.cell.target)) for run in report.runs for record in run.cells})
    places = {target: place for place, target in enumerate(targets)}

    def look(target: str, precision: str) -> dict[str, Any]:
        place = places[target]
        fill = FILLS.get(precision, "full")
        style = {"marker": MARKERS[place % len(MARKERS)], "markersize": 6.5, "markeredgewidth": 1.2}
        return {**style, "color": COLOURS[place % len(COLOURS)], "fillstyle": fill, "markerfacecoloralt": "none"}

    return look


def _dots(axes: Any, points: Sequence[Point], look: Callable[..., dict[str, Any]], name: str, told: str) -> dict[str, str]:
    """Markers; each by itself, with its text, where they are few."""
    hover: dict[str, str] = {}
    if len(points) > HOVERED:
        for target, precision in sorted({(point.target, point.precision) for point in points}):
            own = [point for point in points if (point.target, point.precision) == (target, precision)]
            axes.plot(*_xy(own), linestyle="none", **{**look(target, precision), "markersize": 4})
        return hover
    for place, point in enumerate(points):
        hover[f"{name}-{place}"] = f"{point.name}: {told.format(point)}"
        axes.plot([point.x], [point.y], linestyle="none", gid=f"{name}-{place}", **look(point.target, point.precision))
    return hover


def _legend(figure: Any, report: Report, points: Sequence[Point]) -> None:
    """What colours, markers and fills mean; not where there is one of each, or so many that nobody could read it."""
    from matplotlib.lines import Line2D

    look = _looks(report)
    precisions, targets = _precisions(points), _targets(points)
    plain_mark = {"marker": "o", "color": INK, "markersize": 6.5, "markerfacecoloralt": "none"}
    marks = [(target, look(target, precisions[0]) | {"fillstyle": "full"}) for target in targets[: 2 * NAMED]]
    marks += [(name, {**plain_mark, "fillstyle": FILLS[name]}) for name in precisions if len(precisions) > 1]
    handles = [Line2D([], [], linestyle="none", label=_short(name), **style) for name, style in marks]
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=8)


def _precisions(points: Sequence[Point]) -> list[str]:
    return [name for name in PRECISIONS if any(point.precision == name for point in points)]


def _targets(points: Sequence[Point]) -> list[str]:
    return sorted({point.target for point in points})


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _plain_ticks(axis: Any) -> None:
    """Numbers as people write them, and not as powers, on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    narrow = high / low < 30 if low > 0 else False
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.x for point in points], [point.y for point in points]


def _short(name: str) -> str:
    return cut(name, LETTERS)
