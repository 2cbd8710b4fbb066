"""`bench infer`: plan -> inputs -> portions (engines -> fresh processes -> groups of cells in rounds) -> journal.

Loads no framework. Cells are visited in rounds. Each round has a seeded random order, so a drift of the machine falls on all
cells alike. A group has as many open cells as fit into memory. The baselines of a group's cells are in the group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .. import __version__
from ..errors import BadInput, StorageFailed
from ..evidence import Failed
from ..models.feedback import check_names
from ..models.shapes import dimension_names, unknown_dim
from ..results.store import record, series
from ..results.store.head import RUN, SCHEMA, Head, read_head, read_whole_head
from ..spec import PRECISIONS, Cell, Sweep, Target
from .pool.call import OwnCall
from .pool.commits import current_commit
from .pool.context import Context
from .pool.environments import interpreters
from .pool.memory import Limits
from .pool.pool import Local, Pool, Worker
from .pool.progress import Progress, Silent
from .pool.survey import ProbedBackend, survey
from .prepare import model_files as prepare
from .prepare.model_files import ModelFiles
from .sweep import builds, cold, conversions, engine_files, rounds
from .sweep.arrays import check_conditions, check_types, given_shapes
from .sweep.cells import ActiveCell, RunContext, resume_cell
from .sweep.devices import lock_gpus, note_one_gpu
from .sweep.drawing import draw_inputs
from .sweep.group import OPENING_STEPS, ROUND_STEPS, Group
from .sweep.hiring import hire
from .sweep.interrupt import interruptible
from .sweep.journal import Journal
from .sweep.lowering import lower_rows
from .sweep.opening import Hire
from .sweep.plan import DEFAULT_BATCHES, Defaults, PlannedCell, plan, precisions_of, schemes_of, skipped_precisions
from .sweep.portions import build_portions
from .sweep.programs import Programs, check_programs, is_alone, program_rows
from .sweep.roofs import count_work, roof_rows
from .sweep.tune import prepare_unit
from .sweep.tuned_targets import with_tuned
from .worker.clock import Clock

MEMORY_SHARE = 0.5  # of the free memory, for all workers that are open at the same time


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Surroundings of a sweep: the run folder `out`, a clock, a listener for progress, and the pool of workers.

    `resume`: continue the run that is in `out`. `calls`: the sweep's programs without a command, by their names.
    """

    out: Path
    resume: bool = False
    clock: Clock = field(default_factory=Clock)
    progress: Progress = field(default_factory=Silent)
    pool: Pool = field(default_factory=Local)
    calls: Mapping[str, OwnCall] = field(default_factory=dict)


def infer(sweep: Sweep, surroundings: Surroundings, kind: RunKind | None = None) -> None:
    """Measure `sweep` into the run folder `surroundings.out`, which results/store/record reads.

    Raises `BadInput` before any long work, `StorageFailed` when the disk is full, and `Interrupted` when the user stops it.
    The last two keep the figures so far. An error of one cell goes into its row.
    """
    programs = Programs(sweep, surroundings.calls)
    alongside = replace(ALONGSIDE, guard=programs.check) if sweep.programs else INFER
    try:
        with lock_gpus(sweep, surroundings.pool), open_run(sweep, surroundings, kind or alongside) as (rows, workers, run):
            _measure(run.sweep, rows, hire(run.journal, surroundings.pool, workers, programs), run)
    finally:
        programs.dismiss()


def _pass(rows: Sequence[PlannedCell], context: Context) -> None:
    """Refuse nothing."""


@dataclass(frozen=True, kw_only=True)
class RunKind:
    """Kind of a run.

    `name`: its name in run.json. `batches`: for files with an open batch. `computed_only`: skip precisions that a backend
    computes in FP32. `tunes`: has rows of searched options. `guard`: checks the rows before any long work (`BadInput`).
    `sum_bytes`: more sizes of the arrays of roofs on a CPU.
    """

    name: str = ""
    batches: tuple[int, ...] = DEFAULT_BATCHES
    computed_only: bool = True
    tunes: bool = False
    guard: Callable[[Sequence[PlannedCell], Context], None] = _pass
    sum_bytes: tuple[int, ...] = ()


INFER = RunKind(tunes=True)
ALONGSIDE = RunKind(batches=(1,), tunes=True)  # of a program, whose row has one batch


