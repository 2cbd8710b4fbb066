"""What a tracker is given: rows as parameters, metrics, tags and curves. Pure."""

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
"""Columns that say how a row came out, and are neither what was asked for nor a figure."""

CURVES = ("loss", "accuracy", "seconds")
NUMBERS = tuple(axis.name for axis in AXES.values() if axis.number)  # are what was asked for, and are figures too
Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class LoggedRow:
    """One row: what was asked for, its figures, how it came out, and by name what changed from step to step, from step 1."""

    name: str
    params: Mapping[str, str | int]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it has figures."""
        return self.tags.get("status") in MEASURED

    @property
    def points(self) -> list[tuple[str, float, int]]:
        """Every value with its name and its step: figures at step 0, then what changed."""
        figures = [(name, value, 0) for name, value in self.metrics.items()]
        return figures + [(name, value, step) for name, curve in self.curves.items() for step, value in curve]


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run as a tracker takes it. `folder` is where what is kept on this machine goes; `params` hold for all rows;
    `wall_s` is when it began, in seconds since 1970."""

    name: str
    folder: Path
    wall_s: float
    params: Mapping[str, str]
    rows: tuple[LoggedRow, ...]


def of_run(run: Run, baseline: str | None) -> LoggedRun:
    """The rows of `run`, in the order of the table; those that have no figures too."""
    found = [_entry(row.record.cell, cells, run) for row, cells in lines([run], baseline)]
    params = {"tool": str(run.head.tool), "kind": run.head.kind or "infer", **_host(set_fields(run.host))}
    sweep = run.sweep
    said = {"metric": sweep.metric, "seed": str(sweep.seed), "budget": sweep.budget.name} if sweep else {}
    return LoggedRun(
        name=run.folder.resolve().name,
        folder=run.folder,
        wall_s=run.head.began_unix_s or 0.0,
        params={**params, **said},
        rows=unique(found),
    )


def _entry(cell: Any, cells: RowValues, run: Run) -> LoggedRow:
    options = {f"option.{name}": value for name, value in cell.settings.options}
    known = {"sha256": cell.sha256, "version": run.head.versions.get(str(cell.target), "")}
    text = {column.name: cells[column.name] for column in COLUMNS if not column.number and column.name not in TAGS}
    return LoggedRow(
        name=f"{cell.model} {name_of(cells)} {cell.device}",
        params=_known({**text, **{name: cells[name] for name in NUMBERS}, **known, **options}),
        metrics=_numbers({column.name: cells[column.name] for column in COLUMNS if column.number}),
        tags={name: str(value) for name, value in _known({name: cells[name] for name in TAGS}).items()},
    )


def _host(host: Mapping[str, Any]) -> dict[str, str]:
    return {f"host.{name}": _text(value) for name, value in host.items() if value not in (None, [], "")}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item.get("name", item)) if isinstance(item, dict) else str(item) for item in value)
    return str(value)


def _known(values: Mapping[str, Scalar]) -> dict[str, str | int]:
    return {name: value if isinstance(value, int) else str(value) for name, value in values.items() if value not in (None, "")}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    known = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    return {name: value for name, value in known.items() if math.isfinite(value)}


def of_training(results: Sequence[Result], table: Table, folder: Path, wall_s: float) -> LoggedRun:
    """The rows of a training's `table`, with `results`, which it was made from, for the curves: CURVES by epoch."""
    head = {key: str(value) for key, value in table.head.items()}
    rows = [_trained(result, row, head) for result, row in zip(results, table.rows)]
    return LoggedRun(name=folder.name, folder=folder, wall_s=wall_s, params=head, rows=unique(rows))


def _trained(result: Result, row: RowValues, head: Mapping[str, str]) -> LoggedRow:
    epochs = list(enumerate(result.epochs, 1))
    drawn = {name: [(number, getattr(epoch, name)) for number, epoch in epochs] for name in CURVES}
    known = {f"epoch/{name}": tuple((n, float(v)) for n, v in curve if v is not None) for name, curve in drawn.items()}
    said = {name: row[name] for name in ("device", "precision")}
    return LoggedRow(
        name=f"{head['model']} {row['device']} {row['precision']}",
        params=_known({**said, "torch": result.torch}),
        metrics=_numbers(row),
        tags={name: str(value) for name, value in _known({name: row[name] for name in ("status", "reason")}).items()},
        curves={name: curve for name, curve in known.items() if curve},
    )


def unique(rows: Sequence[LoggedRow]) -> tuple[LoggedRow, ...]:
    """`rows` with a number behind the name of each that is called as one before it."""
    made: dict[str, LoggedRow] = {}
    for entry in rows:
        name, number = entry.name, 1
        while name in made:
            number += 1
            name = f"{entry.name} ({number})"
        made[name] = LoggedRow(**{**vars(entry), "name": name})
    return tuple(made.values())
