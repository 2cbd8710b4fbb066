"""Decisions for each model of some runs: a row of one model is no alternative to a row of another model. Pure.

The same holds for sizes of --dim: a fast answer to a short input is no alternative to an answer to a long one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...spec import COLD, Cell
from ..store.record import CellRecord, Run
from ..table.row import Row
from ..table.table import RowValues, lines
from .candidates import Measured, Request, baseline_of, check_comparable
from .objective import parse_prices
from .recommend import Decision, decide
from .selection import Selection

ALL = Selection()


@dataclass(frozen=True, kw_only=True)
class ModelRows:
    """Rows of one `model` with its sizes of --dim, and the runs that measured times, each reduced to these cells.

    `measured`: those of the rows that have times, with the values of their columns.
    """

    model: str
    runs: tuple[Run, ...]
    measured: Measured


def decide_models(runs: Sequence[Run], request: Request, selection: Selection = ALL) -> Mapping[str, Decision]:
    """Decide on a row for each model of the selected rows of `runs`, in the order of the table. Raises the errors of `decide`
    and of `Selection.of`."""
    selected = selection.of(runs)
    check_comparable(selected)
    measured = _selected(runs, selected)
    # Over all rows: a backend with a price may have rows of one model alone, or may not be selected.
    prices = parse_prices(request.prices, _targets(runs))
    decisions = {item.model: decide(item.runs, request, item.measured, prices) for item in split_models(selected, measured)}
    return decisions or {"": decide(selected, request, measured, prices)}


def _targets(runs: Sequence[Run]) -> list[RowValues]:
    """Backend, environment and host of every row."""
    cells = ((run, record.cell) for run in runs for record in run.cells)
    return [{"backend": cell.backend, "environment": cell.environment, "host": run.host.label} for run, cell in cells]


def _selected(runs: Sequence[Run], selected: Sequence[Run]) -> Measured:
    """Lines of the `selected` rows. Speed-ups refer to rows that may not be selected."""
    records = {id(record) for run in selected for record in run.cells}
    whole = [run for run in runs if any(id(record) in records for record in run.cells)]
    return [line for line in lines(whole, baseline_of(whole)) if id(line[0].record) in records]


def split_models(runs: Sequence[Run], measured: Measured) -> list[ModelRows]:
    """Split the rows of `runs` by model and sizes of --dim, in the order of the table. Rows of checks, which have no times, are
    left out."""
    runs, measured = _of_one_cache(runs, measured)
    timed = {id(record) for run in runs if not run.is_check for record in run.cells}
    reduced, by_model = _runs_by_model(runs), dict[str, list[tuple[Row, RowValues]]]()
    for row, cells in measured:
        # A model with rows of checks alone stays: its card in a report says why there is no pick.
        own = by_model.setdefault(_subject(row.record.cell), [])
        own += [(row, cells)] if id(row.record) in timed else []
    return [ModelRows(model=model, runs=tuple(reduced.get(model, ())), measured=own) for model, own in by_model.items()]


def _of_one_cache(runs: Sequence[Run], measured: Measured) -> tuple[Sequence[Run], Measured]:
    """The runs and their lines without roofs, and without rows of cold caches if other rows have times: those have every
    figure."""
    runs, measured = _without(runs, measured, lambda cell: bool(cell.roof))
    if not any(row.record.cell.cache != COLD for row, _ in measured):
        return runs, measured
    return _without(runs, measured, lambda cell: cell.cache == COLD)


def _without(runs: Sequence[Run], measured: Measured, left_out: Callable[[Cell], bool]) -> tuple[Sequence[Run], Measured]:
    """The runs and their lines without the cells that are `left_out`."""
    reduced = [replace(run, cells=tuple(record for record in run.cells if not left_out(record.cell))) for run in runs]
    return reduced, [(row, cells) for row, cells in measured if not left_out(row.record.cell)]


def _subject(cell: Cell) -> str:
    """Name of the cells among which a decision chooses: the model, with its sizes of --dim, its pairs of --feedback, and its
    number of --inputs."""
    inputs = [("inputs", cell.inputs)] if cell.inputs > 1 else []
    return " ".join((cell.model, *(f"{name}={value}" for name, value in (*cell.dims, *cell.feedback, *inputs))))


def _runs_by_model(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs that measured times, each reduced to the cells of one model and its sizes of --dim, by their name."""
    reduced: dict[str, list[Run]] = {}
    for run in (run for run in runs if not run.is_check):
        cells: dict[str, list[CellRecord]] = {}
        for record in run.cells:
            cells.setdefault(_subject(record.cell), []).append(record)
        for model, own in cells.items():
            reduced.setdefault(model, []).append(replace(run, cells=tuple(own)))
    return reduced
