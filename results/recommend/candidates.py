"""The rows of measured runs as candidates for a recommendation: what each is called, and what speaks against it. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...axes import AXES, Scalar
from ...errors import BadInput
from ...evidence import Deployment
from ...spec import PRECISIONS, Concurrency, Shapes
from ..store.record import Run
from ..table.columns import BY_NAME
from ..table.conditions import Condition, parse
from ..table.row import Row
from ..table.table import RowValues, lines, name_of
from .objective import COST, OBJECTIVES, Objective, cost_of, parse_prices

UNFINISHED = "its rounds were not all measured: --resume goes on with it"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a decision is to be after, and within which conditions. `demand`: items a second that are to be taken."""

    objective: Objective
    conditions: tuple[Condition, ...] = ()
    prices: tuple[tuple[str, str], ...] = ()
    demand: float | None = None


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A condition that a row does not keep, and the row's value."""

    condition: Condition
    value: float

    @property
    def relative(self) -> float:
        """How far off it is, as a share of the limit; of the value where the limit is 0."""
        limit = self.condition.limit
        return abs(self.value - limit) / (abs(limit) or abs(self.value))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row. `reasons` exclude it whatever the limits are; `misses` are the conditions that it does not keep."""

    name: str
    run: Run
    row: Row
    cells: RowValues
    objective: Objective
    reasons: tuple[str, ...]
    misses: tuple[Miss, ...]

    @property
    def feasible(self) -> bool:
        return not self.reasons and not self.misses

    @cached_property
    def value(self) -> float | None:
        """The objective's figure."""
        return number(self.cells[self.objective.column_of(self.row.record.cell.device)])

    @property
    def score(self) -> float:
        """The objective's figure, larger is better; the worst where there is none."""
        if self.value is None:
            return float("-inf")
        return self.value if self.objective.largest else -self.value

    @property
    def deployment(self) -> Deployment:
        """The way of calling with which the objective's figure was measured; both texts may be empty."""
        if self.row.record.imported and not self.objective.single:
            return Deployment(deploy=str(self.cells["throughput_settings"] or ""))
        warm = self.row.record.warm
        single = self.objective.single or (self._way is not None and self.lanes == 1)
        return (warm and (warm.single if single else warm)) or Deployment()

    @property
    def lanes(self) -> Scalar:
        """How many calls were in flight."""
        return 1 if self.objective.single else self._way.lanes if self._way else self.cells["lanes"]

    @property
    def threads(self) -> Scalar:
        """How many threads computed each of them."""
        if self.objective.single:
            return self.row.record.cell.settings.threads
        return self._way.threads if self._way else self.cells["throughput_threads"]

    @property
    def _way(self) -> Concurrency | None:
        """The concurrency that held the limit under load, where the objective is of that."""
        return self.row.sustained.way.concurrency if self.objective.loaded and self.row.sustained else None

    @property
    def rate(self) -> tuple[float | None, str]:
        """Items a second that a machine takes, and what that is: within the limit under load, or at best."""
        rate = number(self.cells["slo_rate_per_s"])
        return (rate, f"each {rate:.4g}/s with {self.cells['slo']}") if rate else self._throughput()

    def _throughput(self) -> tuple[float | None, str]:
        rate = number(self.cells["throughput_per_s"])
        return rate, f"each {rate or 0:.4g}/s at full load; --load poisson --slo says what a limit of latency leaves of it"


Named = Sequence[tuple[str, str]]


def parse_request(objective: str, most: Named, least: Named, prices: Named, demand: float | None = None) -> Request:
    """What the command line asks for. `BadInput` for a limit that is none, and for a cost without a price."""
    if objective == "cost" and not prices:
        raise BadInput("--objective cost needs a price", "give --price BACKEND=AMOUNT, in currency an hour")
    limits = (*parse(most, most=True), *parse(least, most=False))
    return Request(objective=OBJECTIVES[objective], conditions=limits, prices=tuple(prices), demand=demand)


def number(value: object) -> float | None:
    """A figure; None for what is none."""
    return float(value) if isinstance(value, int | float) else None


Measured = Sequence[tuple[Row, RowValues]]


def candidates(runs: Sequence[Run], request: Request, known: Measured | None = None) -> list[Candidate]:
    """Every row of `runs`; `known` are their `lines`, where the caller has them.

    `BadInput` for runs that cannot be held together, and for a price of what is not in them.
    """
    _check(runs)
    of_record = {id(record): run for run in runs for record in run.cells}
    measured = lines(runs, baseline_of(runs)) if known is None else known
    prices = parse_prices(request.prices, [cells for _, cells in measured])
    found = [(row, {**cells, COST: cost_of(cells, prices)}) for row, cells in measured]
    names = _names([(of_record[id(row.record)], _told_apart(row, cells)) for row, cells in found])
    return [_candidate(name, of_record[id(row.record)], row, cells, request) for name, (row, cells) in zip(names, found)]


