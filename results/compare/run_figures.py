"""Figures of one cell in one run, for a comparison with another run. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..stats.intervals import LIFE, Estimate, Repeated, Unit
from ..store import clocks, series
from ..store.record import CellRecord

PROCESS = 0.02
"""Largest observed difference of two processes of one runtime, as a share. It lasts as long as the processes: ort-cpu was
compared with itself in another process (docs/evidence.md, Calibration)."""

CYCLES = " in cycles"  # after the name of a metric
TWO_PROCESSES = math.log1p(PROCESS)


class RunFigure(NamedTuple):
    """Figure of one metric of one cell in one run: logarithm of its typical value, its estimate, and the number of rounds.

    `estimate`: None for too few lives or rounds. `unit`: of the estimate.
    """

    log: float
    estimate: Estimate | None
    rounds: int
    unit: Unit


def run_figures(record: CellRecord) -> dict[str, RunFigure]:
    """Figure of each metric that was timed, and on a GPU also in cycles; none for a check."""
    if record.check:
        return {}
    rounds = len(series.counted(record))
    timed = series.figures(record)
    has_clocks = rounds and record.cell.device != clocks.CPU
    in_cycles = {name + CYCLES: clocks.cycles(record, name) for name in clocks.METRICS} if has_clocks else {}
    return {name: _run_figure(figure, rounds) for name, figure in {**timed, **in_cycles}.items() if figure.values}


def _run_figure(figure: Repeated, rounds: int) -> RunFigure:
    return RunFigure(math.log(figure.typical or math.nan), figure.estimate, rounds, figure.unit)


def allowance(base: RunFigure | None, new: RunFigure | None) -> float:
    """Difference of two processes on the log scale, for an interval of new over base.

    0 where both sides have lives: the spread of their lives contains the difference of two processes (docs/adr/0025).
    """
    return 0.0 if base and new and base.unit is new.unit is LIFE else TWO_PROCESSES
