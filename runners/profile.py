"""`bench profile`: open every cell, time its kernels, and map them to the nodes of its file. Loads no framework.

One worker after the other: a profile compares what happens inside of a call, and `bench infer` measures calls in turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..budgets import BUDGETS
from ..errors import BadInput
from ..results.store.head import PROFILE
from ..spec import Sweep
from .infer import RunKind, Surroundings, open_run, refuse
from .sweep.cells import ActiveCell, RunContext
from .sweep.cold import start_cold
from .sweep.conversions import convert_files
from .sweep.drawing import draw_inputs
from .sweep.hiring import hire
from .sweep.opening import Hire, open_job
from .sweep.profiles import profile_cell
from .worker.jobs import Close

BATCHES = (8,)
TURNS = 10


def profile(sweep: Sweep, surroundings: Surroundings) -> None:
    """Time the kernels of `sweep`'s cells into the run folder `surroundings.out`. Raises the errors of `infer`."""
    if sweep.feedback or sweep.input_count > 1:
        raise BadInput("a profile makes the same call again and again, without a state", "leave out --feedback")
    sweep = replace(sweep, cold=True, budget=replace(BUDGETS["quick"], name=PROFILE, cold_starts=1))
    kind = RunKind(name=PROFILE, batches=BATCHES, computed_only=False)
    with open_run(sweep, surroundings, kind) as (rows, workers, run):
        refuse(rows, run)
        cells = [ActiveCell(planned=row) for row in rows if not row.refused]
        run.total, run.after_stop = len(cells), "run bench profile again to start over"
        draw_inputs(run, cells)
        convert_files(run, cells)
        start_cold(run, cells)
        profiles = Profiles(run=run, hire=hire(run.journal, run.context.pool, workers))
        for active in cells:
            run.check_stop()
            run.attempt(active, profiles.add)


@dataclass(kw_only=True)
class Profiles:
    """Profiles of a run in progress, whose workers `hire` starts."""

    run: RunContext
    hire: Hire

    def add(self, active: ActiveCell) -> None:
        """Profile `active` in a worker of its own, which ends then: its memory belongs to the next one."""
        run, limit_s = self.run, self.run.sweep.timeout_s
        # The opening builds the engine of a backend that has none.
        build_s = run.sweep.build_timeout_s if active.planned.builds else None
        worker = self.hire(active)
        try:
            run.journal.add(active.key, worker.ask(open_job(active), build_s or limit_s))
            run.journal.add(active.key, profile_cell(run, active, lambda job: worker.ask(job, limit_s), TURNS))
            worker.ask(Close(key=active.slot), limit_s)
        finally:
            worker.dismiss()
