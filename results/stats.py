"""The statistics of a row, as pure functions of samples. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


def samples_needed(percentile: float) -> int:
    """How many independent samples a percentile needs for a two-sided distribution-free interval to exist.

    The interval ends at an order statistic; none lies above the percentile q of n samples with probability q^n,
    which must be at most (1 - CONFIDENCE) / 2 (David and Nagaraja, Order Statistics, 7.1). 6 for p50, 36 for p90, 368 for p99.
    """
    share = max(percentile, 100 - percentile) / 100
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(share))


def percentile(samples: NDArray[np.int64], which: float) -> float | None:
    """The nearest-rank percentile (a value that was measured); None where `samples` are too few to carry it."""
    if len(samples) < samples_needed(which):
        return None
    return float(np.percentile(samples, which, method="inverted_cdf"))


def speed_up(base: Sequence[float], new: Sequence[float]) -> float | None:
    """How many times faster `new` is than `base`, from medians paired by round: the geometric mean of their ratios.

    Above 1 is faster. None for no pairs.
    """
    if not base or len(base) != len(new):
        return None
    return math.exp(sum(math.log(b / n) for b, n in zip(base, new)) / len(base))
