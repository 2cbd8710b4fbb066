"""Changes between two sides of runs, by cell and metric: the ratio, its interval and a verdict. Pure.

With several runs a side, the unit of the interval is the run. With one run a side, the unit is the life (docs/adr/0025). In
runs without lives it is the round, and the interval includes the difference of two processes of one program (docs/adr/0015).
A control's ratio is divided out of one run a side, if there is a control.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean

from ...errors import BadInput
from ...evidence import Verified
from ...spec import nearest
from ..stats.ambiguity import AMBIGUOUS, disagree
from ..stats.intervals import ALPHA, Estimate, difference, drop_interval, holm, mcnemar, of_runs
from ..stats.percentiles import CONFIDENCE
from ..store.clocks import CPU, LATENCY, THROUGHPUT, record_mhz
from ..store.record import Run
from ..table.findings import Finding, sentences
from ..table.table import names_of
from .change import FEW_ROUNDS, FEW_RUNS, NO_DIFFERENCE, OTHER_CLOCKS, OTHER_HOST, OTHER_IMAGES, Change, Cycles
from .loaded import loaded
from .metrics import POINTS, THRESHOLD, Metric, limit_text
from .pairs import Pair, Records, match
from .run_figures import RunFigure, allowance
from .sides import Figures, Sides

MEMORY = 0.01
"""Difference of the peak memory of two processes for one cell, as a share. docs/method-intervals.md: at most 0.6 % was seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Basis:
    """Estimates behind the interval of a ratio: the factors `plus` and the divisors `minus`.

    An estimate is None if its rounds or runs are too few. `allowance` and `alpha`: as in stats.difference.
    """

    plus: Sequence[Estimate | None]
    minus: Sequence[Estimate | None]
    method: str
    allowance: float = 0.0
    alpha: float = 1 - CONFIDENCE


def compare(
    base: Sequence[Run], new: Sequence[Run], control: str | None = None, thresholds: Mapping[str, float] | None = None
) -> tuple[Sides, list[Change]]:
    """Compare every metric of every cell of both sides. `BadInput` if no cell is on both sides, or none is the `control`."""
    matched, several = match(base, new), len(base) > 1 or len(new) > 1
    if not matched.pairs:
        raise BadInput("no cell has figures on both sides", _remedy(matched.left))
    targets = {str(pair.cell.target) for pair in matched.pairs}
    if control and control not in targets:
        raise BadInput(f"the control {control!r} is not in both runs", nearest(control, targets))
    names = names_of([*base, *new])
    sides = Sides(
        match=matched,
        several=several,
        base=tuple(names[: len(base)]),
        new=tuple(names[len(base) :]),
        budgets=frozenset(run.sweep.budget.name if run.sweep else None for run in (*base, *new)),
        control=control or (None if several else _instrument(matched.pairs, base)),
        thresholds=thresholds or {},
    )
    changes = [change for pair in matched.pairs for change in _changes_of(pair, sides)]
    significant = holm({index: change.p for index, change in enumerate(changes) if change.ends})
    in_cycles = holm({i: change.cycles.p for i, change in enumerate(changes) if change.cycles and change.cycles.ends})
    judged = [_judged(change, index in significant, sides) for index, change in enumerate(changes)]
    return sides, [_with_clocks(change, i in significant, i in in_cycles) for i, change in enumerate(judged)]


def _remedy(left: Sequence[Finding]) -> str:
    """Reasons that no cell is on both sides, and the remedy."""
    if not left:
        return "the runs have no rows; measure with bench infer first"
    # a cell of one side alone may have been measured under another name, at another batch, or in another precision
    alone = all(finding.kind == "only_in" for finding in left)
    remedy = "give two runs of the same models, backends, precisions and batches" if alone else "measure again with bench infer"
    return "; ".join((*sentences(finding.with_texts(_few) if alone else finding for finding in left), remedy))


def _few(names: str) -> str:
    """The first names of a list of cells, and the number of the others."""
    first, *others = names.split(", ")
    return f"{first} and {len(others)} more" if others else first


def _instrument(pairs: Sequence[Pair], runs: Sequence[Run]) -> str | None:
    """An instrument with fixed work: the control if the user names none and other targets were measured too."""
    instruments = {name for run in runs for name in run.head.instruments}
    # without fixed work the null backend measures only the harness, which is no measure of the machine's speed
    fixed = [p for p in pairs if p.cell.backend in instruments and int(dict(p.cell.settings.options).get("work", 0))]
    targets = {str(pair.cell.target) for pair in pairs}
    return str(fixed[0].cell.target) if fixed and len(targets) > 1 else None


def _changes_of(pair: Pair, sides: Sides) -> list[Change]:
    """Change of each metric of `pair`, without a verdict."""
    changes = [COMPARISONS[metric.kind](pair, metric, sides) for metric in sides.metrics]
    by_name = {change.metric.name: change for change in changes if change}
    if "top1_drop" in by_name:
        by_name.pop("top1", None)  # the same fact once more, with a wider interval
    return list(by_name.values())


