"""The schedule of a measurement: who is visited in a round and in what order, and when a cell has had enough."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from ...axes import Scalar, question
from ...evidence import Finished
from ...results.store import record
from ...results.store.series import stopping_interval
from ...spec import Sweep
from .cells import ActiveCell


def order(cells: Sequence[ActiveCell], seed: int, number: int) -> list[list[ActiveCell]]:
    """The sets of round `number` in their order, which depends on the seed and the round alone.

    A set is what people compare, the cells that answer one question (axes.py). Its cells follow each other, since a machine's
    speed changes within seconds, and what changes between two cells is in their ratio.
    """
    shuffled = sorted(cells, key=lambda active: active.key)
    random.Random(f"{seed}/{number}").shuffle(shuffled)
    sets: dict[tuple[Scalar, ...], list[ActiveCell]] = {}
    for active in shuffled:
        sets.setdefault(question(active.planned.cell), []).append(active)
    return list(sets.values())


def wanted(cells: Sequence[ActiveCell], sweep: Sweep) -> list[ActiveCell]:
    """Who is visited in the next round: what is live, and what that is compared with."""
    live = [active for active in cells if active.live]
    return [active for active in cells if active.live or (not active.out and any(is_base(active, of, sweep) for of in live))]


def is_base(active: ActiveCell, of: ActiveCell, sweep: Sweep) -> bool:
    """Whether the speed-up of `of` is against `active`."""
    return record.is_base(active.planned.cell, of.planned.cell, sweep.baseline)


def ends(folder: Path, cells: Sequence[ActiveCell], sweep: Sweep, late: bool) -> dict[str, Finished]:
    """By key, those of `cells` that the run in `folder` shows to be at their end; nobody between the budget's looks.

    `late`: the time is used up, so that who has had the rounds of the first look is at the end.
    """
    looks = sweep.budget.looks
    last = looks[0] if late else looks[-1]
    due = [active for active in cells if active.live and (active.rounds in looks or active.rounds >= last)]
    if not due:
        return {}
    stored = record.read_run(folder)
    records = {item.key: item for item in stored.cells}
    found = {active.key: _end(stored, records[active.key], sweep, last) for active in due}
    return {key: end for key, end in found.items() if end}


def _end(stored: record.Run, held: record.CellRecord, sweep: Sweep, last: int) -> Finished | None:
    name, interval = stopping_interval(held, stored.base_of(held, sweep.baseline), sweep.metric)
    width = interval.half_width if interval else None
    if width is not None and width <= sweep.budget.half_width:
        return Finished(why="interval", of=name, half_width=width, budget=sweep.budget.name)
    if len(held.blocks) < last:
        return None
    return Finished(why="budget", of=name, half_width=width, budget=sweep.budget.name)


def next_round(cells: Sequence[ActiveCell]) -> int:
    """The number of the first round of these visits: after all that any of them had, since rounds are paired by number."""
    return max((active.last_round for active in cells), default=-1) + 1


def repeats_left(active: ActiveCell, sweep: Sweep) -> bool:
    """Whether a disturbed visit may still be made again within the budget."""
    return active.repeats < sweep.budget.repeats * sweep.budget.rounds
