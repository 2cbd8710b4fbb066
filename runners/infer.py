"""`bench infer`: plan -> inputs -> engines -> fresh processes -> groups of cells in rounds -> journal. Loads no framework.

Cells are visited in rounds, in a seeded random order in each, so that whatever drifts falls on all alike. As many are
open at the same time as fit into memory; those that others are compared with are in every group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import BadInput, StorageFailed, one_line
from ..evidence import Failed
from ..models import kind_of
from ..results.store import record, series
from ..results.store.head import RUN, SCHEMA, Head, read_head, read_whole_head
from ..spec import PRECISIONS, Artifact, Cell, Shape, Sweep, Target
from ..untrusted import is_plain
from .pool.context import Context
from .pool.environments import places
from .pool.memory import Limits
from .pool.pool import Local, Pool, Worker
from .pool.progress import Progress, Silent
from .pool.survey import ProbedBackend, survey
from .prepare import exports as prepare
from .sweep import builds, cold, rounds
from .sweep.cells import RunContext, resume_cell
from .sweep.drawing import draw
from .sweep.group import OPENING_STEPS, ROUND_STEPS, Group, Hire, hire
from .sweep.interrupt import interruptible
from .sweep.journal import Journal
from .sweep.plan import DEFAULT_BATCHES, Defaults, PlannedCell, chosen_precisions, left_out, plan
from .worker.clock import Clock

MEMORY_SHARE = 0.5  # of what is free, for workers that are open at the same time


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Surroundings of a sweep: the run folder, and whether an old run in it goes on; a clock, a listener, and the pool of
    workers."""

    out: Path
    resume: bool = False
    clock: Clock = field(default_factory=Clock)
    progress: Progress = field(default_factory=Silent)
    pool: Pool = field(default_factory=Local)


def infer(sweep: Sweep, around: Surroundings) -> None:
    """Measure `sweep` into the run folder `around.out`, which results/store/record reads.

    `BadInput` before any long work; `StorageFailed` when the disk fills up, `Interrupted` when the user asks to
    stop: both keep what was measured. Whatever happens to one cell is in its row.
    """
    with planned(sweep, around) as (rows, workers, run):
        _measure(sweep, rows, hire(run.journal, around.pool, workers), run)


def _nothing(rows: Sequence[PlannedCell], context: Context) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class RunKind:
    """What a run is for: its name in the head, the batches of files that leave them open, whether precisions that a backend
    computes in FP32 are left out, and what else must hold of its rows before any long work."""

    name: str = ""
    batches: tuple[int, ...] = DEFAULT_BATCHES
    computed_only: bool = True
    guard: Callable[[Sequence[PlannedCell], Context], None] = _nothing


INFER = RunKind()


@contextmanager
def planned(
    sweep: Sweep, around: Surroundings, kind: RunKind = INFER
) -> Iterator[tuple[list[PlannedCell], dict[Target, Worker], RunContext]]:
    """The rows of `sweep`, workers in which backends were probed, and a desk in the run folder, which has its head now."""
    where = checked_places(sweep)
    _check_out(around, kind.name)
    with Journal(around.out) as journal, ExitStack() as stack:
        context = Context(
            logs=journal.logs,
            clock=around.clock,
            progress=around.progress,
            timeout_s=sweep.timeout_s,
            pool=around.pool,
        )
        around.progress.step("asking the backends what can run here", 0, 1)
        surveyed = survey(where, journal.logs, around.pool)
        stack.callback(surveyed.dismiss)
        found = surveyed.found
        tell_absent(found, sweep, around.progress)
        artifacts = prepare.artifacts(sweep, context)
        rows = rows_of(sweep, artifacts, found, context, kind)
        kind.guard(rows, context)
        keys = _keys(rows, around.out)
        _check_files(rows, keys, around.out)
        head = _head(sweep, found, around)
        networks = {**head.networks, **context.networks}
        journal.write_head(replace(head, kind=kind.name, networks=networks), keys)
        rows = [replace(row, stored_key=keys[row.cell]) for row in rows]
        with interruptible() as stop:
            yield rows, surveyed.workers, RunContext(sweep=sweep, journal=journal, context=context, stop=stop)


