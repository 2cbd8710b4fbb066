"""State of a cell while it is measured, and the steps of a run. Loads no framework.

An error in a step ends one cell: its row gives the reason, and the other cells continue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...budgets import Budget
from ...errors import BenchError, Interrupted, StorageFailed
from ...evidence import ROUND, Converted, Failed, Opened, Reopened, StepFailed, TimedBuild, Tuned
from ...results.store.record import CellRecord
from ...spec import Cell, Concurrency, Options, Sweep
from ...tuning import merged
from ..pool.context import Context
from ..worker.jobs import TimedLatency, TimedThroughput
from .interrupt import Stop
from .journal import Journal
from .parity import Reference
from .plan import PlannedCell


@dataclass(kw_only=True, eq=False)
class ActiveCell:
    """A cell with its progress.

    `inputs`, `reference`, `samples`: folders of its arrays; None where they do not exist. `drawn`: its inputs
    are generated. `compared`: what parity is measured with; None without a reference. `latency`, `throughput`: the
    parts of its current round. `dirty`: the last part was disturbed. `throttled`: by throttled clocks of the GPU.
    `dropped`: number of such parts in the current round that were measured again. `cooled_s`: time of all pauses
    for them. `energy`, `work`, `loaded`: this step is done, with a figure or a reason.
    `built`: all builds of the cell exist. `engines`: hash of each build's engine, by its number; empty for a runtime without
    engines. `build`: number of the build that is measured. `timed`: builds that were timed, with their turns.
    `engine_file`: file that keeps the engine for the user. `converted`: facts of its file in the runtime's own format.
    `tuned`: result of the search for its options; None before, and without a search.
    `reported`: what the first session of the cell reported, by the key of the cell as it was opened and the build.
    `calls`: number of timed calls of latency. `cold`: number of fresh processes so far. `complete`: the journal has
    all its figures, and a later error does not change them. `finished`: the cell ended with figures. `out`: the cell
    ended with a reason instead.
    """

    planned: PlannedCell
    inputs: str = ""
    drawn: bool = False
    reference: str | None = None
    samples: str | None = None
    compared: Reference | None = None
    built: bool = False
    engines: dict[int, str] = field(default_factory=dict)
    build: int = 0
    timed: list[TimedBuild] = field(default_factory=list)
    engine_file: str = ""
    converted: Converted | None = None
    tuned: Tuned | None = None
    reported: dict[tuple[str, int], Mapping[str, str]] = field(default_factory=dict)
    verified: bool = False
    concurrency: Concurrency | None = None
    energy: bool = False
    work: bool = False
    loaded: bool = False
    cold: int = 0
    rounds: int = 0
    calls: int = 0
    last_round: int = -1
    last_life: int = -1
    repeats: int = 0
    latency: TimedLatency | None = None
    throughput: TimedThroughput | None = None
    dirty: bool = False
    throttled: bool = False
    dropped: int = 0
    cooled_s: float = 0.0
    complete: bool = False
    finished: bool = False
    out: bool = False

    @cached_property
    def key(self) -> str:
        """Key of the cell in the journal."""
        return self.planned.key

    @property
    def cell(self) -> Cell:
        """The cell as a worker opens it: with the options for single calls that were found."""
        return with_options(self.planned.cell, self.tuned.latency if self.tuned else ())

    @property
    def parallel(self) -> Cell | None:
        """The cell with the options for parallel calls that were found; None where they are those of single calls."""
        tuned = self.tuned
        return with_options(self.planned.cell, tuned.throughput) if tuned and tuned.throughput != tuned.latency else None

    @property
    def is_default(self) -> bool:
        """True if a search found nothing faster than the options of the cell beside, whose figures are then its own."""
        return self.tuned is not None and self.tuned.is_default and bool(self.tuned.beside)

    @property
    def slot(self) -> str:
        """Name of the cell's session in its worker."""
        return self.cell.key

    @property
    def live(self) -> bool:
        return not self.finished and not self.out

    @property
    def latency_only(self) -> bool:
        """True for cold caches, and for a roof: only latency is then measured."""
        return self.planned.cell.latency_only

    @property
    def single(self) -> Concurrency | None:
        """Concurrency of a cell that needs no search for the best one; None for any other."""
        return Concurrency(threads=self.planned.cell.settings.threads) if self.latency_only else None

    @property
    def renewed(self) -> bool:
        """True if each life has a fresh process of the cell."""
        return self.planned.program is None or self.planned.program.renewed

    @property
    def crew(self) -> tuple[Any, ...]:
        """Key of the cell's process. Cells share it with the same target, device, file, precision and process-wide settings."""
        cell, file = self.planned.cell, self.planned.artifact
        # All roofs of a runtime share a process: their graphs are small.
        content = "roof" if cell.roof else file.sha256
        return (cell.backend, cell.environment, cell.device, content, cell.precision, cell.settings)


def with_options(cell: Cell, changes: Options) -> Cell:
    """`cell` with `changes` of its options."""
    return replace(cell, settings=replace(cell.settings, options=merged(cell.settings.options, changes)))


