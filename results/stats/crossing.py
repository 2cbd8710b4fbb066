"""Request rate at which the share of late responses reaches a limit, with its error, from passes at several rates. NumPy only.

Late responses come in bursts, as long as a queue lasts, so their number varies several times more than a binomial number. The
scatter of the repeated passes shows how much, and the interval is Student's t over them (docs/adr/0039).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from .intervals import Estimate

LEAST_PASSES = 6
"""Fewest repeats of an interval. They have as many degrees of freedom as half of them: bursts make their shares skewed, and
with all degrees of freedom the simulated interval of a busy server covers 86 to 90 %."""
MOST_LATE = 0.3
"""Largest share of late responses that counts for the growth: at an overloaded rate it cannot grow any more."""
STEPS, STEP, PRECISION = 200, 2.0, 1e-9
TINY, LEAST_LOG = 1e-9, -25.0


class Pass(NamedTuple):
    """One measurement at a rate of arrivals: the share of late responses among its items."""

    rate: float
    late: float
    items: int


def crossing(passes: Sequence[Pass], share: float) -> Estimate | None:
    """Estimate of the rate, on the log scale, at which `share` of the responses are late. `passes`: in their order.

    None for too few repeats of a rate, without a late response in them, and where the share does not grow with the rate.
    """
    fresh, growth = repeats(passes), _growth(passes)
    if len(fresh) < LEAST_PASSES or growth is None:
        return None
    slope, slope_error, excess = growth
    middle, count = fmean(item.rate for item in fresh), len(fresh)
    # The share grows exponentially with the rate, so these ratios have one mean in passes at all rates.
    ratios = [item.late / share * math.exp(slope * (middle - item.rate)) for item in fresh]
    mean, late = fmean(ratios), sum(item.late * item.items for item in fresh)
    if not mean > 0:
        return None
    # A few passes may be alike by chance. So their error is at least that of bursts as large as those of all passes.
    level_error = max(stdev(ratios) / mean / math.sqrt(count), math.sqrt(excess / late))
    distance = -math.log(mean) / slope
    rate = middle + distance
    error = math.hypot(level_error, distance * slope_error) / slope
    return Estimate(mean=math.log(rate), error=error / rate, freedom=count // 2 - 1) if rate > 0 else None


def repeats(passes: Sequence[Pass]) -> list[Pass]:
    """Passes at rates that were measured before. The search chose its rates by their first passes, which are biased by that."""
    seen: set[float] = set()
    return [item for item in passes if item.rate in seen or seen.add(item.rate)]  # type: ignore[func-returns-value]


def _growth(passes: Sequence[Pass]) -> tuple[float, float, float] | None:
    """Growth of the logarithm of the late share with the rate, its error, and the excess variance of the passes.

    None if the share does not grow.

    A Poisson regression by iteratively reweighted least squares (McCullagh and Nelder, Generalized Linear Models, 2nd edition
    (1989), 6.2).
    """
    near = [item for item in passes if item.late <= MOST_LATE]
    if len({item.rate for item in near}) < 2 or len(near) < LEAST_PASSES or not any(item.late for item in near):
        return None
    rates, late, items = (np.array(column, float) for column in zip(*near))
    scale = float(rates.mean())
    design = np.stack([np.ones_like(rates), rates / scale - 1], axis=1)
    line = np.array([math.log(float((late * items).sum() / items.sum())), 1.0])
    for _ in range(STEPS):
        fitted = items * np.exp(np.clip(design @ line, LEAST_LOG, 0.0))
        information = design.T @ (fitted[:, None] * design) + TINY * np.eye(2)
        step = np.linalg.solve(information, design.T @ (items * late - fitted))
        largest = float(np.abs(step).max())
        if not math.isfinite(largest):
            return None
        line = line + step * min(1.0, STEP / largest if largest else 1.0)
        if largest < PRECISION:
            excess = max(1.0, float(((items * late - fitted) ** 2 / fitted).sum()) / max(1, len(near) - 2))
            error = math.sqrt(excess * float(np.linalg.inv(information)[1, 1]))
            return (float(line[1]) / scale, error / scale, excess) if line[1] > 0 else None
    return None
