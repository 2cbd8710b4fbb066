"""Intervals and tests of a row's figures, as pure functions of numbers. The distributions come from SciPy.

The unit of an interval is the life, one process of a runtime, or the round in runs whose cells have one life each.
Consecutive calls are strongly correlated, and so are the rounds of one process: what its memory and caches gave it lasts as
long as the process (docs/adr/0025).
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import fmean
from typing import NamedTuple, TypeVar

from .distributions import bdtr, betaincinv, stdtr, stdtrit
from .percentiles import CONFIDENCE

ALPHA = 0.04
"""Error probability of an interval that also stops the measurement. Stopping when the interval is narrow (optional stopping)
lowers its coverage, thus it is computed at 96 %. Its coverage is 93.5 to 96.5 %, depending on the noise of the rounds
(benchmarks/calibration.py)."""

TRIM = 0.2
LEAST_ROUNDS = 10
LEAST_LIVES = 5
"""Fewest lives of an interval. The half-width at 95 % is 2.48 standard deviations at 3 lives, and 1.24 at 5."""
LEAST_RUNS = 3
DRIFT_P, DRIFT_SHARE = 0.01, 0.05
LARGE_RUN = 10_000  # results that a cache keeps

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Unit:
    """Unit of an interval. `least`: fewest values of an interval. `trim`: share of the values that is cut at each end.

    `spent`: degrees of freedom that the error lacks, beside that of the mean.
    """

    name: str
    least: int
    trim: float
    spent: int = 0


ROUND = Unit("round", LEAST_ROUNDS, TRIM)
# The rounds that the values of lives cut are those of all lives, so the values are not quite independent. With one degree of
# freedom less, the interval covers what it should (benchmarks/trims.py).
LIFE = Unit("life", LEAST_LIVES, 0.0, spent=1)


class Interval(NamedTuple):
    """Positive figure with its interval. `p` is the two-sided p-value of the hypothesis that the true figure is 1."""

    middle: float
    low: float
    high: float
    p: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width as a share of the figure: 0.02 for plus and minus 2 %."""
        return math.sqrt(self.high / self.low) - 1


@dataclass(frozen=True)
class Repeated:
    """Positive values of one figure, one for each unit."""

    values: Sequence[float]
    unit: Unit = ROUND

    @property
    def typical(self) -> float | None:
        """Mean on the log scale, without the lowest and highest values that the unit trims; None without values."""
        return math.exp(self._trimmed.mean) if self.values else None

    @property
    def estimate(self) -> Estimate | None:
        """Mean with its error; None for fewer values than the unit needs."""
        if len(self.values) < self.unit.least:
            return None
        mean, error, freedom = self._trimmed
        return Estimate(mean, error, freedom - self.unit.spent)

    @cached_property
    def interval(self) -> Interval | None:
        """Interval of `typical`; None for fewer values than the unit needs.

        Student's t on a trimmed mean (Yuen, The two-sample trimmed t for unequal population variances, Biometrika 61
        (1974)). With paired ratios as the values, it is the interval of a speed-up.
        """
        # The speed of a machine jumps now and then. A jump between the two blocks of a ratio would widen the interval of a
        # plain mean over rounds several times (docs/adr/0009), and trimming removes such ratios. Lives are too few to trim.
        estimate = self.estimate
        return difference([estimate], [], alpha=ALPHA) if estimate else None

    @cached_property
    def _trimmed(self) -> Estimate:
        return trimmed(self.values, self.unit.trim)


def log_interval(values: Sequence[float]) -> Interval | None:
    """Interval of positive values, one for each round; None for fewer than LEAST_ROUNDS values."""
    return Repeated(values).interval


class Estimate(NamedTuple):
    """Mean of a figure on the log scale, its standard error, and the degrees of freedom of the error."""

    mean: float
    error: float
    freedom: float


