"""A cell while it is being measured, and what is done when a step of it goes wrong: its row says why, the others go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...budgets import Budget
from ...errors import BenchError, Interrupted, StorageFailed
from ...evidence import ROUND, Failed, StepFailed
from ...results.store.record import CellRecord
from ...spec import Concurrency, Sweep
from ..pool.context import Context
from ..worker.jobs import TimedLatency, TimedThroughput
from .interrupt import Stop
from .journal import Journal
from .plan import PlannedCell


@dataclass(kw_only=True, eq=False)
class ActiveCell:
    """A cell, the arrays it is given (folders), and how far it is.

    `finished` and `out` both end it: with figures, or with a reason why there are none. `complete`: its figures are, whatever
    a later step does. `latency`, `throughput`: the parts of its current round. `energy`, `loaded`: that is known, or why it is
    not. `dirty`: what was measured last was disturbed.
    """

    planned: PlannedCell
    inputs: str = ""
    reference: str | None = None
    samples: str | None = None
    built: bool = False
    verified: bool = False
    concurrency: Concurrency | None = None
    energy: bool = False
    loaded: bool = False
    cold: int = 0
    rounds: int = 0
    last_round: int = -1
    repeats: int = 0
    latency: TimedLatency | None = None
    throughput: TimedThroughput | None = None
    dirty: bool = False
    complete: bool = False
    finished: bool = False
    out: bool = False

    @cached_property
    def key(self) -> str:
        """The cell's key in the journal."""
        return self.planned.key

    @property
    def slot(self) -> str:
        """The name of its session in a worker."""
        return self.planned.cell.key

    @property
    def live(self) -> bool:
        return not self.finished and not self.out

    @property
    def crew(self) -> tuple[Any, ...]:
        """Cells that may share a process: the same backend, file and process-wide settings."""
        cell, file = self.planned.cell, self.planned.artifact
        return (cell.backend, cell.environment, cell.device, file.sha256, cell.precision, cell.settings)


def resume_cell(planned: PlannedCell, held: CellRecord, sweep: Sweep) -> ActiveCell:
    """What is left to do of `planned`, of which `held` is known; a cell that failed begins anew."""
    if held.failed:
        return ActiveCell(planned=planned)
    complete = _complete(held, sweep.budget)
    return ActiveCell(
        planned=planned,
        built=held.built is not None,
        verified=held.inspected is not None,
        concurrency=held.warm.concurrency if held.warm else None,
        energy=held.energy is not None,
        loaded=held.load is not None,
        cold=sum(event.cold_s is not None or not sweep.cold for event in held.cold),
        rounds=len(held.blocks),
        last_round=max(held.blocks, default=-1),
        complete=complete,
        finished=complete and (held.load is not None or not loads(planned, sweep)),
    )


def loads(planned: PlannedCell, sweep: Sweep) -> bool:
    """Whether the rate that a limit allows is asked of a cell: of one whose calls are not larger than `--max-batch`."""
    return sweep.load is not None and planned.cell.batch <= (sweep.load.max_batch or planned.cell.batch)


def _complete(held: CellRecord, budget: Budget) -> bool:
    """Whether what ended the cell before ends it in this budget too: the same one (its time may have been used up before
    all of its rounds), as many rounds, or an interval as narrow."""
    if not held.finished:
        return False
    if held.finished.budget == budget.name:
        return True
    width = held.finished.half_width
    return len(held.blocks) >= budget.rounds or (width is not None and width <= budget.half_width)


@dataclass(kw_only=True)
class RunContext:
    """What every step needs: the sweep, its journal, where workers' logs go, and whether the user asked to stop."""

    sweep: Sweep
    journal: Journal
    context: Context
    stop: Stop
    done: int = 0
    total: int = 0
    after_stop: str = ""

    def attempt(
        self,
        active: ActiveCell,
        step: Callable[[ActiveCell], None],
        lost: Callable[[ActiveCell], None] | None = None,
        name: str = ROUND,
    ) -> None:
        """Do one step of one cell. An error ends this cell; `lost` is called where its worker is gone too.

        `name`: the step's, for a cell whose figures are complete already.
        """
        self.done += 1
        if active.out:
            return
        self.context.progress.step(active.planned.cell.id, min(self.done, self.total), self.total)
        try:
            step(active)
        except (StorageFailed, Interrupted):
            raise
        except BenchError as error:
            if lost and error.spoils_worker:
                lost(active)
            self.end(active, error, name)

    def check_stop(self) -> None:
        """Raise `Interrupted` if the user asked to stop."""
        if self.stop.asked:
            raise Interrupted(
                "stopped by Ctrl-C", self.after_stop or f"go on with bench infer --out {self.journal.folder} --resume"
            )

    def end(self, active: ActiveCell, error: BenchError, step: str = ROUND) -> None:
        """Write down that `active` failed in `step`. Its row has a reason instead of figures, and keeps complete ones."""
        active.out = True
        if active.complete:
            self.context.progress.note(f"{active.planned.cell.id}: its figures are kept; the step {step!r} failed ({error})")
            self.journal.add(active.key, StepFailed(step=step, status=error.status, reason=str(error)))
            return
        self.journal.add(active.key, Failed(status=error.status, reason=str(error)))
