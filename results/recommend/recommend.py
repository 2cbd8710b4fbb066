"""From measured runs to a decision: the best row within the limits, what it was held against, and what binds. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..stats.intervals import LEAST_ROUNDS, Interval, log_interval
from ..store.record import Run
from ..store.series import interval, paired
from ..table.findings import Finding
from ..table.row import MEASURED
from .candidates import Candidate, Measured, Miss, Request, candidates, number

Point = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How many times better the pick is than the runner-up, `interval` where that could be had, and from what (`how`)."""

    ratio: float
    interval: Interval | None
    how: str

    @property
    def shown(self) -> bool:
        """Whether the interval says which of the two is better."""
        return self.interval is not None and not self.interval.low <= 1 <= self.interval.high


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A condition without which the answer would be better: `candidate` is the best row that it excludes, by `miss`, and
    `others` are the conditions that this row does not keep either."""

    miss: Miss
    candidate: Candidate
    others: tuple[Miss, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`ranked` are the feasible rows, the best first; `pareto` are the indices of those that nothing dominates.

    With none that is feasible, `nearest` misses its limits by least: by one alone where a single limit is enough.
    """

    request: Request
    runs: tuple[Run, ...]
    ranked: tuple[Candidate, ...]
    pareto: frozenset[int]
    excluded: tuple[Candidate, ...]
    difference: Difference | None
    binding: tuple[Binding, ...]
    nearest: Candidate | None
    notes: tuple[Finding, ...]

    @property
    def pick(self) -> Candidate | None:
        return self.ranked[0] if self.ranked else None

    @property
    def runner_up(self) -> Candidate | None:
        return self.ranked[1] if len(self.ranked) > 1 else None


def decide(runs: Sequence[Run], request: Request, known: Measured | None = None) -> Decision:
    """The decision; `known` are the runs' `lines`, where the caller has them.

    `BadInput` for runs that cannot be held together, and for a price of what is not in them.
    """
    found = candidates(runs, request, known)
    ranked = sorted((item for item in found if item.feasible), key=lambda item: -item.score)
    excluded = [item for item in found if not item.feasible]
    return Decision(
        request=request,
        runs=tuple(runs),
        ranked=tuple(ranked),
        pareto=undominated([_point(item) for item in ranked]),
        excluded=tuple(excluded),
        difference=difference(*ranked[:2]) if len(ranked) > 1 else None,
        binding=tuple(_binding(request, ranked[0], excluded) if ranked else ()),
        nearest=None if ranked else _nearest(excluded),
        notes=tuple(_notes(runs, found, ranked)),
    )


def _point(item: Candidate) -> Point:
    """Where a row stands: the objective, p50, p99 and top1, larger is better; a figure that it lacks is the worst."""
    objective = item.score if item.objective.name != "latency" else _larger(item.cells["throughput_per_s"], 1)
    latencies = (_larger(item.cells[name], -1) for name in ("p50_ms", "p99_ms"))
    return objective, *latencies, _larger(item.cells["top1"], 1)


def _larger(value: object, sign: int) -> float:
    figure = number(value)
    return -math.inf if figure is None else sign * figure


def undominated(points: Sequence[Point]) -> frozenset[int]:
    """The indices of points that no other is as good as in everything and better than in something; larger is better."""
    front: dict[Point, None] = {}
    for point in sorted(set(map(tuple, points)), reverse=True):  # in which none is dominated by a later one
        if not any(_dominates(other, point) for other in front):
            front[point] = None
    return frozenset(index for index, point in enumerate(points) if tuple(point) in front)


def _dominates(one: Point, other: Point) -> bool:
    return all(a >= b for a, b in zip(one, other)) and any(a > b for a, b in zip(one, other))