def trimmed(values: Sequence[float], trim: float = TRIM) -> Estimate:
    """Trimmed mean of at least one positive value on the log scale, with its error from the winsorized variance (Yuen).

    `trim`: share of the values that is cut at each end; 0 gives the plain mean and its standard error.
    """
    logs = sorted(map(math.log, values))
    count, cut = len(logs), int(trim * len(logs))
    middle = logs[cut : count - cut]
    size, mean = len(middle), fmean(middle)
    if size < 2:
        return Estimate(mean, math.inf, 1)
    winsorized = [*middle[:1] * cut, *middle, *middle[-1:] * cut]
    return Estimate(mean, _deviation(winsorized) * math.sqrt((count - 1) / (size * (size - 1))), size - 1)


def values_of_lives(lives: Sequence[Sequence[float]], trim: float = TRIM) -> list[float]:
    """One value for each life, from the positive values of its rounds. Their mean on the log scale is the trimmed mean of all
    rounds, and their scatter gives its error.

    The value of a life is the trimmed mean of all rounds and the mean influence of the life's rounds on it: their winsorized
    values (Yuen), of which each counts 1 / (1 - 2 trim) times (Staudte and Sheather, Robust Estimation and Testing (1990),
    3.2). Rounds of one life are alike, so the lives are the clusters of the error, as in Liang and Zeger, Longitudinal data
    analysis using generalized linear models, Biometrika 73 (1986).
    """
    logs = [[math.log(value) for value in life] for life in lives]
    ordered = sorted(itertools.chain.from_iterable(logs))
    cut = int(trim * len(ordered))
    middle = ordered[cut : len(ordered) - cut]
    low, high = middle[0], middle[-1]
    means = [fmean([low if log < low else high if log > high else log for log in life]) for life in logs]
    typical, centre, weight = fmean(middle), fmean(means), len(ordered) / len(middle)
    return [math.exp(typical + weight * (mean - centre)) for mean in means]


def of_runs(figures: Sequence[float]) -> Estimate | None:
    """Estimate of a figure from several runs, with one positive value a run; None for fewer than LEAST_RUNS values."""
    if len(figures) < LEAST_RUNS:
        return None
    logs = list(map(math.log, figures))
    return Estimate(mean=fmean(logs), error=_deviation(logs) / math.sqrt(len(logs)), freedom=len(logs) - 1)


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample."""
    # statistics.stdev computes in fractions, and takes many times as long.
    mean = fmean(values)
    return math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (len(values) - 1))


def difference(
    plus: Sequence[Estimate], minus: Sequence[Estimate], *, allowance: float = 0.0, alpha: float = 1 - CONFIDENCE
) -> Interval:
    """Ratio of the product of `plus` to the product of `minus`, independent figures on the log scale, with its interval.

    Student's t, unpaired, for unequal variances (Welch).
    `allowance`: a difference on the log scale that the errors do not contain, such as that between two processes. Both ends
    of the interval move outward by the allowance, and `p` is computed from the distance from 1 beyond the allowance.
    `alpha`: error probability; ALPHA for figures whose own intervals stopped the measurement.
    """
    middle = sum(item.mean for item in plus) - sum(item.mean for item in minus)
    error, freedom = _spread([*plus, *minus])
    beyond = max(0.0, abs(middle) - allowance)
    distance = beyond / error if error else math.inf if beyond else 0.0
    p = min(1.0, 2 * float(stdtr(freedom, -distance)) * (1 - CONFIDENCE) / alpha)
    half = quantile(freedom, 1 - alpha / 2) * error + allowance
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half), p)


@lru_cache(LARGE_RUN)  # the rows of a run have few numbers of rounds
def quantile(freedom: float, share: float) -> float:
    """Quantile of Student's t below which is a `share` of the distribution."""
    return float(stdtrit(freedom, share))