def checked_places(sweep: Sweep) -> dict[Target, str]:
    """The interpreter of each target. `BadInput` for what `sweep` alone shows to be wrong."""
    where = places(sweep)
    chosen_precisions(sweep)
    _given_shapes(sweep)
    return where


def rows_of(
    sweep: Sweep, artifacts: Sequence[Artifact], found: Sequence[ProbedBackend], context: Context, kind: RunKind = INFER
) -> list[PlannedCell]:
    """The rows of `sweep` on `artifacts`. Says which precisions are left out. `BadInput` for an array of another type."""
    _check_types(sweep, artifacts)
    how: dict[str, Any] = {"batches": kind.batches, "computed_only": kind.computed_only}
    defaults = Defaults(given=_given_shapes(sweep), threads=context.pool.threads(), **how)
    rows = plan(sweep, artifacts, found, defaults)
    tell_left_out(rows, left_out(sweep, artifacts, found, defaults), context.progress)
    return rows


def _given_shapes(sweep: Sweep) -> dict[str, Shape]:
    """Shapes that the user fixed: by `--shape` (which for a module only describes it), and by arrays."""
    by_shape = {} if sweep.model and kind_of(sweep.model) == "factory" else {s.name: s.shape for s in sweep.signature}
    fixed = {name: tuple(int(dim or 0) for dim in shape) for name, shape in by_shape.items()}
    return fixed | {name: tuple(array.shape) for name, array in _arrays(sweep).items()}


def _arrays(sweep: Sweep) -> dict[str, NDArray[Any]]:
    """The user's arrays by input name, mapped and not read."""
    return {name: _array(Path(path)) for name, path in sweep.inputs}


def _array(path: Path) -> NDArray[Any]:
    if not is_plain(path):
        raise BadInput(f"there is no file {path}", "give an .npy file of numbers")
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


def _check_out(around: Surroundings, kind: str) -> None:
    exists = (around.out / RUN).exists()
    if exists and not around.resume:
        raise BadInput(
            f"{around.out} holds a run already",
            "give another --out" if kind else "give --resume to go on with it, or another --out",
        )
    if exists and read_head(around.out).kind != kind:
        raise BadInput(f"{around.out} is a run of another kind, in which nothing can be gone on with", "give another --out")


def tell_absent(found: Sequence[ProbedBackend], sweep: Sweep, progress: Progress) -> None:
    """Say which targets are left out because they cannot run here."""
    absent = [item for item in found if not item.available and not item.instrument and str(item.target) not in sweep.named]
    if absent and not sweep.backends:
        progress.note("not measured, because not here: " + "; ".join(f"{item.target} ({item.reason})" for item in absent))


def tell_left_out(rows: Sequence[PlannedCell], aside: Sequence[tuple[str, str, str]], progress: Progress) -> None:
    """Say which precisions are not measured on which backends that have other rows."""
    targets = {str(row.cell.target) for row in rows}
    about: dict[str, dict[str, None]] = {}
    for _, precision, name in aside:
        if name in targets:
            about.setdefault(precision, {})[name] = None
    if about:
        told = "; ".join(f"{precision} on {', '.join(names)}" for precision, names in about.items())
        progress.note(f"not measured, because not computed there: {told} (--precision measures it all the same)")


def _keys(rows: Sequence[PlannedCell], out: Path) -> dict[Cell, str]:
    """The cells of the run folder `out` with their keys there, and after them those of `rows`.

    A cell that version 0.1 listed keeps its key, and is listed as this version does.
    """
    old = read_whole_head(out)[1] if (out / RUN).exists() else {}
    now = {row.listed_by_0_1: row.cell for row in rows if row.cell not in old}
    keys = {now.get(cell, cell): key for cell, key in old.items()}
    return keys | {row.cell: row.cell.key for row in rows if row.cell not in keys}