@contextmanager
def open_run(
    sweep: Sweep, surroundings: Surroundings, kind: RunKind = INFER
) -> Iterator[tuple[list[PlannedCell], dict[Target, Worker], RunContext]]:
    """Plan `sweep` and open its run folder: yields the rows, the workers that probed a backend, and the run's context.

    run.json is written when this yields. Raises `BadInput` and `StorageFailed`.
    """
    check_programs(sweep, surroundings.calls)
    interpreter_of = {} if is_alone(sweep) else check_sweep(sweep)
    _check_out(surroundings, kind.name)
    engine_files.check_resumed(sweep, surroundings.out)
    engine_files.make_folder(sweep)
    with Journal(surroundings.out) as journal, ExitStack() as stack:
        context = Context(
            logs=journal.logs,
            clock=surroundings.clock,
            progress=surroundings.progress,
            timeout_s=sweep.timeout_s,
            pool=surroundings.pool,
        )
        surroundings.progress.step("checking which backends can run here", 0, 1)
        early: list[Sequence[ModelFiles]] = [[]] if is_alone(sweep) else []
        find = partial(prepare.find_early, sweep, context, early)
        surveyed = survey(interpreter_of, journal.logs, surroundings.pool, find)
        stack.callback(surveyed.dismiss)  # of the workers that no crew hired: `hire` takes a worker out of the survey
        note_absent(surveyed.backends, sweep, surroundings.progress)
        backends = with_tuned(surveyed.backends, sweep, surroundings.progress) if kind.tunes else surveyed.backends
        expected = early[0] if early else prepare.find_files(replace(sweep, schemes=schemes_of(sweep, backends)), context)
        plan_rows(expected, backends, context, kind)  # for its errors, before a model is trained or exported
        rows = rows_of(prepare.make_files(expected, context) if expected else [], backends, context, kind)
        rows = lower_rows(rows, sweep, context)
        rows += program_rows(sweep, rows, surroundings.pool.threads())
        rows += roof_rows(sweep, rows, backends, context, kind.sum_bytes)
        sweep = builds.with_lives(sweep, rows)
        engine_files.note_builds(rows, sweep, surroundings.progress)
        kind.guard(rows, context)
        keys = _keys(rows, surroundings.out)
        _check_files(rows, keys, surroundings.out)
        head = _head(sweep, backends, surroundings)
        _decode_images(rows, context)
        networks, images = {**head.networks, **context.networks}, {**head.images, **context.images}
        # Every check has passed: a refused --resume leaves run.json as it was.
        journal.write_head(replace(head, kind=kind.name, networks=networks, images=images), keys)
        rows = [replace(row, stored_key=keys[row.cell]) for row in rows]
        with interruptible() as stop:
            yield rows, surveyed.workers, RunContext(sweep=sweep, journal=journal, context=context, stop=stop)


def _decode_images(rows: Sequence[PlannedCell], context: Context) -> None:
    """Decode the images of all datasets, whose facts are a part of run.json. `BadInput` if too many do not decode."""
    for dataset in dict.fromkeys(row.reference.dataset for row in rows if row.cell.sha256 and not row.program):
        context.data_of(dataset)


def check_sweep(sweep: Sweep) -> dict[Target, str]:
    """Interpreter of each target. Raises `BadInput` for every error that shows before a worker starts."""
    interpreter_of = interpreters(sweep)
    precisions_of(sweep)
    check_conditions(sweep)
    for one in prepare.sweeps_of(sweep):
        given_shapes(one)
    return interpreter_of


def rows_of(
    models: Sequence[ModelFiles], backends: Sequence[ProbedBackend], context: Context, kind: RunKind = INFER
) -> list[PlannedCell]:
    """Rows of `models`, after a note of the skipped precisions. Raises the errors of `plan_rows`."""
    rows = plan_rows(models, backends, context, kind)
    skipped = [
        triple
        for item in models
        for triple in skipped_precisions(item.sweep, item.artifacts, backends, _defaults(item.sweep, context, kind))
    ]
    note_skipped(rows, skipped, context.progress)
    return rows


def plan_rows(
    models: Sequence[ModelFiles], backends: Sequence[ProbedBackend], context: Context, kind: RunKind = INFER
) -> list[PlannedCell]:
    """Rows of `models`. Those of a model without files are refused. Raises the errors of `plan`, and `BadInput` for an array
    of a wrong type."""
    if not models:  # the programs of the user are measured without a backend
        return []
    _check_dim_names(models)
    _check_feedback_names(models)
    rows: list[PlannedCell] = []
    for item in models:
        defaults = _defaults(item.sweep, context, kind)
        plan(item.sweep, (), backends, defaults)  # for the errors that are about no model
        with _with_model(item.artifacts[0].model if len(models) > 1 else ""):
            check_types(item.sweep, item.artifacts)
            planned = plan(item.sweep, item.artifacts, backends, defaults)
        rows += [replace(row, refused=row.refused or item.failure) for row in planned]
    return rows


