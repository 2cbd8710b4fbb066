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
from .visits import Visit


def order(visits: Sequence[Visit], seed: int, number: int) -> list[list[Visit]]:
    """The sets of round `number` in their order, which depends on the seed and the round alone.

    A set is what people compare, the cells that answer one question (axes.py). Its cells follow each other, since a machine's
    speed changes within seconds, and what changes between two cells is in their ratio.
    """
    shuffled = sorted(visits, key=lambda visit: visit.key)
    random.Random(f"{seed}/{number}").shuffle(shuffled)
    sets: dict[tuple[Scalar, ...], list[Visit]] = {}
    for visit in shuffled:
        sets.setdefault(question(visit.planned.cell), []).append(visit)
    return list(sets.values())


def wanted(visits: Sequence[Visit], sweep: Sweep) -> list[Visit]:
    """Who is visited in the next round: what is live, and what that is compared with."""
    live = [visit for visit in visits if visit.live]
    return [visit for visit in visits if visit.live or (not visit.out and any(is_base(visit, of, sweep) for of in live))]


def is_base(visit: Visit, of: Visit, sweep: Sweep) -> bool:
    """Whether the speed-up of `of` is against `visit`."""
    return record.is_base(visit.planned.cell, of.planned.cell, sweep.baseline)


def ends(folder: Path, visits: Sequence[Visit], sweep: Sweep, late: bool) -> dict[str, Finished]:
    """By key, those of `visits` that the run in `folder` shows to be at their end; nobody between the budget's looks.

    `late`: the time is used up, so that who has had the rounds of the first look is at the end.
    """
    looks = sweep.budget.looks
    last = looks[0] if late else looks[-1]
    due = [visit for visit in visits if visit.live and (visit.rounds in looks or visit.rounds >= last)]
    if not due:
        return {}
    run = record.read_run(folder)
    records = {item.key: item for item in run.cells}
    found = {visit.key: _end(run, records[visit.key], sweep, last) for visit in due}
    return {key: end for key, end in found.items() if end}


def _end(run: record.Run, held: record.CellRecord, sweep: Sweep, last: int) -> Finished | None:
    name, interval = stopping_interval(held, run.base_of(held, sweep.baseline), sweep.metric)
    width = interval.half_width if interval else None
    if width is not None and width <= sweep.budget.half_width:
        return Finished(why="interval", of=name, half_width=width, budget=sweep.budget.name)
    if len(held.blocks) < last:
        return None
    return Finished(why="budget", of=name, half_width=width, budget=sweep.budget.name)


def next_round(visits: Sequence[Visit]) -> int:
    """The number of the first round of these visits: after all that any of them had, since rounds are paired by number."""
    return max((visit.last_round for visit in visits), default=-1) + 1


def repeats_left(visit: Visit, sweep: Sweep) -> bool:
    """Whether a disturbed visit may still be made again within the budget."""
    return visit.repeats < sweep.budget.repeats * sweep.budget.rounds
