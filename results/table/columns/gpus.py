"""Columns of a cell on several GPUs: their number, and how the throughput grows with them. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ....axes import Scalar
from ....spec import gpu_count
from ..column import MORE, RANKING_VIEW, Column, timed
from ..findings import Finding
from ..row import Row
from .timing import too_few_rounds


def efficiency(row: Row) -> Scalar:
    """Throughput over that of one GPU times the number of GPUs, in %, from the rounds that have both."""
    typical = row.scaling.typical
    return None if typical is None else _percent(row, typical)


def _percent(row: Row, ratio: float) -> float:
    return 100 * ratio / (gpu_count(row.record.cell.device) or 1)


def _bound(end: str) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        bounds = row.scaling.interval
        return None if bounds is None else _percent(row, float(getattr(bounds, end)))

    return value


def _no_efficiency(name: str, few: Callable[[Row], Finding] | None = None) -> Callable[[Row], Finding]:
    """Return a function for the reason why a figure is missing: one GPU, no row of one GPU, or too few rounds."""

    def why(row: Row) -> Finding:
        if row.record.cell == row.record.cell.alone:
            return Finding.of("absent_on_one_gpu", column=name)
        return few(row) if few and row.scaling.values else Finding.of("absent_one_gpu", column=name)

    return why


COLUMNS = (
    Column(
        name="gpus",
        value=lambda row: None if row.record.imported else gpu_count(row.record.cell.device),
        title="GPUs",
        decimals=0,
        priority=21,
        gpu=True,
        measured=False,
        partial=True,
        varies=True,
        views=(RANKING_VIEW,),
        definition="Number of GPUs that compute, each with a replica of the model in a process of its own.",
    ),
    timed(
        "scaling_efficiency",
        efficiency,
        unit="%",
        title="scaling",
        priority=12,
        gpu=True,
        better=MORE,
        absent=_no_efficiency("scaling_efficiency"),
        definition="Throughput on all GPUs of the row over that of one GPU times their number, in %, paired by round.",
    ),
    *(
        timed(
            f"scaling_efficiency_ci_{end}",
            _bound(end),
            unit="%",
            shown=False,
            gpu=True,
            absent=_no_efficiency(f"scaling_efficiency_ci_{end}", too_few_rounds(f"scaling_efficiency_ci_{end}")),
            definition=f"{side} end of the 95 % confidence interval of the scaling efficiency.",
        )
        for end, side in (("low", "Lower"), ("high", "Upper"))
    ),
)
