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
from statistics import median
from typing import Any, NamedTuple

from ...errors import BadInput
from ...spec import Cell, nearest
from ..stats.intervals import (
    ALPHA,
    LEAST_ROUNDS,
    LEAST_RUNS,
    Estimate,
    differences,
    drop_interval,
    holm,
    mcnemar,
    of_each,
    of_runs,
)
from ..stats.percentiles import CONFIDENCE
from ..store import series
from ..store.record import CellRecord, Run
from .metrics import METRICS, POINTS, THRESHOLD, Metric, told
from .pairs import Match, Pair, Records, match

PROCESS = 0.02
"""By which share two processes of the same runtime differ for as long as they live, at most of what was seen: the real ort-cpu
against itself in another process (docs/measuring.md, Calibration)."""

TWO_PROCESSES = math.log1p(PROCESS)

MEMORY = 0.01
"""By which share the peak memory of two processes for a cell differs; 0.6 % at most of what was seen (docs/measuring.md)."""

FEW_ROUNDS, FEW_RUNS = f"fewer than {LEAST_ROUNDS} rounds", f"fewer than {LEAST_RUNS} runs a side"
NO_DIFFERENCE, INCONCLUSIVE = "no difference shown", "inconclusive"
WORSE = ("slower", "worse")
Draft = dict[str, Any]  # what a Finding is made of; `estimates` and `how` of the interval that it does not have yet
VERDICTS = (*WORSE, "faster", "better", NO_DIFFERENCE, INCONCLUSIVE)


class Finding(NamedTuple):
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
        return _loss(self.metric, self.ends) if self.ends else None


def _loss(metric: Metric, ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends if metric.in_points else (ends[0] - 1, ends[1] - 1)
    return (-high, -low) if metric.more_is_better else (low, high)


class Figure(NamedTuple):
    """One metric of one cell in one run: the logarithm of stats.typical, and what stats.of_rounds says of it."""

    log: float
    known: Estimate | None


def _figure(rounds: Sequence[float], estimate: Estimate) -> Figure:
    return Figure(estimate.mean, estimate if len(rounds) >= LEAST_ROUNDS else None)


Figures = Mapping[int, Figure]  # by the number of the run


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
            "time": lambda metric: bool(self._figures[metric.name]),
            "memory": lambda metric: any(event.get(metric.column) for item in records for event in item.cold),
            "accuracy": lambda metric: any(item.parity and metric.name in item.parity for item in records),
        }
        return [metric for metric in METRICS.values() if has[metric.kind](metric)]

    def figures(self, records: Records, metric: Metric) -> Figures:
        """`metric` of those of `records` that it was timed in."""
        known = self._figures[metric.name]
        return {number: known[id(record)] for number, record in records.items() if id(record) in known}

    @cached_property
    def _records(self) -> dict[int, CellRecord]:
        return {id(item): item for pair in self.match.pairs for side in (pair.base, pair.new) for item in side.values()}

    @cached_property
    def _figures(self) -> dict[str, dict[int, Figure]]:
        """By metric and record, all at once, which is many times faster than one by one."""
        told = {number: series.figures(item) for number, item in self._records.items() if not item.check}
        found: dict[str, dict[int, Figure]] = {}
        for name in METRICS:
            rounds = {number: values for number, known in told.items() if (values := known.get(name))}
            each = zip(rounds.items(), of_each(list(rounds.values())))
            found[name] = {number: _figure(values, estimate) for (number, values), estimate in each}
        return found

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
    drafts = [draft for pair in matched.pairs for draft in _drafts(pair, sides)]
    _conclude(drafts)
    judged = [index for index, draft in enumerate(drafts) if draft.get("ends") and draft.get("verdict", INCONCLUSIVE)]
    shown = holm({index: drafts[index]["p"] for index in judged})
    for index in judged:
        drafts[index] |= _verdict(drafts[index], index in shown, sides)
    return sides, [Finding(**draft) for draft in drafts]


