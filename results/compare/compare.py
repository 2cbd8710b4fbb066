"""Two sides of runs, cell by cell and metric by metric: the ratio, its interval, and a verdict. Pure.

With several runs a side the unit is the run. With one a side the interval is that of the rounds, divided by a control's
where there is one, and reaches further by what two processes of the same program may differ by (docs/adr/0015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from statistics import fmean, median
from typing import NamedTuple

from ...errors import BadInput
from ...evidence import Verified
from ...spec import Cell, nearest
from ..stats.intervals import (
    ALPHA,
    LEAST_ROUNDS,
    LEAST_RUNS,
    Estimate,
    difference,
    drop_interval,
    holm,
    mcnemar,
    of_runs,
    trimmed,
)
from ..stats.percentiles import CONFIDENCE
from ..store import series
from ..store.record import CellRecord, Run
from ..table.findings import sentences
from .metrics import COMPARED, POINTS, THRESHOLD, Metric, told
from .pairs import Match, Pair, Records, match

PROCESS = 0.02
"""By which share two processes of the same runtime differ for as long as they live, at most of what was seen: the real ort-cpu
against itself in another process (docs/evidence.md, Calibration)."""

TWO_PROCESSES = math.log1p(PROCESS)

MEMORY = 0.01
"""By which share the peak memory of two processes for a cell differs; 0.6 % at most of what was seen (docs/method.md)."""

FEW_ROUNDS, FEW_RUNS = f"fewer than {LEAST_ROUNDS} rounds", f"fewer than {LEAST_RUNS} runs a side"
NO_DIFFERENCE, INCONCLUSIVE = "no difference shown", "inconclusive"
WORSE = ("slower", "worse")
VERDICTS = (*WORSE, "faster", "better", NO_DIFFERENCE, INCONCLUSIVE)


class Change(NamedTuple):
    """One metric of one cell. `ends`: those of the interval of the ratio new/base, or of the difference in points.

    `change` is new/base, or new minus base in points. `p`: of the change by chance. `method`: what the interval rests on.
    """

    pair: Pair
    metric: Metric
    base: float
    new: float
    change: float
    ends: tuple[float, float] | None = None
    p: float = 1.0
    method: str = ""
    verdict: str | None = INCONCLUSIVE
    reason: str = ""

    @property
    def loss(self) -> tuple[float, float] | None:
        """The interval of how much worse it became: a share of the base's figure, or points."""
        if self.ends is None:
            return None
        low, high = self.ends if self.metric.in_points else (self.ends[0] - 1, self.ends[1] - 1)
        return (-high, -low) if self.metric.more_is_better else (low, high)


class Figure(NamedTuple):
    """One metric of one cell in one run: the logarithm of stats.typical, and what stats.of_rounds says of it."""

    log: float
    known: Estimate | None


def _figure(rounds: Sequence[float]) -> Figure:
    estimate = trimmed(rounds)
    return Figure(estimate.mean, estimate if len(rounds) >= LEAST_ROUNDS else None)


Figures = Mapping[int, Figure]  # by the number of the run


@dataclass(frozen=True, kw_only=True, slots=True)
class Basis:
    """Figures that the interval of a ratio rests on: those that multiply it (`plus`), and those that divide it (`minus`).

    A figure that is not known well enough is None. `allowance` and `alpha`: as in stats.difference.
    """

    plus: Sequence[Estimate | None]
    minus: Sequence[Estimate | None]
    method: str
    allowance: float = 0.0
    alpha: float = 1 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is compared: `several` runs a side or one, against which `control`, and by metric what is too little to matter."""

    match: Match
    several: bool
    control: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def known(self) -> list[Metric]:
        """The metrics that some record has."""
        records = list(self._records.values())
        has: dict[str, Callable[[Metric], bool]] = {
            "time": lambda metric: any(metric.name in figures for figures in self._figures.values()),
            "memory": lambda metric: any(getattr(event, metric.column) for item in records for event in item.cold),
            "accuracy": lambda metric: any(getattr(item.parity, metric.name, None) is not None for item in records),
        }
        return [metric for metric in COMPARED.values() if has[metric.kind](metric)]

    def figures(self, records: Records, metric: Metric) -> Figures:
        """`metric` of those of `records` that it was timed in."""
        known = {number: self._figures[id(record)].get(metric.name) for number, record in records.items()}
        return {number: figure for number, figure in known.items() if figure}

    @cached_property
    def _records(self) -> dict[int, CellRecord]:
        return {id(item): item for pair in self.match.pairs for side in (pair.base, pair.new) for item in side.values()}

    @cached_property
    def _figures(self) -> dict[int, dict[str, Figure]]:
        """By record and metric; none of a check."""
        told = {number: {} if item.check else series.figures(item) for number, item in self._records.items()}
        return {number: {name: _figure(rounds) for name, rounds in known.items() if rounds} for number, known in told.items()}

    def control_of(self, pair: Pair) -> Pair | None:
        """The control's cell that is most like `pair`: of the same model if there is one, then batch, then precision."""
        found = (self._controls.get(key) for key in _likeness(pair.cell))
        return next(filter(None, found), None)

    @cached_property
    def _controls(self) -> dict[tuple[object, ...], Pair]:
        """The control's cells by what they may be asked for, the first of each."""
        named = [pair for pair in self.match.pairs if str(pair.cell.target) == self.control]
        return {key: pair for pair in reversed(named) for key in _likeness(pair.cell)}


