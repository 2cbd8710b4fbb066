"""Schedule of a measurement: the cells of a round, their order, and the end of a cell. Loads no framework."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...axes import Scalar, question
from ...budgets import Budget
from ...evidence import LATENCY, Finished
from ...results.store import record
from ...results.store.series import stopping_interval
from ...spec import Sweep
from .cells import ActiveCell, rounds_of_looks

Crew = tuple[Any, ...]


def shuffle_sets(cells: Sequence[ActiveCell], seed: int, number: int) -> list[list[ActiveCell]]:
    """Sets of round `number` in random order. The order depends on `seed` and `number` alone.

    A set holds the cells that people compare: they answer one question (axes.py).
    """
    shuffled = sorted(cells, key=lambda active: active.key)
    random.Random(f"{seed}/{number}").shuffle(shuffled)
    # The cells of a set follow each other. A machine's speed changes within seconds, and a change between two cells enters
    # their ratio.
    sets: dict[tuple[Scalar, ...], list[ActiveCell]] = {}
    for active in shuffled:
        sets.setdefault(question(active.planned.cell), []).append(active)
    return list(sets.values())


def visited_together(cells: Sequence[ActiveCell], seed: int, number: int) -> list[list[ActiveCell]]:
    """Cells that are visited in the same rounds of the life that begins with round `number`: each set by itself.

    A process then does not change its cell in every round, and need not wait each time until the threads of the last one are
    idle. With roofs all sets are visited in each round, since a roof counts for several sets.
    """
    if any(active.planned.cell.roof for active in cells):
        return [list(cells)]
    return shuffle_sets(cells, seed, number)


def goes_on(cells: Sequence[ActiveCell], nth: int, budget: Budget) -> bool:
    """True if `cells`, which are visited together, have a round `nth` in their life, from 0.

    The rounds beyond the budget's least are for short blocks: a life of slow calls would take too long with them. The cell
    with the longest block decides by its median call, so that a disturbed machine has as many rounds as a quiet one.
    """
    if nth < (budget.life_rounds or 1):
        return True
    if not budget.life_rounds or nth >= budget.most_life_rounds:
        return False
    # Rounds of a process that lasts for the run belong to no life, and each would count for the looks. The calls of cold
    # caches are short, and the flush before each is not.
    blocks = [active.latency for active in cells if active.renewed and not active.latency_only]
    longest_ns = max((block.calls * (block.p50_ns[LATENCY] or 0) for block in blocks if block), default=0)
    return 0 < len(blocks) == len(cells) and nth * longest_ns < budget.life_ms * 1e6


def opening_order(crews: Sequence[Crew], seed: int, life: int) -> list[Crew]:
    """Crews in the order in which they open in a life: an order that depends on `seed`, turned by one every two lives.

    Every second life has the reverse order. All crews then have the same mean position after each even number of lives, and
    every crew had every position equally often after twice as many lives as there are crews.
    """
    # The crew that opens later may stay faster for as long as its process lives (docs/adr/0025). A plain rotation would
    # let one crew open before its neighbour in all lives but one.
    order = list(crews)
    random.Random(f"{seed}/lives").shuffle(order)
    turn = life // 2 % max(len(order), 1)
    turned = order[turn:] + order[:turn]
    return turned[::-1] if life % 2 else turned


def order_of_batches(cells: Sequence[ActiveCell], life: int) -> list[ActiveCell]:
    """Cells of one crew in the order in which they open in a life: the largest batch first, turned by one in every life.

    The order is the same for all crews. The process has the memory of the first cell alone, before it opens the others.
    """
    largest_first = sorted(cells, key=lambda active: -active.planned.cell.batch)
    turn = life % max(len(largest_first), 1)
    return largest_first[turn:] + largest_first[:turn]


def next_life(cells: Sequence[ActiveCell]) -> int:
    """Number of the next life: above every life of `cells`."""
    return max((active.last_life for active in cells), default=-1) + 1


def due_cells(cells: Sequence[ActiveCell], sweep: Sweep) -> list[ActiveCell]:
    """Cells of the next round: the live cells, and the baselines of live cells."""
    live = [active for active in cells if active.live]
    return [active for active in cells if active.live or (not active.out and any(is_base(active, of, sweep) for of in live))]


def is_base(active: ActiveCell, of: ActiveCell, sweep: Sweep) -> bool:
    """True if a ratio of `of` is computed against `active`: its speed-up, its scaling over GPUs, or its share of a roof."""
    cell, other = active.planned.cell, of.planned.cell
    if cell.roof and not other.roof and cell.device == other.alone.device:
        return True
    return record.is_base(cell, other, sweep.baseline) or cell.is_one_gpu_of(other)


def finished_cells(folder: Path, cells: Sequence[ActiveCell], sweep: Sweep, late: bool) -> dict[str, Finished]:
    """End of each cell that the run in `folder` shows to be done, by the cell's key.

    `late`: the time limit is over. Every cell that has the rounds of the first look then ends. With lives, this is called at
    the end of each life.
    """
    last = sweep.budget.looks[0] if late else sweep.budget.looks[-1]
    # Between the looks nothing is computed: each further look at an interval lowers its coverage (optional stopping).
    # A roof is visited as long as another cell needs it, and needs no narrow interval of its own.
    due = [
        active
        for active in cells
        if active.live
        and (_at_look(active, sweep.budget) or active.rounds >= (sweep.budget.looks[0] if active.planned.cell.roof else last))
    ]
    if not due:
        return {}
    stored = record.read_run(folder)
    records = {item.key: item for item in stored.cells}
    ends = {
        active.key: _end(stored, records[active.key], sweep, sweep.budget.looks[0] if active.planned.cell.roof else last)
        for active in due
    }
    return {key: end for key, end in ends.items() if end}


def _at_look(active: ActiveCell, budget: Budget) -> bool:
    """True if the cell reached a look in its last round, or with lives in its last life."""
    new = max(1, budget.life_rounds)
    return any(active.rounds - new < look <= active.rounds for look in budget.looks)


def _end(stored: record.Run, stored_cell: record.CellRecord, sweep: Sweep, last: int) -> Finished | None:
    name, interval = stopping_interval(stored_cell, stored.base_of(stored_cell, sweep.baseline), sweep.metric)
    width = interval.half_width if interval else None
    if width is not None and width <= sweep.budget.half_width:
        return Finished(why="interval", of=name, half_width=width, budget=sweep.budget.name)
    if rounds_of_looks(stored_cell, sweep.budget) < last:
        return None
    return Finished(why="budget", of=name, half_width=width, budget=sweep.budget.name)


def next_round(cells: Sequence[ActiveCell]) -> int:
    """Number of the next round: above every round of `cells`, since ratios pair rounds by their number."""
    return max((active.last_round for active in cells), default=-1) + 1


def repeats_left(active: ActiveCell, sweep: Sweep) -> bool:
    """True if the budget allows to repeat another disturbed visit of this cell."""
    return active.repeats < sweep.budget.repeats * sweep.budget.rounds
