"""Runs as what a report shows of them: rows, a decision, what is the same in all rows, and what it was measured on. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ...axes import AXES, Scalar
from ...errors import BadInput
from ...spec import Sweep, set_fields
from ..recommend.advice import answer, program, rest
from ..recommend.candidates import Measured, Request, baseline_of
from ..recommend.recommend import Decision, decide, half_written
from ..store.record import Run
from ..table.column import SCIENTIFIC, Column, Field
from ..table.columns import COLUMNS
from ..table.findings import Finding
from ..table.render import LATENCY_UNIT, places, plain, scale, texts
from ..table.table import Table, lines, tabulate

SELECTS = ("host", *AXES, "status", "grade")
CHOICES = 40  # a column with more different values has no select
DIGITS = 6  # significant ones of a figure in the page; csv and parquet have all
FILE_LINES = ("MODEL = ", "FACTORY, WEIGHTS = ")  # of a program to paste (backends/snippets, backends/torch_eager)
ABSOLUTE_FOLDER = re.compile(r"""(["'])/(?:.*/)?""")
SETTINGS = ("model", "dataset", "threads", "baseline", "metric", "images", "cold", "options", "seed")
Facts = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is told of `runs`. `measured`: what each row's figures were computed from, and these, in the table's order.

    `undecided` says why there is no `decision`; `baseline` is what speed-ups are against, where there is one.
    """

    runs: tuple[Run, ...]
    measured: Measured
    table: Table
    decision: Decision | None
    undecided: str
    baseline: str | None
    notes: tuple[Finding, ...]


def gather(runs: Sequence[Run], request: Request, baseline: str | None = None) -> Report:
    """The report of `runs`; speed-ups are against `baseline`, or else against what all runs were measured with.

    `BadInput` if no run has that baseline.
    """
    against = baseline or baseline_of(runs)
    measured = lines(runs, against)
    decision, undecided = _decided(runs, request, measured)
    return Report(
        runs=tuple(runs),
        measured=measured,
        table=tabulate(runs, measured, against),
        decision=decision,
        undecided=undecided,
        baseline=against,
        notes=tuple(unfinished(runs)),
    )


def _decided(runs: Sequence[Run], request: Request, measured: Measured) -> tuple[Decision | None, str]:
    """The decision over the runs that measured times, or why there is none."""
    timed = [run for run in runs if not run.is_check]
    if not timed:
        return None, "A check measures no time, so there is nothing to recommend by; bench infer does."
    own = {id(record) for run in timed for record in run.cells}
    try:
        return decide(timed, request, [line for line in measured if id(line[0].record) in own]), ""
    except BadInput as error:
        return None, f"There is no recommendation: {error}."


def unfinished(runs: Sequence[Run]) -> list[Finding]:
    """A finding for each run that ended before all of its rows did."""
    counts = [(run, sum(record.interrupted for record in run.cells)) for run in runs]
    return [half_written(run, len(run.cells) - left, len(run.cells)) for run, left in counts if left]


def headline(report: Report) -> dict[str, list[str]]:
    """The recommendation in lines: `answer`, `rest` (what binds and what is left out) and `program`; all may be empty."""
    decision = report.decision
    if decision is None:
        return {"answer": [], "rest": [], "program": []}
    return {
        "answer": answer(decision, report.notes),
        "rest": rest(decision),
        "program": without_folders(program(decision.pick)) if decision.pick else [],
    }


def without_folders(lines: Sequence[str]) -> list[str]:
    """Replace the absolute paths of a program's files by their names: a report holds no folder of the machine."""
    # only in these lines: the name of an ONNX input may begin with a slash too
    return [ABSOLUTE_FOLDER.sub(r"\1", line) if line.startswith(FILE_LINES) else line for line in lines]


def details(table: Table) -> list[Column]:
    """Columns that people are not shown in the table, and that differ between rows."""
    main = {field.name for field in table.fields}
    return [column for column in COLUMNS if column.name not in main and len(_values(column, table)) > 1]


def same(table: Table) -> Facts:
    """What is not in the table since it is the same in all rows, as title and text."""
    main = {field.name for field in table.fields}
    found = [(column, _values(column, table)) for column in COLUMNS if column.name not in main]
    once = [(column, next(iter(values))) for column, values in found if len(values) == 1 and values != {None}]
    return [(_title(column), _said(column, value)) for column, value in once]


def _values(column: Column, table: Table) -> set[Scalar]:
    return {row[column.name] for row in table.rows}


def _title(column: Column) -> str:
    return column.label or (column.title if column.title not in ("from", "to") else "") or column.name


def _said(column: Column, value: Scalar) -> str:
    (text,) = texts([value], 1.0, _field(column))
    return f"{text} {column.unit}".strip()


def _field(column: Column) -> Field:
    return replace(column, title=_title(column))


def grid(table: Table) -> dict[str, Any]:
    """The whole table as JSON data, by column: numbers as they are shown, and texts once each, by index.

    {"rows": how many, "best": indices, "selects": names, "columns": [{name, title, main, decimals and values, or texts and
    values}]}; a value is null where a row has none.
    """
    shown = [(field, True) for field in table.fields] + [(_field(column), False) for column in details(table)]
    columns = [_packed(field, main, table) for field, main in shown]
    kept = [item["name"] for item in columns if item["name"] in SELECTS and 1 < _choices(item) <= CHOICES]
    return {"rows": len(table.rows), "best": sorted(table.best), "selects": kept, "columns": columns}


def _choices(column: Mapping[str, Any]) -> int:
    return len({value for value in column["values"] if value is not None})


def _packed(field: Field, main: bool, table: Table) -> dict[str, Any]:
    factor, unit = scale(table.rows) if field.unit == LATENCY_UNIT else (1.0, field.unit)
    values = [row[field.name] for row in table.rows]
    head = {"name": field.name, "title": f"{field.heading} {unit}".strip(), "main": main}
    if all(value is None or isinstance(value, int | float) for value in values):
        numbers = [_short(value, factor) for value in values]
        return {**head, "decimals": -1 if field.digits == SCIENTIFIC else places(values, factor, field), "values": numbers}
    known = {text: index for index, text in enumerate(dict.fromkeys(plain(str(v)) for v in values if v is not None))}
    return {**head, "texts": list(known), "values": [None if v is None else known[plain(str(v))] for v in values]}


def _short(value: Scalar, factor: float) -> Scalar:
    """A figure in the shown unit, without digits that nobody needs."""
    return float(f"{value * factor:.{DIGITS}g}") if isinstance(value, float) else value


def machines(report: Report) -> list[tuple[str, Facts]]:
    """Of each run its name, and its host, versions and settings as title and text."""
    return [(plain(run.folder.resolve().name), _of_run(run)) for run in report.runs]


def _of_run(run: Run) -> Facts:
    asked = run.sweep or Sweep()
    measured = not run.is_check and run.sweep is not None
    threads = {record.cell.settings.threads for record in run.cells}
    facts = {
        "begun": _date(run.head.began_unix_s),
        **set_fields(run.host),
        "versions": run.head.versions,
        "onnxbench": run.head.tool,
        "budget": asked.budget.name if measured else None,
        "rounds at most": asked.budget.rounds if measured else None,
        **({name: getattr(asked, name) for name in SETTINGS} if run.sweep else {}),
        "threads": sorted(threads),
    }
    told = [(name.replace("_", " "), plain(_text(value))) for name, value in facts.items()]
    return [("kind", "check: answers and accuracy, no times" if run.is_check else "measured times"), *filter(_told, told)]


def _told(fact: tuple[str, str]) -> bool:
    return bool(fact[1])


def _date(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _text(value: Any) -> str:
    """A value of run.json on one line; nothing for what is not set."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    return "" if value is None or value is False else str(value)
