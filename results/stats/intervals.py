"""Intervals and tests of a row's figures, as pure functions of numbers. NumPy, and SciPy for Student's t.

The unit of an interval is the round: single calls are correlated with their neighbours, rounds hardly are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, stdtr, stdtrit

from .percentiles import CONFIDENCE

ALPHA = 0.04
"""What 1 - CONFIDENCE becomes in an interval of few rounds that ends its own measurement when it is narrow: by chance the
narrow ones are narrow too early. So it covers 93.5 to 96.5 %, by how noisy the rounds are (benchmarks/calibration.py)."""

TRIM = 0.2
LEAST_ROUNDS = 10
LEAST_RUNS = 3
DRIFT_P, DRIFT_SHARE = 0.01, 0.05

Key = TypeVar("Key")


class Interval(NamedTuple):
    """A positive figure with its interval. `p` is the probability of being so far from 1 by chance (two-sided)."""

    middle: float
    low: float
    high: float
    p: float

    @property
    def half_width(self) -> float:
        """Half of the interval as a share of the figure: 0.02 for plus and minus 2 %."""
        return math.sqrt(self.high / self.low) - 1


def typical(values: Sequence[float]) -> float | None:
    """The mean on the log scale of positive values, one a round, without the lowest and highest TRIM; None for none."""
    return math.exp(of_each([values])[0].mean) if values else None


def log_interval(values: Sequence[float]) -> Interval | None:
    """`typical` of one positive value a round, with its interval; None for fewer than LEAST_ROUNDS values.

    Student's t on a trimmed mean (Yuen, The two-sample trimmed t for unequal population variances, Biometrika 61 (1974)).
    A machine's speed jumps now and then, and a jump between the two blocks of a ratio would widen the interval of a plain
    mean several times (docs/adr/0009). For ratios paired by round it is the interval of a speed-up.
    """
    known = of_rounds(values)
    return difference([known], [], alpha=ALPHA) if known else None


class Estimate(NamedTuple):
    """A figure on the log scale: its standard error, and the degrees of freedom that the error is known with."""

    mean: float
    error: float
    freedom: float


EXACT = Estimate(mean=0.0, error=0.0, freedom=math.inf)  # adds nothing to a sum


def of_rounds(values: Sequence[float]) -> Estimate | None:
    """What one run says of a figure, from one positive value a round, trimmed; None for fewer than LEAST_ROUNDS."""
    return of_each([values])[0] if len(values) >= LEAST_ROUNDS else None


def of_each(series: Sequence[Sequence[float]]) -> list[Estimate]:
    """`of_rounds` of each of many series, at once for those of one length; of however few values, at least one."""
    by_length: dict[int, list[int]] = {}
    for index, values in enumerate(series):
        by_length.setdefault(len(values), []).append(index)
    found: dict[int, Estimate] = {}
    for indices in by_length.values():
        means, errors, freedom = _trimmed(np.log(np.array([series[index] for index in indices], np.float64)))
        each = zip(indices, means.tolist(), errors.tolist())
        found |= {index: Estimate(mean, error, freedom) for index, mean, error in each}
    return [found[index] for index in range(len(series))]


def of_runs(figures: Sequence[float]) -> Estimate | None:
    """What several runs say of it, from one positive figure a run; None for fewer than LEAST_RUNS."""
    if len(figures) < LEAST_RUNS:
        return None
    logs = np.log(np.asarray(figures, np.float64))
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return Estimate(mean=float(logs.mean()), error=error, freedom=len(logs) - 1)


def difference(
    plus: Sequence[Estimate], minus: Sequence[Estimate], *, allowance: float = 0.0, alpha: float = 1 - CONFIDENCE
) -> Interval:
    """The product of independent figures over that of others, with its interval: Student's t, unpaired, of unequal variances.

    Degrees of freedom after Welch (The generalization of Student's problem when several different population variances are
    involved, Biometrika 34 (1947)) and Satterthwaite. `allowance`: by how much, on the log scale, figures may differ for a
    reason that their errors do not know. The interval reaches so far beyond its ends, and `p` is of what is left of the
    distance from 1.
    `alpha`: ALPHA where the figures' own intervals ended their measurement.
    """
    return differences([(plus, minus)], allowance=allowance, alpha=alpha)[0]


def differences(
    ratios: Sequence[tuple[Sequence[Estimate], Sequence[Estimate]]], *, allowance: float, alpha: float
) -> list[Interval]:
    """The `difference` of each of many, with the same `allowance` and `alpha`."""
    if not ratios:
        return []
    means = np.array([sum([item.mean for item in plus]) - sum([item.mean for item in minus]) for plus, minus in ratios])
    errors, freedoms = _spread([[*plus, *minus] for plus, minus in ratios])
    beyond = np.maximum(0.0, np.abs(means) - allowance)
    with np.errstate(all="ignore"):
        distances = np.where(errors > 0, beyond / errors, np.where(beyond > 0, math.inf, 0.0))
        tails = np.minimum(1.0, 2 * stdtr(freedoms, -distances) * (1 - CONFIDENCE) / alpha)
        halves = stdtrit(freedoms, 1 - alpha / 2) * errors + allowance
        ends = np.exp((means, means - halves, means + halves))
    return [Interval(*of) for of in zip(*ends.tolist(), tails.tolist())]


def _spread(rows: Sequence[Sequence[Estimate]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The standard error of each row's sum, and its degrees of freedom; rows of any lengths."""
    longest = max(map(len, rows))
    filled = [[*row, *[EXACT] * (longest - len(row))] for row in rows] if longest > min(map(len, rows)) else rows
    variances = np.array([[item.error for item in row] for row in filled]) ** 2
    known = np.array([[item.freedom for item in row] for row in filled], np.float64)
    totals = variances.sum(axis=1)
    with np.errstate(all="ignore"):
        weights = (variances**2 / known).sum(axis=1)
        freedoms = np.where((weights > 0) & np.isfinite(totals), totals**2 / weights, known.min(axis=1))
    return np.sqrt(totals), freedoms


