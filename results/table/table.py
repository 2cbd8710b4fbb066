"""Rows and columns, ready for any format. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...axes import QUESTION, Scalar
from ...errors import BadInput
from ...spec import PRECISIONS, Target, nearest, set_fields
from ..stats.intervals import Interval, holm
from ..store.head import SCHEMA
from ..store.record import Run
from .columns import COLUMNS, FIGURES, Column, Row
from .explain import explain
from .findings import Finding, grouped

NAMED_AT_MOST = 3
CHECKED = (
    *("host", "model", "backend", "environment", "device", "precision", "batch", "status", "executed", "placement"),
    *("top1", "top1_drop", "top1_drop_ci_low", "top1_drop_ci_high", "images"),
    *("agreement", "sqnr_db", "max_abs_err", "rel_err"),
)
"""What people are shown of a check."""

Cells = Mapping[str, Scalar]
NAMES = frozenset(column.name for column in COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Field:
    """How a column is shown to people."""

    name: str
    title: str
    unit: str = ""
    digits: int = 3
    decimals: int | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """All `rows` by column name, for programs; and for people: the `fields` to show, which rows to mark, and what
    stands above (`facts`) and below (`remarks`). `grouped`: rows of one batch stand together."""

    names: tuple[str, ...]
    rows: tuple[Cells, ...]
    fields: tuple[Field, ...]
    best: frozenset[int] = frozenset()
    facts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    head: Mapping[str, Any] = field(default_factory=dict)
    grouped: bool = True


def build(runs: Sequence[Run], baseline: str | None = None) -> Table:
    """The table of all cells of `runs`, with speed-ups against the target `baseline`. Never marked are instruments, and
    rows of other tools, whose p50 is another one.

    `BadInput` if no run has that baseline.
    """
    return tabulate(runs, lines(runs, baseline), baseline)


def tabulate(runs: Sequence[Run], lines: Sequence[tuple[Row, Cells]], baseline: str | None) -> Table:
    """The table of what `lines` found in `runs`."""
    rows = [cells for _, cells in lines]
    unmarked = {index for index, (row, _) in enumerate(lines) if row.record.imported or row.instrument}
    explained, findings = _explained(runs), _findings(lines)
    said = [f"{named(finding.rows, len(rows))}: {finding.sentence}" for finding in findings]
    fields = _fields(rows, CHECKED if runs and all(run.is_check for run in runs) else None)
    return Table(
        names=tuple(column.name for column in COLUMNS),
        rows=tuple(rows),
        fields=tuple(fields),
        best=frozenset(_fastest(rows, unmarked)),
        facts=_facts(runs, rows, baseline, [field.name for field in fields]),
        remarks=(*said, *_conversions(rows), *_deployments(rows), *explained["speed"], *explained["accuracy"]),
        head={
            "schema": SCHEMA,
            "host": set_fields(runs[0].host) if runs else {},
            "versions": runs[0].head.versions if runs else {},
            "findings": [finding.wire() for finding in findings],
            **({"explain": explained} if any(explained.values()) else {}),
        },
    )


def lines(runs: Sequence[Run], baseline: str | None = None) -> list[tuple[Row, Cells]]:
    """Every cell of `runs` in the order of the table: what its figures are computed from, and these by column name.

    `BadInput` if no run has that baseline.
    """
    known = {str(record.cell.target) for run in runs for record in run.cells}
    if baseline and baseline not in known:
        raise BadInput(f"no row is of the baseline {baseline!r}", nearest(baseline, known))
    facts = _judged([row for run in runs for row in _rows(run, baseline)])
    told = [(row, {column.name: column.of(row) for column in COLUMNS} | _imported(row)) for row in facts]
    return sorted(told, key=lambda line: order(line[1]))


def _rows(run: Run, baseline: str | None) -> list[Row]:
    """The rows of `run`, each with its baseline's."""
    return [
        Row(
            record=record,
            base=run.base_of(record, baseline),
            host=_host(run),
            asked=run.sweep,
            instrument=run.is_instrument(record.cell),
        )
        for record in run.cells
    ]


def _imported(row: Row) -> dict[str, Scalar]:
    """What another tool says, by column name; nothing for a row that was measured here."""
    told = row.record.imported
    if told is None:
        return {}
    return {name: value for name, value in told.figures.items() if name in NAMES}


def order(row: Cells) -> tuple[object, ...]:
    """Where a row stands: what is compared stands together."""
    asked = ((row[name] is not None, row[name]) for name in QUESTION)
    return (str(row.get("host")), *asked, list(PRECISIONS).index(str(row["precision"])))


def _host(run: Run) -> str:
    return run.host.cpu or "unknown"


def _judged(rows: Sequence[Row]) -> list[Row]:
    """`rows` with a verdict where there is a speed-up; so many verdicts at once are corrected, or some would be wrong."""
    known = {index: row.speedup for index, row in enumerate(rows) if row.speedup}
    shown = holm({index: interval.p for index, interval in known.items()})
    verdicts = {index: _verdict(interval, index in shown) for index, interval in known.items()}
    return [replace(row, verdict=verdicts.get(index)) for index, row in enumerate(rows)]


