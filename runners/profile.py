"""`bench profile`: open every cell, time its kernels, and map them to the nodes of its file. Loads no framework.

One worker after the other: a profile compares what happens inside of a call, and `bench infer` measures calls in turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..budgets import BUDGETS
from ..errors import BadInput
from ..evidence import Profiled
from ..results.profile.mapping import mapped
from ..results.store.head import PROFILE
from ..spec import Sweep
from .infer import RunKind, Surroundings, open_run, refuse
from .pool.pool import Worker
from .sweep.cells import ActiveCell, RunContext
from .sweep.cold import start_cold
from .sweep.conversions import convert_files
from .sweep.drawing import draw_inputs
from .sweep.hiring import hire
from .sweep.opening import Hire, open_job
from .sweep.plan import PlannedCell
from .worker.jobs import Close, Here, There
from .worker.profile_jobs import Profile, ProfiledCalls, ReadGraph

BATCHES = (8,)
TURNS = 10


def profile(sweep: Sweep, surroundings: Surroundings) -> None:
    """Time the kernels of `sweep`'s cells into the run folder `surroundings.out`. Raises the errors of `infer`."""
    if sweep.feedback or sweep.input_count > 1:
        raise BadInput("a profile has calls on one array each", "leave out --feedback and --inputs")
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
    """Profiles of a run in progress. `graphs`: places of the graphs that runtimes wrote."""

    run: RunContext
    hire: Hire
    count: int = field(default=0, init=False)

    def add(self, active: ActiveCell) -> None:
        """Profile `active` in a worker of its own, and write the result into the journal."""
        folder = self._folder()
        with self._open(active) as worker:
            job = Profile(key=active.slot, folder=There(path=str(folder)), turns=TURNS, turn_ms=self.run.sweep.budget.block_ms)
            calls = worker.ask(job, self.run.sweep.timeout_s)
        self.run.journal.add(active.key, self._mapped(active.planned, calls, folder))

    def _folder(self) -> Path:
        self.count += 1
        return self.run.journal.scratch / f"profile-{self.count}"

    @contextmanager
    def _open(self, active: ActiveCell) -> Iterator[Worker]:
        """Worker with `active` open. It ends here, because its memory belongs to the next one."""
        worker = self.hire(active)
        try:
            self.run.journal.add(active.key, worker.ask(open_job(active), self._limit_s(active)))
            yield worker
            worker.ask(Close(key=active.slot), self.run.sweep.timeout_s)
        finally:
            worker.dismiss()

    def _limit_s(self, active: ActiveCell) -> float:
        """Longest time of the opening, which builds the engine of a backend that has none."""
        sweep = self.run.sweep
        return (sweep.build_timeout_s or sweep.timeout_s) if active.planned.builds else sweep.timeout_s

    def _mapped(self, planned: PlannedCell, calls: ProfiledCalls, folder: Path) -> Profiled:
        """Profile with the kernels mapped to the nodes of the file that ran."""
        runtime = Here(path=str(folder / calls.graph)) if calls.graph else None
        read = self.run.context.ask(ReadGraph(artifact=planned.artifact, shapes=planned.cell.shapes, runtime=runtime))
        return Profiled(
            kernels=mapped(calls.kernels, calls.links, read.nodes, read.runtime),
            nodes=read.nodes,
            calls=calls.calls,
            p50_ns=calls.p50_ns,
            profiled_p50_ns=calls.profiled_p50_ns,
            kernels_ns=calls.kernels_ns,
            step_ns=calls.step_ns,
            opening=calls.opening,
        )