def resume_cell(planned: PlannedCell, stored: CellRecord, sweep: Sweep) -> ActiveCell:
    """The active cell of `planned`, with the progress that the run folder has in `stored`. A failed cell starts again."""
    if stored.tuned and stored.tuned.is_default and stored.tuned.beside:
        return ActiveCell(planned=planned, tuned=stored.tuned, built=True, complete=True, finished=True)
    if stored.failed:
        return ActiveCell(planned=planned)
    # A complete cell can lack its load alone: the load runs after all rounds, and may have been interrupted.
    complete = _complete(stored, sweep.budget)
    return ActiveCell(
        planned=planned,
        built=stored.built is not None and set(range(1, stored.wanted_builds(sweep.builds))) <= stored.builds.keys(),
        engines={number: built.engine_sha256 for number, built in stored.builds.items() if built.engine_sha256},
        build=stored.build,
        timed=list(stored.timed_builds),
        converted=stored.converted,
        tuned=stored.tuned,
        verified=stored.inspected is not None,
        concurrency=stored.warm.concurrency if stored.warm else None,
        energy=stored.energy is not None,
        work=stored.work is not None,
        loaded=stored.load is not None,
        # A stored start without times is enough where the sweep needs memory alone.
        cold=sum(event.cold_s is not None or not sweep.cold for event in stored.cold),
        rounds=rounds_of_looks(stored, sweep.budget),
        calls=sum(block.calls or 0 for block in stored.blocks.values()),
        last_round=max(stored.blocks, default=-1),
        last_life=max((life.number for life in stored.lives), default=-1),
        complete=complete,
        finished=complete and (stored.load is not None or not has_load(planned, sweep)),
    )


def of_one_gpu(active: ActiveCell, cells: Iterable[ActiveCell]) -> Concurrency | None:
    """Concurrency of each GPU of a cell on several: that of the same cell on one; None without it.

    Two searches may end with different lanes, and the efficiency would then compare these.
    """
    own = active.planned.cell
    return next((item.concurrency for item in cells if item.planned.cell.is_one_gpu_of(own)), None)


def has_load(planned: PlannedCell, sweep: Sweep) -> bool:
    """True if the sweep has a load, and loads this cell: it has one device, and a batch of at most `--max-batch`."""
    cell = planned.cell
    return (
        sweep.load is not None and not cell.roof and cell == cell.alone and cell.batch <= (sweep.load.max_batch or cell.batch)
    )


def rounds_of_looks(stored: CellRecord, budget: Budget) -> int:
    """Number of rounds as the looks count them: without those that a life has beyond the least."""
    of_lives = Counter(stored.lives_of_rounds.values())
    beyond = sum(max(0, count - budget.life_rounds) for count in of_lives.values()) if budget.life_rounds else 0
    return len(stored.blocks) - beyond


def _complete(stored: CellRecord, budget: Budget) -> bool:
    """True if the stored end of the cell is an end in `budget` too.

    It is for the same budget, for as many rounds, and for an interval as narrow. The same budget may have ended the cell by
    its time limit, before its last round.
    """
    if not stored.finished:
        return False
    if stored.finished.budget == budget.name:
        return True
    width = stored.finished.half_width
    return rounds_of_looks(stored, budget) >= budget.rounds or (width is not None and width <= budget.half_width)


@dataclass(kw_only=True)
class RunContext:
    """Surroundings of every step of a run: the sweep, its journal, the context of jobs, and the user's request to stop.

    `done`, `total`: steps of the progress bar. `after_stop`: the hint for a user who stops the run.
    """

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
        on_loss: Callable[[ActiveCell], None] | None = None,
        name: str = ROUND,
    ) -> None:
        """Do one step of one cell. An error ends the cell; `on_loss` is called where the error also ends its worker.

        `name`: name of the step, for the row of a cell that is complete already. Raises `StorageFailed` and `Interrupted`.
        """
        self.done += 1  # the total has this step, also of a cell that has ended
        if active.out:
            return
        self.context.progress.step(active.planned.cell.id, min(self.done, self.total), self.total)
        try:
            step(active)
        except (StorageFailed, Interrupted):  # these end the run, and are no fault of the cell
            raise
        except BenchError as error:
            if on_loss and error.spoils_worker:
                on_loss(active)
            self.end(active, error, name)

    def note_opening(self, active: ActiveCell, opened: Opened) -> None:
        """Record an opening whose session reports other settings than the first one of the same cell and build.

        A process that could capture no CUDA graph, for example, would measure something else than the row says.
        """
        reports = {"executed": opened.info.executed or "", **(opened.info.settings or {})}
        usual = active.reported.setdefault((active.cell.key, active.build), reports)
        changed = [name for name in reports if reports[name] != usual.get(name)]
        if changed:
            first = {name: usual.get(name, "") for name in changed}
            self.journal.add(active.key, Reopened(reports={name: reports[name] for name in changed}, usual=first))

    def check_stop(self) -> None:
        """Raise `Interrupted` if the user requested to stop."""
        if self.stop.requested:
            raise Interrupted(
                "stopped by Ctrl-C", self.after_stop or f"to continue, run bench infer --out {self.journal.folder} --resume"
            )

    def end(self, active: ActiveCell, error: BenchError, step: str = ROUND) -> None:
        """Record that `active` failed in `step`. The row gets a reason; a complete cell keeps its figures too."""
        active.out = True
        if active.complete:
            self.context.progress.note(
                f"{active.planned.cell.id}: the step {step!r} failed ({error}); its other figures are kept"
            )
            self.journal.add(active.key, StepFailed(step=step, status=error.status, reason=str(error)))
            return
        self.journal.add(active.key, Failed(status=error.status, reason=str(error)))
