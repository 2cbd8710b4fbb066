"""Cold starts: the memory of a cell in a fresh process, and the time to its first answer. Loads no framework.

With lives, the process of a life gives the memory of the cell that it opens first. For memory alone, SIDE_BY_SIDE processes run
at the same time, since neighbours do not change a process's memory. A timed cold start has the machine to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from ... import backends
from ...evidence import MEMORY, Cold
from ...spec import Sweep
from ..pool.pool import Worker
from ..pool.replicas import start_worker
from ..worker.jobs import Here, StartCold
from .cells import ActiveCell, RunContext
from .opening import engine_choice

SIDE_BY_SIDE = 2


def start_cold(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Start the fresh processes that the budget asks for and that the journal lacks."""
    timed = run.sweep.cold
    for number in range(start_count(run.sweep)):
        # One process for each cell, then the next: a slow phase of the machine falls on all cells.
        left = [active for active in cells if not active.out and active.cold <= number]
        step = 1 if timed else SIDE_BY_SIDE
        for first in range(0, len(left), step):
            run.check_stop()
            _start(run, left[first : first + step], timed)


def start_count(sweep: Sweep) -> int:
    """Number of fresh processes for each cell."""
    return sweep.budget.cold_starts if sweep.cold else int(sweep.budget.memory)


def are_lives(sweep: Sweep) -> bool:
    """True if the processes of lives give the memory, and no time is measured."""
    return bool(sweep.budget.life_rounds) and not sweep.cold


def is_of_life(active: ActiveCell, sweep: Sweep) -> bool:
    """True if the next process of a life that opens `active` first is to give its memory."""
    cell = active.planned.cell
    return are_lives(sweep) and not active.planned.program and cell == cell.alone and active.cold < start_count(sweep)


def _start(run: RunContext, cells: Sequence[ActiveCell], timed: bool) -> None:
    """Start a fresh process for each of `cells`, all at the same time."""
    with ExitStack() as stack:
        running: list[tuple[ActiveCell, Worker]] = []
        for active in cells:
            cell, log = active.planned.cell, run.journal.logs / f"{active.planned.cell.target}-cold.log"
            worker = start_worker(run.context.pool, cell, log, active.planned.python, network=backends.network(cell.backend))
            stack.callback(worker.dismiss)
            running.append((active, worker))
        for active, worker in running:
            run.attempt(active, partial(_send, worker), name=MEMORY)
        for active, worker in running:
            run.attempt(active, partial(_finish, run, worker, timed), name=MEMORY)


def _send(worker: Worker, active: ActiveCell) -> None:
    worker.send(_job(active))


def _job(active: ActiveCell) -> StartCold:
    planned, inputs = active.planned, Here(path=active.inputs)
    return StartCold(
        cell=active.cell, artifact=planned.artifact, inputs=inputs, drawn=active.drawn, engine=engine_choice(active)
    )


def _finish(run: RunContext, worker: Worker, timed: bool, active: ActiveCell) -> None:
    answer = worker.receive(_job(active), run.sweep.timeout_s)
    figures = Cold(peak_rss_mb=answer.peak_rss_mb, device_mem_mb=answer.device_mem_mb)
    if timed:
        figures = replace(
            figures,
            process_s=(answer.up_ns - worker.begin_ns) / 1e9,
            cold_s=(answer.answered_ns - worker.begin_ns) / 1e9,
            import_s=answer.import_s,
            load_s=answer.load_s,
            first_ms=answer.first_ms,
        )
    run.journal.add(active.key, figures)
    active.cold += 1
