"""Workers for the cells of a sweep: those that probed a backend first, and then new ones. Loads no framework."""

from __future__ import annotations

from ... import backends
from ...spec import Target
from ..pool.pool import Pool, Worker
from ..pool.replicas import start_worker
from .cells import ActiveCell
from .journal import Journal
from .opening import Hire
from .programs import Programs


def hire(
    journal: Journal, pool: Pool, spare: dict[Target, Worker], programs: Programs | None = None, log_name: str = ""
) -> Hire:
    """Return a function that hires a worker for a cell: the worker that probed its target, once, and then new ones.

    `log_name`: last part of the name of their log, in place of the precision.
    """

    def hire_worker(active: ActiveCell) -> Worker:
        cell, python = active.planned.cell, active.planned.python
        if programs and active.planned.program:
            return programs.hire(active.planned.program)
        if cell == cell.alone and cell.target in spare:
            return spare.pop(cell.target)
        log = journal.logs / f"{cell.target}-{log_name or cell.precision}.log"
        return start_worker(pool, cell, log, python, network=backends.network(cell.backend))

    return hire_worker


def hire_builder(journal: Journal, pool: Pool) -> Hire:
    """Return a function that hires a worker to build engines. One GPU builds the engine of a cell on several."""

    def hire_worker(active: ActiveCell) -> Worker:
        cell = active.planned.cell
        log = journal.logs / f"{cell.target}-build.log"
        return pool.start(log, active.planned.python, network=backends.network(cell.backend))

    return hire_worker
