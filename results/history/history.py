"""History of one metric: the figures of each case by run, with intervals, and the steps between them. Pure.

A case is the same cell in several runs. The unit of a step is the run. The scatter of the runs is at least the error that the
rounds of one run have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from ...errors import BadInput
from ...spec import Cell, nearest
from ..compare.pairs import IDENTITY, cell_name, differences, host_identity, records_by_cell
from ..compare.sides import likeness
from ..stats.intervals import trimmed
from ..stats.steps import LEAST_SERIES, Step, find_steps
from ..store import series
from ..store.record import CellRecord, Run
from ..table.column import ACCURACY, MORE, Column
from ..table.columns import BY_NAME
from ..table.findings import Finding, sentences
from ..table.row import Row
from ..table.table import names_of
from .order import Order

LEAST_ERROR = 0.001
"""Scatter of a case on the log scale, at least: smaller differences are those of clocks and of rounded imports."""

IN_JOURNAL = ("p50", "e2e_p50", "throughput")
"""Metrics that the journal has for each round. Other percentiles would need every sample of every run."""

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Subject of a history: the `metric`, the conditions `where` on columns, the target of the `control`, and the order."""

    metric: str = "p50"
    where: Pairs = ()
    control: str | None = None
    order: Order = field(default_factory=Order)


@dataclass(frozen=True, kw_only=True)
class RunPoint:
    """Figure of one case in one run.

    `value`, `low`, `high`: in the unit of the metric; no interval for few rounds. `control`: the control's value in the same
    run. `error`: standard error of the figure from its rounds, on the log scale; 0 without rounds.
    """

    run: Run
    name: str
    record: CellRecord
    value: float
    low: float | None = None
    high: float | None = None
    control: float | None = None
    error: float = 0.0

    @property
    def figure(self) -> float:
        """The value, or its ratio to the control's."""
        return self.value if self.control is None else self.value / self.control


@dataclass(frozen=True, kw_only=True)
class CaseHistory:
    """One cell over several runs: its points in the order of the history, and its steps.

    `linear`: steps are differences in the unit of the metric; otherwise they are ratios.
    """

    cell: Cell
    points: tuple[RunPoint, ...]
    steps: tuple[Step, ...] = ()
    linear: bool = False

    @property
    def name(self) -> str:
        """Name of the cell, with its options."""
        return cell_name(self.cell)


@dataclass(frozen=True, kw_only=True)
class History:
    """Cases of one metric, over `runs` runs. `left`: findings on what is not in it."""

    metric: Column
    cases: tuple[CaseHistory, ...]
    runs: int
    subject: Subject
    left: tuple[Finding, ...] = ()


def gather(runs: Sequence[Run], subject: Subject, least: int = 2) -> History:
    """Gather the history of `subject`. A case needs figures in `least` runs.

    `BadInput` for an unknown metric, column or control, for runs of several hosts, and if no case is in enough runs.
    """
    metric = metric_of(subject.metric)
    if len(runs) < least:
        raise BadInput(f"a history needs {least} runs, got {len(runs)}", "name more runs, such as runs/*")
    points = _points(runs, metric, subject)
    _check_hosts([point for group in points for point in group])
    complete, single = [group for group in points if len(group) >= least], [g for g in points if len(g) < least]
    if not complete:
        names = ", ".join(cell_name(group[0].record.cell) for group in single[:3])
        raise BadInput(f"no case has {subject.metric} in {least} runs ({names})", "name runs of the same model and settings")
    cases = [_case(group, metric, len(complete)) for group in complete]
    return History(
        metric=metric, cases=tuple(cases), runs=len(runs), subject=subject, left=tuple(_left(cases, single, len(runs)))
    )


def metric_of(name: str) -> Column:
    """Column of a metric, by its name with or without the unit. `BadInput` for other names, and for texts."""
    numbers = [column for column in BY_NAME.values() if column.number and column.measured]
    by_name = {key: column for column in numbers for key in (column.name, column.metric)}
    if name in by_name:
        return by_name[name]
    if name in BY_NAME:
        raise BadInput(f"the column {name!r} has no figures to follow", f"use one such as {nearest('p50', by_name)}")
    raise BadInput(f"{name!r} is not a column", nearest(name, by_name))