def _instrument(pairs: Sequence[Pair], runs: Sequence[Run]) -> str | None:
    """An instrument with fixed work, which is a control that nobody needs to name, where something else was measured too."""
    instruments = {name for run in runs for name in run.head.get("instruments", [])}
    fixed = [p for p in pairs if p.cell.backend in instruments and int(dict(p.cell.settings.options).get("work", 0))]
    targets = {str(pair.cell.target) for pair in pairs}
    return str(fixed[0].cell.target) if fixed and len(targets) > 1 else None


def _conclude(drafts: Sequence[Draft]) -> None:
    """Give `drafts` the intervals that follow from their estimates, all at once."""
    about: dict[tuple[float, float], list[Draft]] = {}
    for draft in drafts:
        if "estimates" in draft:
            about.setdefault(draft.pop("how"), []).append(draft)
    for (allowance, alpha), alike in about.items():
        ratios = [(known[1::2], known[0::2]) for draft in alike if (known := draft.pop("estimates"))]
        for draft, interval in zip(alike, differences(ratios, allowance=allowance, alpha=alpha)):
            draft["change"], draft["p"] = interval.middle, interval.p
            draft.setdefault("ends", (interval.low, interval.high))


def _drafts(pair: Pair, sides: Sides) -> list[Draft]:
    found = [WAYS[metric.kind](pair, metric, sides) for metric in sides.known]
    known = {draft["metric"].name: draft for draft in found if draft}
    if "top1_drop" in known:
        known.pop("top1", None)  # which says the same once more
    return list(known.values())


def _timed(pair: Pair, metric: Metric, sides: Sides) -> Draft | None:
    base, new = sides.figures(pair.base, metric), sides.figures(pair.new, metric)
    if not (base and new):
        return None
    draft = _figures(pair, metric, [known.log for known in base.values()], [known.log for known in new.values()])
    if sides.control and str(pair.cell.target) == sides.control:
        return {**draft, "verdict": None, "reason": "the control"}
    control = sides.control_of(pair) if sides.control else None
    draft |= (_of_runs if sides.several else _of_rounds)(metric, (base, new), control, sides)
    if not sides.match.same_host:
        draft |= {"ends": None, "reason": "other host"}
    return draft


def _figures(pair: Pair, metric: Metric, *logs: Sequence[float]) -> Draft:
    """What the sides' figures are, from the logarithm of one a run, before it is known how far to trust them."""
    base, new = [metric.scale * math.exp(math.fsum(side) / len(side)) for side in logs]
    return {"pair": pair, "metric": metric, "base": base, "new": new, "change": new / base}


def _of_runs(metric: Metric, values: Sequence[Figures], control: Pair | None, sides: Sides) -> Draft:
    """The run is the unit: what differs between processes and between days is in the interval."""
    kept = [_per_run(side, records, metric, sides) for side, records in zip(values, _records(control))]
    return _resting([of_runs(figures) for figures in kept], FEW_RUNS, 0.0, _method("runs", control))


def _per_run(values: Figures, controls: Records | None, metric: Metric, sides: Sides) -> list[float]:
    """One figure a run; with a control those of the runs that it is in, over its own."""
    if controls is None:
        return [math.exp(figure.log) for figure in values.values()]
    fixed = sides.figures(controls, metric)
    return [math.exp(figure.log - other.log) for number, figure in values.items() if (other := fixed.get(number))]


def _of_rounds(metric: Metric, values: Sequence[Figures], control: Pair | None, sides: Sides) -> Draft:
    """The round is the unit, and what two processes may differ by is allowed for: for each pair of them, added in squares."""
    own = [next(iter(side.values())).known for side in values]
    if control is None:
        return _resting(own, FEW_ROUNDS, TWO_PROCESSES, "one run")
    others = [sides.figures(side, metric) for side in _records(control) if side]
    fixed = [other[next(iter(other))].known if other else None for other in others]
    controlled = len(fixed) == 2 and all(fixed)
    allowance = TWO_PROCESSES * math.sqrt(1 + controlled)
    # the control's ratio goes out of that of the cell: its base multiplies, its new divides
    swapped = fixed[::-1] if controlled else []
    method = _method("one run", control if controlled else None)
    return _resting([*own, *swapped], FEW_ROUNDS, allowance, method)


