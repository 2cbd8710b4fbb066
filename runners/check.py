"""`bench check`: every cell is opened and its answers compared, and no time is measured. Loads no framework."""

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
from ..spec import Conversion, Sweep
from .infer import RunKind, Surroundings, planned, refuse
from .pool.context import Context
from .pool.memory import Limits
from .prepare.exports import fixed_shapes
from .sweep.cells import ActiveCell, RunContext
from .sweep.drawing import draw
from .sweep.group import Group, hire
from .sweep.plan import PlannedCell
from .worker.file_jobs import CountImages, Explain
from .worker.jobs import Data, Here

BATCHES = (8,)  # which batch it is hardly matters for an answer
BY_THE_WAY = ("top1_change_p", "load_s", "first_ms", "artifact_mb")  # what a check knows and does not show
EVERY_IMAGE = 1_000_000_000


def check(sweep: Sweep, around: Surroundings, conditions: Sequence[Condition] = (), explain: bool = False) -> None:
    """Compare what `sweep` names into the run folder `around.out`. Raises what `infer` raises.

    `explain`: find out why INT8 is as fast as it is, and which nodes cost the accuracy.

    `BadInput` before any long work if labels are too few, or there are none, for one of `conditions`.
    """
    for condition in (
        item for item in conditions if CHECK_VIEW not in item.column.views and item.column.name not in BY_THE_WAY
    ):
        raise BadInput(f"{condition.text}: a check does not find out {condition.column.name}", "measure it with bench infer")
    sweep = replace(sweep, budget=replace(BUDGETS["thorough"], name=CHECK), images=sweep.images or EVERY_IMAGE)
    guard = partial(_check_decidable, conditions, sweep)
    kind = RunKind(name=CHECK, batches=BATCHES, computed_only=False, guard=guard)
    with planned(sweep, around, kind) as (rows, workers, run):
        refuse(rows, run)
        cells = [ActiveCell(planned=row) for row in rows if not row.refused]
        run.total, run.after_stop = len(cells), "run bench check again"
        draw(run, cells)
        hired = hire(run.journal, run.context.pool, workers)
        for crew in dict.fromkeys(active.crew for active in cells):
            with ExitStack() as stack:
                group = Group(run, [active for active in cells if active.crew == crew], hired, Limits(resident_mb=0))
                stack.callback(group.dismiss)
                group.verify(timed=explain)
        if explain:
            _explain(run, cells)


def _explain(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Try the nodes of every INT8 file, once for each; where it is not known how it was made, say so."""
    for active in {active.planned.artifact.sha256: active for active in cells if not active.out}.values():
        if active.planned.artifact.precision == "int8":
            run.check_stop()
            run.context.progress.step(f"trying the nodes of {active.planned.cell.model} one at a time", run.done, run.total)
            run.journal.add(active.key, _explained(run, active))


def _explained(run: RunContext, active: ActiveCell) -> Explained:
    origin, made = active.planned.origin, active.planned.artifact.derived
    if origin is None or made is None:
        return Explained(why_not="this INT8 file was not made by bench export, so its nodes cannot be tried one at a time")
    calibration = made.calibration(origin.dataset)
    job = Explain(
        artifact=origin,
        precision="int8",
        how=Conversion.of(made.options),
        calibration=Here(path=calibration) if calibration else None,
        data=Data.of(origin.dataset),
        calibrated_on=calibration or "",
        shapes=fixed_shapes(run.sweep.signature),
    )
    try:
        return run.context.ask(job)
    except StorageFailed:
        raise
    except BenchError as error:
        return Explained(why_not=f"its nodes cannot be tried one at a time: {error}")


def _check_decidable(conditions: Sequence[Condition], sweep: Sweep, rows: Sequence[PlannedCell], context: Context) -> None:
    """`BadInput` for a limit that no answer on that many labelled images could keep, or where nothing is labelled."""
    datasets = sorted({row.reference.dataset or "" for row in rows})
    for condition in conditions:
        about_labels = condition.column.name.startswith("top1")
        for dataset in datasets if about_labels else ():
            if not dataset:
                raise BadInput(f"{condition.text} needs labels, and there are none", "give --dataset")
        if condition.column.name == "top1_drop_ci_high" and condition.most:
            for dataset in datasets:
                _check_enough(condition, dataset, sweep, context)


def _check_enough(condition: Condition, dataset: str, sweep: Sweep, context: Context) -> None:
    counted = context.ask(CountImages(data=Data.named(dataset)))
    images = min(counted.images, sweep.images or EVERY_IMAGE)
    least = stats.least_drop_shown(images)
    if least > condition.limit:
        needed = f"give {stats.images_needed(condition.limit)} images or more, or " if condition.limit > 0 else ""
        raise BadInput(
            f"{images} test images of {dataset} cannot show a drop of at most {condition.limit:g} points: with no answer"
            f" changed the 95 % interval reaches {least:.2f}",
            f"{needed}a limit above that",
        )
