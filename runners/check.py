"""`bench check`: open every cell and compare its answers. Measures no time. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from ..budgets import BUDGETS
from ..errors import BadInput, BenchError, StorageFailed
from ..evidence import Explained
from ..results.stats import intervals as stats
from ..results.store.head import CHECK
from ..results.table.column import CHECK_VIEW
from ..results.table.conditions import Condition
from ..spec import PRECISIONS, Conversion, Sweep
from .infer import RunKind, Surroundings, open_run, refuse
from .pool import calibration_data
from .pool.context import Context
from .pool.memory import Limits
from .prepare.export_command import excluding, explaining, searching
from .prepare.request import first_sizes, fixed_shapes
from .sweep.cells import ActiveCell, RunContext
from .sweep.conversions import convert_files
from .sweep.drawing import draw_inputs
from .sweep.group import Group
from .sweep.hiring import hire
from .sweep.plan import PlannedCell
from .worker.file_jobs import CountImages, Explain
from .worker.jobs import Data

BATCHES = (8,)  # the batch hardly changes an answer, and one batch is enough
HIDDEN_COLUMNS = ("top1_change_p", "load_s", "first_ms", "artifact_mb")  # a check computes these and does not show them
EVERY_IMAGE = 1_000_000_000


def check(sweep: Sweep, surroundings: Surroundings, conditions: Sequence[Condition] = (), explain: bool = False) -> None:
    """Compare the answers of `sweep`'s cells into the run folder `surroundings.out`. Raises the errors of `infer`.

    `explain`: also time the kernels of INT8 files, and search the nodes that cost the accuracy. Raises `BadInput` before any
    long work for one of `conditions` that a check cannot decide: another column, no labels, or too few.
    """
    for condition in conditions:
        name = condition.column.name
        if CHECK_VIEW not in condition.column.views and name not in HIDDEN_COLUMNS:
            raise BadInput(f"{condition.text}: bench check does not measure {name}", "use bench infer")
    sweep = replace(sweep, budget=replace(BUDGETS["thorough"], name=CHECK), images=sweep.images or EVERY_IMAGE)
    guard = partial(_check_decidable, conditions, sweep)
    kind = RunKind(name=CHECK, batches=BATCHES, computed_only=False, guard=guard)
    with open_run(sweep, surroundings, kind) as (rows, workers, run):
        refuse(rows, run)
        cells = [ActiveCell(planned=row) for row in rows if not row.refused]
        run.total, run.after_stop = len(cells), "run bench check again to start over"
        draw_inputs(run, cells)
        convert_files(run, cells)
        hire_worker = hire(run.journal, run.context.pool, workers)
        for crew in dict.fromkeys(active.crew for active in cells):
            with ExitStack() as stack:
                group = Group(run, [active for active in cells if active.crew == crew], hire_worker, Limits(resident_mb=0))
                stack.callback(group.dismiss)
                group.verify(timed=explain)
        if explain:
            _explain(run, cells)


def _explain(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Test the nodes of every INT8 file, once for each file."""
    for active in {active.planned.artifact.sha256: active for active in cells if not active.out}.values():
        if active.planned.artifact.precision == "int8":
            run.check_stop()
            run.context.progress.step(f"testing each node of {active.planned.cell.model} in INT8", run.done, run.total)
            run.journal.add(active.key, _explained(run, active))


def _explained(run: RunContext, active: ActiveCell) -> Explained:
    """Result of the nodes' test; a reason where bench export did not make the file, or where the test fails."""
    origin, derived = active.planned.origin, active.planned.source.derived
    if origin is None or derived is None:
        why_not = "its nodes cannot be tested, because bench export did not make this INT8 file; with the FP32 file, type"
        return Explained(why_not=f"{why_not}: {explaining(active.planned.artifact.dataset)}")
    names = {spec.name for spec in origin.inputs}
    place, calibrated_on = calibration_data.locate(derived.calibration(origin.dataset), run.context)
    job = Explain(
        artifact=origin,
        precision="int8",
        how=Conversion.of(derived.options),
        calibration=place,
        data=Data.of(origin.dataset),
        calibrated_on=calibrated_on,
        shapes=fixed_shapes([spec for spec in run.sweep.signature if spec.name in names]),
        dims=first_sizes(run.sweep.dims),
    )
    try:
        explained = run.context.ask(job)
        if explained.exclude:
            return replace(explained, command=excluding(run.sweep, origin, derived, explained.exclude))
        is_enough = explained.sqnr_db is None or explained.sqnr_db >= PRECISIONS["int8"].floor_db
        return explained if is_enough else replace(explained, command=searching(run.sweep, origin, derived))
    except StorageFailed:
        raise
    except BenchError as error:
        return Explained(why_not=f"the test of its nodes failed: {error}")


def _check_decidable(conditions: Sequence[Condition], sweep: Sweep, rows: Sequence[PlannedCell], context: Context) -> None:
    """Raise `BadInput` for a limit on accuracy without labels, or with too few labels to show that it is kept."""
    # A model whose files could not be made has no hash, and no dataset either.
    dataset_of = {row.cell.model: row.reference.labelled or "" for row in rows if row.cell.sha256}
    datasets = sorted(set(dataset_of.values()))
    for condition in conditions:
        if condition.column.name.startswith("top1") and "" in datasets:
            lacking = [name for name, dataset in dataset_of.items() if not dataset] if len(dataset_of) > 1 else ["the model"]
            raise BadInput(f"{condition.text} needs labelled images, and {lacking[0]} has no dataset", "give --dataset")
        if condition.column.name == "top1_drop_ci_high" and condition.most:
            for dataset in datasets:
                _check_enough(condition, dataset, sweep, context)


def _check_enough(condition: Condition, dataset: str, sweep: Sweep, context: Context) -> None:
    """Raise `BadInput` if the interval of the drop is wider than the limit even where no answer changes."""
    counted = context.ask(CountImages(data=Data.named(dataset)))
    images = min(counted.images, sweep.images or EVERY_IMAGE)
    least = stats.least_drop_shown(images)
    if least > condition.limit:
        needed = f"give {stats.images_needed(condition.limit)} images or more, or " if condition.limit > 0 else ""
        raise BadInput(
            f"{images} test images of {dataset} cannot show a drop of at most {condition.limit:g} points: even if no answer"
            f" changes, the 95 % interval reaches {least:.3g} points",
            f"{needed}a limit above {least:.3g}",
        )
