"""Race of candidates by measured rates: each pass measures all that are left, and slow ones leave. Standard library only.

The search for a concurrency (lanes.py) and the search for a runtime's options (sweep/tune.py) are such races.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

HOPELESS, SURE_AFTER = 0.85, 2  # share of the best score; passes before the first candidate leaves

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Race(Generic[C]):
    """Rates of every candidate, one for each pass, and the scores of those that are left."""

    rates: Mapping[C, Sequence[float]]
    scores: Mapping[C, float]


def race(
    candidates: Sequence[C], rate: Callable[[C], float], passes: int, is_late: Callable[[], bool] = lambda: False
) -> Race[C]:
    """Measure `candidates` in `passes`, each with all that are left in the race. No pass begins after `is_late` returns True.

    A score is the median over passes of a candidate's rate relative to the mean of the same pass, because a
    machine's speed changes between passes. From the third pass on, a candidate leaves the race if its score is
    below HOPELESS times the best score: a candidate that is clearly slower costs no further passes. A candidate
    that fails has the rate 0. A single candidate is not measured.
    """
    rates: dict[C, list[float]] = {candidate: [] for candidate in candidates}
    left = list(candidates)
    for number in range(passes if len(left) > 1 else 0):
        if number and is_late():
            break
        for candidate in left:
            rates[candidate].append(rate(candidate))
        scores = _scores({candidate: rates[candidate] for candidate in left})
        least = HOPELESS * max(scores.values()) if number >= SURE_AFTER else 0.0
        left = [candidate for candidate in left if scores[candidate] > least] or left[:1]
    return Race(rates=rates, scores=_scores({candidate: rates[candidate] for candidate in left}))


def _scores(rates: Mapping[C, Sequence[float]]) -> dict[C, float]:
    """Median over passes of each candidate's rate relative to the pass's mean; 0 for a candidate that failed."""
    means = [sum(each) / len(each) or 1.0 for each in zip(*rates.values())]
    return {
        candidate: median(rate / mean for rate, mean in zip(own, means)) if own and min(own) > 0 else 0.0
        for candidate, own in rates.items()
    }
