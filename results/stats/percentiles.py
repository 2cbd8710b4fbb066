"""Percentiles of a sample that is large enough. NumPy only: workers compute them too, in environments without SciPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def samples_needed(percentile: float) -> int:
    """Number of independent samples that `percentile` needs: 6 for p50, 36 for p90, 368 for p99.

    Fewer samples have no two-sided distribution-free interval at CONFIDENCE. The ends of such an interval are order
    statistics. All n samples lie below the percentile q with probability q^n, which must be at most (1 - CONFIDENCE) / 2
    (David and Nagaraja, Order Statistics, 7.1).
    """
    share = max(percentile, 100 - percentile) / 100
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(share))


def percentile(samples: NDArray[np.int64], which: float) -> float | None:
    """Nearest-rank percentile, which is one of the `samples`; None for fewer than `samples_needed`."""
    return nearest_rank(samples, which) if len(samples) >= samples_needed(which) else None


def nearest_rank(samples: NDArray[np.int64], which: float) -> float:
    """Nearest-rank percentile of one or more samples."""
    return float(np.percentile(samples, which, method="inverted_cdf"))


def quantiles(responses: NDArray[np.int64]) -> dict[str, float | None]:
    """PERCENTILES of response times (int64 ns) by their text, such as "99.9"; None for one that needs more responses.

    Items that wait for the same call are not independent: `samples_needed` is only a lower bound of the need.
    """
    return {f"{which:g}": percentile(responses, which) for which in PERCENTILES}