def _likeness(cell: Cell) -> list[tuple[object, ...]]:
    """What other cells have in common with `cell`, the most alike first; None is anything."""
    return list(product((cell.model, None), (cell.batch, None), (cell.precision, None)))


def compare(
    base: Sequence[Run], new: Sequence[Run], control: str | None = None, thresholds: Mapping[str, float] | None = None
) -> tuple[Sides, list[Change]]:
    """Every metric of every cell of both sides. `BadInput` where no cell is on both, or none is the `control`."""
    matched, several = match(base, new), len(base) > 1 or len(new) > 1
    if not matched.pairs:
        raise BadInput(
            "no cell has figures on both sides",
            "; ".join(sentences(matched.left)) or "the runs have no rows",
        )
    known = {str(pair.cell.target) for pair in matched.pairs}
    if control and control not in known:
        raise BadInput(f"no cell of both sides is of the control {control!r}", nearest(control, known))
    chosen = control or (None if several else _instrument(matched.pairs, base))
    sides = Sides(match=matched, several=several, control=chosen, thresholds=thresholds or {})
    found = [item for pair in matched.pairs for item in _changes_of(pair, sides)]
    shown = holm({index: item.p for index, item in enumerate(found) if item.ends})
    return sides, [_judged(item, index in shown, sides) for index, item in enumerate(found)]


def _instrument(pairs: Sequence[Pair], runs: Sequence[Run]) -> str | None:
    """An instrument with fixed work, which is a control that nobody needs to name, where something else was measured too."""
    instruments = {name for run in runs for name in run.head.instruments}
    fixed = [p for p in pairs if p.cell.backend in instruments and int(dict(p.cell.settings.options).get("work", 0))]
    targets = {str(pair.cell.target) for pair in pairs}
    return str(fixed[0].cell.target) if fixed and len(targets) > 1 else None


def _changes_of(pair: Pair, sides: Sides) -> list[Change]:
    """The change of each metric of `pair`, without a verdict."""
    found = [WAYS[metric.kind](pair, metric, sides) for metric in sides.known]
    known = {item.metric.name: item for item in found if item}
    if "top1_drop" in known:
        known.pop("top1", None)  # which says the same once more
    return list(known.values())