def _check_files(rows: Sequence[PlannedCell], keys: Mapping[Cell, str], out: Path) -> None:
    """`BadInput` if a cell of the run folder `out` was measured with another file than its row would be."""
    held = record.read_run(out).cells if (out / RUN).exists() else ()
    ran = {item.key: item.opened.sha256 for item in held if item.opened and not item.failed}
    for row in rows:
        if ran.get(keys[row.cell]) not in (None, row.artifact.sha256):
            file = PRECISIONS[row.cell.precision].file
            raise BadInput(f"{out} measured another {file} file of {row.cell.model}", "give another --out")


def _head(sweep: Sweep, found: Sequence[ProbedBackend], around: Surroundings) -> Head:
    """run.json: what is the same for all cells. What a run that goes on has said stays."""
    here = around.pool.host()
    old = read_head(around.out) if (around.out / RUN).exists() else Head(schema=SCHEMA)
    available = [item for item in found if item.available]
    head = Head(
        schema=SCHEMA,
        tool=__version__,
        began_unix_s=old.began_unix_s or around.clock.wall_s(),
        host=here,
        versions={**old.versions, **{str(item.target): item.version for item in available}},
        networks={**old.networks, **{str(item.target): item.network for item in available}},
        instruments=tuple(sorted({*old.instruments, *(item.name for item in found if item.instrument)})),
        sweep=sweep,
    )
    _check_same(old, head, around.out)
    return head


def _check_same(old: Head, new: Head, out: Path) -> None:
    """`BadInput` if the folder's rows are of another machine or of other versions: one table has one of each."""
    before, now = _facts(old), _facts(new)
    other = next((what for what in before if before[what] != now.get(what)), None)
    if other:
        found = f"{out} was measured with {other} {before[other]}, and here it is {now.get(other)}"
        raise BadInput(found, "give another --out, and both folders to bench compare or bench show")


def _facts(head: Head) -> dict[str, str]:
    names = {"the CPU": head.host.cpu, "the GPUs": ", ".join(gpu.name or "unknown" for gpu in head.host.gpus or ())}
    return {what: value for what, value in {**names, **head.versions}.items() if value}


def _measure(sweep: Sweep, rows: Sequence[PlannedCell], hired: Hire, run: RunContext) -> None:
    """Every row's blocks that the journal does not hold yet."""
    held = {item.cell: item for item in record.read_run(run.journal.folder).cells}
    refuse(rows, run)
    cells = [resume_cell(row, held[row.cell], sweep) for row in rows if not row.refused]
    left = [item for item in cells if item.live]
    run.total = len(left) * (ROUND_STEPS * sweep.budget.looks[0] + OPENING_STEPS)
    fresh = [item for item in cells if item.cold < cold.starts(sweep)]
    draw(run, [item for item in cells if item in fresh or item in rounds.wanted(cells, sweep)])
    builds.build(run, left, hired)
    cold.measure(run, fresh)
    pool = run.context.pool
    limits = Limits(resident_mb=pool.memory_free_mb() * MEMORY_SHARE, gpu_free_mb=pool.gpu_free_mb)
    try:
        while wanted := rounds.wanted(cells, sweep):
            Group(run, wanted, hired, limits).run(rounds.next_round(cells))
    finally:
        _pool_samples(run.journal)


def _pool_samples(journal: Journal) -> None:
    """Write down the percentiles of each cell's calls, so that nobody has to read its samples for a table.

    Nothing where that cannot be done: readers then take them from the samples.
    """
    with suppress(StorageFailed, BadInput):
        for item in record.read_run(journal.folder).cells:
            if item.measured and (pooled := series.pooled(item)) is not item.pooled:
                journal.add(item.key, pooled)


def refuse(rows: Sequence[PlannedCell], run: RunContext) -> None:
    """Write down why some of `rows` cannot be measured."""
    for row in rows:
        if row.refused:
            run.journal.add(row.key, Failed(status=row.refused[0], reason=row.refused[1]))


def saved_sweep(folder: Path) -> Sweep:
    """The sweep that the run in `folder` was begun with."""
    sweep = read_head(folder).sweep
    if sweep is None:
        raise BadInput(f"{folder} does not say what it measured", "say it again beside --resume")
    return sweep
