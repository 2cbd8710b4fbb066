"""Cells in processes that have done nothing yet: how much memory one takes, and how long it is to the first answer.

Where only memory is asked for, several run side by side, for it is the same; cold starts have the machine to themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from ... import backends
from ...evidence import Cold
from ...spec import Sweep
from ..pool.pool import Worker
from ..worker.jobs import Here, StartCold
from .visits import Desk, Visit

SIDE_BY_SIDE = 2


def measure(desk: Desk, visits: Sequence[Visit]) -> None:
    """Start as many fresh processes for each cell as the budget says and the journal lacks."""
    timed = desk.sweep.cold
    for number in range(starts(desk.sweep)):
        left = [visit for visit in visits if not visit.out and visit.cold <= number]
        step = 1 if timed else SIDE_BY_SIDE
        for first in range(0, len(left), step):
            desk.check_stop()
            _start(desk, left[first : first + step], timed)


def starts(sweep: Sweep) -> int:
    """How many fresh processes each cell has."""
    return sweep.budget.cold_starts if sweep.cold else int(sweep.budget.memory)


def _start(desk: Desk, visits: Sequence[Visit], timed: bool) -> None:
    """One fresh process for each of `visits`, at the same time."""
    with ExitStack() as stack:
        running: list[tuple[Visit, Worker]] = []
        for visit in visits:
            cell, log = visit.planned.cell, desk.journal.logs / f"{visit.planned.cell.target}-cold.log"
            worker = desk.context.pool.start(log, visit.planned.python, network=backends.network(cell.backend))
            stack.callback(worker.dismiss)
            running.append((visit, worker))
        for visit, worker in running:
            desk.attempt(visit, partial(_send, worker))
        for visit, worker in running:
            desk.attempt(visit, partial(_finish, desk, worker, timed))


def _send(worker: Worker, visit: Visit) -> None:
    worker.send(_job(visit))


def _job(visit: Visit) -> StartCold:
    return StartCold(cell=visit.planned.cell, artifact=visit.planned.artifact, inputs=Here(path=visit.inputs))


def _finish(desk: Desk, worker: Worker, timed: bool, visit: Visit) -> None:
    answer = worker.receive(_job(visit), desk.sweep.timeout_s)
    found = Cold(peak_rss_mb=answer.peak_rss_mb, device_mem_mb=answer.device_mem_mb)
    if timed:
        found = replace(
            found,
            process_s=(answer.up_ns - worker.begin_ns) / 1e9,
            cold_s=(answer.answered_ns - worker.begin_ns) / 1e9,
            import_s=answer.import_s,
            load_s=answer.load_s,
            first_ms=answer.first_ms,
        )
    desk.journal.add(visit.key, found)
    visit.cold += 1