def _records(control: Pair | None) -> tuple[Records | None, Records | None]:
    return (control.base, control.new) if control else (None, None)


def _method(unit: str, control: Pair | None) -> str:
    return f"{unit} over {control.cell.target}" if control else unit


def _resting(estimates: Sequence[Estimate | None], lacking: str, allowance: float, method: str) -> Draft:
    """What an interval rests on, if no estimate is `lacking`: bases (0, 2), which divide, and news (1, 3)."""
    if not all(estimates):
        return {"reason": lacking, "method": method}
    alpha = ALPHA if method.startswith("one run") else 1 - CONFIDENCE
    return {"estimates": estimates, "how": (allowance, alpha), "method": method}


def _held(pair: Pair, metric: Metric, sides: Sides) -> Draft | None:
    """Peak memory: the median of a run's fresh processes."""
    sets = [[known for item in side.values() if (known := _median(item, metric.column))] for side in (pair.base, pair.new)]
    if not all(sets):
        return None
    if sides.several:
        told = _resting([of_runs(values) for values in sets], FEW_RUNS, 0.0, "runs")
    else:
        exact = [Estimate(mean=math.log(values[0]), error=0.0, freedom=1) for values in sets]
        told = _resting(exact, "", math.log1p(MEMORY), "one run")
    return _figures(pair, metric, *([math.log(value) for value in values] for values in sets)) | told


def _median(record: CellRecord, name: str) -> float | None:
    known = [event[name] for event in record.cold if event.get(name)]
    return float(median(known)) if known else None


def _right(pair: Pair, metric: Metric, sides: Sides) -> Draft | None:
    """Accuracy, which does not depend on the day: that of the first run of each side.

    For the drop, what base lost and new did not is counted as a change back, so pairs of images that changed alike are
    counted twice: the difference is exact and its interval not too narrow. For top-1 alone the two sides' wrong answers
    are taken for independent, which is wider still.
    """
    old, now = (next(iter(side.values())).parity or {} for side in (pair.base, pair.new))
    if old.get(metric.name) is None or now.get(metric.name) is None:
        return None
    found = {"pair": pair, "metric": metric, "base": old[metric.name], "new": now[metric.name], "method": "images"}
    found["change"] = float(now[metric.name] - old[metric.name])
    if old.get("images") != now.get("images") or any(line.startswith("dataset: ") for line in sides.match.changed):
        return {**found, "reason": "other images"}
    counts = _changes(old, now, metric)
    if counts is None:
        return {**found, "reason": "not known which answers changed"}
    low, high = drop_interval(*counts, int(now["images"]))
    return {**found, "ends": (-high, -low) if metric.more_is_better else (low, high), "p": mcnemar(*counts)}


def _changes(old: Mapping[str, float], now: Mapping[str, float], metric: Metric) -> tuple[int, int] | None:
    """How many answers new lost and gained against base, at most."""
    if metric.name == "top1_drop":
        both = "lost" in old and "lost" in now
        return (int(now["lost"] + old["gained"]), int(now["gained"] + old["lost"])) if both else None
    wrong = [round(side["images"] * (1 - side["top1"] / 100)) for side in (now, old) if side.get("images")]
    return (wrong[0], wrong[1]) if len(wrong) == 2 else None


WAYS: Mapping[str, Callable[[Pair, Metric, Sides], Draft | None]] = {"time": _timed, "memory": _held, "accuracy": _right}


def _verdict(draft: Draft, shown: bool, sides: Sides) -> Draft:
    """What the interval of `draft` says; `shown`: among all of them, the change is no chance."""
    metric = draft["metric"]
    low, high = _loss(metric, draft["ends"])
    if shown and (low > 0 or high < 0):
        return {"verdict": metric.words[low > 0]}
    enough = sides.thresholds.get(metric.name, POINTS if metric.in_points else THRESHOLD)
    if -enough <= low and high <= enough:
        return {"verdict": NO_DIFFERENCE}
    return {"reason": f"the interval is wider than ±{told(enough, metric)}"}
