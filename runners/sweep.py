"""`bench infer`: plan -> workers -> warm-up -> rounds of blocks -> journal. Loads no framework.

Cells are visited in rounds, in a seeded random order in each, so that whatever drifts falls on all alike. The cells of
one file are open at the same time; the files of a sweep come one after the other, which bounds the memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import BadInput, BenchError, Interrupted, StorageFailed, WorkerDied, WorkerTimeout, one_line
from ..models import kind_of
from ..results import record
from ..spec import Artifact, Shape, Sweep, digest, from_wire, to_wire
from . import host, prepare
from .clock import Clock
from .interrupt import Stop, interruptible
from .isolate import Worker
from .journal import Journal
from .plan import Found, Planned, chosen_backends, chosen_precisions, plan
from .progress import Progress, Silent
from .survey import survey

OPENING_STEPS = 2  # of the progress bar, beside one for each round


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a sweep needs of its caller: where the run goes, and if it may go on there; time, and somebody to tell."""

    out: Path
    resume: bool = False
    clock: Clock = field(default_factory=Clock)
    progress: Progress = field(default_factory=Silent)


def infer(sweep: Sweep, around: Surroundings) -> None:
    """Measure `sweep` into the run folder `around.out`, which results/record reads.

    `BadInput` before any long work; `StorageFailed` when the disk fills up, `Interrupted` when the user asks to
    stop: both keep what was measured. Whatever happens to one cell is in its row.
    """
    names = chosen_backends(sweep)
    chosen_precisions(sweep)
    given = _given(sweep)
    _check_out(around)
    with Journal(around.out) as journal:
        context = prepare.Context(logs=journal.logs, clock=around.clock, progress=around.progress, timeout_s=sweep.timeout_s)
        around.progress.step("asking the backends what can run here", 0, 1)
        found = survey(names, journal.logs, around.clock)
        _tell_absent(found, sweep, around.progress)
        artifacts = prepare.artifacts(sweep, context)
        _check_types(sweep, artifacts)
        rows = plan(sweep, artifacts, found, given, host.usable_threads())
        journal.write_head(_head(sweep, rows, found, around))
        with interruptible() as stop:
            _measure(sweep, rows, journal, context, stop)


def _given(sweep: Sweep) -> dict[str, Shape]:
    """Shapes that the user fixed: by `--shape` (which for a module only describes it), and by arrays."""
    by_shape = {} if sweep.model and kind_of(sweep.model) == "factory" else {s.name: s.shape for s in sweep.signature}
    fixed = {name: tuple(int(dim or 0) for dim in shape) for name, shape in by_shape.items()}
    return fixed | {name: tuple(array.shape) for name, array in _arrays(sweep).items()}


def _arrays(sweep: Sweep) -> dict[str, NDArray[Any]]:
    """The user's arrays by input name, mapped and not read."""
    return {name: _array(Path(path)) for name, path in sweep.inputs}


def _array(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"cannot read {path} as an array ({one_line(error)})", "give an .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{path} holds several arrays", "give an .npy file")
    return array


def _check_types(sweep: Sweep, artifacts: Sequence[Artifact]) -> None:
    """`BadInput` if an array of the user's is of another type than its input."""
    arrays = _arrays(sweep)
    for spec in (spec for artifact in artifacts for spec in artifact.inputs if spec.name in arrays):
        if arrays[spec.name].dtype.name != spec.dtype:
            found = f"input {spec.name!r} is {spec.dtype} in the file and the given array is {arrays[spec.name].dtype}"
            raise BadInput(found, "convert the array")


def _check_out(around: Surroundings) -> None:
    exists = (around.out / record.RUN).exists()
    if exists and not around.resume:
        raise BadInput(f"{around.out} holds a run already", "give --resume to go on with it, or another --out")
    if exists:
        record.read_head(around.out)


def _tell_absent(found: Sequence[Found], sweep: Sweep, progress: Progress) -> None:
    absent = [item for item in found if not item.available and not item.instrument]
    if absent and not sweep.backends:
        progress.note("not measured, because not here: " + "; ".join(f"{item.name} ({item.reason})" for item in absent))


def _head(sweep: Sweep, rows: Sequence[Planned], found: Sequence[Found], around: Surroundings) -> dict[str, Any]:
    """run.json: what is the same for all cells, and the cells, after those that the folder has already."""
    old = record.read_head(around.out) if (around.out / record.RUN).exists() else {}
    cells = [*old.get("cells", []), *(to_wire(row.cell) for row in rows)]
    unique = {digest(cell): cell for cell in cells}
    return {
        "schema": record.SCHEMA,
        "tool": __version__,
        "began_unix_s": old.get("began_unix_s", around.clock.wall_s()),
        "host": host.describe(),
        "versions": old.get("versions", {}) | {item.name: item.version for item in found if item.available},
        "instruments": sorted({*old.get("instruments", []), *(item.name for item in found if item.instrument)}),
        "sweep": to_wire(sweep),
        "cells": list(unique.values()),
    }


