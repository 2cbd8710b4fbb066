"""Groups of cells that are open at the same time, in workers that stay loaded, and their rounds. Loads no framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ...errors import RuntimeFailed, Unsupported, WorkerDied, WorkerTimeout
from ...evidence import ANSWERS, LOAD, ROUND, Block, Energy, Inspected, Life, Noise, Opened, Verified
from ...results.stats.percentiles import samples_needed
from ...results.store.noise import disturbed, throttled
from ...spec import Concurrency, Device, Sweep
from ..pool.memory import Limits, Room
from ..pool.pool import Worker
from ..worker.jobs import (
    Close,
    Here,
    Inspect,
    Job,
    ReadEnergy,
    There,
    TimeLatency,
    TimePart,
    TimeThroughput,
    Verify,
    WarmUp,
)
from . import cold, rounds
from .answers import answered, has_answers
from .capacity import measure_under_load
from .cells import ActiveCell, RunContext, has_load, of_one_gpu
from .journal import sample_file
from .opening import Hire, open_job, start_together, with_file
from .parity import settle
from .profiles import profile_cell
from .repeats import measure_undisturbed

TURNS = 3  # of a profile, in a check that times kernels
OPENING_STEPS, ROUND_STEPS = 2, 2  # of the progress bar, for each cell
ACCURACY = ("top1", "top1_drop", "agreement", "images", "lost", "gained", "accuracy_batch")
PERCENTILES: Mapping[str, float] = {"p50": 50, "p90": 90, "p99": 99}


Answer = TypeVar("Answer")


class Group:
    """Measurement of as many of `cells` as fit into `memory`, baselines first. The rest waits for another group.

    `hire_worker` returns the worker for a cell's process.
    """

    def __init__(self, run: RunContext, cells: Sequence[ActiveCell], hire_worker: Hire, memory: Limits) -> None:
        self._run, self._hire, self._memory = run, hire_worker, memory
        # False sorts first: finished cells and baselines open before the cells that are compared with them.
        # Model by model: where memory is short, a group has the baselines of its own cells and not those of all models.
        models = list(dict.fromkeys(active.planned.cell.model for active in cells))
        self._waiting = sorted(
            cells,
            key=lambda active: (
                models.index(active.planned.cell.model),
                active.live and not self._is_base(active, cells),
            ),
        )
        self._visits: list[ActiveCell] = []
        self._workers: dict[tuple[Any, ...], Worker] = {}
        self._open_keys: set[str] = set()
        self._timed = False
        self._life: int | None = None
        self._round_of_life = 0
        self._accuracy: dict[tuple[Any, ...], Verified] = {}

    def run(self, number: int) -> None:
        """Open and warm up the cells, then visit them in rounds until every cell has ended. `number`: of the first round."""
        try:
            self.open()
            begin, budget = self._run.context.clock.now_ns(), self._run.sweep.budget
            limit_s = budget.cell_s * len(self._visits)
            while cells := rounds.due_cells(self._visits, self._run.sweep):
                self._live(cells)
                number = self._rounds(cells, number)
                # After a whole life: one that is cut short could have one disturbed round as its whole figure.
                self._look(cells, self._run.context.clock.since_s(begin) > limit_s)
            self._attempt_all([active for active in self._visits if active.finished and not active.out], self._load, LOAD)
        finally:
            self.dismiss()

    def _rounds(self, cells: Sequence[ActiveCell], number: int) -> int:
        """Visit `cells` in all rounds of a life, or in one round without lives. Returns the number of the next round."""
        budget, seed, following = self._run.sweep.budget, self._run.sweep.seed, number
        for together in rounds.visited_together(cells, seed, number):
            nth, left = 0, together
            while rounds.goes_on(left, nth, budget):
                self._round_of_life = nth
                self._round(rounds.shuffle_sets(left, seed, number + nth), number + nth)
                left, nth = [active for active in left if not active.out], nth + 1
            following = max(following, number + nth)
        return following

    def _live(self, cells: Sequence[ActiveCell]) -> None:
        """Begin a life of `cells`, in a budget with lives: fresh processes, which open in another order."""
        if self._run.sweep.budget.life_rounds:
            # The processes that compared the answers and searched the concurrency end too. They did other work than those
            # of the later lives, and what that left behind in a process would be measured.
            self.dismiss()
            self._workers.clear()
            self._open_keys.clear()
            self._life = rounds.next_life(self._visits)
            self._run.check_stop()
            self._workers |= start_together(cells, self._hire, self._run.sweep.timeout_s)
            crews = list(dict.fromkeys(active.crew for active in self._visits))
            with self._run.context.pool.contiguous_memory():
                for position, crew in enumerate(rounds.opening_order(crews, self._run.sweep.seed, self._life)):
                    members = [active for active in cells if active.crew == crew]
                    for active in rounds.order_of_batches(members, self._life):
                        self._run.check_stop()
                        self._attempt_all([active], partial(self._reopen, number=self._life, position=position))

    @property
    def _rate_due(self) -> bool:
        return self._round_of_life % self._run.sweep.budget.rate_rounds == 0

    def open(self) -> None:
        """Open and warm up as many cells as fit, for `visit`."""
        with self._run.context.pool.contiguous_memory():
            self._open_what_fits()

    def visit(self, number: int) -> None:
        """Visit all open cells once, as round `number`."""
        live = [active for active in self._visits if active.live]
        self._round(rounds.shuffle_sets(live, self._run.sweep.seed, number), number)

    def verify(self, timed: bool) -> None:
        """Open every cell and compare its answers. `timed`: also measure the time of each kernel."""
        self._timed = timed
        for active in sorted(self._waiting, key=lambda active: -active.planned.cell.batch):
            self._run.check_stop()
            self._attempt_all([active], self._open)
            self._close(active)

    def dismiss(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.dismiss()

    def _is_base(self, active: ActiveCell, cells: Sequence[ActiveCell]) -> bool:
        return any(rounds.is_base(active, of, self._run.sweep) for of in cells)

    def _open_what_fits(self) -> None:
        """Open crew after crew, while another crew as large as the largest fits. Open one crew beside the baselines' always."""
        room = Room(self._memory)
        for crew in dict.fromkeys(active.crew for active in self._waiting):
            members = [active for active in self._waiting if active.crew == crew]
            full = room.begin(self._workers.values(), members[0].planned.cell.device)
            if full and any(active.live and not self._is_base(active, self._waiting) for active in self._visits):
                return
            # The largest batch first: if memory is too short, the crew fails before it measures anything.
            for active in sorted(members, key=lambda active: -active.planned.cell.batch):
                self._run.check_stop()
                self._attempt_all([active], self._open)
                self._attempt_all([active], self._warm)
            self._visits += members
            room.end(self._workers.get(crew))

    def _round(self, sets: Sequence[Sequence[ActiveCell]], number: int) -> None:
        """Visit every set: the latency of its cells one after the other, then their throughput in the rounds that have it."""
        for cells in sets:
            self._run.check_stop()
            latency = partial(self._attempt_all, step=partial(self._latency, number=number))
            measure_undisturbed(self._run, cells, latency, together=True)
            # With cold caches only latency is meaningful: calls in flight share the caches, and a flush would stop them all.
            rated = [active for active in cells if self._rate_due and not active.latency_only]
            measure_undisturbed(self._run, rated, partial(self._attempt_all, step=self._throughput), together=False)
            for active in (active for active in cells if not active.out):
                self._add(active, number)

    def _attempt_all(self, cells: Sequence[ActiveCell], step: Callable[[ActiveCell], None], name: str = ROUND) -> None:
        """Do one step of each cell. Close a cell that ends, which frees its memory."""
        for active in cells:
            self._run.attempt(active, step, self._lose, name)
            if active.out:
                self._close(active)

    def _close(self, active: ActiveCell) -> None:
        if active.key in self._open_keys:
            self._open_keys.discard(active.key)
            try:
                self._ask(active, Close(key=active.slot))
            except (WorkerDied, WorkerTimeout):  # the cell has ended already: its crew alone needs a new worker
                self._lose(active)

    def _look(self, cells: Sequence[ActiveCell], late: bool) -> None:
        """End the cells of `cells` that are done. `late`: the time limit of the group is over."""
        ends = rounds.finished_cells(self._run.journal.folder, cells, self._run.sweep, late)
        for active in (active for active in cells if active.key in ends):
            if has_answers(active):
                # A cell without its process has lost the answers of its last calls, and needs another round for new ones.
                if active.key not in self._open_keys:
                    continue
                active.complete = True
                self._attempt_all([active], self._answers, ANSWERS)
            active.complete = active.finished = True
            self._run.journal.add(active.key, ends[active.key])

    def _answers(self, active: ActiveCell) -> None:
        """Compare the answers of the cell's last timed calls with the reference."""
        result = answered(active, self._run.context, lambda job: self._ask(active, job))
        if result:
            self._run.journal.add(active.key, result)

    def _lose(self, active: ActiveCell) -> None:
        """Forget a lost worker. Its other cells open again at their next visit."""
        worker = self._workers.pop(active.crew, None)
        if worker:
            worker.dismiss()
        self._open_keys -= {other.key for other in self._waiting if other.crew == active.crew}

    def _ask(self, active: ActiveCell, job: Job[Answer]) -> Answer:
        answer = self._worker_of(active).ask(job, self._run.sweep.timeout_s)
        if isinstance(answer, Opened):
            self._run.note_opening(active, answer)
        return answer

    def _time(self, active: ActiveCell, job: TimePart[Answer]) -> Answer:
        """Do a part of a visit. A process of the CPU is stopped then: its threads would spin beside the next cell."""
        worker = self._worker_of(active)
        stops = worker.can_pause and Device.parse(active.planned.cell.device).kind == "cpu"
        answer = worker.ask(replace(job, rest=not stops), self._run.sweep.timeout_s)
        if stops:
            worker.pause()
        return answer

    def _worker_of(self, active: ActiveCell) -> Worker:
        if active.crew not in self._workers:
            self._workers[active.crew] = self._hire(active)
        return self._workers[active.crew]

    def _open(self, active: ActiveCell) -> None:
        planned, journal = active.planned, self._run.journal
        opened = with_file(self._ask(active, open_job(active)), planned)
        self._open_keys.add(active.key)
        journal.add(active.key, opened)
        if not active.verified and not opened.instrument:
            self._verify(active)

    def _reopen(self, active: ActiveCell, *, number: int, position: int) -> None:
        """Open and warm up a cell for a life, with the concurrency that was found before."""
        is_first = not any(other.key in self._open_keys for other in self._visits if other.crew == active.crew)
        memory = is_first and cold.is_of_life(active, self._run.sweep)
        opened = self._ask(active, replace(open_job(active), memory=memory))
        self._open_keys.add(active.key)
        if opened.memory:
            self._run.journal.add(active.key, opened.memory)
            active.cold += 1
        # Until the latency is stationary, at most as long as a stationary series takes: the file was warmed up before, and
        # every life pays for it.
        job = self._warm_job(active)
        warm = self._ask(active, replace(job, limit_ms=job.least_ms))
        life = Life(
            number=number,
            position=position,
            load_s=opened.load_s,
            first_ms=opened.first_ms,
            stationary=warm.stationary,
            settled=warm.settled,
        )
        active.last_life = number
        self._run.journal.add(active.key, life)

    def _verify(self, active: ActiveCell) -> None:
        """Record the kernels of a cell, and the distance of its answers from the reference.

        One batch of a crew answers the labelled samples, and its accuracy holds for the crew's other batches.
        """
        if active.reference:
            accuracy = self._accuracy.get(active.crew)
            samples = Here(path=active.samples) if active.samples and not accuracy else None
            job = Verify(
                key=active.slot,
                reference=Here(path=active.reference),
                samples=samples,
                random=active.compared.random if active.compared else (),
            )
            result = self._ask(active, job)
            if accuracy:
                result = replace(result, **{name: getattr(accuracy, name) for name in ACCURACY})
            elif active.samples:
                self._accuracy[active.crew] = result
            self._run.journal.add(active.key, settle(active, result, self._run.context))
        self._run.journal.add(active.key, self._inspected(active))
        active.verified = True

    def _inspected(self, active: ActiveCell) -> Inspected:
        """Kernels of the cell. Empty, after a note, where the runtime does not report them: the cell is measured anyway."""
        try:
            if self._timed:
                # a runtime without a profiler, or with one that fails, may report its kernels alone
                with suppress(Unsupported, RuntimeFailed):
                    profiled = profile_cell(self._run, active, lambda job: self._ask(active, job), TURNS)
                    return Inspected(kernels=profiled.kernels)
            return self._ask(active, Inspect(key=active.slot, timed=self._timed))
        except RuntimeFailed as error:
            self._run.context.progress.note(f"{active.planned.cell.id}: the runtime reports no kernels ({error})")
            return Inspected()

    def _warm(self, active: ActiveCell) -> None:
        budget = self._run.sweep.budget
        active.concurrency = active.concurrency or of_one_gpu(active, self._waiting)
        warm = self._ask(active, self._warm_job(active))
        active.concurrency = warm.concurrency
        self._run.journal.add(active.key, warm)
        if not active.energy and not active.latency_only and active.planned.program is None and budget.energy_ms > 0:
            self._energy(active)

    def _warm_job(self, active: ActiveCell) -> WarmUp:
        budget = self._run.sweep.budget
        return WarmUp(
            key=active.slot,
            least_ms=budget.warmup_ms,
            limit_ms=budget.warmup_limit_ms,
            passes=budget.passes,
            concurrency=active.concurrency or active.single,
            engine_file=active.engine_file,
        )

    def _energy(self, active: ActiveCell) -> None:
        """Measure the energy of an item, once for each cell. A failure becomes a note and the figure's reason."""
        block_ms, concurrency = self._run.sweep.budget.energy_ms, active.concurrency or Concurrency()
        try:
            result = self._ask(active, ReadEnergy(key=active.slot, block_ms=block_ms, concurrency=concurrency))
        except RuntimeFailed as error:
            self._run.context.progress.note(f"{active.planned.cell.id}: energy was not measured ({error})")
            result = Energy(reason=str(error))
        self._run.journal.add(active.key, result)
        active.energy = True

    def _latency(self, active: ActiveCell, *, number: int) -> None:
        """Measure the latency part of a visit. Opens the cell first where its worker was lost."""
        if active.key not in self._open_keys:  # its worker was lost at another cell of the crew
            self._open(active)
            self._warm(active)
        samples = There(path=str(self._run.journal.folder / sample_file(active.key, number)))
        block_ms, calls = block_size(self._run.sweep)
        size: dict[str, Any] = {"block_ms": block_ms, "calls": calls, "keep": has_answers(active)}
        size |= {"turn": active.calls, "round": number}
        active.latency = self._time(active, TimeLatency(key=active.slot, samples=samples, **size))
        active.dirty, active.throttled = disturbed("latency", active.latency.noise), throttled(active.latency.noise)

    def _throughput(self, active: ActiveCell) -> None:
        """Measure the throughput part of a visit."""
        block_ms, concurrency = self._run.sweep.budget.throughput_ms, active.concurrency or Concurrency()
        size: dict[str, Any] = {"block_ms": block_ms, "keep": has_answers(active)}
        active.throughput = self._time(active, TimeThroughput(key=active.slot, concurrency=concurrency, **size))
        active.dirty, active.throttled = disturbed("throughput", active.throughput.noise), throttled(active.throughput.noise)

    def _load(self, active: ActiveCell) -> None:
        """Measure the rate that the latency limit allows. Runs after all rounds, when no other cell computes."""
        if active.throughput and not active.loaded and has_load(active.planned, self._run.sweep):
            self._run.journal.add(active.key, measure_under_load(active, self._run, lambda job: self._ask(active, job)))
            active.loaded = True

    def _add(self, active: ActiveCell, number: int) -> None:
        """Write the parts of a visit as one block of the journal. Raises ValueError where a part is missing."""
        budget, rated = self._run.sweep.budget, self._rate_due and not active.latency_only
        latency, throughput = active.latency, active.throughput if rated else None
        if latency is None or (rated and throughput is None):
            raise ValueError("a part of the visit is missing")
        block = Block(
            round=number,
            samples=sample_file(active.key, number),
            calls=latency.calls,
            p50_ns=latency.p50_ns,
            throughput=throughput.rate if throughput else None,
            noise=Noise(latency=latency.noise, throughput=throughput.noise if throughput else None),
            settled=latency.settled and (throughput is None or throughput.settled),
            # Rounds of one process are no lives of their own, however often the processes beside it are renewed.
            life=self._life if active.renewed else None,
            throttled=active.dropped,
            by_array=latency.by_array,
        )
        self._run.journal.add(active.key, block)
        active.rounds += not budget.life_rounds or self._round_of_life < budget.life_rounds
        active.last_round, active.dropped = number, 0
        active.calls += latency.calls


def block_size(sweep: Sweep) -> tuple[float, int]:
    """Length of a block in ms, and its least number of calls.

    The calls of all rounds up to the first look are enough for the metric's percentile.
    """
    needed = samples_needed(PERCENTILES[sweep.metric]) if sweep.metric in PERCENTILES else 1
    calls = max(sweep.budget.block_calls, math.ceil(needed / sweep.budget.looks[0]))
    return sweep.budget.block_ms, calls