def _check_dim_names(models: Sequence[ModelFiles]) -> None:
    """Raise `BadInput` for a dimension in `--dim` that no model has."""
    dims = [name for item in models for name, _ in item.sweep.dims]
    pairs = [(artifact.inputs, given_shapes(item.sweep)) for item in models for artifact in item.artifacts]
    open_dims = {name for inputs, shapes in pairs for name in dimension_names(inputs, shapes)}
    for name in dims:
        if name not in open_dims:
            raise unknown_dim(name, open_dims)


def _check_feedback_names(models: Sequence[ModelFiles]) -> None:
    """Raise `BadInput` for `--feedback` with a name that no model has."""
    # A model of a module that is not exported yet has no outputs.
    artifacts = [artifact for item in models for artifact in item.artifacts]
    if all(artifact.outputs for artifact in artifacts):
        check_names(models[0].sweep.feedback, artifacts)


@contextmanager
def _with_model(name: str) -> Iterator[None]:
    """Put the `name` of a model before each `BadInput`. An empty name changes nothing."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{name}: {error.message}" if name else error.message, error.hint) from error


def _defaults(sweep: Sweep, context: Context, kind: RunKind) -> Defaults:
    return Defaults(
        shapes=given_shapes(sweep),
        threads=context.pool.threads(),
        batches=kind.batches,
        computed_only=kind.computed_only,
    )


def _check_out(surroundings: Surroundings, kind: str) -> None:
    exists = (surroundings.out / RUN).exists()
    if exists and not surroundings.resume:
        raise BadInput(
            f"{surroundings.out} holds a run already",
            "give another --out" if kind else "give --resume to continue it, or another --out",
        )
    stored_kind = read_head(surroundings.out).kind if exists else kind
    if stored_kind != kind:
        stored_name, name = stored_kind or "infer", kind or "infer"
        raise BadInput(f"{surroundings.out} holds a {stored_name!r} run, which {name!r} cannot resume", "give another --out")


def note_absent(backends: Sequence[ProbedBackend], sweep: Sweep, progress: Progress) -> None:
    """Note the targets that are skipped because they cannot run here, and `cuda:all` where there is one GPU."""
    if one := note_one_gpu(sweep, backends):
        progress.note(one)
    absent = [item for item in backends if not item.available and not item.instrument and str(item.target) not in sweep.named]
    if absent and not sweep.backends:
        reasons = "; ".join(f"{item.target} ({item.reason})" for item in absent)
        progress.note(f"skipped backends that cannot run here: {reasons}")


def note_skipped(rows: Sequence[PlannedCell], skipped: Sequence[tuple[str, str, str]], progress: Progress) -> None:
    """Note the skipped precisions of each target that has other rows. `skipped`: triples of model, precision and target."""
    targets = {str(row.cell.target) for row in rows}
    names_of: dict[str, dict[str, None]] = {}
    for _, precision, name in skipped:
        if name in targets:
            names_of.setdefault(precision, {})[name] = None
    if names_of:
        pairs = "; ".join(f"{precision} on {', '.join(names)}" for precision, names in names_of.items())
        progress.note(f"skipped {pairs}: not computed in that precision there. Use --precision to measure them anyway")


def _keys(rows: Sequence[PlannedCell], out: Path) -> dict[Cell, str]:
    """Key of each cell: first the cells of the run folder `out`, then those of `rows`.

    A cell of a run of version 0.1 keeps its key there.
    """
    listed = read_whole_head(out)[1] if (out / RUN).exists() else {}
    # A cell without a hash stands for a model whose files could not be made. The plan lists this model anew.
    old = {cell: key for cell, key in listed.items() if cell.sha256}
    now = {row.listed_by_0_1: row.cell for row in rows if row.cell not in old}
    keys = {now.get(cell, cell): key for cell, key in old.items()}
    return keys | {row.cell: row.cell.key for row in rows if row.cell not in keys}


def _check_files(rows: Sequence[PlannedCell], keys: Mapping[Cell, str], out: Path) -> None:
    """Raise `BadInput` if a cell of the run folder `out` was measured with another file than its row has."""
    stored = record.read_run(out).cells if (out / RUN).exists() else ()
    ran = {item.key: item.opened.sha256 for item in stored if item.opened and not item.failed}
    for row in rows:
        if ran.get(keys[row.cell]) not in (None, row.artifact.sha256):
            file = PRECISIONS[row.cell.precision].file
            raise BadInput(f"{out} was measured with another {file} file of {row.cell.model}", "give another --out")


def _head(sweep: Sweep, backends: Sequence[ProbedBackend], surroundings: Surroundings) -> Head:
    """Facts of run.json that all cells share. A resumed run keeps its earlier versions, networks and instruments."""
    here = surroundings.pool.host()
    old = read_head(surroundings.out) if (surroundings.out / RUN).exists() else Head(schema=SCHEMA)
    available = [item for item in backends if item.available]
    head = Head(
        schema=SCHEMA,
        tool=__version__,
        began_unix_s=old.began_unix_s or surroundings.clock.wall_s(),
        host=here,
        versions={**old.versions, **{str(item.target): item.version for item in available}},
        networks={**old.networks, **{str(item.target): item.network for item in available}},
        instruments=tuple(sorted({*old.instruments, *(item.name for item in backends if item.instrument)})),
        sweep=sweep,
        commit=old.commit or current_commit(),
        images=old.images,
    )
    _check_same(old, head, surroundings.out)
    return head


def _check_same(old: Head, new: Head, out: Path) -> None:
    """Raise `BadInput` if the folder's rows come from another machine or from other versions. A table has one of each."""
    before, now = _facts(old), _facts(new)
    name = next((name for name in before if before[name] != now.get(name)), None)
    if name:
        difference = f"{out} was measured with {name} {before[name]}, and here it is {now.get(name)}"
        raise BadInput(difference, "give another --out, then both folders to bench compare or bench show")