def _trimmed(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Of each row of `values` the trimmed mean and its standard error from the winsorized variance; the degrees of freedom."""
    count, cut = values.shape[1], int(TRIM * values.shape[1])
    ranked, left = np.sort(values), count - 2 * cut
    means = ranked[:, cut : count - cut].mean(axis=1)
    if left < 2:
        return means, np.full(len(means), math.inf), 1
    winsorized = np.clip(ranked, ranked[:, cut, None], ranked[:, count - cut - 1, None])
    return means, winsorized.std(axis=1, ddof=1) * math.sqrt((count - 1) / (left * (left - 1))), left - 1


def drop_interval(lost: int, gained: int, images: int) -> tuple[float, float]:
    """The exact interval of a drop in accuracy, in percentage points, from the discordant pairs on the same images.

    `lost` were right before and `gained` are right now. Each is binomial; the ends are those of both Clopper-Pearson
    intervals, with a quarter of 1 - CONFIDENCE in each of the four tails, so it covers at least CONFIDENCE whatever the true
    rates are (docs/adr/0011; given the number of discordant pairs alone it would be a point where there are none).
    """
    tail = (1 - CONFIDENCE) / 4
    (lost_low, lost_high), (gained_low, gained_high) = (_clopper_pearson(count, images, tail) for count in (lost, gained))
    return 100 * (lost_low - gained_high) + 0.0, 100 * (lost_high - gained_low) + 0.0


def _clopper_pearson(count: int, of: int, tail: float) -> tuple[float, float]:
    """Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934)."""
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high


def least_drop_shown(images: int) -> float:
    """The upper end, in percentage points, of the drop's interval where no answer changed: `images` cannot show less."""
    return drop_interval(0, 0, images)[1]


def images_needed(points: float) -> int:
    """How many images can show that a drop is at most `points`, where no answer changed."""
    return math.ceil(math.log((1 - CONFIDENCE) / 4) / math.log1p(-points / 100))


def mcnemar(lost: int, gained: int) -> float:
    """The probability of so uneven a change by chance, exact and two-sided (McNemar, Psychometrika 12 (1947))."""
    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5))) if lost + gained else 1.0


def holm(p_values: Mapping[Key, float]) -> set[Key]:
    """Which of several comparisons show a difference, with about 1 - CONFIDENCE probability of any false one at most.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    shown: set[Key] = set()
    for index, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > (1 - CONFIDENCE) / (len(p_values) - index):
            break
        shown.add(key)
    return shown


def drift(values: Sequence[float]) -> float:
    """By what share one positive value a round went up (or down) from the first round to the last.

    0 where a straight line on the log scale is no significant trend (p above DRIFT_P) or explains less than DRIFT_SHARE.
    """
    if len(values) < LEAST_ROUNDS:
        return 0.0
    logs = np.log(np.asarray(values, np.float64))
    rounds = np.arange(len(logs)) - (len(logs) - 1) / 2
    slope = float(rounds @ logs) / float(rounds @ rounds)
    left = logs - logs.mean() - slope * rounds
    error = math.sqrt(float(left @ left) / (len(logs) - 2) / float(rounds @ rounds))
    p = 2 * float(stdtr(len(logs) - 2, -abs(slope) / error)) if error else float(slope == 0)
    change = slope * (len(logs) - 1)
    return math.expm1(change) if p < DRIFT_P and abs(change) > math.log1p(DRIFT_SHARE) else 0.0
