"""Decision from measured runs: the best row within the limits, its difference from the runner-up, and binding limits. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..stats.intervals import LEAST_ROUNDS, Interval, Repeated
from ..stats.intervals import difference as difference_of
from ..store.record import Run
from ..store.series import counted, interval, paired, values
from ..table.findings import Finding
from .candidates import Candidate, Measured, Miss, Request, candidates, number
from .objective import Prices

Point = Sequence[float]


BASES: Mapping[str, str] = {
    "paired": "paired in {rounds} rounds",
    "unpaired": "not paired: the interval of each, combined",
    "few_rounds": f"without an interval: fewer than {LEAST_ROUNDS} rounds",
    "once": "without an interval: measured once each",
    "imported": "without an interval: measured by another tool",
}
"""Bases of a difference in words, by name."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Ratio of the pick's figure to the runner-up's, above 1 if the pick is better.

    `basis`: a key of BASES. `rounds`: the number of rounds that the ratio rests on; None for a figure without rounds.
    `one_run`: the same run measured both rows.
    """

    ratio: float
    interval: Interval | None
    basis: str
    rounds: int | None = None
    one_run: bool = True

    @property
    def basis_text(self) -> str:
        """Basis of the ratio in words."""
        return BASES[self.basis].format(rounds=self.rounds)

    @property
    def shown(self) -> bool:
        """True if the interval excludes 1: one of the two rows is better."""
        return self.interval is not None and not self.interval.low <= 1 <= self.interval.high


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A limit that excludes a better row than the pick.

    `candidate`: the best such row. `miss`: its value and the limit. `others`: the other limits that this row breaks.
    """

    miss: Miss
    candidate: Candidate
    others: tuple[Miss, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Answer to a request. `ranked`: the feasible rows, the best first. `pareto`: indices of the rows that no row dominates.

    `nearest`: without a feasible row, the row that breaks the fewest limits, and these by the least.
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


def decide(runs: Sequence[Run], request: Request, measured: Measured | None = None, prices: Prices | None = None) -> Decision:
    """Decide on a row. `measured`: `lines` of the runs, if the caller has them. `prices`: the parsed prices of the request.

    `BadInput` for runs that cannot be compared, and for a price of a backend or host that no run has.
    """
    rows = candidates(runs, request, measured, prices)
    # sorted() is stable: equal rows stay in the order of the table
    ranked = sorted((item for item in rows if item.feasible), key=lambda item: -item.score)
    excluded = [item for item in rows if not item.feasible]
    return Decision(
        request=request,
        runs=tuple(runs),
        ranked=tuple(ranked),
        pareto=undominated([_point(item) for item in ranked]),
        excluded=tuple(excluded),
        difference=difference(*ranked[:2]) if len(ranked) > 1 else None,
        binding=tuple(_binding(request, ranked[0], excluded) if ranked else ()),
        nearest=None if ranked else _nearest(excluded),
        notes=tuple(_notes(runs, rows, ranked)),
    )


def _point(item: Candidate) -> Point:
    """Objective, p50, p99 and top1 of a row, where larger is better; minus infinity for a missing figure.

    The objective latency is p50 itself, and throughput takes its place.
    """
    objective = item.score if item.objective.name != "latency" else _larger(item.cells["throughput_per_s"], 1)
    latencies = (_larger(item.cells[name], -1) for name in ("p50_ms", "p99_ms"))
    return objective, *latencies, _larger(item.cells["top1"], 1)


def _larger(value: object, sign: int) -> float:
    figure = number(value)
    return -math.inf if figure is None else sign * figure


def undominated(points: Sequence[Point]) -> frozenset[int]:
    """Indices of the points that no point dominates. A point dominates another if no value is smaller and one is larger."""
    front: dict[Point, None] = {}
    # In descending order no point is dominated by a later point, thus comparing with the front is enough.
    for point in sorted(set(map(tuple, points)), reverse=True):
        if not any(_dominates(other, point) for other in front):
            front[point] = None
    return frozenset(index for index, point in enumerate(points) if tuple(point) in front)


def _dominates(one: Point, other: Point) -> bool:
    return all(a >= b for a, b in zip(one, other)) and any(a > b for a, b in zip(one, other))


def difference(pick: Candidate, other: Candidate) -> Difference:
    """Ratio of `pick` to `other`, with an interval from paired rounds of one run, else from the interval of each row.

    A figure without rounds has a ratio and no interval.
    """
    mine, theirs = pick.value or math.nan, other.value or math.nan
    ratio = mine / theirs if pick.objective.largest else theirs / mine
    one_run = pick.run is other.run
    if not pick.objective.metric:
        together = _under_load(pick, other)
        basis = "unpaired" if together else "once"
        return Difference(ratio=together.middle if together else ratio, interval=together, basis=basis, one_run=one_run)
    larger_is_better = pick.objective.metric == "throughput"
    # `paired` divides new by base. With latency the pick is the base, so that a ratio above 1 always favours the pick.
    base, new = (other, pick) if larger_is_better else (pick, other)
    # a cost is a price over a throughput: rounds measure the throughput, and the ratio of prices is a constant factor
    factor = _price_factor(pick, other)
    ratios = paired(base.row.record, new.row.record, pick.objective.metric) if one_run else Repeated(())
    together = Repeated([value * factor for value in ratios.values], ratios.unit).interval
    if together:
        rounds = len(counted(new.row.record, base.row.record))
        return Difference(ratio=together.middle, interval=together, basis="paired", rounds=rounds)
    apart = _unpaired(base, new, factor)
    if apart:
        return Difference(ratio=apart.middle, interval=apart, basis="unpaired", one_run=one_run)
    if pick.row.record.imported or other.row.record.imported:
        return Difference(ratio=ratio, interval=None, basis="imported", one_run=one_run)
    rounds = min(len(values(item.row.record, item.objective.metric)) for item in (pick, other))
    return Difference(ratio=ratio, interval=None, basis="few_rounds", rounds=rounds, one_run=one_run)


def _under_load(pick: Candidate, other: Candidate) -> Interval | None:
    """Ratio of the rates under load, `pick` to `other`, from the passes of each; None for another objective or too few."""
    rates = [item.row.sustained for item in (pick, other)] if pick.objective.loaded else []
    mine, theirs = [rate.estimate if rate else None for rate in rates] or (None, None)
    return difference_of([mine], [theirs]) if mine and theirs else None


def _price_factor(pick: Candidate, other: Candidate) -> float:
    """Ratio of the prices an hour, `other` to `pick`, for the objective cost; else 1."""
    if pick.objective.name != "cost" or not (pick.value and other.value):
        return 1.0
    # a candidate stores the cost and not the price; cost times rate is the price, up to a constant
    rates = [number(item.cells["throughput_per_s"]) or math.nan for item in (pick, other)]
    return (other.value * rates[1]) / (pick.value * rates[0])


def _unpaired(base: Candidate, new: Candidate, factor: float) -> Interval | None:
    """Ratio of `new` to `base`, from the interval of each; None if a row has no interval."""
    metric = new.objective.metric
    one, two = interval(new.row.record, metric), interval(base.row.record, metric)
    if one is None or two is None:
        return None
    middle = factor * one.middle / two.middle
    # Independent means: on the log scale the half-width of the ratio is the root of the sum of the squares.
    half = math.hypot(math.log(one.high / one.low) / 2, math.log(two.high / two.low) / 2)
    return Interval(middle=middle, low=middle * math.exp(-half), high=middle * math.exp(half), p=math.nan)


def _binding(request: Request, pick: Candidate, excluded: Sequence[Candidate]) -> list[Binding]:
    """Find for each limit the best row above `pick` that it excludes; rows that break no other limit come first."""
    better = [item for item in excluded if not item.reasons and item.score > pick.score]
    binding = []
    for condition in request.conditions:
        excluded_by_it = [(item, miss) for item in better for miss in item.misses if miss.condition is condition]
        if excluded_by_it:
            # only a row that breaks no other limit shows the price of this limit
            item, miss = min(excluded_by_it, key=lambda pair: (len(pair[0].misses) > 1, -pair[0].score))
            binding.append(Binding(miss=miss, candidate=item, others=tuple(one for one in item.misses if one is not miss)))
    return binding


def _nearest(excluded: Sequence[Candidate]) -> Candidate | None:
    """Row that breaks the fewest limits, and these by the least share in total; None if no row has all figures."""
    measured = [item for item in excluded if not item.reasons]
    return min(measured, default=None, key=lambda item: (len(item.misses), sum(miss.relative for miss in item.misses)))


def _notes(runs: Sequence[Run], rows: Sequence[Candidate], ranked: Sequence[Candidate]) -> list[Finding]:
    """Findings on the runs that a reader must know before using the answer."""
    notes: list[Finding] = []
    for run in runs:
        own = [item for item in rows if item.run is run and not item.row.record.failed]
        open_rows = sum(item.row.record.interrupted for item in own)
        if open_rows:
            notes.append(half_written(run, len(own) - open_rows, len(own)))
    # reversed, so that the best row of each tool is the one that is named
    tools = {item.row.record.imported.tool: item for item in reversed(ranked) if item.row.record.imported}
    notes += [Finding.of("other_tool", row=item.name, tool=tool) for tool, item in tools.items()]
    return notes + (_incomparable(ranked) if ranked else [])


def half_written(run: Run, finished: int, rows: int) -> Finding:
    """Finding on a run that ended before all of its rows were complete."""
    return Finding.of("half_written", run=str(run.folder), finished=finished, rows=rows)


def _incomparable(ranked: Sequence[Candidate]) -> list[Finding]:
    """Findings on figures of the ranking that do not measure the same thing."""
    pick, notes = ranked[0], list[Finding]()
    lanes = number(pick.cells["lanes"]) or 1
    if not pick.objective.single and lanes > 1:
        notes.append(Finding.of("one_call", lanes=lanes))
    cell = pick.row.record.cell
    if cell != cell.alone and not pick.row.record.imported:
        notes.append(Finding.of("one_process_a_gpu", gpus=number(pick.cells["gpus"]), device=cell.device))
    columns = {item.objective.column_of(item.row.record.cell.device) for item in ranked}
    if len(columns) > 1:
        # peak_rss_mb before device_mem_mb
        on_cpu, on_gpu = sorted(columns, reverse=True)
        notes.append(Finding.of("unlike_memory", on_cpu=on_cpu, on_gpu=on_gpu))
    return notes
