"""Steps in a series of figures: their places, sizes, intervals and p-values. NumPy and SciPy only.

The figures of the runs of one case are normal around levels that change between two runs. The best places for each number of
steps come from optimal partitioning (Jackson et al., An algorithm for optimal partitioning of data on an interval, IEEE Signal
Processing Letters 12 (2005)). The evidence is an F-test of that number against no step, corrected for the number of ways
to place the steps (Bonferroni; Worsley, On the likelihood ratio test for a shift in location of normal populations, JASA 74
(1979)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .distributions import fdtrc, stdtr, stdtrit
from .percentiles import CONFIDENCE

LEAST_LEVEL = 2
"""Runs of one level at least. A single run that differs is no step: it may be a busy machine."""

LEAST_SERIES = 2 * LEAST_LEVEL
MOST_STEPS = 10
ALPHA = 1 - CONFIDENCE


class Step(NamedTuple):
    """Change of the level between two runs.

    `at`: index of the first run after the step. `before`, `after`: means of the levels. `low`, `high`: ends of the 95 %
    interval of `after - before`. `p`: p-value, corrected for the places of a step and the number of series.
    `runs`: numbers of runs of both levels.
    """

    at: int
    before: float
    after: float
    low: float
    high: float
    p: float
    runs: tuple[int, int]


def find_steps(values: Sequence[float], *, error: float = 0.0, series: int = 1) -> list[Step]:
    """Steps in `values`, one value a run in the order of the runs.

    `error`: standard error of one value from the run's own rounds. The scatter of the runs counts as at least that large.
    `series`: number of series that are searched. The probability of a false step in any of them is at most ALPHA.
    """
    figures = np.asarray(values, float)
    best = _best_places(figures, error, series)
    while best:
        steps = _steps(figures, best, error, series)
        worst = max(steps, key=lambda step: step.p)
        if worst.p <= ALPHA:
            return steps
        best = [place for place in best if place != worst.at]
    return []


def _best_places(figures: NDArray[np.float64], error: float, series: int) -> list[int]:
    """Places of the number of steps with the lowest p-value; none if no p-value is at most ALPHA."""
    count = len(figures)
    most = min(MOST_STEPS, count // LEAST_LEVEL - 1, count // 4 + 1)
    if most < 1:
        return []
    costs, partitions = _partitions(figures, most)
    p_values = []
    for steps in range(1, most + 1):
        free = count - steps - 1
        variance = max(costs[steps] / free, error**2)
        ratio = max(0.0, costs[0] - costs[steps]) / steps / variance if variance else math.inf * (costs[0] > 0)
        p = float(fdtrc(steps, free, ratio)) if math.isfinite(ratio) else 0.0
        p_values.append(min(1.0, p * math.comb(count - 1, steps) * most * series))
    lowest = min(range(most), key=lambda index: p_values[index])
    return partitions[lowest + 1] if p_values[lowest] <= ALPHA else []


def _partitions(figures: NDArray[np.float64], most: int) -> tuple[list[float], list[list[int]]]:
    """Lowest sum of squares around the levels, and the places of the steps, for 0 to `most` steps."""
    count = len(figures)
    # figures around 0: a difference of two large sums would lose the digits of a small scatter
    centred = figures - figures.mean()
    sums, squares = (np.concatenate(([0.0], np.cumsum(part))) for part in (centred, centred**2))

    def cost(start: NDArray[np.int64], end: int) -> NDArray[np.float64]:
        squared = squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / (end - start)
        positive: NDArray[np.float64] = np.maximum(squared, 0.0)  # rounding may leave a small negative sum
        return positive

    ends = range(LEAST_LEVEL, count + 1)
    table = np.full((most + 1, count + 1), np.inf)
    origin = np.zeros((most + 1, count + 1), int)
    for end in ends:
        table[0, end] = cost(np.array([0]), end)[0]
    for steps in range(1, most + 1):
        for end in range((steps + 1) * LEAST_LEVEL, count + 1):
            starts = np.arange(steps * LEAST_LEVEL, end - LEAST_LEVEL + 1)
            totals = table[steps - 1, starts] + cost(starts, end)
            place = int(np.argmin(totals))
            table[steps, end], origin[steps, end] = totals[place], starts[place]
    return [float(row[count]) for row in table], [_places(origin, steps, count) for steps in range(most + 1)]


def _places(origin: NDArray[np.int64], steps: int, count: int) -> list[int]:
    """Places of `steps` steps, followed back from the last run."""
    places: list[int] = []
    end = count
    for number in range(steps, 0, -1):
        end = int(origin[number, end])
        places.append(end)
    return places[::-1]


def _steps(figures: NDArray[np.float64], places: Sequence[int], error: float, series: int) -> list[Step]:
    """Steps at `places`, with the scatter that all levels share."""
    levels = np.split(figures, places)
    means, free = [float(level.mean()) for level in levels], len(figures) - len(levels)
    squared = sum(float(((level - level.mean()) ** 2).sum()) for level in levels)
    spread = math.sqrt(max(squared / free, error**2))
    half = float(stdtrit(free, 1 - ALPHA / 2)) * spread
    ways = (len(figures) - 1) * series
    steps = []
    for place, before, after, left, right in zip(places, means, means[1:], levels, levels[1:]):
        scale = math.sqrt(1 / len(left) + 1 / len(right))
        change = after - before
        p = 2 * float(stdtr(free, -abs(change) / (spread * scale))) if spread else float(change == 0)
        ends = (change - half * scale, change + half * scale)
        steps.append(Step(place, before, after, *ends, min(1.0, p * ways), (len(left), len(right))))
    return steps
