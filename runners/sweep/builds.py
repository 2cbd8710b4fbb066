"""Building of engines before the first measurement. Loads no framework.

A fresh process then does not wait for a build, and no build runs beside a timed cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..pool.pool import Worker
from ..worker.jobs import Build
from .cells import ActiveCell, RunContext
from .group import Hire


def build_engines(run: RunContext, cells: Sequence[ActiveCell], hire: Hire) -> None:
    """Build the engines that `cells` need and the cache lacks. One worker for each target builds one engine after the other."""
    missing = [active for active in cells if active.planned.builds and not active.built]
    run.total += len(missing)
    for target in dict.fromkeys(active.planned.cell.target for active in missing):
        _build_all(run, [active for active in missing if active.planned.cell.target == target], hire)


def _build_all(run: RunContext, cells: Sequence[ActiveCell], hire: Hire) -> None:
    workers: list[Worker] = []  # one at most; a list, since a lost worker leaves none until the next cell hires another

    def on_loss(_: ActiveCell) -> None:
        workers.pop().dismiss()

    try:
        for active in cells:
            run.check_stop()
            if not workers:
                workers.append(hire(active))
            run.attempt(active, partial(_build, run, workers[0]), on_loss)
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