@dataclass(kw_only=True, eq=False)
class Visit:
    """A cell while it is being measured: the arrays it is given, the rounds it has, and whether it is still in."""

    planned: Planned
    inputs: str = ""
    reference: str | None = None
    samples: str | None = None
    done: set[int] = field(default_factory=set)
    verified: bool = False
    lanes: int | None = None
    worker: Worker | None = None
    out: bool = False

    @property
    def key(self) -> str:
        return self.planned.cell.key

    @property
    def crew(self) -> tuple[Any, ...]:
        """Cells that may share a process: the same backend, file and process-wide settings."""
        cell = self.planned.cell
        return (cell.backend, cell.environment, cell.device, cell.sha256, cell.precision, cell.settings)


def _measure(sweep: Sweep, rows: Sequence[Planned], journal: Journal, context: prepare.Context, stop: Stop) -> None:
    """Every row's blocks that the journal does not hold yet, file by file."""
    held = {item.cell.key: item for item in record.read(journal.folder).cells}
    for row in rows:
        if row.refused:
            journal.add("ended", row.cell.key, status=row.refused[0], reason=row.refused[1])
    visits = [_visit(row, held[row.cell.key]) for row in rows if not row.refused]
    rounds = set(range(sweep.budget.rounds))
    left = [visit for visit in visits if not rounds <= visit.done]
    for file in dict.fromkeys(visit.planned.cell.sha256 for visit in left):
        CellGroup(sweep, [visit for visit in left if visit.planned.cell.sha256 == file], journal, context, stop).run()


def _visit(row: Planned, held: record.CellRecord) -> Visit:
    """What is left to do of `row`; a cell that failed begins anew."""
    lanes = held.warm["lanes"] if held.warm else None
    return Visit(planned=row, done=set() if held.ended else set(held.blocks), verified=held.parity is not None, lanes=lanes)


