"""Trials of versions against the good version: ratios by run, their interval, and the decision. Pure.

The unit is the life: both versions in fresh processes, side by side. A budget without lives has the round as its unit in one
run, with an allowance for the difference of two processes, and the run as its unit in three runs or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..compare.run_figures import TWO_PROCESSES
from ..stats.intervals import ALPHA, LIFE, Interval, Repeated, difference, of_runs
from ..stats.percentiles import CONFIDENCE

SLOWER, NOT_SLOWER, UNDECIDED, SKIPPED = VERDICTS = ("slower", "not slower", "undecided", "skipped")
RUN_COUNTS = (1, 3, 5)
"""Runs after which a trial is judged. An undecided trial is measured longer, in fresh processes, up to the last number."""


@dataclass(frozen=True, kw_only=True)
class VersionTrial:
    """Trial of one `version`.

    `ratio`, `low`, `high`: loss against the good version with its 95 % interval, 1.05 for 5 % slower; None without figures.
    `runs`: number of runs. `verdict`: one of VERDICTS. `reason`: reason of a version that is skipped.
    """

    version: str
    verdict: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0
    reason: str = ""


def judge(version: str, ratios: Sequence[Repeated], limit: float) -> VersionTrial:
    """Trial of `version` from its `ratios`, one value for each run: slower if all of the interval is above `limit`."""
    typical = [item.typical or 1.0 for item in ratios]
    trial = VersionTrial(version=version, verdict=UNDECIDED, ratio=math.exp(fmean(map(math.log, typical))), runs=len(ratios))
    interval = _interval(ratios)
    if interval is None:
        return trial
    verdict = SLOWER if interval.low > limit else NOT_SLOWER if interval.high < limit else UNDECIDED
    return replace(trial, verdict=verdict, ratio=interval.middle, low=interval.low, high=interval.high)


def _interval(ratios: Sequence[Repeated]) -> Interval | None:
    """Interval of the ratio; None for too few lives, rounds or runs."""
    if all(item.unit is LIFE for item in ratios):
        # a life of both versions is a pair of fresh processes, in any run
        lives = Repeated([value for item in ratios for value in item.values], LIFE)
        return lives.interval
    if len(ratios) == 1:
        estimate = ratios[0].estimate
        return difference([estimate], [], allowance=TWO_PROCESSES, alpha=ALPHA) if estimate else None
    estimate = of_runs([item.typical or 1.0 for item in ratios])
    return difference([estimate], [], alpha=1 - CONFIDENCE) if estimate else None


def limit_between(trial: VersionTrial, threshold: float | None) -> float:
    """Ratio that separates slower versions from others: `threshold` as a share, else half of the bad version's loss."""
    return 1 + threshold if threshold is not None else math.sqrt(max(1.0, trial.ratio or 1.0))
