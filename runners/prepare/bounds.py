"""Bounds on the accuracy of an INT8 file, and their rule: the end of an interval must meet the bound. Pure.

The first proof of a search has the alpha of its metric, and each further proof half of that of the one before. With
`top1_drop_ci_high` the probability that a search accepts a file beyond the bound is therefore at most CERTAIN_ALPHA, however
many proofs it makes (docs/adr/0036). The other metrics begin with the estimate, as bench check compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BadInput, quantity
from ...exporters.searched import Evaluated
from ...results.stats import intervals as stats
from ...results.stats.percentiles import CONFIDENCE
from ...results.table.conditions import Condition

CERTAIN_ALPHA = round(1 - CONFIDENCE, 6)
ESTIMATE = 1.0  # alpha of an interval without width
CERTAIN = "top1_drop_ci_high"
DROP, TOP1, AGREEMENT = "top1_drop", "top1", "agreement"
UPPER = (DROP, CERTAIN, "max_abs_err", "rel_err")
LOWER = (TOP1, AGREEMENT, "sqnr_db")
LABELLED = (DROP, CERTAIN, TOP1)
COUNTED = (*LABELLED, AGREEMENT)  # metrics with an interval, which halves its alpha; the others are compared as they are


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """A limit of one metric, by the name of its column: the largest accepted value if `most`, else the smallest.

    `text`: the option, as the user typed it.
    """

    metric: str
    limit: float
    most: bool
    text: str

    def alpha(self, attempt: int) -> float:
        """Error probability of the interval in the proof number `attempt`, from 1."""
        if self.metric not in COUNTED:
            return ESTIMATE
        return (CERTAIN_ALPHA if self.metric == CERTAIN else ESTIMATE) * 0.5 ** (attempt - 1)

    def end(self, figures: Evaluated, attempt: int, items: int | None = None) -> float | None:
        """End of the metric's interval that must meet the bound; None where the figures do not have the metric.

        `items`: expect the rates of `figures` on so many items, as the search part's on the proof part.
        """
        if self.metric not in COUNTED:
            return {"sqnr_db": figures.sqnr_db, "max_abs_err": figures.max_abs_err}.get(self.metric, figures.rel_err)
        counts = (figures.lost, figures.gained) if self.metric in (DROP, CERTAIN) else (_right(self.metric, figures), 0)
        lost, gained = counts
        if lost is None or gained is None or not figures.items:
            return None
        scale, alpha = (items or figures.items) / figures.items, self.alpha(attempt)
        count = items or figures.items
        if alpha == ESTIMATE:
            return 100 * (lost - gained) / figures.items
        if self.metric in (DROP, CERTAIN):
            return stats.drop_interval(lost * scale, gained * scale, count, alpha)[1]
        return 100 * stats.clopper_pearson(lost * scale, count, alpha / 2)[0]

    def holds(self, figures: Evaluated, attempt: int, items: int | None = None) -> bool:
        """True if the end meets the bound; False where the figures do not have the metric."""
        end = self.end(figures, attempt, items)
        return end is not None and (end <= self.limit if self.most else end >= self.limit)

    def can_be_shown(self, items: int, attempt: int) -> bool:
        """True if so many `items` meet the bound where no answer changes."""
        same = Evaluated(items=items, agreed=items, right=items, lost=0, gained=0)
        return self.metric not in COUNTED or self.holds(same, attempt)


def _right(metric: str, figures: Evaluated) -> int | None:
    return figures.right if metric == TOP1 else figures.agreed


def bounds_of(conditions: Sequence[Condition]) -> tuple[Bound, ...]:
    """The bounds of a search. `BadInput` for another metric, a limit on the wrong side, and two limits of one metric."""
    for condition in conditions:
        name = condition.column.name
        if name not in (*UPPER, *LOWER):
            names = ", ".join(name.removesuffix("_db") for name in (*UPPER, *LOWER))
            raise BadInput(f"{condition.text}: bench export cannot search by {name}", f"choose from: {names}")
        if condition.most != (name in UPPER):
            side = "--max" if name in UPPER else "--min"
            raise BadInput(f"{condition.text} would accept every worse file", f"write {side} {name}={condition.limit:g}")
    bounds = tuple(Bound(metric=each.column.name, limit=each.limit, most=each.most, text=each.text) for each in conditions)
    metrics = [bound.metric for bound in bounds]
    for bound in bounds:
        if metrics.count(bound.metric) > 1:
            texts = " and ".join(other.text for other in bounds if other.metric == bound.metric)
            raise BadInput(f"{texts} limit one metric", "leave one of them out")
    return bounds


def check_data(bounds: Sequence[Bound], items: int, *, labelled: bool, classes: bool, data: str) -> None:
    """Raise `BadInput` for a bound that the proof part cannot show: it has no labels, no `classes`, or too few items."""
    for bound in bounds:
        if bound.metric in LABELLED and not labelled:
            raise BadInput(f"{bound.text} needs labels, and the data ({data}) has none", "give --dataset, or use --min sqnr=20")
        if bound.metric == AGREEMENT and not classes:
            raise BadInput(f"{bound.text} needs a first output of [n, classes], and the model has none", "use --min sqnr=20")
        if bound.can_be_shown(items, attempt=1):
            continue
        if bound.metric != CERTAIN:
            side = "0 or more" if bound.most else "100 or less"
            raise BadInput(f"{bound.text} does not hold even where no answer changes", f"write a limit of {side}")
        raise _too_few(bound, items, data)


def _too_few(bound: Bound, items: int, data: str) -> BadInput:
    """Error for a bound that needs more images, with their number."""
    needed = f"give {stats.images_needed(bound.limit)} test images or more, or " if bound.limit > 0 else "give "
    return BadInput(
        f"{bound.text}: {quantity(items, 'test image')} of {data} cannot show it, even if no answer changes",
        f"{needed}a limit above {stats.least_drop_shown(items):.3g}",
    )