def _verdict(interval: Interval, shown: bool) -> str:
    if not shown:
        return "no difference shown"
    return "faster" if interval.middle > 1 else "slower"


def _fields(rows: Sequence[Cells], names: Collection[str] | None) -> list[Field]:
    """The columns for people: of `names`, where there are any, instead of those that are shown otherwise."""
    chosen = [_always(column) for column in COLUMNS if column.name in names] if names else COLUMNS
    return [
        Field(name=c.name, title=c.title or c.name, unit=c.unit, digits=c.digits, decimals=c.decimals)
        for c in chosen
        if _stands(c, _distinct(c, rows))
    ]


def _always(column: Column) -> Column:
    """`column` shown even where its figures are all the same."""
    return replace(column, shown=True, varies=column.varies and not column.measured)


def _distinct(column: Column, rows: Sequence[Cells]) -> set[Scalar]:
    """A column's different values, in the rows that can have one."""
    return {row[column.name] for row in rows if not column.measured or row["status"] in FIGURES}


def _stands(column: Column, values: set[Scalar]) -> bool:
    """Whether `column` stands in the table for people: figures that some row has, and axes that vary."""
    told = values - {None} if column.partial or not column.varies else values
    return column.shown and len(told) > column.varies


def _fastest(rows: Sequence[Cells], unmarked: Collection[int]) -> list[int]:
    """The index of the row with the lowest p50 of those that answer one question on one host, but for those `unmarked`."""
    best: dict[tuple[Scalar, ...], int] = {}
    for index, row in enumerate(rows):
        group = (row["host"], *(row[name] for name in QUESTION))
        if row["status"] != "ok" or row["p50_ms"] is None or index in unmarked:
            continue
        if group not in best or _p50(row) < _p50(rows[best[group]]):
            best[group] = index
    return list(best.values())


def _p50(row: Cells) -> float:
    return float(row["p50_ms"] or 0)


def _facts(runs: Sequence[Run], rows: Sequence[Cells], baseline: str | None, shown: Collection[str]) -> tuple[str, ...]:
    """What is the same in all rows, so that it need not be a column, and is none of those `shown`."""
    same = {c: _distinct(c, rows) for c in COLUMNS if c.varies and c.name not in shown}
    once = [_fact(column, next(iter(values))) for column, values in same.items() if len(values) == 1]
    versions = [f"{name} {version}" for run in runs for name, version in run.head.versions.items()]
    against = [f"speed-up against {baseline} fp32 at the same batch"] if baseline else []
    return tuple(line for line in (" · ".join(filter(None, once)), " · ".join(dict.fromkeys(versions)), *against) if line)


def _fact(column: Column, value: Scalar) -> str:
    """`threads 2`, `file 20.4 MB`; nothing for what is as it should be."""
    if value in (None, "ok", 0):
        return ""
    text = value
    if isinstance(value, float):
        text = f"{value:.3g}" if column.decimals is None else f"{value:.{column.decimals}f}"
    return f"{column.label or column.title or column.name} {text} {column.unit}".strip()


def _findings(lines: Sequence[tuple[Row, Cells]]) -> list[Finding]:
    """Reasons and findings, the same one once, with the rows that it is about."""
    return grouped([(name_of(cells), finding) for row, cells in lines for finding in (*_status(cells), *row.findings)])


def _status(cells: Cells) -> list[Finding]:
    return [Finding.of("status", status=cells["status"], reason=cells["reason"])] if cells["reason"] else []


def _explained(runs: Sequence[Run]) -> dict[str, list[str]]:
    found = [explain(run) for run in runs if run.is_check]
    return {about: [line for lines in found for line in lines[about]] for about in ("speed", "accuracy")}


def _conversions(rows: Sequence[Cells]) -> list[str]:
    """How files were quantized."""
    made = {(row["model"], row["precision"]): row["conversion"] for row in rows if row["conversion"]}
    return [f"{model} {precision}: {conversion}" for (model, precision), conversion in made.items()]


def _deployments(rows: Sequence[Cells]) -> list[str]:
    """What to set for the throughput and the rate that were found; rows that differ in their batch alone in one line."""
    about: dict[tuple[str, str], list[str]] = {}
    for column, what in (("throughput_settings", "throughput"), ("slo_settings", "rate under load")):
        for row in (row for row in rows if row[column]):
            how = (f"{target_of(row)} {row['precision']}", f"{what} with {row[column]}")
            about.setdefault(how, []).append(str(row["batch"]))
    return [f"{who} b{','.join(batches)}: {how}" for (who, how), batches in about.items()]


def named(names: Sequence[str], of: int) -> str:
    """The rows by name where they are few."""
    if len(names) <= NAMED_AT_MOST:
        return ", ".join(names)
    return "all rows" if len(names) == of else f"{len(names)} of {of} rows"


def name_of(row: Cells) -> str:
    """A row's name for people."""
    return f"{target_of(row)} {row['precision']} b{row['batch']}"


def target_of(row: Cells) -> Target:
    """What a row was measured on."""
    return Target(backend=str(row["backend"]), environment=str(row["environment"] or ""))
