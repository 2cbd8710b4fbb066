"""Two sides of runs, cell by cell and metric by metric: the ratio, its interval, and a verdict. Pure.

With several runs a side the unit is the run. With one a side the interval is that of the rounds, divided by a control's
where there is one, and reaches further by what two processes of the same program may differ by (docs/adr/0015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from ..errors import BadInput
from ..spec import Cell, nearest
from . import series
from .metrics import METRICS, POINTS, THRESHOLD, Metric, told
from .pairs import Match, Pair, Records, match
from .record import CellRecord, Run
from .stats import (
    ALPHA,
    CONFIDENCE,
    LEAST_ROUNDS,
    LEAST_RUNS,
    Estimate,
    difference,
    drop_interval,
    holm,
    mcnemar,
    of_rounds,
    of_runs,
    typical,
)

PROCESS = 0.02
"""By which share two processes of the same runtime differ for as long as they live, at most of what was seen: the real ort-cpu
against itself in another process (docs/measuring.md, Calibration)."""

MEMORY = 0.01
"""By which share the peak memory of two processes for a cell differs; 0.6 % at most of what was seen (docs/measuring.md)."""

NO_DIFFERENCE, INCONCLUSIVE = "no difference shown", "inconclusive"
WORSE = ("slower", "worse")
VERDICTS = (*WORSE, "faster", "better", NO_DIFFERENCE, INCONCLUSIVE)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric of one cell. `interval`: of the ratio new/base, or (low, high) of the difference in points.

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


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is compared: `several` runs a side or one, against which `control`, and by metric what is too little to matter."""

    match: Match
    several: bool
    control: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    known: dict[int, Mapping[str, list[float]]] = field(default_factory=dict)

    def rounds(self, record: CellRecord, metric: Metric) -> list[float]:
        """`metric` in each round of `record`; none of what was not timed. Computed once for all metrics."""
        if id(record) not in self.known:
            self.known[id(record)] = {} if record.check else series.figures(record)
        return self.known[id(record)].get(metric.name, [])

    def control_of(self, pair: Pair) -> Pair | None:
        """The control's cell that is most like `pair`."""
        cell, found = pair.cell, [other for other in self.match.pairs if str(other.cell.target) == self.control]
        return min(found, key=lambda other: _unlike(other.cell, cell), default=None)


def _unlike(cell: Cell, other: Cell) -> tuple[bool, ...]:
    return (cell.model != other.model, cell.batch != other.batch, cell.precision != other.precision)


def compare(
    base: Sequence[Run], new: Sequence[Run], control: str | None = None, thresholds: Mapping[str, float] | None = None
) -> tuple[Sides, list[Finding]]:
    """Every metric of every cell of both sides. `BadInput` where no cell is on both, or none is the `control`."""
    matched, several = match(base, new), len(base) > 1 or len(new) > 1
    if not matched.pairs:
        raise BadInput("no cell has figures on both sides", "; ".join(matched.left) or "the runs have no rows")
    known = {str(pair.cell.target) for pair in matched.pairs}
    if control and control not in known:
        raise BadInput(f"no cell of both sides is of the control {control!r}", nearest(control, known))
    chosen = control or (None if several else _instrument(matched.pairs, base))
    sides = Sides(match=matched, several=several, control=chosen, thresholds=thresholds or {})
    found = [finding for pair in matched.pairs for finding in _findings(pair, sides)]
    shown = holm({index: finding.p for index, finding in enumerate(found) if finding.ends and finding.verdict})
    return sides, [_judged(finding, index in shown, sides) for index, finding in enumerate(found)]


def _instrument(pairs: Sequence[Pair], runs: Sequence[Run]) -> str | None:
    """An instrument with fixed work, which is a control that nobody needs to name, where something else was measured too."""
    instruments = {name for run in runs for name in run.head.get("instruments", [])}
    fixed = [p for p in pairs if p.cell.backend in instruments and int(dict(p.cell.settings.options).get("work", 0))]
    targets = {str(pair.cell.target) for pair in pairs}
    return str(fixed[0].cell.target) if fixed and len(targets) > 1 else None


def _findings(pair: Pair, sides: Sides) -> list[Finding]:
    ways: dict[str, Callable[[Pair, Metric, Sides], Finding | None]] = {"time": _timed, "memory": _held, "accuracy": _right}
    found = [ways[metric.kind](pair, metric, sides) for metric in METRICS.values()]
    known = [item for item in found if item]
    drop = any(item.metric.name == "top1_drop" for item in known)
    return [item for item in known if not (drop and item.metric.name == "top1")]  # which says the same once more


def _timed(pair: Pair, metric: Metric, sides: Sides) -> Finding | None:
    values = [
        {n: rounds for n, item in side.items() if (rounds := sides.rounds(item, metric))} for side in (pair.base, pair.new)
    ]
    if not all(values):
        return None
    found = _finding(pair, metric, [[typical(rounds) or 0.0 for rounds in side.values()] for side in values])
    if str(pair.cell.target) == sides.control:
        return replace(found, verdict=None, reason="the control")
    control = sides.control_of(pair) if sides.control else None
    found = _of_runs(found, values, control, sides) if sides.several else _of_rounds(found, values, control, sides)
    if not sides.match.same_host:
        return replace(found, ends=None, reason="other host")
    return found


def _finding(pair: Pair, metric: Metric, figures: Sequence[Sequence[float]]) -> Finding:
    """What the sides' figures are, one a run, before it is known how far to trust them."""
    base, new = (metric.scale * math.exp(fmean(map(math.log, side))) for side in figures)
    return Finding(pair=pair, metric=metric, base=base, new=new, change=new / base)


