"""`bench profile`: open every cell, time its kernels, and map them to the nodes of its file. Loads no framework.

One worker after the other: a profile compares what happens inside of a call, and `bench infer` measures calls in turns. The
roofs of a profile are open all the time, in workers of their own, and are visited before each turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from ..budgets import BUDGETS
from ..errors import BadInput
from ..models.roofs import MEGABYTE
from ..results.store.head import PROFILE
from ..spec import Sweep
from .infer import MEMORY_SHARE, RunKind, Surroundings, open_run, refuse
from .pool.memory import Limits
from .sweep.cells import ActiveCell, RunContext
from .sweep.cold import start_cold
from .sweep.conversions import convert_files
from .sweep.drawing import draw_inputs
from .sweep.group import Group
from .sweep.hiring import hire
from .sweep.opening import Hire, open_job
from .sweep.profiles import profile_cell
from .sweep.roofs import count_work
from .worker.jobs import Close

BATCHES = (8,)
TURNS = 10
LAYER_BYTES = (4 * MEGABYTE,)  # arrays as large as what a layer reads and writes


def profile(sweep: Sweep, surroundings: Surroundings) -> None:
    """Time the kernels of `sweep`'s cells into the run folder `surroundings.out`. Raises the errors of `infer`."""
    if sweep.feedback or sweep.input_count > 1:
        raise BadInput("a profile makes the same call again and again, without a state", "leave out --feedback")
    sweep = replace(sweep, cold=True, budget=replace(BUDGETS["quick"], name=PROFILE, cold_starts=1))
    kind = RunKind(name=PROFILE, batches=BATCHES, computed_only=False, sum_bytes=LAYER_BYTES)
    with open_run(sweep, surroundings, kind) as (rows, workers, run):
        refuse(rows, run)
        cells = [ActiveCell(planned=row) for row in rows if not row.refused]
        own = [active for active in cells if not active.planned.cell.roof]
        run.total, run.after_stop = len(own), "run bench profile again to start over"
        draw_inputs(run, cells)
        convert_files(run, own)
        count_work(run, cells)
        start_cold(run, own)
        pool = run.context.pool
        limits = Limits(resident_mb=pool.memory_free_mb() * MEMORY_SHARE, gpu_free_mb=pool.gpu_free_mb)
        hire_worker = hire(run.journal, pool, workers)
        roofs = Group(run, [active for active in cells if active.planned.cell.roof], hire_worker, limits)
        profiles = Profiles(run=run, hire=hire_worker, roofs=roofs if sweep.roof else None)
        try:
            roofs.open()
            for active in own:
                run.check_stop()
                run.attempt(active, profiles.add)
        finally:
            roofs.dismiss()


@dataclass(kw_only=True)
class Profiles:
    """Profiles of a run in progress, whose workers `hire` starts. `roofs`: open cells that measure the machine, or None."""

    run: RunContext
    hire: Hire
    roofs: Group | None = None
    numbers: Iterator[int] = field(default_factory=count)

    def add(self, active: ActiveCell) -> None:
        """Profile `active` in a worker of its own, which ends then: its memory belongs to the next one."""
        run, limit_s = self.run, self.run.sweep.timeout_s
        # The opening builds the engine of a backend that has none.
        build_s = run.sweep.build_timeout_s if active.planned.builds else None
        worker = self.hire(active)
        try:
            with run.context.pool.contiguous_memory():
                run.journal.add(active.key, worker.ask(open_job(active), build_s or limit_s))
            visit = self._visit_roofs if self.roofs else None
            profiled = profile_cell(run, active, lambda job: worker.ask(job, limit_s), TURNS, visit)
            run.journal.add(active.key, profiled)
            worker.ask(Close(key=active.slot), limit_s)
        finally:
            worker.dismiss()

    def _visit_roofs(self) -> int:
        """Measure the roofs once more. Returns the number of the round."""
        number = next(self.numbers)
        if self.roofs:
            self.roofs.visit(number)
        return number
