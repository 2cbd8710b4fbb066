"""What is compiled before anything is measured: so that no fresh process waits for it, and no round has it beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..pool.pool import Worker
from ..worker.jobs import Build
from .cells import ActiveCell, RunContext
from .group import Hire


def build(run: RunContext, cells: Sequence[ActiveCell], hired: Hire) -> None:
    """Build what `cells` need and the cache lacks, one after the other, with a worker for each backend."""
    lacking = [active for active in cells if active.planned.builds and not active.built]
    run.total += len(lacking)
    for place in dict.fromkeys(_place(active) for active in lacking):
        _build_all(run, [active for active in lacking if _place(active) == place], hired)


def _place(active: ActiveCell) -> tuple[str, str]:
    return active.planned.cell.backend, active.planned.cell.environment


def _build_all(run: RunContext, cells: Sequence[ActiveCell], hired: Hire) -> None:
    workers: list[Worker] = []

    def lost(_: ActiveCell) -> None:
        workers.pop().dismiss()

    try:
        for active in cells:
            run.check_stop()
            if not workers:
                workers.append(hired(active))
            run.attempt(active, partial(_build, run, workers[0]), lost)
    finally:
        for worker in workers:
            worker.dismiss()


def _build(run: RunContext, worker: Worker, active: ActiveCell) -> None:
    planned = active.planned
    built = worker.ask(Build(cell=planned.cell, artifact=planned.artifact), run.sweep.timeout_s)
    active.built = True
    run.journal.add(active.key, built)
    if built.build_s is not None and not built.engine_cached:
        run.context.progress.note(f"built {planned.cell.id} in {built.build_s:.1f} s")
    if built.remark:
        run.context.progress.note(f"{planned.cell.id}: {built.remark}")
