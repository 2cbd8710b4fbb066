"""All columns of a run's table, in their order. Each is declared once, with all its traits, in the file of its topic.

Names are never removed or changed, because people script against them. A value that does not apply is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..column import Column
from . import accuracy, builds, case, clocks, gpus, load, others, phases, resources, roof, tails, timing, tuned

COLUMNS: tuple[Column, ...] = (
    *case.COLUMNS,
    *timing.COLUMNS,
    *accuracy.COLUMNS,
    *resources.COLUMNS,
    *load.COLUMNS,
    case.RUN,  # from here on in the order in which versions added them, since scripts may rely on the order
    case.SHAPES,
    timing.P95,
    *others.COLUMNS,
    case.DIMS,
    case.FEEDBACK,
    timing.REAL_TIME_FACTOR,
    *phases.COLUMNS,
    *tails.COLUMNS,
    *clocks.COLUMNS,
    *accuracy.TOP5,
    accuracy.TIMED_SQNR,
    *builds.COLUMNS,
    case.INPUTS,
    case.CACHE,
    *load.BOUNDS,
    *builds.CONVERTED,
    *tuned.COLUMNS,
    *gpus.COLUMNS,
    resources.CPU_POWER,
    *roof.COLUMNS,
)
BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}


def shown_in(view: str) -> tuple[Column, ...]:
    """Columns of a view: CHECK_VIEW, RANKING_VIEW, PICK_VIEW or TAG_VIEW of column.py."""
    return tuple(column for column in COLUMNS if view in column.views)
