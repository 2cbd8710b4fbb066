"""`bench check`: every cell is opened and its answers compared, and no time is measured. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from ..budgets import BUDGETS
from ..errors import BadInput, BenchError, StorageFailed
from ..results.stats import intervals as stats
from ..results.store import record
from ..results.table.conditions import Condition
from ..results.table.table import CHECKED
from ..spec import Conversion, Sweep, to_wire
from .infer import Kind, Surroundings, planned, refuse
from .pool.context import Context
from .pool.memory import Limits
from .sweep.drawing import draw
from .sweep.group import Group, hire
from .sweep.plan import Planned
from .sweep.visits import Desk, Visit

BATCHES = (8,)  # which batch it is hardly matters for an answer
BY_THE_WAY = ("top1_change_p", "load_s", "first_ms", "artifact_mb")  # what a check knows and does not show
EVERY_IMAGE = 1_000_000_000


def check(sweep: Sweep, around: Surroundings, conditions: Sequence[Condition] = (), explain: bool = False) -> None:
    """Compare what `sweep` names into the run folder `around.out`. Raises what `infer` raises.

    `explain`: find out why INT8 is as fast as it is, and which nodes cost the accuracy.

    `BadInput` before any long work if labels are too few, or there are none, for one of `conditions`.
    """
    for condition in (condition for condition in conditions if condition.column.name not in (*CHECKED, *BY_THE_WAY)):
        raise BadInput(f"{condition.text}: a check does not find out {condition.column.name}", "measure it with bench infer")
    sweep = replace(sweep, budget=replace(BUDGETS["thorough"], name=record.CHECK), images=sweep.images or EVERY_IMAGE)
    guard = partial(_check_decidable, conditions, sweep)
    kind = Kind(name=record.CHECK, batches=BATCHES, computed_only=False, guard=guard)
    with planned(sweep, around, kind) as (rows, workers, desk):
        refuse(rows, desk)
        visits = [Visit(planned=row) for row in rows if not row.refused]
        desk.total, desk.after_stop = len(visits), "run bench check again"
        draw(desk, visits)
        hired = hire(desk.journal, desk.context.clock, workers)
        for crew in dict.fromkeys(visit.crew for visit in visits):
            with ExitStack() as stack:
                group = Group(desk, [visit for visit in visits if visit.crew == crew], hired, Limits(resident_mb=0))
                stack.callback(group.dismiss)
                group.verify(timed=explain)
        if explain:
            _explain(desk, visits)


def _explain(desk: Desk, visits: Sequence[Visit]) -> None:
    """Try the nodes of every INT8 file, once for each; where it is not known how it was made, say so."""
    for visit in {visit.planned.artifact.sha256: visit for visit in visits if not visit.out}.values():
        if visit.planned.artifact.precision == "int8":
            desk.check_stop()
            desk.context.progress.step(f"trying the nodes of {visit.planned.cell.model} one at a time", desk.done, desk.total)
            desk.journal.add("explained", visit.key, **_explained(desk, visit))


def _explained(desk: Desk, visit: Visit) -> dict[str, Any]:
    origin, made = visit.planned.origin, visit.planned.artifact.derived
    if origin is None or made is None:
        return {"why_not": "this INT8 file was not made by bench export, so its nodes cannot be tried one at a time"}
    given = [(spec.name, spec.shape) for spec in desk.sweep.signature]
    how, data = to_wire(Conversion.of(made.options)), made.calibration(origin.dataset)
    order = {"precision": "int8", "how": how, "calibration": data, "shapes": given}
    try:
        return desk.context.ask("explain", artifact=to_wire(origin), order=order)
    except StorageFailed:
        raise
    except BenchError as error:
        return {"why_not": f"its nodes cannot be tried one at a time: {error}"}


def _check_decidable(conditions: Sequence[Condition], sweep: Sweep, rows: Sequence[Planned], context: Context) -> None:
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
    answer: dict[str, Any] = context.ask("count", dataset=dataset)
    images = min(int(answer["images"]), sweep.images or EVERY_IMAGE)
    least = stats.least_drop_shown(images)
    if least > condition.limit:
        needed = f"give {stats.images_needed(condition.limit)} images or more, or " if condition.limit > 0 else ""
        raise BadInput(
            f"{images} test images of {dataset} cannot show a drop of at most {condition.limit:g} points: with no answer"
            f" changed the 95 % interval reaches {least:.2f}",
            f"{needed}a limit above that",
        )