def _spread(parts: Sequence[Estimate]) -> tuple[float, float]:
    """Standard error of the sum of `parts`, and its degrees of freedom.

    Welch (The generalization of Student's problem when several different population variances are involved,
    Biometrika 34 (1947)) and Satterthwaite.
    """
    total = math.fsum([part.error**2 for part in parts])
    weight = math.fsum([part.error**4 / part.freedom for part in parts])
    defined = weight > 0 and math.isfinite(total)
    return math.sqrt(total), total**2 / weight if defined else min(part.freedom for part in parts)


@lru_cache(LARGE_RUN)  # the rows of a run have the same images, and few different counts
def drop_interval(lost: float, gained: float, images: int, alpha: float = 1 - CONFIDENCE) -> tuple[float, float]:
    """Exact interval of a drop in accuracy, in percentage points, from the discordant pairs on the same images.

    `lost`: images with a correct answer only before the change. `gained`: images with a correct answer only after it.
    `images`: number of all images. Each count is binomial. The ends combine the ends of both Clopper-Pearson
    intervals, with a quarter of `alpha` in each of the four tails. The coverage is at least 1 - `alpha` for all true
    rates (docs/adr/0011).
    """
    # An interval conditional on the number of discordant pairs would be a single point without discordant pairs.
    tail = alpha / 4
    (lost_low, lost_high), (gained_low, gained_high) = (clopper_pearson(count, images, tail) for count in (lost, gained))
    return 100 * (lost_low - gained_high) + 0.0, 100 * (lost_high - gained_low) + 0.0


def clopper_pearson(count: float, of: int, tail: float) -> tuple[float, float]:
    """Ends of a rate's interval. Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934)."""
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high


def least_drop_shown(images: int, alpha: float = 1 - CONFIDENCE) -> float:
    """Smallest drop, in percentage points, that `images` can exclude: the upper end of the interval without changed answers."""
    return drop_interval(0, 0, images, alpha)[1]


def images_needed(points: float, alpha: float = 1 - CONFIDENCE) -> int:
    """Number of images that shows a drop of at most `points` percentage points, if no answer changed."""
    return math.ceil(math.log(alpha / 4) / math.log1p(-points / 100))


@lru_cache(LARGE_RUN)
def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value of unequal numbers of lost and gained answers (McNemar, Psychometrika 12 (1947))."""
    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5))) if lost + gained else 1.0


def holm(p_values: Mapping[Key, float]) -> set[Key]:
    """Keys of the comparisons that show a difference. The probability of any false one is about 1 - CONFIDENCE at most.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    shown: set[Key] = set()
    for index, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > (1 - CONFIDENCE) / (len(p_values) - index):
            break
        shown.add(key)
    return shown


def drift(values: Sequence[float]) -> float:
    """Change from the first round to the last, as a share, from one positive value a round: 0.06 for a rise by 6 %.

    The change of a straight line on the log scale, fitted by least squares. 0 for fewer than LEAST_ROUNDS values, for a line
    without a significant slope (p above DRIFT_P), and for a change below DRIFT_SHARE.
    """
    if len(values) < LEAST_ROUNDS:
        return 0.0
    logs, (rounds, spread) = list(map(math.log, values)), _centred(len(values))
    mean = fmean(logs)
    slope = math.fsum(map(operator.mul, rounds, logs)) / spread
    residual = math.fsum([(log - mean - slope * number) ** 2 for number, log in zip(rounds, logs)])
    error = math.sqrt(residual / (len(logs) - 2) / spread)
    p = 2 * float(stdtr(len(logs) - 2, -abs(slope) / error)) if error else float(slope == 0)
    change = slope * (len(logs) - 1)
    return math.expm1(change) if p < DRIFT_P and abs(change) > math.log1p(DRIFT_SHARE) else 0.0


@lru_cache(LARGE_RUN)
def _centred(count: int) -> tuple[Sequence[float], float]:
    """Numbers of `count` rounds around 0, and the sum of their squares."""
    middle = (count - 1) / 2
    rounds = [number - middle for number in range(count)]
    return rounds, math.fsum(number**2 for number in rounds)
