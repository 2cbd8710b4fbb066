"""What is compiled before anything is measured: so that no fresh process waits for it, and no round has it beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..pool.pool import Worker
from ..worker.jobs import Build
from .group import Hire
from .visits import Desk, Visit


def build(desk: Desk, visits: Sequence[Visit], hired: Hire) -> None:
    """Build what `visits` need and the cache lacks, one after the other, with a worker for each backend."""
    lacking = [visit for visit in visits if visit.planned.builds and not visit.built]
    desk.total += len(lacking)
    for place in dict.fromkeys(_place(visit) for visit in lacking):
        _build_all(desk, [visit for visit in lacking if _place(visit) == place], hired)


def _place(visit: Visit) -> tuple[str, str]:
    return visit.planned.cell.backend, visit.planned.cell.environment


def _build_all(desk: Desk, visits: Sequence[Visit], hired: Hire) -> None:
    workers: list[Worker] = []

    def lost(_: Visit) -> None:
        workers.pop().dismiss()

    try:
        for visit in visits:
            desk.check_stop()
            if not workers:
                workers.append(hired(visit))
            desk.attempt(visit, partial(_build, desk, workers[0]), lost)
    finally:
        for worker in workers:
            worker.dismiss()


def _build(desk: Desk, worker: Worker, visit: Visit) -> None:
    planned = visit.planned
    built = worker.ask(Build(cell=planned.cell, artifact=planned.artifact), desk.sweep.timeout_s)
    visit.built = True
    desk.journal.add(visit.key, built)
    if built.build_s is not None and not built.engine_cached:
        desk.context.progress.note(f"built {planned.cell.id} in {built.build_s:.1f} s")
    if built.remark:
        desk.context.progress.note(f"{planned.cell.id}: {built.remark}")