def _timed(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    base, new = sides.figures(pair.base, metric), sides.figures(pair.new, metric)
    if not (base and new):
        return None
    change = _ratio(pair, metric, sides, [[figure.log for figure in side.values()] for side in (base, new)])
    if sides.control and str(pair.cell.target) == sides.control:
        return change._replace(verdict=None, reason="the control")
    control = sides.control_of(pair) if sides.control else None
    change = _with_interval(change, _basis(metric, (base, new), control, sides), sides)
    # another host is another speed: the ratio stays for information, without an interval
    if not sides.match.same_host:
        return change._replace(ends=None, reason=OTHER_HOST)
    cycles = _cycles(pair, metric, control, sides)
    return change._replace(cycles=cycles) if cycles else change


def _cycles(pair: Pair, metric: Metric, control: Pair | None, sides: Sides) -> Cycles | None:
    """Change of `metric` in cycles of the GPU; None if a run of either side has no clocks."""
    if pair.cell.device == CPU:
        return None
    base, new = (sides.figures(records, metric, cycles=True) for records in (pair.base, pair.new))
    if len(base) < len(pair.base) or len(new) < len(pair.new):
        return None
    change = _ratio(pair, metric, sides, [[figure.log for figure in side.values()] for side in (base, new)])
    change = _with_interval(change, _basis(metric, (base, new), control, sides, cycles=True), sides)
    part = THROUGHPUT if metric.name == THROUGHPUT else LATENCY
    base_mhz, new_mhz = (fmean(record_mhz(item, part) or 0.0 for item in side.values()) for side in (pair.base, pair.new))
    return Cycles(change.effect, change.ends, change.p, base_mhz, new_mhz)


def _basis(metric: Metric, values: Sequence[Figures], control: Pair | None, sides: Sides, *, cycles: bool = False) -> Basis:
    """Basis of the interval. `cycles`: a control on a GPU is in cycles too."""
    timed = [sides.figures(side, metric) for side in _records(control) if side]
    in_cycles = [sides.figures(side, metric, cycles=True) for side in _records(control) if side] if cycles else []
    fixed = in_cycles if all(in_cycles) and in_cycles else timed
    return (_of_runs if sides.several else _of_rounds)(values, fixed, control)


def _ratio(pair: Pair, metric: Metric, sides: Sides, logs: Sequence[Sequence[float]]) -> Change:
    """Figures of both sides as `bench show` has them, and their ratio from one logarithm a run. The interval is added later.

    Like a speed-up, the ratio is that of the figures by round (stats.typical): a pooled percentile has no unit of error.
    """
    base, new = [_figure(records, metric, sides, side) for records, side in zip((pair.base, pair.new), logs)]
    return Change(pair, metric, base, new, effect=math.exp(fmean(logs[1]) - fmean(logs[0])))


def _figure(records: Records, metric: Metric, sides: Sides, logs: Sequence[float]) -> float:
    """Figure of a side: the geometric mean of its runs' figures."""
    shown = sides.shown(records, metric)
    # The table withholds a percentile of too few calls. The mean of the rounds stands in for it, since a ratio needs no
    # percentile of the run.
    return geometric_mean(shown) if len(shown) == len(logs) else metric.scale * math.exp(fmean(logs))


def _with_interval(change: Change, basis: Basis, sides: Sides) -> Change:
    """Add the interval that rests on `basis`, or the reason for none."""
    plus, minus = ([estimate for estimate in side if estimate] for side in (basis.plus, basis.minus))
    if len(plus) < len(basis.plus) or len(minus) < len(basis.minus):
        return change._replace(method=basis.method, reason=FEW_RUNS if sides.several else FEW_ROUNDS)
    interval = difference(plus, minus, allowance=basis.allowance, alpha=basis.alpha)
    return change._replace(effect=interval.middle, ends=(interval.low, interval.high), p=interval.p, method=basis.method)


def _of_runs(values: Sequence[Figures], fixed: Sequence[Figures], control: Pair | None) -> Basis:
    """Basis with the run as its unit. The interval includes variation between processes and between days.

    `fixed`: figures of the control on both sides; empty without a control.
    """
    base, new = [of_runs(_per_run(side, other)) for side, other in zip(values, fixed or (None, None))]
    return Basis(plus=[new], minus=[base], method=_method("runs", control))


def _per_run(values: Figures, fixed: Figures | None) -> list[float]:
    """One figure a run. With a control, it is divided by the control's, and runs without the control are left out."""
    if fixed is None:
        return [math.exp(figure.log) for figure in values.values()]
    return [math.exp(figure.log - other.log) for number, figure in values.items() if (other := fixed.get(number))]


def _of_rounds(values: Sequence[Figures], controls: Sequence[Figures], control: Pair | None) -> Basis:
    """Basis of one run a side. Its unit is the life; else it is the round, with an allowance for two processes."""
    base, new = [_first(side) for side in values]
    fixed = [_first(side) for side in controls]
    pairs = [(base, new)]
    # the control's ratio goes out of that of the cell: its base multiplies, its new divides
    if control and all(figure and figure.estimate for figure in fixed):
        pairs.append((fixed[1], fixed[0]))
    minus, plus = zip(*pairs)
    return Basis(
        plus=[figure and figure.estimate for figure in plus],
        minus=[figure and figure.estimate for figure in minus],
        method=_method("one run", control if len(pairs) > 1 else None),
        # pairs of processes differ independently, so their allowances add in squares
        allowance=math.hypot(*(allowance(*pair) for pair in pairs)),
        alpha=ALPHA,
    )


def _first(figures: Figures) -> RunFigure | None:
    """Figure of the only run; None without a run."""
    return next(iter(figures.values()), None)


def _records(control: Pair | None) -> tuple[Records | None, Records | None]:
    return (control.base, control.new) if control else (None, None)


def _method(unit: str, control: Pair | None) -> str:
    return f"{unit} over {control.cell.target}" if control else unit


def _peak_memory(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    """Change of peak memory. The figure of a run is the median of its fresh processes."""
    runs = [sides.shown(records, metric) for records in (pair.base, pair.new)]
    if not all(runs):
        return None
    if sides.several:
        base, new = [of_runs(values) for values in runs]
        basis = Basis(plus=[new], minus=[base], method="runs")
    else:
        # the processes of one run give no estimate of the error, so the interval is the allowance alone
        base, new = [Estimate(mean=math.log(values[0]), error=0.0, freedom=1) for values in runs]
        basis = Basis(plus=[new], minus=[base], method="one run", allowance=math.log1p(MEMORY))
    logs = [[math.log(value) for value in values] for values in runs]
    return _with_interval(_ratio(pair, metric, sides, logs), basis, sides)


def _accuracy(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    """Change of accuracy between the first runs of both sides: accuracy does not vary from run to run."""
    old, now = (next(iter(side.values())).parity for side in (pair.base, pair.new))
    before, after = getattr(old, metric.name, None), getattr(now, metric.name, None)
    if old is None or now is None or before is None or after is None:
        return None
    change = Change(pair, metric, before, after, effect=float(after - before), method="images")
    if old.images != now.images or sides.match.has_changed("dataset"):
        return change._replace(reason=OTHER_IMAGES)
    counts = _changed_answers(old, now, metric)
    if counts is None:
        return change._replace(reason="the changed answers are not stored")
    low, high = drop_interval(*counts, now.images or 0)
    return change._replace(ends=(-high, -low) if metric.more_is_better else (low, high), p=mcnemar(*counts))


def _changed_answers(old: Verified, now: Verified, metric: Metric) -> tuple[int, int] | None:
    """Upper bounds of the numbers of right answers that new lost and gained against base; None if they are unknown."""
    # A run stores the changes against FP32, not against the other run. An image that base lost and new did not is counted as
    # a gain, so an image that both lost is counted twice: the difference is exact and its interval not too narrow.
    if metric.name == "top1_drop":
        if old.lost is None or old.gained is None or now.lost is None or now.gained is None:
            return None
        return now.lost + old.gained, now.gained + old.lost
    # top-1 alone: the wrong answers of both sides are taken as independent, which is wider still
    wrong = [round(side.images * (1 - (side.top1 or 0) / 100)) for side in (now, old) if side.images]
    return (wrong[0], wrong[1]) if len(wrong) == 2 else None


Comparison = Callable[[Pair, Metric, Sides], Change | None]
COMPARISONS: Mapping[str, Comparison] = {"time": _timed, "load": loaded, "memory": _peak_memory, "accuracy": _accuracy}


def _judged(change: Change, significant: bool, sides: Sides) -> Change:
    """Add the verdict, if there is an interval. `significant`: by Holm's correction among all changes."""
    if change.loss is None:
        return change
    (low, high), metric = change.loss, change.metric
    if significant and (low > 0 or high < 0):
        return change._replace(verdict=metric.words[low > 0])
    enough = sides.thresholds.get(metric.name, POINTS if metric.in_points else THRESHOLD)
    if -enough <= low and high <= enough:
        return change._replace(verdict=NO_DIFFERENCE)
    return change._replace(reason=f"the interval is wider than ±{limit_text(enough, metric)}")


def _with_clocks(change: Change, time_differs: bool, cycles_differ: bool) -> Change:
    """Change the verdict to ambiguous where the change in cycles of the GPU leads to another conclusion."""
    if change.cycles is None or change.cycles.ends is None or change.ends is None:
        return change
    if disagree(change.effect, change.cycles.effect, time_differs=time_differs, cycles_differ=cycles_differ):
        return change._replace(verdict=AMBIGUOUS, reason=OTHER_CLOCKS)
    return change
