"""Portions of a sweep: cells whose engines are built, and which are measured before the next engines are built.

A run whose engines take minutes then has rows after its first engines, and keeps them when it is stopped. Loads no framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...axes import Scalar, question
from ...spec import Sweep
from .cells import ActiveCell, RunContext
from .conversions import is_unconverted
from .rounds import is_base

SPAN_S = 20.0
"""Time of builds after which a portion is measured. Engines in the cache take less: then all cells share the same rounds."""

Unit = list[ActiveCell]
BuildEngines = Callable[[Unit], None]


def build_portions(run: RunContext, cells: Sequence[ActiveCell], build: BuildEngines) -> Iterator[list[ActiveCell]]:
    """Build the engines of `cells`, portion by portion. Yields the cells of each portion, which are then measured.

    Cells that ended in an earlier run, and may be baselines, are in the first portion.
    """
    portion, waiting = [active for active in cells if not active.live], units(cells, run.sweep)
    while portion or waiting:
        begin = run.context.clock.now_ns()
        while waiting and run.context.clock.since_s(begin) < SPAN_S:
            unit = waiting.pop(0)
            build(unit)
            portion += unit
        yield portion
        portion = []


def units(cells: Sequence[ActiveCell], sweep: Sweep) -> list[Unit]:
    """The live cells of `cells` in units, which are measured in the same rounds. Each cell is in one unit.

    A unit has the cells of one compared set and one precision, and the baselines of these cells. Units without a missing engine
    come first, then those with the fewest.
    """
    sets: dict[tuple[Scalar, ...], Unit] = {}
    for active in (active for active in cells if active.live):
        sets.setdefault((*question(active.planned.cell), active.planned.cell.precision), []).append(active)
    left: dict[str, None] = {active.key: None for unit in sets.values() for active in unit}
    result = []
    for unit in sorted(sets.values(), key=_missing):
        members = [active for active in cells if active in unit or any(is_base(active, of, sweep) for of in unit)]
        result.append([active for active in members if active.key in left])
        left = {key: None for key in left if key not in {active.key for active in members}}
    return [unit for unit in result if unit]


def _missing(cells: Sequence[ActiveCell]) -> int:
    """Number of cells whose engine may have to be built, or whose file converted."""
    return sum((active.planned.builds and not active.built) or is_unconverted(active) for active in cells)
