"""Ways to get one figure and its interval from the rounds of several lives, compared on stored runs and on simulated lives.

    python benchmarks/trims.py FILE.jsonl ...     results of real_calibration.py; without one, simulated lives alone

They compare one runtime with itself, so the true ratio is 1. Each rule gives a ratio from the same rounds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median, stdev

import numpy as np
import real_calibration
from onnxbench.results.stats.intervals import LIFE, Repeated, values_of_lives

RUNS, SEED = 4000, 0
Lives = Sequence[Sequence[float]]
Rule = Callable[[Lives], Sequence[float]]


def own_middle(lives: Lives, trim: float) -> list[float]:
    """Mean of each life by itself, without the share `trim` of its rounds at each end, on the log scale."""
    values = []
    for life in lives:
        logs, cut = sorted(map(math.log, life)), int(trim * len(life))
        values.append(math.exp(fmean(logs[cut : len(logs) - cut])))
    return values


RULES: Mapping[str, Rule] = {
    "plain mean of each life": partial(own_middle, trim=0.0),
    "middle third of each life": partial(own_middle, trim=1 / 3),
    "20 % of all rounds cut": partial(values_of_lives, trim=0.2),
    "25 % of all rounds cut": partial(values_of_lives, trim=0.25),
    "33 % of all rounds cut": partial(values_of_lives, trim=1 / 3),
}


def stored(path: Path) -> Iterator[Lives]:
    """Ratios by round and life of the comparisons of a runtime with itself in the file `path`."""
    for line in real_calibration.lines_of(path):
        yield from (row["ratios"] for row in line["rows"] if not row["slower"])


def simulated(lives: int, rounds: int, spread: float, jumps: float) -> Iterator[Lives]:
    """Lives that scatter by `spread`, whose rounds scatter by 2 %, and a share `jumps` of them by 15 %."""
    draw = np.random.default_rng(SEED)
    for _ in range(RUNS):
        scatter = np.where(draw.random((lives, rounds)) < jumps, 0.15, 0.02) * draw.standard_normal((lives, rounds))
        yield np.exp(scatter + spread * draw.standard_normal((lives, 1))).tolist()


def tell(name: str, runs: Sequence[Lives]) -> None:
    """Print for each rule the scatter of its figure, half of its half-widths, and how often it covers the truth, in %."""
    for rule, values in RULES.items():
        intervals = [found for lives in runs if (found := Repeated(values(lives), LIFE).interval)]
        logs = [math.log(found.middle) for found in intervals]
        covered = fmean(found.low <= 1 <= found.high for found in intervals)
        print(
            f"{name}; {rule}: {len(logs)} runs, spread {100 * stdev(logs):.2f}, "
            f"half-width {100 * median(found.half_width for found in intervals):.2f}, covers {100 * covered:.1f}",
            flush=True,
        )


def main() -> None:
    for file in sys.argv[1:]:
        tell(file, list(stored(Path(file))))
    if sys.argv[1:]:
        return
    for lives, rounds in ((8, 5), (12, 5), (12, 12)):
        for spread in (0.0, 0.01, 0.03, 0.08):
            for jumps in (0.0, 0.3):
                name = f"{lives} lives of {rounds} rounds, lives {100 * spread:g} %, jumps {100 * jumps:g} %"
                tell(name, list(simulated(lives, rounds, spread, jumps)))


if __name__ == "__main__":
    main()
