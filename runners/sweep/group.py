"""Cells that are open at the same time, in workers that stay loaded, and the rounds in which they are visited."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ... import backends
from ...errors import RuntimeFailed, WorkerDied, WorkerTimeout
from ...evidence import LOAD, ROUND, Block, Energy, Inspected, Layers, Noise, Opened, Verified
from ...exporters.derive import other_maker
from ...results.stats.percentiles import samples_needed
from ...results.store.noise import disturbed
from ...spec import RANDOM, Artifact, Concurrency, Sweep, Target
from ..pool.memory import Limits, Room
from ..pool.pool import Pool, Worker
from ..worker.jobs import (
    Close,
    Here,
    Inspect,
    Job,
    Open,
    ReadEnergy,
    There,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from . import rounds
from .capacity import loaded
from .journal import Journal, sample_file
from .visits import Desk, Visit, loads

OPENING_STEPS, ROUND_STEPS = 2, 2  # of the progress bar, for each cell
TRIES = 2  # a disturbed visit is made again so often in its round
ACCURACY = ("top1", "top1_drop", "agreement", "images", "lost", "gained", "accuracy_batch")
PERCENTILES: Mapping[str, float] = {"p50": 50, "p90": 90, "p99": 99}


Answer = TypeVar("Answer")
Hire = Callable[[Visit], Worker]


def hire(journal: Journal, pool: Pool, spare: dict[Target, Worker]) -> Hire:
    """Who works for a crew: a worker that its target was probed in, as long as there is one, or a new one."""

    def hired(visit: Visit) -> Worker:
        cell, python = visit.planned.cell, visit.planned.python
        log, network = journal.logs / f"{cell.target}-{cell.precision}.log", backends.network(cell.backend)
        return spare.pop(cell.target, None) or pool.start(log, python, network=network)

    return hired


class Group:
    """Opens as many of `visits` as fit into `memory`, those that others are compared with first, and measures them.

    What did not fit is left as it is, for another group.
    """

    def __init__(self, desk: Desk, visits: Sequence[Visit], hired: Hire, memory: Limits) -> None:
        self._desk, self._hire, self._memory = desk, hired, memory
        self._waiting = sorted(visits, key=lambda visit: visit.live and not self._is_base(visit, visits))
        self._visits: list[Visit] = []
        self._workers: dict[tuple[Any, ...], Worker] = {}
        self._open_keys: set[str] = set()
        self._timed = False
        self._accuracy: dict[tuple[Any, ...], Verified] = {}

    def run(self, number: int) -> None:
        """Open, warm up, and visit in rounds from `number` on until every cell has had enough."""
        try:
            self._open_what_fits()
            begin = self._desk.context.clock.now_ns()
            limit_s = self._desk.sweep.budget.cell_s * len(self._visits)
            while visits := rounds.wanted(self._visits, self._desk.sweep):
                self._round(rounds.order(visits, self._desk.sweep.seed, number), number)
                self._look(visits, self._desk.context.clock.since_s(begin) > limit_s)
                number += 1
            self._attempt_all([visit for visit in self._visits if visit.finished and not visit.out], self._load, LOAD)
        finally:
            self.dismiss()

    def verify(self, timed: bool) -> None:
        """Open every cell and compare its answers, and measure nothing, but how long each kernel takes where it is `timed`."""
        self._timed = timed
        for visit in sorted(self._waiting, key=lambda visit: -visit.planned.cell.batch):
            self._desk.check_stop()
            self._attempt_all([visit], self._open)
            self._close(visit)

    def dismiss(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.dismiss()

    def _is_base(self, visit: Visit, visits: Sequence[Visit]) -> bool:
        return any(rounds.is_base(visit, of, self._desk.sweep) for of in visits)

    def _open_what_fits(self) -> None:
        """Crew by crew, until another one as large as the largest would not fit; one more than the bases' in any case."""
        room = Room(self._memory)
        for crew in dict.fromkeys(visit.crew for visit in self._waiting):
            members = [visit for visit in self._waiting if visit.crew == crew]
            full = room.begin(self._workers.values(), members[0].planned.cell.device)
            if full and any(visit.live and not self._is_base(visit, self._waiting) for visit in self._visits):
                return
            for visit in sorted(members, key=lambda visit: -visit.planned.cell.batch):
                self._desk.check_stop()
                self._attempt_all([visit], self._open)
                self._attempt_all([visit], self._warm)
            self._visits += members
            room.end(self._workers.get(crew))

    def _round(self, sets: Sequence[Sequence[Visit]], number: int) -> None:
        """Visit every set: its cells' latency one after the other, then their throughput."""
        for visits in sets:
            self._desk.check_stop()
            self._undisturbed(visits, partial(self._latency, number=number), together=True)
            self._undisturbed(visits, self._throughput, together=False)
            for visit in (visit for visit in visits if not visit.out):
                self._add(visit, number)

    def _undisturbed(self, visits: Sequence[Visit], part: Callable[[Visit], None], *, together: bool) -> None:
        """Do one part of each visit, and again what was disturbed, as often as TRIES and the budget allow.

        `together`: what is compared by ratios in a round is measured again as a whole.
        """
        self._attempt_all(visits, part)
        for _ in range(TRIES):
            again = [visit for visit in visits if visit.dirty and not visit.out]
            if together and again:
                again = [visit for visit in visits if not visit.out]
            allowed = [visit for visit in again if rounds.repeats_left(visit, self._desk.sweep)]
            if not allowed or (together and len(allowed) < len(again)):
                return
            for visit in allowed:
                visit.repeats += 1
            self._attempt_all(allowed, part)

    def _attempt_all(self, visits: Sequence[Visit], step: Callable[[Visit], None], name: str = ROUND) -> None:
        """Do one step of each. A cell that it ends is closed, so that it takes no more memory."""
        for visit in visits:
            self._desk.attempt(visit, step, self._lose, name)
            if visit.out:
                self._close(visit)

    def _close(self, visit: Visit) -> None:
        if visit.key in self._open_keys:
            self._open_keys.discard(visit.key)
            try:
                self._ask(visit, Close(key=visit.slot))
            except (WorkerDied, WorkerTimeout):
                self._lose(visit)

    def _look(self, visits: Sequence[Visit], late: bool) -> None:
        """See who has had enough."""
        ends = rounds.ends(self._desk.journal.folder, visits, self._desk.sweep, late)
        for visit in (visit for visit in visits if visit.key in ends):
            visit.complete = visit.finished = True
            self._desk.journal.add(visit.key, ends[visit.key])

    def _lose(self, visit: Visit) -> None:
        """Forget a worker that is gone; the cells that it held beside this one are opened again when they are next visited."""
        worker = self._workers.pop(visit.crew, None)
        if worker:
            worker.dismiss()
        self._open_keys -= {other.key for other in self._waiting if other.crew == visit.crew}

    def _ask(self, visit: Visit, job: Job[Answer]) -> Answer:
        if visit.crew not in self._workers:
            self._workers[visit.crew] = self._hire(visit)
        return self._workers[visit.crew].ask(job, self._desk.sweep.timeout_s)

    def _open(self, visit: Visit) -> None:
        planned, journal = visit.planned, self._desk.journal
        job = Open(cell=planned.cell, artifact=planned.artifact, inputs=Here(path=visit.inputs))
        opened = _with_file(self._ask(visit, job), planned.artifact)
        self._open_keys.add(visit.key)
        journal.add(visit.key, opened)
        if not visit.verified and not opened.instrument:
            self._verify(visit)

    def _verify(self, visit: Visit) -> None:
        """What runs, and how far it is from the reference. Accuracy is the same for all batches, so the first one tells it."""
        if visit.reference:
            known = self._accuracy.get(visit.crew)
            samples = Here(path=visit.samples) if visit.samples and not known else None
            found = self._ask(visit, Verify(key=visit.slot, reference=Here(path=visit.reference), samples=samples))
            if known:
                found = replace(found, **{name: getattr(known, name) for name in ACCURACY})
            elif visit.samples:
                self._accuracy[visit.crew] = found
            self._desk.journal.add(visit.key, found)
        self._desk.journal.add(visit.key, self._inspected(visit))
        visit.verified = True

    def _inspected(self, visit: Visit) -> Inspected:
        """The kernels; a runtime that cannot tell them can be measured all the same."""
        try:
            return self._ask(visit, Inspect(key=visit.slot, timed=self._timed))
        except RuntimeFailed as error:
            self._desk.context.progress.note(f"{visit.planned.cell.id} does not tell what it runs: {error}")
            return Inspected()

    def _warm(self, visit: Visit) -> None:
        budget = self._desk.sweep.budget
        job = WarmUp(
            key=visit.slot,
            least_ms=budget.warmup_ms,
            limit_ms=budget.warmup_limit_ms,
            passes=budget.passes,
            concurrency=visit.concurrency,
        )
        warm = self._ask(visit, job)
        visit.concurrency = warm.concurrency
        self._desk.journal.add(visit.key, warm)
        if not visit.energy and visit.planned.cell.device != "cpu" and budget.energy_ms > 0:
            self._energy(visit)

    def _energy(self, visit: Visit) -> None:
        """What an item costs on a GPU, once for a cell; one that cannot tell it can be measured all the same."""
        block_ms, concurrency = self._desk.sweep.budget.energy_ms, visit.concurrency or Concurrency()
        try:
            found = self._ask(visit, ReadEnergy(key=visit.slot, block_ms=block_ms, concurrency=concurrency))
        except RuntimeFailed as error:
            self._desk.context.progress.note(f"{visit.planned.cell.id} has no energy: {error}")
            found = Energy(reason=str(error))
        self._desk.journal.add(visit.key, found)
        visit.energy = True

    def _latency(self, visit: Visit, *, number: int) -> None:
        """The latency part of a visit."""
        if visit.key not in self._open_keys:
            self._open(visit)
            self._warm(visit)
        samples = There(path=str(self._desk.journal.folder / sample_file(visit.key, number)))
        block_ms, calls = length(self._desk.sweep)
        visit.latency = self._ask(visit, TimeLatency(key=visit.slot, block_ms=block_ms, calls=calls, samples=samples))
        visit.dirty = disturbed("latency", visit.latency.noise)

    def _throughput(self, visit: Visit) -> None:
        """The throughput part of a visit."""
        block_ms, concurrency = self._desk.sweep.budget.block_ms, visit.concurrency or Concurrency()
        visit.throughput = self._ask(visit, TimeThroughput(key=visit.slot, block_ms=block_ms, concurrency=concurrency))
        visit.dirty = disturbed("throughput", visit.throughput.noise)

    def _load(self, visit: Visit) -> None:
        """The rate that a limit of latency allows, when everybody else is done and sleeps."""
        if visit.throughput and not visit.loaded and loads(visit.planned, self._desk.sweep):
            self._desk.journal.add(visit.key, loaded(visit, self._desk, lambda job: self._ask(visit, job)))
            visit.loaded = True

    def _add(self, visit: Visit, number: int) -> None:
        """Both parts are done, and become a block of the journal."""
        latency, throughput = visit.latency, visit.throughput
        if latency is None or throughput is None:
            raise ValueError("a part of the visit was not made")
        block = Block(
            round=number,
            samples=sample_file(visit.key, number),
            calls=latency.calls,
            p50_ns=latency.p50_ns,
            throughput=throughput.rate,
            noise=Noise(latency=latency.noise, throughput=throughput.noise),
            settled=latency.settled and throughput.settled,
        )
        self._desk.journal.add(visit.key, block)
        visit.rounds, visit.last_round = visit.rounds + 1, number


def _with_file(opened: Opened, artifact: Artifact) -> Opened:
    """`opened`, and what a row says of its file."""
    made = artifact.derived
    return replace(
        opened,
        artifact_mb=artifact.nbytes / 1e6,
        file=artifact.path,
        sha256=artifact.sha256,
        made_by=other_maker(made),
        layers=Layers(quantized=artifact.quantized_layers, float=artifact.float_layers),
        conversion=str(made or "") or None,
        random_calibration=bool(made and made.option("data") == RANDOM),
    )


def length(sweep: Sweep) -> tuple[float, int]:
    """Length of a block in ms, and its least number of calls: enough that all rounds together carry a percentile."""
    needed = samples_needed(PERCENTILES[sweep.metric]) if sweep.metric in PERCENTILES else 1
    calls = max(sweep.budget.block_calls, math.ceil(needed / sweep.budget.looks[0]))
    return sweep.budget.block_ms, calls
