"""Change of one metric of one cell between two sides, and the verdicts on changes. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ...axes import Scalar
from ..stats.ambiguity import AMBIGUOUS
from ..stats.intervals import LEAST_ROUNDS, LEAST_RUNS
from .metrics import Metric
from .pairs import Pair

FEW_ROUNDS, FEW_RUNS = f"fewer than {LEAST_ROUNDS} rounds", f"fewer than {LEAST_RUNS} runs a side"
OTHER_HOST, OTHER_IMAGES = "other host", "other images"
OTHER_LIMITS, FEW_PASSES = "other limits under load", "too few passes under load"
OTHER_CLOCKS = "time and cycles disagree"
NO_DIFFERENCE, INCONCLUSIVE = "no difference shown", "inconclusive"
WORSE, BETTER = ("slower", "worse"), ("faster", "better")
VERDICTS = (*WORSE, *BETTER, AMBIGUOUS, NO_DIFFERENCE, INCONCLUSIVE)


class Cycles(NamedTuple):
    """Change of a metric in cycles of the GPU, as in `Change`, and the clocks of both sides in MHz."""

    effect: float
    ends: tuple[float, float] | None
    p: float
    base_mhz: float
    new_mhz: float


class Change(NamedTuple):
    """Change of one metric of one cell.

    `effect`: new/base, or new minus base in points. `ends`: ends of its interval. `p`: p-value of no change.
    `method`: unit of the interval, and its control. `verdict`: None for the control itself. `cycles`: the change in cycles
    of the GPU; None on the CPU, for other metrics than times, and without clocks.
    """

    pair: Pair
    metric: Metric
    base: float
    new: float
    effect: float
    ends: tuple[float, float] | None = None
    p: float = 1.0
    method: str = ""
    verdict: str | None = INCONCLUSIVE
    reason: str = ""
    cycles: Cycles | None = None

    @property
    def loss(self) -> tuple[float, float] | None:
        """Interval of the loss: a share of base's figure, or points. Negative values are gains."""
        if self.ends is None:
            return None
        low, high = self.ends if self.metric.in_points else (self.ends[0] - 1, self.ends[1] - 1)
        return (-high, -low) if self.metric.more_is_better else (low, high)

    @property
    def values(self) -> dict[str, Scalar]:
        """Values of a finding. `change`, `low` and `high` are in `change_unit`: % of base's figure, or points."""
        points = self.metric.in_points
        low, high = self.ends or (None, None)
        return {
            "cell": self.pair.cell.id,
            "metric": self.metric.column,
            "unit": self.metric.unit,
            "base": self.base,
            "new": self.new,
            "ratio": None if points else self.effect,
            "change": self._in_unit(self.effect),
            "low": None if low is None else self._in_unit(low),
            "high": None if high is None else self._in_unit(high),
            "change_unit": "points" if points else "%",
            "verdict": self.verdict,
            "reason": self.reason or None,
        }

    def _in_unit(self, effect: float) -> float:
        return effect if self.metric.in_points else 100 * (effect - 1)
