"""Columns of accuracy on labelled samples, and of the distance from the FP32 reference. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....axes import Scalar
from ...stats.intervals import drop_interval, mcnemar
from ..column import ACCURACY, CHECK_VIEW, LESS, MORE, PICK_VIEW, RANKING_VIEW, SCIENTIFIC, Column, stored
from ..row import Row

LABELS: dict[str, Any] = {"absent": "absent_labels", "decimals": 2}
BOUND: dict[str, Any] = {**LABELS, "unit": "points", "varies": True, "priority": 29, "views": (CHECK_VIEW,)}
FIVE: dict[str, Any] = {
    "absent": "absent_top5",
    "decimals": 2,
    "shown": False,
    "compared": ACCURACY,
    "views": (CHECK_VIEW,),
}
PARITY: dict[str, Any] = {"absent": "absent_parity", "views": (CHECK_VIEW,)}


def _drop_bound(end: int) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        counts = _changed(row)
        return None if counts is None else drop_interval(*counts)[end]

    return value


def _changed(row: Row) -> tuple[int, int, int] | None:
    """Numbers of right answers lost and gained, and of samples; None without labels."""
    verified = row.record.parity
    # a run without labels has no counts
    if verified is None or verified.lost is None or verified.gained is None or verified.images is None:
        return None
    return verified.lost, verified.gained, verified.images


def _change(row: Row) -> Scalar:
    """p-value of McNemar's exact test on the changed answers."""
    counts = _changed(row)
    return None if counts is None else mcnemar(*counts[:2])


def _timed_sqnr(row: Row) -> Scalar:
    return row.record.answered.worst.sqnr_db if row.record.answered else None


TIMED_SQNR = Column(
    name="timed_sqnr_db",
    value=_timed_sqnr,
    unit="dB",
    title="SQNR timed",
    shown=False,
    timed=True,
    absent="absent_parity",
    definition="SQNR of the worst answer of a timed call, fetched after the clock of the last latency or throughput block had"
    " stopped, over all lanes.",
)
COLUMNS = (
    Column(
        name="top1",
        value=stored("parity", "top1"),
        unit="%",
        varies=True,
        priority=28,
        better=MORE,
        compared=ACCURACY,
        views=(CHECK_VIEW, RANKING_VIEW, PICK_VIEW),
        definition="Share of labelled samples whose first answer is right.",
        **LABELS,
    ),
    Column(
        name="top1_drop",
        value=stored("parity", "top1_drop"),
        unit="points",
        title="drop",
        label="top-1 drop",
        interval=("top1_drop_ci_low", "top1_drop_ci_high"),
        varies=True,
        priority=12,
        better=LESS,
        compared=ACCURACY,
        views=(CHECK_VIEW, RANKING_VIEW),
        definition="Percentage points of top-1 lost against FP32 on the same samples; a negative drop is a gain.",
        **LABELS,
    ),
    Column(
        name="top1_drop_ci_low",
        value=_drop_bound(0),
        title="from",
        label="drop at least",
        definition="Lower end of the 95 % confidence interval of the drop.",
        **BOUND,
    ),
    Column(
        name="top1_drop_ci_high",
        value=_drop_bound(1),
        title="to",
        label="drop at most",
        definition="Upper end of the 95 % confidence interval of the drop.",
        **BOUND,
    ),
    Column(
        name="top1_change_p",
        value=_change,
        shown=False,
        absent="absent_labels",
        definition="Probability that so uneven a change of answers came by chance (McNemar's exact test).",
    ),
    Column(
        name="images",
        value=stored("parity", "images"),
        varies=True,
        priority=30,
        absent="absent_labels",
        views=(CHECK_VIEW,),
        definition="Number of labelled samples.",
    ),
    Column(
        name="agreement",
        value=stored("parity", "agreement"),
        unit="%",
        decimals=2,
        shown=False,
        better=MORE,
        definition="Share of samples whose first answer is that of FP32.",
        **PARITY,
    ),
    Column(
        name="sqnr_db",
        value=stored("parity", "sqnr_db"),
        unit="dB",
        title="SQNR",
        priority=21,
        better=MORE,
        definition="Power of the FP32 reference's output over that of the row's error, of the part that decides, in decibels.",
        **PARITY,
    ),
    Column(
        name="max_abs_err",
        value=stored("parity", "max_abs_err"),
        digits=SCIENTIFIC,
        title="max abs error",
        shown=False,
        better=LESS,
        definition="Largest absolute difference from the FP32 reference.",
        **PARITY,
    ),
    Column(
        name="rel_err",
        value=stored("parity", "rel_err"),
        digits=SCIENTIFIC,
        title="rel error",
        shown=False,
        better=LESS,
        definition="Largest absolute difference over the largest absolute value of the FP32 reference's output.",
        **PARITY,
    ),
    Column(
        name="parity_output",
        value=stored("parity", "output"),
        title="decided by",
        number=False,
        shown=False,
        definition="Output, and slices of one scale in it, whose SQNR is nearest to its limit.",
        **PARITY,
    ),
    Column(
        name="parity_limit_db",
        value=stored("parity", "limit_db"),
        unit="dB",
        title="SQNR limit",
        shown=False,
        definition="Least SQNR for the row to be ok: that of the precision, or 10 dB under the measured floor.",
        **PARITY,
    ),
    Column(
        name="parity_floor_db",
        value=stored("parity", "floor_db"),
        unit="dB",
        title="SQNR floor",
        shown=False,
        absent="absent_floor",
        definition="SQNR that the rounding of the precision alone causes on the model, measured in the reference runtime.",
    ),
)
TOP5 = (
    Column(
        name="top5",
        title="top-5",
        value=stored("parity", "top5"),
        unit="%",
        better=MORE,
        definition="Share of labelled samples whose label is among the first five answers; for models of over five classes.",
        **FIVE,
    ),
    Column(
        name="top5_drop",
        title="top-5 drop",
        value=stored("parity", "top5_drop"),
        unit="points",
        better=LESS,
        definition="Percentage points of top-5 lost against FP32 on the same samples; a negative drop is a gain.",
        **FIVE,
    ),
)