def _of_runs(found: Finding, values: Sequence[Mapping[int, list[float]]], control: Pair | None, sides: Sides) -> Finding:
    """The run is the unit: what differs between processes and between days is in the interval."""
    kept = [_per_run(side, records, found.metric, sides) for side, records in zip(values, _records(control))]
    estimates = [of_runs(figures) for figures in kept]
    return _concluded(found, estimates, f"fewer than {LEAST_RUNS} runs a side", 0.0, _method("runs", control))


def _per_run(values: Mapping[int, list[float]], controls: Records | None, metric: Metric, sides: Sides) -> list[float]:
    """One figure a run; with a control those of the runs that it is in, over its own."""
    own = {number: typical(rounds) or 0.0 for number, rounds in values.items()}
    if controls is None:
        return list(own.values())
    other = {number: typical(sides.rounds(record, metric)) for number, record in controls.items()}
    return [figure / fixed for number, figure in own.items() if (fixed := other.get(number))]


def _of_rounds(found: Finding, values: Sequence[Mapping[int, list[float]]], control: Pair | None, sides: Sides) -> Finding:
    """The round is the unit, and what two processes may differ by is allowed for: for each pair of them, added in squares."""
    estimates = [of_rounds(next(iter(side.values()))) for side in values]
    fixed = [of_rounds(sides.rounds(next(iter(side.values())), found.metric)) for side in _records(control) if side]
    controlled = len(fixed) == 2 and all(fixed)
    allowance = math.log1p(PROCESS) * math.sqrt(1 + controlled)
    # the control's ratio goes out of that of the cell: its base multiplies, its new divides
    swapped = fixed[::-1] if controlled else []
    method = _method("one run", control if controlled else None)
    return _concluded(found, [*estimates, *swapped], f"fewer than {LEAST_ROUNDS} rounds", allowance, method)


def _records(control: Pair | None) -> tuple[Records | None, Records | None]:
    return (control.base, control.new) if control else (None, None)


def _method(unit: str, control: Pair | None) -> str:
    return f"{unit} over {control.cell.target}" if control else unit


def _concluded(found: Finding, estimates: Sequence[Estimate | None], lacking: str, allowance: float, method: str) -> Finding:
    """`found` with the interval that its `estimates` give: bases (0, 2), which divide, and news (1, 3)."""
    known = [estimate for estimate in estimates if estimate]
    if len(known) < len(estimates):
        return replace(found, reason=lacking, method=method)
    alpha = ALPHA if method.startswith("one run") else 1 - CONFIDENCE
    interval = difference(known[1::2], known[0::2], allowance=allowance, alpha=alpha)
    return replace(found, change=interval.middle, ends=(interval.low, interval.high), p=interval.p, method=method)


def _held(pair: Pair, metric: Metric, sides: Sides) -> Finding | None:
    """Peak memory: the median of a run's fresh processes."""
    sets = [[known for item in side.values() if (known := _median(item, metric.column))] for side in (pair.base, pair.new)]
    if not all(sets):
        return None
    found = _finding(pair, metric, sets)
    if sides.several:
        return _concluded(found, [of_runs(values) for values in sets], f"fewer than {LEAST_RUNS} runs a side", 0.0, "runs")
    exact = [Estimate(mean=math.log(values[0]), error=0.0, freedom=1) for values in sets]
    return _concluded(found, exact, "", math.log1p(MEMORY), "one run")


def _median(record: CellRecord, name: str) -> float | None:
    known = [event[name] for event in record.cold if event.get(name)]
    return float(median(known)) if known else None


def _right(pair: Pair, metric: Metric, sides: Sides) -> Finding | None:
    """Accuracy, which does not depend on the day: that of the first run of each side.

    For the drop, what base lost and new did not is counted as a change back, so pairs of images that changed alike are
    counted twice: the difference is exact and its interval not too narrow. For top-1 alone the two sides' wrong answers
    are taken for independent, which is wider still.
    """
    old, now = (next(iter(side.values())).parity or {} for side in (pair.base, pair.new))
    if old.get(metric.name) is None or now.get(metric.name) is None:
        return None
    change = float(now[metric.name] - old[metric.name])
    found = Finding(pair=pair, metric=metric, base=old[metric.name], new=now[metric.name], change=change, method="images")
    if old.get("images") != now.get("images") or any(line.startswith("dataset: ") for line in sides.match.changed):
        return replace(found, reason="other images")
    counts = _changes(old, now, metric)
    if counts is None:
        return replace(found, reason="not known which answers changed")
    low, high = drop_interval(*counts, int(now["images"]))
    return replace(found, ends=(-high, -low) if metric.more_is_better else (low, high), p=mcnemar(*counts))


def _changes(old: Mapping[str, float], now: Mapping[str, float], metric: Metric) -> tuple[int, int] | None:
    """How many answers new lost and gained against base, at most."""
    if metric.name == "top1_drop":
        both = "lost" in old and "lost" in now
        return (int(now["lost"] + old["gained"]), int(now["gained"] + old["lost"])) if both else None
    wrong = [round(side["images"] * (1 - side["top1"] / 100)) for side in (now, old) if side.get("images")]
    return (wrong[0], wrong[1]) if len(wrong) == 2 else None


def _judged(found: Finding, shown: bool, sides: Sides) -> Finding:
    """`found` with its verdict; `shown`: among all of them, the change is no chance."""
    if found.loss is None or found.verdict is None:
        return found
    low, high = found.loss
    if shown and (low > 0 or high < 0):
        return replace(found, verdict=found.metric.words[low > 0])
    enough = sides.thresholds.get(found.metric.name, POINTS if found.metric.in_points else THRESHOLD)
    if -enough <= low and high <= enough:
        return replace(found, verdict=NO_DIFFERENCE)
    return replace(found, reason=f"the interval is wider than ±{told(enough, found.metric)}")
