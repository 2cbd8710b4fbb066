"""Candidates of a recommendation: the rows of measured runs, with their names and the reasons to exclude them. Pure."""

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
from ..table.findings import Finding
from ..table.row import Row
from ..table.table import RowValues, lines, name_of
from .objective import COST, OBJECTIVES, Objective, Prices, cost_of, parse_prices


@dataclass(frozen=True, kw_only=True)
class Request:
    """Objective, limits and prices of a decision. `demand`: items a second that machines must serve, None for no demand."""

    objective: Objective
    conditions: tuple[Condition, ...] = ()
    prices: tuple[tuple[str, str], ...] = ()
    demand: float | None = None


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A limit that a row breaks, and the row's value in the unit of the column."""

    condition: Condition
    value: float

    @property
    def relative(self) -> float:
        """Distance to the limit as a share of the limit, or of the value for a limit of 0."""
        limit = self.condition.limit
        return abs(self.value - limit) / (abs(limit) or abs(self.value))

    @property
    def parts(self) -> dict[str, str | float]:
        """Values for the sentence of a finding about this limit."""
        column = self.condition.column
        return {
            "limit": self.condition.text,
            "column": column.name,
            "value": self.value,
            "distance": abs(self.value - self.condition.limit),
            "unit": f" {column.unit}".rstrip(),
            "side": "above" if self.condition.most else "below",
        }


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A row. `reasons` exclude it under all limits; `misses` are the limits that it breaks."""

    name: str
    run: Run
    row: Row
    cells: RowValues
    objective: Objective
    reasons: tuple[Finding, ...]
    misses: tuple[Miss, ...]

    @property
    def feasible(self) -> bool:
        return not self.reasons and not self.misses

    @cached_property
    def value(self) -> float | None:
        """Figure of the objective."""
        return number(self.cells[self.objective.column_of(self.row.record.cell.device)])

    @property
    def score(self) -> float:
        """Figure of the objective, where larger is better; minus infinity without a figure."""
        if self.value is None:
            return float("-inf")
        return self.value if self.objective.largest else -self.value

    @property
    def deployment(self) -> Deployment:
        """Settings and program of the calls that gave the objective's figure; both texts may be empty."""
        # another tool reports settings of its throughput, and has no warm-up of ours
        if self.row.record.imported and not self.objective.single:
            return Deployment(deploy=str(self.cells["throughput_settings"] or ""))
        warm = self.row.record.warm
        # a warm-up has two deployments: of one call at a time, and of the concurrency with the highest throughput
        single = self.objective.single or (self._concurrency is not None and self.lanes == 1)
        return (warm and (warm.single if single else warm)) or Deployment()

    @property
    def lanes(self) -> Scalar:
        """Number of calls in flight."""
        if self.objective.single:
            return 1
        return self._concurrency.lanes if self._concurrency else self.cells["lanes"]

    @property
    def threads(self) -> Scalar:
        """Number of threads that computed each call."""
        if self.objective.single:
            return self.row.record.cell.settings.threads
        return self._concurrency.threads if self._concurrency else self.cells["throughput_threads"]

    @property
    def _concurrency(self) -> Concurrency | None:
        """Concurrency of the highest rate under load, for an objective under load."""
        return self.row.sustained.load_curve.concurrency if self.objective.loaded and self.row.sustained else None

    @property
    def rate(self) -> float | None:
        """Items a second that a machine serves: within the latency limit under load, else at full load."""
        return number(self.cells["slo_rate_per_s"]) or number(self.cells["throughput_per_s"])


Named = Sequence[tuple[str, str]]


def parse_request(objective: str, most: Named, least: Named, prices: Named, demand: float | None = None) -> Request:
    """Parse the options of the command line. `BadInput` for an invalid limit, and for a cost without a price."""
    if objective == "cost" and not prices:
        raise BadInput("--objective cost needs a price", "give --price BACKEND=AMOUNT, in currency an hour")
    limits = (*parse(most, most=True), *parse(least, most=False))
    return Request(objective=OBJECTIVES[objective], conditions=limits, prices=tuple(prices), demand=demand)


def number(value: object) -> float | None:
    """Convert a cell to a float; None for a cell that is not a number."""
    return float(value) if isinstance(value, int | float) else None


Measured = Sequence[tuple[Row, RowValues]]


def candidates(
    runs: Sequence[Run], request: Request, measured: Measured | None = None, prices: Prices | None = None
) -> list[Candidate]:
    """Build a candidate for each row of `runs`. `measured`: `lines` of the runs, and `prices`: the request's prices, parsed,
    if the caller has them.

    `BadInput` for runs that cannot be compared, and for a price of a backend or host that no run has.
    """
    check_comparable(runs)
    # By identity: a record has no hash, since its blocks are a dict.
    of_record = {id(record): run for run in runs for record in run.cells}
    table = lines(runs, baseline_of(runs)) if measured is None else measured
    prices = parse_prices(request.prices, [cells for _, cells in table]) if prices is None else prices
    rows = [(row, {**cells, COST: cost_of(cells, prices)}) for row, cells in table]
    names = _names([(of_record[id(row.record)], _with_settings(row, cells)) for row, cells in rows])
    return [_candidate(name, of_record[id(row.record)], row, cells, request) for name, (row, cells) in zip(names, rows)]


