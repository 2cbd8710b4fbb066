"""Both sides of a comparison: their records, the figures of each run, and the control of each cell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from ...spec import Cell
from ..stats.intervals import LIFE
from ..store.record import CellRecord
from ..table.columns import BY_NAME
from ..table.row import Row
from .metrics import COMPARED, Metric
from .pairs import Match, Pair, Records
from .run_figures import CYCLES, RunFigure, run_figures

Figures = Mapping[int, RunFigure]  # by the number of the run


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both sides of a comparison.

    `several`: a side has more than one run. `base`, `new`: names of the runs. `budgets`: names of their budgets.
    `thresholds`: changes too small to matter, by metric, as limit_text has them.
    """

    match: Match
    several: bool
    base: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    budgets: frozenset[str | None] = frozenset()
    control: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def metrics(self) -> list[Metric]:
        """Metrics that at least one record has."""
        records = list(self._records.values())
        has: dict[str, Callable[[Metric], bool]] = {
            "time": lambda metric: any(metric.name in figures for figures in self._figures.values()),
            "load": lambda metric: any(self.row(item).sustained for item in records),
            "memory": lambda metric: any(getattr(event, metric.column) for item in records for event in item.cold),
            "accuracy": lambda metric: any(getattr(item.parity, metric.name, None) is not None for item in records),
        }
        return [metric for metric in COMPARED.values() if has[metric.kind](metric)]

    def figures(self, records: Records, metric: Metric, *, cycles: bool = False) -> Figures:
        """Figures of `metric` by run, of those `records` in which it was timed. `cycles`: in cycles of the GPU."""
        name, figures = metric.name + CYCLES if cycles else metric.name, self._figures
        return {number: figure for number, record in records.items() if (figure := figures[id(record)].get(name))}

    @property
    def lives(self) -> bool:
        """True if every figure rests on lives."""
        return all(figure.unit is LIFE for figures in self._figures.values() for figure in figures.values())

    def shown(self, records: Records, metric: Metric) -> list[float]:
        """Figures of `records` in the table of `bench show`, without records that have none."""
        column = BY_NAME[metric.column]
        values = (column.of(self._rows[id(record)]) for record in records.values())
        return [float(value) for value in values if isinstance(value, int | float)]

    def row(self, record: CellRecord) -> Row:
        """Row of the table with the figures of `record`."""
        return self._rows[id(record)]

    @cached_property
    def _rows(self) -> dict[int, Row]:
        """Rows of the table by record. They compute and keep what their columns share."""
        return {number: Row(record=record, base=None, host="") for number, record in self._records.items()}

    @property
    def rounds(self) -> tuple[int, int]:
        """Largest number of rounds of a cell in base and in new; 0 without timed cells."""
        base, new = (
            max(
                (f.rounds for records in side for item in records.values() for f in self._figures[id(item)].values()), default=0
            )
            for side in ([pair.base for pair in self.match.pairs], [pair.new for pair in self.match.pairs])
        )
        return base, new

    # a record has no hash, since it has dicts inside; its id is a key for as long as `match` keeps the record alive
    @cached_property
    def _records(self) -> dict[int, CellRecord]:
        return {id(item): item for pair in self.match.pairs for side in (pair.base, pair.new) for item in side.values()}

    @cached_property
    def _figures(self) -> dict[int, dict[str, RunFigure]]:
        """Figures by record and metric; none for a check."""
        return {number: run_figures(item) for number, item in self._records.items()}

    def control_of(self, pair: Pair) -> Pair | None:
        """The control's cell most like `pair`: with the same model if possible, then batch, then precision."""
        cells = (self._controls.get(key) for key in likeness(pair.cell))
        return next(filter(None, cells), None)

    @cached_property
    def _controls(self) -> dict[tuple[object, ...], Pair]:
        """First cell of the control by each key of `likeness`."""
        named = [pair for pair in self.match.pairs if str(pair.cell.target) == self.control]
        # reversed, so that the first cell of a key overwrites the later ones
        return {key: pair for pair in reversed(named) for key in likeness(pair.cell)}


def likeness(cell: Cell) -> list[tuple[object, ...]]:
    """Keys of model, batch and precision, from the most to the least specific. None stands for any value."""
    return list(product((cell.model, None), (cell.batch, None), (cell.precision, None)))
