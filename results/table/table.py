"""Rows and columns, ready for any format. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...axes import QUESTION, Scalar
from ...errors import BadInput
from ...spec import PRECISIONS, Target, nearest, set_fields
from ..stats.intervals import Interval, holm
from ..store.head import SCHEMA
from ..store.record import Run
from .column import CHECK_VIEW, Column, Field
from .columns import BY_NAME, COLUMNS, shown_in
from .explain import explain, in_lines
from .findings import Finding, grouped, of_status
from .row import MEASURED, Row

NAMED_AT_MOST = 3
RowValues = Mapping[str, Scalar]
"""The figures and texts of one row, by column name."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """All `rows` by column name, for programs; and for people the `fields` to show, and what stands around them.

    best: indices of the rows to mark as fastest. facts: lines above the rows. findings: below the rows, those of one severity
    together. remarks: lines below the findings, and settings: lines below these. grouped: rows of one question stand together.
    """

    names: tuple[str, ...]
    rows: tuple[RowValues, ...]
    fields: tuple[Field, ...]
    best: frozenset[int] = frozenset()
    facts: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    head: Mapping[str, Any] = field(default_factory=dict)
    grouped: bool = True

    def line(self, finding: Finding) -> str:
        """The sentence of `finding`, behind the names of its rows."""
        return ": ".join((*([named(finding.rows, len(self.rows))] if finding.rows else []), finding.sentence))


def build(runs: Sequence[Run], baseline: str | None = None) -> Table:
    """The table of all cells of `runs`, with speed-ups against the target `baseline`. Never marked are instruments, and
    rows of other tools, whose p50 is another one.

    `BadInput` if no run has that baseline.
    """
    return tabulate(runs, lines(runs, baseline), baseline)


def tabulate(runs: Sequence[Run], lines: Sequence[tuple[Row, RowValues]], baseline: str | None) -> Table:
    """The table of what `lines` found in `runs`."""
    rows = [cells for _, cells in lines]
    unmarked = {index for index, (row, _) in enumerate(lines) if row.record.imported or row.instrument}
    explained, findings = _explained(runs), _findings(lines)
    texts = {topic: in_lines(about) for topic, about in explained.items()}
    fields = _fields(rows, shown_in(CHECK_VIEW) if runs and all(run.is_check for run in runs) else ())
    return Table(
        names=tuple(column.name for column in COLUMNS),
        rows=tuple(rows),
        fields=tuple(fields),
        findings=tuple(findings),
        best=frozenset(_fastest(rows, unmarked)),
        facts=_facts(runs, rows, baseline, [field.name for field in fields]),
        remarks=(*_conversions(rows), *texts["speed"], *texts["accuracy"]),
        settings=tuple(_deployments(rows)),
        head={
            "schema": SCHEMA,
            "host": set_fields(runs[0].host) if runs else {},
            "versions": runs[0].head.versions if runs else {},
            "findings": [finding.wire() for finding in (*findings, *explained["speed"], *explained["accuracy"])],
            **({"explain": texts} if any(texts.values()) else {}),
        },
    )


def lines(runs: Sequence[Run], baseline: str | None = None) -> list[tuple[Row, RowValues]]:
    """Every cell of `runs` in the order of the table: what its figures are computed from, and these by column name.

    `BadInput` if no run has that baseline.
    """
    known = {str(record.cell.target) for run in runs for record in run.cells}
    if baseline and baseline not in known:
        raise BadInput(f"no row is of the baseline {baseline!r}", nearest(baseline, known))
    names = names_of(runs)
    facts = _judged([row for run, name in zip(runs, names) for row in _rows(run, name, baseline)])
    told = [(row, {column.name: column.of(row) for column in COLUMNS} | _imported(row)) for row in facts]
    return sorted(told, key=lambda line: order(line[1]))


def names_of(runs: Sequence[Run]) -> list[str]:
    """Name of each run: its folder's, with as many of the folders above it as tell all runs apart."""
    paths = [run.folder.resolve().parts for run in runs]
    names = ["/".join(path[-1:]) for path in paths]
    depth = 1
    while depth < max(map(len, paths), default=0) and len(set(paths)) > len(set(names)):
        depth += 1
        counts = Counter(names)
        names = ["/".join(path[-depth:]) if counts[name] > 1 else name for path, name in zip(paths, names)]
    return names


def _rows(run: Run, name: str, baseline: str | None) -> list[Row]:
    """The rows of `run`, each with its baseline's."""
    return [
        Row(
            record=record,
            base=run.base_of(record, baseline),
            host=run.host.cpu or "unknown",
            run=name,
            sweep=run.sweep,
            instrument=run.is_instrument(record.cell),
        )
        for record in run.cells
    ]


def _imported(row: Row) -> dict[str, Scalar]:
    """What another tool says, by column name; nothing for a row that was measured here."""
    told = row.record.imported
    if told is None:
        return {}
    return {name: value for name, value in told.figures.items() if name in BY_NAME}