def _facts(head: Head) -> dict[str, str]:
    names = {"the CPU": head.host.cpu, "the GPUs": ", ".join(gpu.name or "unknown" for gpu in head.host.gpus or ())}
    return {name: value for name, value in {**names, **head.versions}.items() if value}


def _measure(sweep: Sweep, rows: Sequence[PlannedCell], hire_worker: Hire, run: RunContext) -> None:
    """Measure the blocks of `rows` that the journal lacks."""
    stored = {item.cell: item for item in record.read_run(run.journal.folder).cells}
    refuse(rows, run)
    cells = [resume_cell(row, stored[row.cell], sweep) for row in rows if not row.refused]
    left = [item for item in cells if item.live]
    run.total = len(left) * (ROUND_STEPS * sweep.budget.looks[0] + OPENING_STEPS * sweep.budget.openings)
    with_file = [item for item in cells if not item.planned.program]
    fresh = [item for item in with_file if not item.planned.cell.roof and item.cold < cold.start_count(sweep)]
    # A finished baseline of a live cell is visited again, and needs its inputs again.
    draw_inputs(run, [item for item in with_file if item in fresh or item in rounds.due_cells(cells, sweep)])
    count_work(run, with_file)
    fresh_hire = hire(run.journal, run.context.pool, {})
    engine_files.find_kept(run, left, stored)
    open_now: list[ActiveCell] = []
    pool, build = run.context.pool, partial(prepare_unit, run, cells)
    try:
        for portion in build_portions(run, cells, build):
            conversions.convert_files(run, portion)  # of baselines that an earlier run finished
            builds.time_builds(run, [active for active in portion if active in left], fresh_hire)
            engine_files.keep_engines(run, portion, fresh_hire)
            in_processes = [active for active in portion if active in fresh and not active.is_default]
            cold.start_cold(run, [] if cold.are_lives(sweep) else in_processes)
            # Read after the builds and cold starts, whose processes have ended and given their memory back.
            limits = Limits(resident_mb=pool.memory_free_mb() * MEMORY_SHARE, gpu_free_mb=pool.gpu_free_mb)
            open_now += portion
            while due := rounds.due_cells(open_now, sweep):
                Group(run, due, hire_worker, limits).run(rounds.next_round(cells))
            cold.start_cold(run, in_processes)  # of those that no life opened first
    finally:
        _pool_calls(run.journal)


def _pool_calls(journal: Journal) -> None:
    """Write the percentiles of each cell's calls into the journal. A table then needs no samples.

    Writes nothing on an error: readers then compute the percentiles from the samples.
    """
    with suppress(StorageFailed, BadInput):
        for item in record.read_run(journal.folder).cells:
            if item.measured and (pooled := series.pooled(item)) is not item.pooled:
                journal.add(item.key, pooled)


def refuse(rows: Sequence[PlannedCell], run: RunContext) -> None:
    """Record the reason of each row that is refused."""
    for row in rows:
        if row.refused:
            run.journal.add(row.key, Failed(status=row.refused[0], reason=row.refused[1]))


def saved_sweep(folder: Path) -> Sweep:
    """The sweep that started the run in `folder`. Raises `BadInput` where run.json has none."""
    sweep = read_head(folder).sweep
    if sweep is None:
        raise BadInput(f"{folder} has no record of its options", "give --model and the other options beside --resume")
    return sweep


def saved_builds(folder: Path) -> int:
    """Number of builds of the sweep in `folder`. It holds for all of its cells, whichever are measured next."""
    sweep = read_head(folder).sweep if (folder / RUN).exists() else None
    return sweep.builds if sweep else 1