class CellGroup:
    """The cells of one file, open at the same time, and the workers that hold them."""

    def __init__(self, sweep: Sweep, visits: list[Visit], journal: Journal, context: prepare.Context, stop: Stop) -> None:
        self._sweep, self._visits, self._journal, self._context, self._stop = sweep, visits, journal, context, stop
        self._workers: dict[tuple[Any, ...], Worker] = {}
        self._steps = 0

    def run(self) -> None:
        """Draw the inputs, open every cell, and visit them all in rounds."""
        try:
            self._draw_or_end()
            for visit in self._visits:
                self._attempt(visit, self._open)
                self._attempt(visit, self._warm)
            for number in range(self._sweep.budget.rounds):
                for visit in self._order(number):
                    self._attempt(visit, partial(self._block, number=number))
        except BaseException:
            for worker in self._workers.values():
                worker.kill()
            raise
        finally:
            for worker in self._workers.values():
                worker.close()

    def _order(self, number: int) -> list[Visit]:
        """The cells that this round still needs, in an order that depends on the seed and the round alone."""
        order = sorted(self._visits, key=lambda visit: visit.key)
        random.Random(f"{self._sweep.seed}/{number}").shuffle(order)
        return [visit for visit in order if number not in visit.done]

    def _draw_or_end(self) -> None:
        """Without inputs no cell of this file can be measured, which is every row's reason."""
        try:
            self._draw()
        except (StorageFailed, BadInput):
            raise
        except BenchError as error:
            for visit in self._visits:
                self._end(visit, error)

    def _draw(self) -> None:
        """Inputs for every set of shapes, and what the FP32 reference answers to them; once, for all backends."""
        artifact = self._visits[0].planned.artifact
        self._context.progress.step("drawing inputs", 0, self._total())
        folder = self._journal.scratch / artifact.sha256[:16]
        jobs = {visit.planned.cell.shapes: visit.planned.cell.batch for visit in self._visits}
        places = {shapes: folder / digest(shapes)[:16] for shapes in jobs}
        with Worker(self._context.logs / "prepare.log", self._context.clock) as worker:
            for shapes, place in places.items():
                worker.ask("draw", self._sweep.timeout_s, **self._drawing(artifact, shapes, place))
            asked = [
                {"shapes": shapes, "batch": batch, "inputs": str(places[shapes]), "outputs": str(places[shapes] / "reference")}
                for shapes, batch in jobs.items()
            ]
            known = self._refer(worker, artifact, asked, folder / "samples")
        for visit in self._visits:
            place = places[visit.planned.cell.shapes]
            visit.inputs, visit.reference = str(place), str(place / "reference") if known else None
            visit.samples = str(folder / "samples") if known and artifact.dataset else None

    def _drawing(self, artifact: Artifact, shapes: Any, place: Path) -> dict[str, Any]:
        given = {name: str(Path(path).absolute()) for name, path in self._sweep.inputs}
        return {"artifact": to_wire(artifact), "shapes": shapes, "seed": self._sweep.seed, "given": given, "folder": str(place)}

    def _refer(self, worker: Worker, artifact: Artifact, jobs: list[dict[str, Any]], samples: Path) -> bool:
        """Whether the FP32 reference could be computed; a model that it cannot run has no parity, which is said."""
        try:
            worker.ask("reference", self._sweep.timeout_s, artifact=to_wire(artifact), jobs=jobs, samples=str(samples))
        except StorageFailed:
            raise
        except BenchError as error:
            self._context.progress.note(f"no parity for {artifact.model}: its FP32 reference cannot be computed ({error})")
            return False
        return True

    def _attempt(self, visit: Visit, step: Callable[[Visit], None]) -> None:
        """Do one step of one cell. What goes wrong ends this cell, and says why in its row; the others go on."""
        if self._stop.asked:
            raise Interrupted("stopped by Ctrl-C", f"go on with bench infer --out {self._journal.folder} --resume")
        self._steps += 1
        if visit.out:
            return
        self._context.progress.step(visit.planned.cell.id, self._steps, self._total())
        try:
            step(visit)
        except StorageFailed:
            raise
        except (WorkerDied, WorkerTimeout) as error:
            self._lose(visit)
            self._end(visit, error)
        except BenchError as error:
            self._end(visit, error)

    def _total(self) -> int:
        return len(self._visits) * (self._sweep.budget.rounds + OPENING_STEPS)

    def _end(self, visit: Visit, error: BenchError) -> None:
        visit.out = True
        self._journal.add("ended", visit.key, status=error.status, reason=str(error))

    def _lose(self, visit: Visit) -> None:
        """Forget a worker that is gone; the cells that it held beside this one are opened again when they are next visited."""
        self._workers.pop(visit.crew).close()
        for other in self._visits:
            if other.crew == visit.crew:
                other.worker = None

    def _ask(self, visit: Visit, job: str, **request: Any) -> dict[str, Any]:
        worker = self._workers.get(visit.crew)
        if worker is None:
            cell = visit.planned.cell
            log = self._journal.logs / f"{cell.backend}-{cell.precision}.log"
            worker = self._workers[visit.crew] = Worker(log, self._context.clock)
        return worker.ask(job, self._sweep.timeout_s, **request)

    def _open(self, visit: Visit) -> None:
        planned = visit.planned
        answer = self._ask(visit, "open", cell=to_wire(planned.cell), artifact=to_wire(planned.artifact), inputs=visit.inputs)
        visit.worker = self._workers[visit.crew]
        self._journal.add("opened", visit.key, artifact_mb=planned.artifact.nbytes / 1e6, **answer)
        if visit.reference and not visit.verified and not answer["instrument"]:
            found = self._ask(visit, "verify", key=visit.key, reference=visit.reference, samples=visit.samples)
            self._journal.add("verified", visit.key, **found)
            visit.verified = True

    def _warm(self, visit: Visit) -> None:
        budget = self._sweep.budget
        how = {"least_ms": budget.warmup_ms, "limit_ms": budget.warmup_limit_ms, "lanes": visit.lanes}
        answer = self._ask(visit, "warm", key=visit.key, **how)
        visit.lanes = answer["lanes"]
        self._journal.add("warm", visit.key, **answer)

    def _block(self, visit: Visit, *, number: int) -> None:
        if visit.worker is None:
            self._open(visit)
            self._warm(visit)
        name, path = self._journal.sample_file(visit.key, number)
        budget = self._sweep.budget
        length = {"block_ms": budget.block_ms, "block_calls": budget.block_calls}
        answer = self._ask(visit, "block", key=visit.key, lanes=visit.lanes, samples=str(path), **length)
        self._journal.add("block", visit.key, round=number, samples=name, **answer)


def saved_sweep(folder: Path) -> Sweep:
    """The sweep that the run in `folder` was begun with."""
    try:
        return from_wire(Sweep, record.read_head(folder)["sweep"])
    except (KeyError, TypeError) as error:
        raise BadInput(f"{folder} does not say what it measured ({one_line(error)})", "say it again beside --resume") from error