def _points(runs: Sequence[Run], metric: Column, subject: Subject) -> list[list[RunPoint]]:
    """Points of each case, in the order of the history."""
    names = names_of(runs)
    rows = {id(record): _row(run, record, name) for run, name in zip(runs, names) for record in run.cells}
    selected = _matching(list(rows.values()), subject.where)
    figures = {
        id(record): _point(rows[id(record)], run, metric)
        for run in runs
        for record in run.cells
        if id(record) in selected or str(record.cell.target) == subject.control
    }
    controls = _controls(runs, figures, subject.control)
    groups: list[list[tuple[tuple[object, ...], RunPoint]]] = []
    for records in records_by_cell(runs).values():
        group = []
        for number, record in records.items():
            point = figures[id(record)] if id(record) in selected else None
            if point and controls is not None:
                point = _over(point, controls[number], subject.control)
            if point:
                group.append((subject.order.place(point.run, record, point.name, number), point))
        groups.append(sorted(group, key=lambda pair: pair[0]))
    if not any(groups):
        raise BadInput(f"no row has {metric.name}{_conditions(subject.where)}", "bench show lists the figures of a run")
    return [[point for _, point in group] for group in groups if group]


def _conditions(where: Pairs) -> str:
    return f" where {' and '.join(f'{name}={value}' for name, value in where)}" if where else ""


def _row(run: Run, record: CellRecord, name: str) -> Row:
    instrument = run.is_instrument(record.cell)
    return Row(record=record, base=None, host=run.host.label, run=name, sweep=run.sweep, instrument=instrument)


def _matching(rows: Sequence[Row], where: Pairs) -> set[int]:
    """Ids of the records that meet every condition. `BadInput` for a column or a value that no row has."""
    for name, value in where:
        if name not in BY_NAME:
            raise BadInput(f"{name!r} in --where {name}={value} is not a column", nearest(name, BY_NAME))
        texts = {id(row.record): str(_value(row, BY_NAME[name])) for row in rows}
        if value not in texts.values():
            raise BadInput(f"no row has {name}={value}", nearest(value, {text for text in texts.values() if text != "None"}))
        rows = [row for row in rows if texts[id(row.record)] == value]
        if not rows:
            raise BadInput(f"no row meets every condition{_conditions(where)}", "leave out one --where")
    return {id(row.record) for row in rows}


def _value(row: Row, column: Column) -> object:
    imported = row.record.imported
    if imported and column.name in imported.figures:
        return imported.figures[column.name]
    return column.of(row)


def _point(row: Row, run: Run, metric: Column) -> RunPoint | None:
    """Figure of one row; None without a figure, and for a cell that the run did not finish."""
    value = _value(row, metric)
    # rounds of an interrupted cell may end at a lucky interval, so they do not count
    if isinstance(value, str) or not isinstance(value, int | float) or not math.isfinite(value) or row.record.unfinished:
        return None
    low, high = (_value(row, BY_NAME[end]) if end else None for end in metric.interval or ("", ""))
    error = 0.0
    if metric.metric in IN_JOURNAL and row.record.blocks:
        repeated = series.repeated(row.record, metric.metric)
        error = trimmed(repeated.values, repeated.unit.trim).error
        if interval := repeated.interval:
            # the metric pools all calls, and the interval comes from the rounds: it is moved to the metric as a ratio
            low, high = value * interval.low / interval.middle, value * interval.high / interval.middle
    ends = [float(end) if isinstance(end, int | float) else None for end in (low, high)]
    return RunPoint(
        run=run,
        name=row.run,
        record=row.record,
        value=float(value),
        low=ends[0],
        high=ends[1],
        error=error if math.isfinite(error) else 0.0,
    )


def _controls(
    runs: Sequence[Run], figures: Mapping[int, RunPoint | None], control: str | None
) -> list[dict[tuple[object, ...], RunPoint]] | None:
    """Points of the control by likeness, for each run; None without a control. `BadInput` for one that no run has."""
    if control is None:
        return None
    targets = {str(record.cell.target) for run in runs for record in run.cells}
    if control not in targets:
        raise BadInput(f"no run has the control {control!r}", nearest(control, targets))
    by_run: list[dict[tuple[object, ...], RunPoint]] = []
    for run in runs:
        points = [figures[id(record)] for record in run.cells if str(record.cell.target) == control]
        # reversed, so that the first cell of a key overwrites the later ones
        by_run.append({key: point for point in reversed(points) if point for key in likeness(point.record.cell)})
    return by_run


