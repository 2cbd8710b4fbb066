"""Percentiles that a sample can carry. NumPy alone: workers compute them too, in environments that have nothing else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def samples_needed(percentile: float) -> int:
    """Number of independent samples that `percentile` needs: 6 for p50, 36 for p90, 368 for p99.

    With fewer, no two-sided distribution-free interval exists. The interval ends at an order statistic. None of n samples
    lies above the percentile q with probability q^n, and that must be at most (1 - CONFIDENCE) / 2 (David and Nagaraja,
    Order Statistics, 7.1).
    """
    share = max(percentile, 100 - percentile) / 100
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(share))


def percentile(samples: NDArray[np.int64], which: float) -> float | None:
    """Nearest-rank percentile, which is a measured value; None where `samples` are too few to carry it."""
    return nearest_rank(samples, which) if len(samples) >= samples_needed(which) else None


def nearest_rank(samples: NDArray[np.int64], which: float) -> float:
    """Nearest-rank percentile of any number of samples from one up."""
    return float(np.percentile(samples, which, method="inverted_cdf"))


def quantiles(responses: NDArray[np.int64]) -> dict[str, float | None]:
    """PERCENTILES of int64 ns by their text; None where there are too few responses to carry one.

    Items that wait for the same call are not independent, so `samples_needed` is a lower bound here.
    """
    return {f"{which:g}": percentile(responses, which) for which in PERCENTILES}
