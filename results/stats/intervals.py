"""Intervals and tests of a row's figures, as pure functions of numbers. SciPy has the distributions.

The unit of an interval is the round: single calls are correlated with their neighbours, rounds hardly are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

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
    return math.exp(trimmed(values).mean) if values else None


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


def of_rounds(values: Sequence[float]) -> Estimate | None:
    """What one run says of a figure, from one positive value a round, trimmed; None for fewer than LEAST_ROUNDS."""
    return trimmed(values) if len(values) >= LEAST_ROUNDS else None


def trimmed(values: Sequence[float]) -> Estimate:
    """`of_rounds` of however few values, at least one: their trimmed mean, with its error from the winsorized variance."""
    logs = sorted(map(math.log, values))
    count, cut = len(logs), int(TRIM * len(logs))
    kept = logs[cut : count - cut]
    left = len(kept)
    if left < 2:
        return Estimate(mean=fmean(kept), error=math.inf, freedom=1)
    winsorized = [*kept[:1] * cut, *kept, *kept[-1:] * cut]
    error = _deviation(winsorized) * math.sqrt((count - 1) / (left * (left - 1)))
    return Estimate(mean=fmean(kept), error=error, freedom=left - 1)


def of_runs(figures: Sequence[float]) -> Estimate | None:
    """What several runs say of it, from one positive figure a run; None for fewer than LEAST_RUNS."""
    if len(figures) < LEAST_RUNS:
        return None
    logs = list(map(math.log, figures))
    return Estimate(mean=fmean(logs), error=_deviation(logs) / math.sqrt(len(logs)), freedom=len(logs) - 1)


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample. statistics.stdev computes in fractions, which takes many times as long."""
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def difference(
    plus: Sequence[Estimate], minus: Sequence[Estimate], *, allowance: float = 0.0, alpha: float = 1 - CONFIDENCE
) -> Interval:
    """The product of independent figures over that of others, with its interval: Student's t, unpaired, of unequal variances.

    `allowance`: by how much, on the log scale, figures may differ for a reason that their errors do not know. The interval
    reaches so far beyond its ends, and `p` is of what is left of the distance from 1.
    `alpha`: ALPHA where the figures' own intervals ended their measurement.
    """
    middle = sum(item.mean for item in plus) - sum(item.mean for item in minus)
    error, freedom = _spread([*plus, *minus])
    beyond = max(0.0, abs(middle) - allowance)
    distance = beyond / error if error else math.inf if beyond else 0.0
    p = min(1.0, 2 * float(stdtr(freedom, -distance)) * (1 - CONFIDENCE) / alpha)
    half = float(stdtrit(freedom, 1 - alpha / 2)) * error + allowance
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half), p)


def _spread(parts: Sequence[Estimate]) -> tuple[float, float]:
    """The standard error of the sum of `parts`, and its degrees of freedom.

    After Welch (The generalization of Student's problem when several different population variances are involved,
    Biometrika 34 (1947)) and Satterthwaite.
    """
    total = math.fsum(part.error**2 for part in parts)
    weight = math.fsum(part.error**4 / part.freedom for part in parts)
    known = weight > 0 and math.isfinite(total)
    return math.sqrt(total), total**2 / weight if known else min(part.freedom for part in parts)


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
    logs, middle = list(map(math.log, values)), (len(values) - 1) / 2
    rounds, mean = [number - middle for number in range(len(logs))], fmean(logs)
    spread = math.fsum(number**2 for number in rounds)
    slope = math.fsum(map(operator.mul, rounds, logs)) / spread
    left = math.fsum((log - mean - slope * number) ** 2 for number, log in zip(rounds, logs))
    error = math.sqrt(left / (len(logs) - 2) / spread)
    p = 2 * float(stdtr(len(logs) - 2, -abs(slope) / error)) if error else float(slope == 0)
    change = slope * (len(logs) - 1)
    return math.expm1(change) if p < DRIFT_P and abs(change) > math.log1p(DRIFT_SHARE) else 0.0