def _over(point: RunPoint, controls: Mapping[tuple[object, ...], RunPoint], control: str | None) -> RunPoint | None:
    """Divide `point` by the control of the same run; None for the control itself and for a run without the control."""
    if str(point.record.cell.target) == control:
        return None
    fixed = next(filter(None, (controls.get(key) for key in likeness(point.record.cell))), None)
    if fixed is None or fixed.value <= 0:
        return None
    return replace(point, control=fixed.value, error=math.hypot(point.error, fixed.error))


def _check_hosts(points: Sequence[RunPoint]) -> None:
    """Raise `BadInput` if two points come from different hosts, whose figures cannot be compared."""
    first = points[0]
    identity = host_identity(first.run)
    for run, name in {id(point.run): (point.run, point.name) for point in points}.values():
        other = host_identity(run)
        if other != identity:
            what, old, new = next(triple for triple in zip(IDENTITY, identity, other) if triple[1] != triple[2])
            problem = f"{first.name} and {name} ran on different hosts ({what} {old}, and {what} {new})"
            raise BadInput(f"{problem}, so their figures are not one history", "name the runs of one host")


def _case(points: Sequence[RunPoint], metric: Column, cases: int) -> CaseHistory:
    """History of the case of `points`, with its steps. `cases`: number of cases that are searched."""
    figures = [point.figure for point in points]
    linear = metric.compared == ACCURACY or metric.unit == "dB" or min(figures) <= 0
    values = figures if linear else [math.log(figure) for figure in figures]
    # a run-to-run scatter below that of the rounds is luck
    error = 0.0 if linear else max(LEAST_ERROR, math.sqrt(fmean(point.error**2 for point in points)))
    steps = find_steps(values, error=error, series=cases)
    return CaseHistory(cell=points[-1].record.cell, points=tuple(points), steps=tuple(steps), linear=linear)


def _left(cases: Sequence[CaseHistory], single: Sequence[Sequence[RunPoint]], runs: int) -> Iterator[Finding]:
    """Findings on cases that are in too few runs, and on the absence of steps."""
    if single:
        yield Finding.of("history_single", cells=", ".join(cell_name(group[0].record.cell) for group in single))
    for count in sorted({len(case.points) for case in cases if len(case.points) < runs}):
        cells = ", ".join(case.name for case in cases if len(case.points) == count)
        yield Finding.of("history_partial", count=count, runs=runs, cells=cells)
    few = [case.name for case in cases if len(case.points) < LEAST_SERIES]
    if few:
        yield Finding.of("history_few", needed=LEAST_SERIES, cells=", ".join(few))
    level = [case.name for case in cases if len(case.points) >= LEAST_SERIES and not case.steps]
    if level:
        yield Finding.of("history_level", cells=", ".join(level))


def size(step: Step, case: CaseHistory) -> tuple[float, float, float]:
    """Size of a step with the ends of its 95 % interval: in % of the level before, or in the unit of a linear metric."""
    change, low, high = step.after - step.before, step.low, step.high
    if case.linear:
        return change, low, high
    return 100 * math.expm1(change), 100 * math.expm1(low), 100 * math.expm1(high)


def finding_of(step: Step, case: CaseHistory, history: History) -> Finding:
    """Finding on one step, with its evidence: both levels, the interval, the p-value, and what else changed there."""
    before, after = case.points[step.at - 1], case.points[step.at]
    change, low, high = size(step, case)
    worse = (change < 0) == (history.metric.better == MORE)
    levels = (step.before, step.after) if case.linear else (math.exp(step.before), math.exp(step.after))
    also = "; ".join(sentences(differences([before.run], [after.run])))
    over = before.control is not None
    return Finding.of(
        "history_worse" if worse and history.metric.better else "history_step",
        cell=case.name,
        metric=history.metric.metric,
        run=after.name,
        before=levels[0],
        after=levels[1],
        unit=f"times {history.subject.control}" if over else history.metric.unit,
        change=change,
        low=low,
        high=high,
        change_unit=history.metric.unit if case.linear else "%",
        p=step.p,
        runs_before=step.runs[0],
        runs_after=step.runs[1],
        also=f"; changed there: {also}" if also else "",
    )