def _timed(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    base, new = sides.figures(pair.base, metric), sides.figures(pair.new, metric)
    if not (base and new):
        return None
    found = _ratio(pair, metric, [known.log for known in base.values()], [known.log for known in new.values()])
    if sides.control and str(pair.cell.target) == sides.control:
        return found._replace(verdict=None, reason="the control")
    control = sides.control_of(pair) if sides.control else None
    found = _concluded(found, (_of_runs if sides.several else _of_rounds)(metric, (base, new), control, sides), sides)
    return found if sides.match.same_host else found._replace(ends=None, reason="other host")


def _ratio(pair: Pair, metric: Metric, *logs: Sequence[float]) -> Change:
    """What the sides' figures are, from the logarithm of one a run, before it is known how far to trust them."""
    base, new = [metric.scale * math.exp(fmean(side)) for side in logs]
    return Change(pair, metric, base, new, change=new / base)


def _concluded(found: Change, basis: Basis, sides: Sides) -> Change:
    """`found` with the interval that rests on `basis`, or with the reason why there is none."""
    plus, minus = ([item for item in side if item] for side in (basis.plus, basis.minus))
    if len(plus) < len(basis.plus) or len(minus) < len(basis.minus):
        return found._replace(method=basis.method, reason=FEW_RUNS if sides.several else FEW_ROUNDS)
    interval = difference(plus, minus, allowance=basis.allowance, alpha=basis.alpha)
    return found._replace(change=interval.middle, ends=(interval.low, interval.high), p=interval.p, method=basis.method)


def _of_runs(metric: Metric, values: Sequence[Figures], control: Pair | None, sides: Sides) -> Basis:
    """The run is the unit: what differs between processes and between days is in the interval."""
    base, new = [of_runs(_per_run(side, records, metric, sides)) for side, records in zip(values, _records(control))]
    return Basis(plus=[new], minus=[base], method=_method("runs", control))


def _per_run(values: Figures, controls: Records | None, metric: Metric, sides: Sides) -> list[float]:
    """One figure a run; with a control those of the runs that it is in, over its own."""
    if controls is None:
        return [math.exp(figure.log) for figure in values.values()]
    fixed = sides.figures(controls, metric)
    return [math.exp(figure.log - other.log) for number, figure in values.items() if (other := fixed.get(number))]


def _of_rounds(metric: Metric, values: Sequence[Figures], control: Pair | None, sides: Sides) -> Basis:
    """The round is the unit, and what two processes may differ by is allowed for: for each pair of them, added in squares."""
    base, new = [_first(side) for side in values]
    fixed = [_first(sides.figures(side, metric)) for side in _records(control) if side]
    if not (control and all(fixed)):
        return Basis(plus=[new], minus=[base], method="one run", allowance=TWO_PROCESSES, alpha=ALPHA)
    # the control's ratio goes out of that of the cell: its base multiplies, its new divides
    plus, minus, allowance = [new, fixed[0]], [base, fixed[1]], TWO_PROCESSES * math.sqrt(2)
    return Basis(plus=plus, minus=minus, method=_method("one run", control), allowance=allowance, alpha=ALPHA)


def _first(figures: Figures) -> Estimate | None:
    """The estimate from the rounds of the only run; None without one."""
    return next((figure.known for figure in figures.values()), None)


def _records(control: Pair | None) -> tuple[Records | None, Records | None]:
    return (control.base, control.new) if control else (None, None)


def _method(unit: str, control: Pair | None) -> str:
    return f"{unit} over {control.cell.target}" if control else unit


def _held(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    """Peak memory: the median of a run's fresh processes."""
    sets = [[known for item in side.values() if (known := _median(item, metric.column))] for side in (pair.base, pair.new)]
    if not all(sets):
        return None
    if sides.several:
        base, new = [of_runs(values) for values in sets]
        basis = Basis(plus=[new], minus=[base], method="runs")
    else:
        base, new = [Estimate(mean=math.log(values[0]), error=0.0, freedom=1) for values in sets]
        basis = Basis(plus=[new], minus=[base], method="one run", allowance=math.log1p(MEMORY))
    return _concluded(_ratio(pair, metric, *([math.log(value) for value in values] for values in sets)), basis, sides)


def _median(record: CellRecord, name: str) -> float | None:
    known = [figure for event in record.cold if (figure := getattr(event, name))]
    return float(median(known)) if known else None


def _right(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    """Accuracy, which does not depend on the day: that of the first run of each side.

    For the drop, what base lost and new did not is counted as a change back, so pairs of images that changed alike are
    counted twice: the difference is exact and its interval not too narrow. For top-1 alone the two sides' wrong answers
    are taken for independent, which is wider still.
    """
    old, now = (next(iter(side.values())).parity for side in (pair.base, pair.new))
    before, after = getattr(old, metric.name, None), getattr(now, metric.name, None)
    if old is None or now is None or before is None or after is None:
        return None
    found = Change(pair, metric, before, after, change=float(after - before), method="images")
    if old.images != now.images or sides.match.has_changed("dataset"):
        return found._replace(reason="other images")
    counts = _changes(old, now, metric)
    if counts is None:
        return found._replace(reason="not known which answers changed")
    low, high = drop_interval(*counts, now.images or 0)
    return found._replace(ends=(-high, -low) if metric.more_is_better else (low, high), p=mcnemar(*counts))


def _changes(old: Verified, now: Verified, metric: Metric) -> tuple[int, int] | None:
    """How many answers new lost and gained against base, at most."""
    if metric.name == "top1_drop":
        if old.lost is None or old.gained is None or now.lost is None or now.gained is None:
            return None
        return now.lost + old.gained, now.gained + old.lost
    wrong = [round(side.images * (1 - (side.top1 or 0) / 100)) for side in (now, old) if side.images]
    return (wrong[0], wrong[1]) if len(wrong) == 2 else None


WAYS: Mapping[str, Callable[[Pair, Metric, Sides], Change | None]] = {"time": _timed, "memory": _held, "accuracy": _right}


def _judged(found: Change, shown: bool, sides: Sides) -> Change:
    """`found` with what its interval says, if it has one; `shown`: among all of them, the change is no chance."""
    if found.loss is None:
        return found
    (low, high), metric = found.loss, found.metric
    if shown and (low > 0 or high < 0):
        return found._replace(verdict=metric.words[low > 0])
    enough = sides.thresholds.get(metric.name, POINTS if metric.in_points else THRESHOLD)
    if -enough <= low and high <= enough:
        return found._replace(verdict=NO_DIFFERENCE)
    return found._replace(reason=f"the interval is wider than ±{told(enough, metric)}")