def _told_apart(row: Row, cells: RowValues) -> RowValues:
    """`cells`, for a name: rows of another tool that differ only in how it was run have that behind their batch."""
    how = ",".join(value for _, value in row.record.cell.settings.options) if row.record.imported else ""
    return {**cells, "batch": f"{cells['batch']} {how}"} if how else cells


def _check(runs: Sequence[Run]) -> None:
    """`BadInput` for a check, and for runs that call different files, or inputs of different shapes, by one name.

    Nothing is known of the files and shapes of other tools.
    """
    for run in (run for run in runs if run.is_check):
        raise BadInput(f"{run.folder} is a check, which measures no time", "give folders that bench infer wrote")
    cells = [(run, record.cell) for run in runs for record in run.cells if not record.imported]
    files = [(run, cell.model, cell.sha256[:8]) for run, cell in cells if PRECISIONS[cell.precision].file == "fp32"]
    for model, one, other in _differing(files):
        raise BadInput(f"{model} is another fp32 file in {one} than in {other} (by sha256)", "recommend each apart")
    for (model, batch), one, other in _differing(
        [(run, (cell.model, cell.batch), _shaped(cell.shapes)) for run, cell in cells]
    ):
        raise BadInput(f"{model} at batch {batch} has other shapes in {one} than in {other}", "recommend each apart")


def _differing(facts: Sequence[tuple[Run, Any, str]]) -> Iterator[tuple[Any, str, str]]:
    """Each key of `facts` (run, key, value) whose value is not what it was first, and where both are."""
    first: dict[Any, tuple[str, Run]] = {}
    for run, key, value in facts:
        known, where = first.setdefault(key, (value, run))
        if known != value:
            yield key, f"{where.folder} ({known})", f"{run.folder} ({value})"


def _shaped(shapes: Shapes) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes)


def baseline_of(runs: Sequence[Run]) -> str | None:
    """The baseline that all runs were measured against; None where there is none, or not one."""
    asked = {run.sweep and run.sweep.baseline for run in runs}
    known = {str(record.cell.target) for run in runs for record in run.cells}
    (only, *others) = asked or {None}
    return only if not others and only in known else None


def _names(rows: Sequence[tuple[Run, RowValues]]) -> list[str]:
    """What each row is called: with its model and host where there are several, and its run where that is not enough."""
    several = {axis: len({cells[axis] for _, cells in rows} - {None}) > 1 for axis in ("host", *AXES)}
    named = []
    for _, cells in rows:
        model = f"{cells['model']} " if several["model"] else ""
        device = f" {cells['device']}" if several["device"] and re.search(r":[1-9]", str(cells["device"])) else ""
        threads = f" {cells['threads']} threads" if several["threads"] and cells["threads"] else ""
        named.append(model + name_of(cells) + device + threads + (f" on {cells['host']}" if several["host"] else ""))
    counts = Counter(named)
    return [f"{name} ({run.folder.name})" if counts[name] > 1 else name for name, (run, _) in zip(named, rows)]


def _candidate(name: str, run: Run, row: Row, cells: RowValues, request: Request) -> Candidate:
    reasons = _ruled_out(run, row, cells) or _lacks(row, cells, request)
    figures = [(item, number(cells[item.column.name])) for item in request.conditions]
    misses = [Miss(condition=item, value=value) for item, value in figures if value is not None and not item.holds(value)]
    return Candidate(
        name=name,
        run=run,
        row=row,
        cells=cells,
        objective=request.objective,
        reasons=tuple(dict.fromkeys(reasons)),
        misses=tuple(misses) if not reasons else (),
    )


def _ruled_out(run: Run, row: Row, cells: RowValues) -> list[str]:
    """What excludes a row whatever is asked for."""
    if row.instrument:
        return ["an instrument, and no target"]
    if cells["status"] != "ok":
        return [f"{cells['status']}: {cells['reason']}"]
    return [UNFINISHED] if row.record.unfinished else []


def _lacks(row: Row, cells: RowValues, request: Request) -> list[str]:
    """Figures that are asked for, and that the row does not have."""
    own = request.objective.column_of(row.record.cell.device)
    names = dict.fromkeys([*(item.column.name for item in request.conditions), own])
    return [_why(name, row) for name in names if cells[name] is None]


def _why(name: str, row: Row) -> str:
    return "no --price for it" if name == COST else BY_NAME[name].why_absent(row).sentence
