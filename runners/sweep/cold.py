"""Cells in processes that have done nothing yet: how much memory one takes, and how long it is to the first answer.

Where only memory is asked for, several run side by side, for it is the same; cold starts have the machine to themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from ... import backends
from ...spec import Sweep, to_wire
from ..pool.isolate import Worker
from .visits import Desk, Visit

SIDE_BY_SIDE = 2
MEMORY = ("peak_rss_mb", "device_mem_mb")  # is the same however many processes start at once


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
        running: list[tuple[Visit, Worker, int]] = []
        for visit in visits:
            begin = desk.context.clock.now_ns()
            log = desk.journal.logs / f"{visit.planned.cell.target}-cold.log"
            worker = Worker(log, desk.context.clock, visit.planned.python, network=backends.network(visit.planned.cell.backend))
            stack.callback(worker.dismiss)
            running.append((visit, worker, begin))
        for visit, worker, _ in running:
            desk.attempt(visit, partial(_send, worker))
        for visit, worker, begin in running:
            desk.attempt(visit, partial(_finish, desk, worker, begin, timed))


def _send(worker: Worker, visit: Visit) -> None:
    planned = visit.planned
    worker.send("cold", cell=to_wire(planned.cell), artifact=to_wire(planned.artifact), inputs=visit.inputs)


def _finish(desk: Desk, worker: Worker, begin_ns: int, timed: bool, visit: Visit) -> None:
    answer = worker.receive("cold", desk.sweep.timeout_s)
    up_ns, answered_ns = answer.pop("up_ns"), answer.pop("answered_ns")
    times = {"process_s": (up_ns - begin_ns) / 1e9, "cold_s": (answered_ns - begin_ns) / 1e9, **answer}
    found = times if timed else {name: answer[name] for name in MEMORY if name in answer}
    desk.journal.add("cold", visit.key, **found)
    visit.cold += 1