def _with_settings(row: Row, cells: RowValues) -> RowValues:
    """`cells` for the name of a row: the settings of another tool follow the batch, since they may be the only difference."""
    settings = ",".join(value for _, value in row.record.cell.settings.options) if row.record.imported else ""
    return {**cells, "batch": f"{cells['batch']} {settings}"} if settings else cells


def check_comparable(runs: Sequence[Run]) -> None:
    """`BadInput` for a check, and for runs with different files or shapes under the same name of a model.

    Imported rows are not checked: other tools do not report their files and shapes.
    """
    for run in (run for run in runs if run.is_check):
        raise BadInput(f"{run.folder} is a check, which measures no time", "give folders that bench infer wrote")
    cells = [(run, record.cell) for run in runs for record in run.cells if not record.imported]
    # Quantized files of one model may differ between runs; they are different candidates, and only fp32 must be the same.
    files = [(run, cell.model, cell.sha256[:8]) for run, cell in cells if PRECISIONS[cell.precision].file == "fp32"]
    for model, one, other in _conflicts(files):
        raise BadInput(
            f"{model} has different fp32 files (sha256) in {one} and in {other}", "run bench recommend for each run alone"
        )
    for (model, batch, _), one, other in _conflicts(
        [(run, (cell.model, cell.batch, cell.dims), _shaped(cell.shapes)) for run, cell in cells]
    ):
        raise BadInput(
            f"{model} at batch {batch} has different shapes in {one} and in {other}", "run bench recommend for each run alone"
        )


def _conflicts(facts: Sequence[tuple[Run, Any, str]]) -> Iterator[tuple[Any, str, str]]:
    """Yield each key of `facts` (run, key, value) with a second value, and the folders of both values."""
    first: dict[Any, tuple[str, Run]] = {}
    for run, key, value in facts:
        first_value, first_run = first.setdefault(key, (value, run))
        if first_value != value:
            yield key, f"{first_run.folder} ({first_value})", f"{run.folder} ({value})"


def _shaped(shapes: Shapes) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes)


def baseline_of(runs: Sequence[Run]) -> str | None:
    """Baseline of all runs; None without a baseline, and for runs with different baselines."""
    # speed-ups against different baselines must not stand in one column
    baselines = {run.sweep and run.sweep.baseline for run in runs}
    targets = {str(record.cell.target) for run in runs for record in run.cells}
    (only, *others) = baselines or {None}
    return only if not others and only in targets else None


def _names(rows: Sequence[tuple[Run, RowValues]]) -> list[str]:
    """Names of the rows: with model and host if there are several, and with the run if two names are equal."""
    several = {axis: len({cells[axis] for _, cells in rows} - {None}) > 1 for axis in ("host", *AXES)}
    named = []
    for _, cells in rows:
        model = f"{cells['model']} " if several["model"] else ""
        # cuda:0 is the GPU that everybody means; a further GPU needs its name
        device = f" {cells['device']}" if several["device"] and re.search(r":[1-9]", str(cells["device"])) else ""
        threads = f" {cells['threads']} threads" if several["threads"] and cells["threads"] else ""
        named.append(model + name_of(cells) + device + threads + (f" on {cells['host']}" if several["host"] else ""))
    counts = Counter(named)
    return [f"{name} ({run.folder.name})" if counts[name] > 1 else name for name, (run, _) in zip(named, rows)]


def _candidate(name: str, run: Run, row: Row, cells: RowValues, request: Request) -> Candidate:
    reasons = _unusable(row, cells, request.objective) or _lacks(row, cells, request)
    figures = [(item, number(cells[item.column.name])) for item in request.conditions]
    misses = [Miss(condition=item, value=value) for item, value in figures if value is not None and not item.holds(value)]
    return Candidate(
        name=name,
        run=run,
        row=row,
        cells=cells,
        objective=request.objective,
        reasons=tuple(dict.fromkeys(reasons)),
        # an unusable row must not appear as the nearest one, nor as one that a limit excludes
        misses=tuple(misses) if not reasons else (),
    )


def _unusable(row: Row, cells: RowValues, objective: Objective) -> list[Finding]:
    """Reason that excludes a row under all requests; empty for a usable row."""
    if row.instrument:
        return [Finding.of("instrument")]
    if row.record.tuned and row.record.tuned.is_default:
        return [Finding.of("same_options", beside=row.record.tuned.default)]
    if cells["status"] != "ok":
        return [Finding.of("status", status=cells["status"], reason=cells["reason"])]
    cell = row.record.cell
    if objective.single and objective.metric and cell != cell.alone:
        return [Finding.of("one_gpu_answers", device=cell.alone.device)]
    return [Finding.of("unfinished")] if row.record.unfinished else []


def _lacks(row: Row, cells: RowValues, request: Request) -> list[Finding]:
    """Findings for the figures that the request needs and that the row does not have."""
    own = request.objective.column_of(row.record.cell.device)
    names = dict.fromkeys([*(item.column.name for item in request.conditions), own])
    return [_absent(name, row) for name in names if cells[name] is None]


def _absent(name: str, row: Row) -> Finding:
    if name == COST:
        return Finding.of("no_price", target=str(row.record.cell.target))
    return BY_NAME[name].why_absent(row)
