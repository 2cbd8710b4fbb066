"""Exclusion of the nodes that stay in float: the worst ones together, judged by what their exclusion brings. Pure.

A gap between the figures of single nodes decides nothing: one outlier hides a group, and a group of equal nodes has no gap.
Parts of such a group may bring nothing: larger and larger parts are tried, whatever the smaller ones bring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  # numbers of excluded nodes that are tried
ENOUGH_SHARE = 0.9  # of the best gain
LEAST_DB = 6.0  # half the error; a smaller gain is not worth a layer in float
LEAST_DB_A_NODE = 2.0  # without half of equal nodes a file gains 3 dB, which is no reason to exclude them
LEAST_POINTS = 5.0  # of top-1, where the SQNR gains too little
LOWEST_DB, HIGHEST_DB = 0.0, 45.0  # beyond them an answer is useless, or nothing is left to gain

Names = Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """SQNR of each output with some nodes in float, and top-1 in per cent if there are labels."""

    sqnr_db: Mapping[str, float]
    top1: float | None = None

    @property
    def worst_db(self) -> float:
        """SQNR of the worst output."""
        return min(self.sqnr_db.values(), default=HIGHEST_DB)

    def gains(self, before: Figures) -> dict[str, float]:
        """Gain of each output over `before`, in dB within the limits."""
        return {name: _clip(value) - _clip(before.sqnr_db[name]) for name, value in self.sqnr_db.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """Nodes to exclude, empty if none is worth it, and the judgements of the numbers of nodes that were tried."""

    exclude: tuple[str, ...] = ()
    before: Figures
    after: Figures
    tried: Mapping[int, Figures] = field(default_factory=dict)


def _clip(value: float) -> float:
    return min(max(value, LOWEST_DB), HIGHEST_DB)


def choose(worst: Names, judge: Callable[[Names], Figures], most: int) -> Exclusion:
    """Choose among the nodes `worst`, the worst first, at most `most` of them. `judge`: figures with some nodes in float."""
    before = judge(())
    tried: dict[int, Figures] = {}
    for size in SIZES:
        if size > min(most, len(worst)):
            break
        tried[size] = judge(worst[:size])
        if min(map(_clip, tried[size].sqnr_db.values()), default=HIGHEST_DB) == HIGHEST_DB:
            break
    size = fewest(before, tried)
    if not size:
        return Exclusion(before=before, after=before, tried=tried)
    exclude, after = _without_idle(worst[:size], tried[size], before, judge)
    return Exclusion(exclude=exclude, before=before, after=after, tried=tried)


def fewest(before: Figures, tried: Mapping[int, Figures]) -> int:
    """Number of nodes whose exclusion is worth it for every output that gains LEAST_DB; 0 if there is none.

    Without such an output, the smallest number with ENOUGH_SHARE of the best gain in top-1, from LEAST_POINTS on.
    """
    gains = {size: judgement.gains(before) for size, judgement in tried.items()}
    size = max((_worth({size: gain[name] for size, gain in gains.items()}) for name in before.sqnr_db), default=0)
    if size:
        return size
    points = {size: _points(judgement, before) for size, judgement in tried.items()}
    top = max(points.values(), default=0.0)
    return next(size for size, gain in points.items() if gain >= ENOUGH_SHARE * top) if top >= LEAST_POINTS else 0


def _worth(gains: Mapping[int, float]) -> int:
    """Smallest number with ENOUGH_SHARE of the gain up to which each further node brings LEAST_DB_A_NODE on average.

    Nodes that bring nothing alone count by the gain of their group: the steps are those of the upper envelope of `gains`.
    """
    size = 0
    while steeper := {other: (gains[other] - gains.get(size, 0.0)) / (other - size) for other in gains if other > size}:
        best = max(steeper, key=lambda other: steeper[other])
        if steeper[best] < LEAST_DB_A_NODE:
            break
        size = best
    gain = gains.get(size, 0.0)
    return next(other for other in gains if gains[other] >= ENOUGH_SHARE * gain) if gain >= LEAST_DB else 0


def _points(judgement: Figures, before: Figures) -> float:
    """Gain in top-1, in points; 0 without labels."""
    return 0.0 if judgement.top1 is None or before.top1 is None else judgement.top1 - before.top1


def _without_idle(
    names: Names, every: Figures, before: Figures, judge: Callable[[Names], Figures]
) -> tuple[tuple[str, ...], Figures]:
    """`names` without those whose exclusion brings nothing once the others are in float, and the figures of the rest.

    `every`: figures without all of them.
    """
    remaining, after = list(names), every
    for name in reversed(names):
        fewer = [other for other in remaining if other != name]
        if not fewer:
            break
        judgement = judge(fewer)
        # As if 1 and 2 nodes were tried: the rule of numbers then decides whether the node is worth a further one.
        if fewest(before, {1: judgement, 2: every}) == 1:
            remaining, after = fewer, judgement
    return tuple(remaining), after