def order(row: RowValues) -> tuple[object, ...]:
    """Where a row stands: what is compared stands together."""
    asked = ((row[name] is not None, row[name]) for name in QUESTION)
    return (str(row.get("host")), *asked, list(PRECISIONS).index(str(row["precision"])))


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


def _fields(rows: Sequence[RowValues], view: Collection[Column]) -> list[Column]:
    """The columns for people: of the `view`, where there is one, instead of those that are shown otherwise."""
    columns = [_always(column) for column in view] or COLUMNS
    shown = [column for column in columns if _stands(column, _distinct(column, rows))]
    return sorted(shown, key=lambda column: not column.leads)


def _always(column: Column) -> Column:
    """`column` shown even where its figures are all the same."""
    return replace(column, shown=True, varies=column.varies and not column.measured)


def _distinct(column: Column, rows: Sequence[RowValues]) -> set[Scalar]:
    """A column's different values, in the rows that can have one."""
    return {row[column.name] for row in rows if not column.measured or row["status"] in MEASURED}


def _stands(column: Column, values: set[Scalar]) -> bool:
    """Whether `column` stands in the table for people: figures that some row has, and axes that vary."""
    told = values - {None} if column.partial or not column.varies else values
    return column.shown and len(told) > column.varies


def _fastest(rows: Sequence[RowValues], unmarked: Collection[int]) -> list[int]:
    """The index of the row with the lowest p50 of those that answer one question on one host, but for those `unmarked`."""
    best: dict[tuple[Scalar, ...], int] = {}
    for index, row in enumerate(rows):
        group = (row["host"], *(row[name] for name in QUESTION))
        if row["status"] != "ok" or row["p50_ms"] is None or index in unmarked:
            continue
        if group not in best or _p50(row) < _p50(rows[best[group]]):
            best[group] = index
    return list(best.values())


def _p50(row: RowValues) -> float:
    return float(row["p50_ms"] or 0)


def _facts(runs: Sequence[Run], rows: Sequence[RowValues], baseline: str | None, shown: Collection[str]) -> tuple[str, ...]:
    """Values that are the same in all rows, so that they need no column, and that are none of those `shown`."""
    values = {c.name: _distinct(c, rows) for c in COLUMNS if c.varies and not c.leads and c.name not in shown}
    same = {name: next(iter(known)) for name, known in values.items() if len(known) == 1}
    ends = {end for name in same for end in BY_NAME[name].interval or ()}
    once = [_fact(BY_NAME[name], value, same) for name, value in same.items() if name not in ends]
    versions = [f"{name} {version}" for run in runs for name, version in run.head.versions.items()]
    against = [f"speed-up against {baseline} fp32 at the same batch"] if baseline else []
    return tuple(line for line in (" · ".join(filter(None, once)), " · ".join(dict.fromkeys(versions)), *against) if line)


def _fact(column: Column, value: Scalar, same: RowValues) -> str:
    """`threads 2`, `top-1 drop 0.00 points (95 %: -3.37 to 3.37)`; nothing for a value that is as it should be."""
    low, high = (same.get(end) for end in column.interval or ("", ""))
    if value in (None, "ok", 0) and low is None:
        return ""
    ends = f" (95 %: {_figure(low, column)} to {_figure(high, column)})" if low is not None and high is not None else ""
    return f"{column.label or column.heading} {_figure(value, column)} {column.unit}".strip() + ends


def _figure(value: Scalar, column: Column) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if column.decimals is None else f"{value:.{column.decimals}f}"


def _findings(lines: Sequence[tuple[Row, RowValues]]) -> list[Finding]:
    """Reasons and findings, the same one once, with the rows that it is about."""
    return grouped([(name_of(cells), finding) for row, cells in lines for finding in (*of_status(cells), *row.findings)])


def _explained(runs: Sequence[Run]) -> dict[str, list[Finding]]:
    """Findings of the INT8 doctor on all checks, by topic."""
    checks = [explain(run) for run in runs if run.is_check]
    return {topic: [finding for check in checks for finding in check[topic]] for topic in ("speed", "accuracy")}


def _conversions(rows: Sequence[RowValues]) -> list[str]:
    """How files were quantized."""
    made = {(row["model"], row["precision"]): row["conversion"] for row in rows if row["conversion"]}
    return [f"{model} {precision}: {conversion}" for (model, precision), conversion in made.items()]


def _deployments(rows: Sequence[RowValues]) -> list[str]:
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


def name_of(row: RowValues) -> str:
    """A row's name for people."""
    return f"{target_of(row)} {row['precision']} b{row['batch']}"


def target_of(row: RowValues) -> Target:
    """What a row was measured on."""
    return Target(backend=str(row["backend"]), environment=str(row["environment"] or ""))
