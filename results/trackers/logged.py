"""Data for a tracker: the rows of a run as parameters, metrics, tags and curves. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...axes import AXES, Scalar
from ...spec import set_fields
from ..store.record import Run
from ..table.column import TAG_VIEW
from ..table.columns import COLUMNS, shown_in
from ..table.row import MEASURED
from ..table.table import RowValues, Table, lines, name_of
from ..table.training import Result

TAGS = tuple(column.name for column in shown_in(TAG_VIEW))
"""Columns about the outcome of a row: neither a requested setting nor a figure."""

TRAINING_SETTINGS = ("host", "device", "precision", "parallel", "processes", "threads", "batch", "microbatches", "batch_norm")
CURVES = ("loss", "accuracy", "seconds")
NUMBERS = tuple(axis.name for axis in AXES.values() if axis.number)  # numeric axes are parameters and metrics
Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class LoggedRow:
    """A row: its settings, figures and outcome, and curves of (step, value) by name, from step 1."""

    name: str
    params: Mapping[str, str | int]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """True for a row with figures."""
        return self.tags.get("status") in MEASURED

    @property
    def points(self) -> list[tuple[str, float, int]]:
        """Values with names and steps: the figures at step 0, then the curves."""
        figures = [(name, value, 0) for name, value in self.metrics.items()]
        return figures + [(name, value, step) for name, curve in self.curves.items() for step, value in curve]


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run for a tracker. `folder`: place of local files. `params`: settings of all rows. `wall_s`: start, in seconds
    since 1970."""

    name: str
    folder: Path
    wall_s: float
    params: Mapping[str, str]
    rows: tuple[LoggedRow, ...]


def of_run(run: Run, baseline: str | None) -> LoggedRun:
    """Convert `run`, with all of its rows, in the order of the table."""
    rows = [_logged_row(row.record.cell, cells, run) for row, cells in lines([run], baseline)]
    params = {"tool": str(run.head.tool), "kind": run.head.kind or "infer", **_host(set_fields(run.host))}
    sweep = run.sweep
    settings = {"metric": sweep.metric, "seed": str(sweep.seed), "budget": sweep.budget.name} if sweep else {}
    return LoggedRun(
        name=run.folder.resolve().name,
        folder=run.folder,
        wall_s=run.head.began_unix_s or 0.0,
        params={**params, **settings},
        rows=unique(rows),
    )


def _logged_row(cell: Any, cells: RowValues, run: Run) -> LoggedRow:
    options = {f"option.{name}": value for name, value in cell.settings.options}
    file = {"sha256": cell.sha256, "version": run.head.versions.get(str(cell.target), "")}
    text = {column.name: cells[column.name] for column in COLUMNS if not column.number and column.name not in TAGS}
    return LoggedRow(
        name=f"{cell.model} {name_of(cells)} {cell.device}",
        params=_present({**text, **{name: cells[name] for name in NUMBERS}, **file, **options}),
        metrics=_numbers({column.name: cells[column.name] for column in COLUMNS if column.number}),
        tags={name: str(value) for name, value in _present({name: cells[name] for name in TAGS}).items()},
    )


def _host(host: Mapping[str, Any]) -> dict[str, str]:
    return {f"host.{name}": _text(value) for name, value in host.items() if value not in (None, [], "")}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item.get("name", item)) if isinstance(item, dict) else str(item) for item in value)
    return str(value)


def _present(values: Mapping[str, Scalar]) -> dict[str, str | int]:
    return {name: value if isinstance(value, int) else str(value) for name, value in values.items() if value not in (None, "")}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    # servers refuse NaN and infinity, or store them as text
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def of_training(results: Sequence[Result], table: Table, folder: Path, wall_s: float) -> LoggedRun:
    """Convert the `table` of a training, with CURVES by epoch from its `results`, one for each row."""
    head = {key: str(value) for key, value in table.head.items()}
    rows = [_trained(result, row, head) for result, row in zip(results, table.rows)]
    return LoggedRun(name=folder.name, folder=folder, wall_s=wall_s, params=head, rows=unique(rows))


def _trained(result: Result, row: RowValues, head: Mapping[str, str]) -> LoggedRow:
    epochs = list(enumerate(result.epochs, 1))
    curves = {name: [(number, getattr(epoch, name)) for number, epoch in epochs] for name in CURVES}
    # a failed epoch may lack a value
    points = {f"epoch/{name}": tuple((n, float(v)) for n, v in curve if v is not None) for name, curve in curves.items()}
    settings = {name: row[name] for name in TRAINING_SETTINGS}
    return LoggedRow(
        name=f"{head['model']} {result.name}",
        params=_present({**settings, "torch": result.torch}),
        metrics=_numbers({name: value for name, value in row.items() if name not in TRAINING_SETTINGS}),
        tags={name: str(value) for name, value in _present({name: row[name] for name in ("status", "reason")}).items()},
        curves={name: curve for name, curve in points.items() if curve},
    )


def unique(rows: Sequence[LoggedRow]) -> tuple[LoggedRow, ...]:
    """Add a number to the name of each row that has the name of an earlier row."""
    by_name: dict[str, LoggedRow] = {}
    for row in rows:
        name, number = row.name, 1
        while name in by_name:
            number += 1
            name = f"{row.name} ({number})"
        by_name[name] = LoggedRow(**{**vars(row), "name": name})
    return tuple(by_name.values())
