"""A history as a table: one row for each run of each case, for any format. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...axes import AXES, Scalar, values
from ..stats.steps import Step
from ..store.head import SCHEMA
from ..table.column import Field
from ..table.columns import BY_NAME
from ..table.table import RowValues, Table
from .history import CaseHistory, History, RunPoint, finding_of, size
from .order import date_of, version_of

CHANGE: dict[str, Any] = {"decimals": 1, "priority": 1}
FIELDS: tuple[Field, ...] = (
    *(BY_NAME[name] for name in AXES),
    Field(name="options", number=False, priority=7, definition="Options of the runtime."),
    Field(name="run", number=False, priority=0, definition="Name of the run."),
    Field(name="date", number=False, priority=3, definition="Date of the measurement; UTC, or the imported tool's clock."),
    Field(name="version", number=False, priority=4, definition="Version of the runtime, or of the imported tool."),
    Field(name="commit", number=False, priority=4, definition="Commit of the git repository in which the run began."),
    Field(name="metric", number=False, priority=9, definition="Column that is followed."),
    Field(name="unit", number=False, priority=9, definition="Unit of the value."),
    Field(name="value", priority=0, definition="Figure of the metric."),
    Field(name="ci_low", title="from", priority=5, definition="Lower end of the value's 95 % interval, from the rounds."),
    Field(name="ci_high", title="to", priority=5, definition="Upper end of the value's 95 % interval, from the rounds."),
    Field(name="control", priority=6, definition="Figure of the control in the same run."),
    Field(name="ratio", decimals=3, priority=2, definition="Value over that of the control."),
    Field(name="step", definition="Change of the level at this run, in % of the level before, or in step_unit.", **CHANGE),
    Field(name="step_ci_low", title="from", definition="Lower end of the step's 95 % interval, from the runs.", **CHANGE),
    Field(name="step_ci_high", title="to", definition="Upper end of the step's 95 % interval, from the runs.", **CHANGE),
    Field(name="step_unit", number=False, priority=1, title="of", definition="Unit of the step."),
    Field(
        name="step_p", priority=8, digits=0, title="p", definition="p-value of the step, corrected for all places and cases."
    ),
)
NAMES = tuple(field.name for field in FIELDS)
VARYING = (*AXES, "options", "version", "commit")
PROGRAMS = ("metric", "unit", "step_unit")  # a person reads them in the titles and in the findings


def tabulate(history: History) -> Table:
    """Table of `history`. Above the rows stand the metric and the order, below them the steps with their evidence."""
    rows = [row for case in history.cases for row in _rows(case, history)]
    steps = [finding_of(step, case, history) for case in history.cases for step in case.steps]
    fields = [_titled(field, history) for field in FIELDS if _stands(field.name, rows, history)]
    subject = history.subject
    return Table(
        names=NAMES,
        rows=tuple(rows),
        fields=tuple(fields),
        facts=(_fact(history),),
        findings=(*steps, *history.left),
        grouped=True,
        head={
            "schema": SCHEMA,
            "metric": history.metric.name,
            "by": subject.order.by,
            "control": subject.control,
            "steps": [dict(finding.values) for finding in steps],
            "findings": [finding.wire() for finding in (*steps, *history.left)],
        },
    )


def _fact(history: History) -> str:
    subject = history.subject
    where = [f"{name} {value}" for name, value in subject.where]
    over = [f"steps of the ratio to {subject.control}"] if subject.control else []
    return " · ".join([f"{history.metric.name} of {history.runs} runs by {subject.order.by}", *where, *over])


def _rows(case: CaseHistory, history: History) -> Iterator[RowValues]:
    steps = {step.at: step for step in case.steps}
    for place, point in enumerate(case.points):
        yield dict(zip(NAMES, _row(point, steps.get(place), case, history), strict=True))


def _row(point: RunPoint, step: Step | None, case: CaseHistory, history: History) -> Sequence[Scalar]:
    cell, metric = point.record.cell, history.metric
    change = (*size(step, case), metric.unit if case.linear else "%", step.p) if step else (None,) * 5
    return (
        *values(cell).values(),
        " ".join(f"{name}={value}" for name, value in cell.settings.options) or None,
        point.name,
        date_of(point.run, point.record),
        version_of(point.run, point.record),
        point.run.head.commit,
        metric.name,
        metric.unit,
        *(point.value, point.low, point.high),
        point.control,
        None if point.control is None else point.figure,
        *change,
    )


def _stands(name: str, rows: Sequence[RowValues], history: History) -> bool:
    """True if people are shown a column: axes that vary, and figures that some row has."""
    if name in PROGRAMS:
        return False
    if name in VARYING and name not in ("backend", history.subject.order.by):
        return len({row[name] for row in rows}) > 1
    return any(row[name] is not None for row in rows)


def _titled(field: Field, history: History) -> Field:
    """`field` with the name, the unit and the digits of the metric, for a column of figures."""
    metric = history.metric
    traits: dict[str, Any] = {"unit": metric.unit, "digits": metric.digits, "decimals": metric.decimals}
    if field.name == "value":
        return replace(field, title=metric.title or metric.metric, **traits)
    if field.name in ("ci_low", "ci_high", "control"):
        return replace(field, **traits)
    if field.name.startswith("step") and field.name != "step_p":
        linear = all(case.linear for case in history.cases)
        return replace(field, unit=metric.unit if linear else "%")
    return field
