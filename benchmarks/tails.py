"""Coverage of the intervals of p90 and p99 over simulated lives, for the numbers of lives of each budget.

    python benchmarks/tails.py [REPETITIONS]

The calls are those of tests/unit/test_tails.py: log-normal, with 3 % of slow ones, and lives that differ by 0 or 2 %. Prints
the least and the greatest coverage over numbers of lives, calls in a life and spreads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from onnxbench.budgets import BUDGETS
from onnxbench.results.stats.tails import tail_interval

CALLS = (80, 400, 2000)
SPREADS = (0.0, 0.02)
SLOW_SHARE, SLOW = 0.03, 0.3


def lives(random: np.random.Generator, count: int, calls: int, spread: float) -> NDArray[np.int64]:
    """Durations in ns: a row for each life."""
    slow = (random.random((count, calls)) < SLOW_SHARE) * random.exponential(SLOW, (count, calls))
    logs = random.normal(0, spread, (count, 1)) + random.normal(0, 0.03, (count, calls)) + slow
    return np.asarray(1e6 * np.exp(logs), np.int64)


def coverage(which: float, count: int, calls: int, spread: float, repetitions: int) -> float:
    """Share of the intervals that contain the true percentile."""
    random = np.random.default_rng(7)
    true = np.quantile(lives(random, 4000, 400, spread), which / 100)
    covered = 0
    for _ in range(repetitions):
        low, high = tail_interval(list(lives(random, count, calls, spread)), which)
        covered += bool(low <= true and (high is None or true <= high))
    return covered / repetitions


def cases() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each budget with lives, and the numbers of lives at its looks."""
    for name, budget in BUDGETS.items():
        if budget.life_rounds:
            yield name, tuple(look // budget.life_rounds for look in budget.looks)


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for (name, counts), which in product(cases(), (90, 99)):
        found = [coverage(which, *case, repetitions) for case in product(counts, CALLS, SPREADS)]
        print(f"{name} ({', '.join(map(str, counts))} lives), p{which}: {100 * min(found):.1f} to {100 * max(found):.1f} %")


if __name__ == "__main__":
    main()