def difference(pick: Candidate, other: Candidate) -> Difference:
    """How much better `pick` is: by ratios of the same rounds where one run measured both, else by the interval of each.

    Intervals of independent means are combined on the log scale: the half-width of a ratio is the root of the sum of their
    squares. What was measured once has a ratio and no interval.
    """
    values = (pick.value or math.nan, other.value or math.nan)
    ratio = values[0] / values[1] if pick.objective.largest else values[1] / values[0]
    if not pick.objective.metric:
        return Difference(ratio=ratio, interval=None, how="measured once each, so without an interval")
    better = pick.objective.name != "latency"  # of the metric, more is
    worse_first, how = (other, pick) if better else (pick, other), "not paired: their own intervals, combined"
    factor = _price_factor(pick, other)
    if pick.run is other.run:
        ratios = paired(worse_first[0].row.record, worse_first[1].row.record, pick.objective.metric)
        found = log_interval([value * factor for value in ratios])
        if found:
            return Difference(ratio=found.middle, interval=found, how=f"paired in {len(ratios)} rounds")
    apart = _unpaired(*worse_first, factor)
    how = how if apart else f"without an interval: fewer than {LEAST_ROUNDS} rounds"
    return Difference(ratio=apart.middle if apart else ratio, interval=apart, how=how)


def _price_factor(pick: Candidate, other: Candidate) -> float:
    """What the prices alone make of a ratio of throughputs: how many times dearer an hour of `other` is."""
    if pick.objective.name != "cost" or not (pick.value and other.value):
        return 1.0
    rates = [number(item.cells["throughput_per_s"]) or math.nan for item in (pick, other)]
    return (other.value * rates[1]) / (pick.value * rates[0])


def _unpaired(base: Candidate, new: Candidate, factor: float) -> Interval | None:
    """`new` over `base`, from the interval of each; None where one has none."""
    metric = new.objective.metric
    one, two = interval(new.row.record, metric), interval(base.row.record, metric)
    if one is None or two is None:
        return None
    middle = factor * one.middle / two.middle
    half = math.hypot(math.log(one.high / one.low) / 2, math.log(two.high / two.low) / 2)
    return Interval(middle=middle, low=middle * math.exp(-half), high=middle * math.exp(half), p=math.nan)


def _binding(request: Request, pick: Candidate, excluded: Sequence[Candidate]) -> list[Binding]:
    """For each condition the best row above `pick` that it excludes; rows that it alone excludes come first."""
    better = [item for item in excluded if not item.reasons and item.score > pick.score]
    found = []
    for condition in request.conditions:
        held = [(item, miss) for item in better for miss in item.misses if miss.condition is condition]
        if held:
            item, miss = min(held, key=lambda pair: (len(pair[0].misses) > 1, -pair[0].score))
            found.append(Binding(miss=miss, candidate=item, others=tuple(one for one in item.misses if one is not miss)))
    return found


def _nearest(excluded: Sequence[Candidate]) -> Candidate | None:
    """The row with the fewest limits missed, and of these by the least share in all; None if no row has all figures."""
    measured = [item for item in excluded if not item.reasons]
    return min(measured, default=None, key=lambda item: (len(item.misses), sum(miss.relative for miss in item.misses)))


def _notes(runs: Sequence[Run], found: Sequence[Candidate], ranked: Sequence[Candidate]) -> list[Finding]:
    """What one should know of the runs before relying on the answer."""
    notes: list[Finding] = []
    for run in runs:
        rows = [item for item in found if item.run is run and not item.row.record.failed]
        left = sum(item.row.record.interrupted for item in rows)
        if left:
            notes.append(half_written(run, len(rows) - left, len(rows)))
    models = sorted({str(item.cells["model"]) for item in found if item.cells["status"] in MEASURED})
    if len(models) > 1:
        notes.append(Finding.of("several_models", models=", ".join(models)))
    tools = {item.row.record.imported.tool: item for item in reversed(ranked) if item.row.record.imported}
    notes += [Finding.of("other_tool", row=item.name, tool=tool) for tool, item in tools.items()]
    return notes + (_apart(ranked) if ranked else [])


def half_written(run: Run, finished: int, rows: int) -> Finding:
    """A finding on a run that ended before all of its rows did."""
    return Finding.of("half_written", run=str(run.folder), finished=finished, rows=rows)


def _apart(ranked: Sequence[Candidate]) -> list[Finding]:
    """Where figures that stand side by side are not of the same thing."""
    pick, notes = ranked[0], list[Finding]()
    lanes = number(pick.cells["lanes"]) or 1
    if not pick.objective.single and lanes > 1:
        notes.append(Finding.of("one_call", lanes=lanes))
    columns = {item.objective.column_of(item.row.record.cell.device) for item in ranked}
    if len(columns) > 1:
        on_cpu, on_gpu = sorted(columns, reverse=True)
        notes.append(Finding.of("unlike_memory", on_cpu=on_cpu, on_gpu=on_gpu))
    return notes
