"""Tables as values of Python: text, rows, dict, pandas and HTML. Pure; pandas is imported where it is requested."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...axes import Scalar
from ...errors import installed
from ...spec import Sweep
from ..store import outcome
from ..store.head import CHECK
from ..store.nodes import read_nodes, run_folders
from ..store.record import Run, read_run
from . import conditions
from .columns import BY_NAME
from .render import lines_below, plain, render, shown, with_columns, without_places
from .table import RowValues, Table, build

if TYPE_CHECKING:
    from pandas import DataFrame

INSTALL_PANDAS = "pip install pandas"
NUMBER_STYLE, TEXT_STYLE = ' style="text-align: right"', ' style="text-align: left"'


@dataclass(frozen=True, kw_only=True, repr=False)
class Rows:
    """Rows of a `table`. Printed, they are the table of the command; a notebook shows them as HTML.

    `notes`: the sentences that the command prints on stderr.
    """

    table: Table
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[dict[str, Scalar], ...]:
        """Figures and texts of each row, by column name (docs/columns.md)."""
        return tuple(map(dict, self.table.rows))

    @property
    def text(self) -> str:
        """The table as the command prints it into a file."""
        return render(self.table, "table")

    def columns(self, *names: str) -> Rows:
        """The rows with these columns only, as --columns has them. `BadInput` for an unknown name."""
        return Rows(table=with_columns(self.table, names), notes=self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Data of `--format json`: the rows, the findings, and the facts about the host."""
        data: dict[str, Any] = json.loads(render(self.table, "json"))
        return data

    def to_pandas(self) -> DataFrame:
        """A pandas table with every column, and NaN for figures that a row lacks. `Unavailable` without pandas."""
        return data_frame(self.table.rows, self.table.names)

    def to_markdown(self) -> str:
        """The table as Markdown, as --format markdown has it."""
        return render(self.table, "markdown")

    def __len__(self) -> int:
        return len(self.table.rows)

    def __iter__(self) -> Iterator[dict[str, Scalar]]:
        return iter(self.rows)

    def __getitem__(self, place: int) -> dict[str, Scalar]:
        return dict(self.table.rows[place])

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_of(self.table)


@dataclass(frozen=True, kw_only=True, repr=False)
class Measurement(Rows):
    """Result of `infer`, `check` or `measure`: the table of a `run`, and the exit code of the command.

    `runs`: the run of each node, for a measurement on several; `run` is then the first, and `folder` that of all.
    `exit_code`: 0; 1 for a mismatch or a broken limit of a check; 3 if a cell failed or a named value has no `ok` row.
    """

    run: Run
    exit_code: int
    runs: tuple[Run, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.run.folder.parent if self.runs else self.run.folder


def measured(folder: Path, baseline: str | None = None, sweep: Sweep | None = None) -> Measurement:
    """Read the run in `folder`. `sweep`: the request that it answers, by default the stored one."""
    run = read_run(folder)
    request = sweep or run.sweep or Sweep()
    return Measurement(table=build([run], baseline), run=run, exit_code=outcome.exit_code(run, request))


def checked(folder: Path, limits: Sequence[conditions.Condition] = (), sweep: Sweep | None = None) -> Measurement:
    """Read the check in `folder`, and judge its rows by `limits`."""
    run = read_run(folder)
    table = conditions.judged(build([run]), limits)
    code = outcome.check_exit_code(run, sweep or run.sweep or Sweep(), table.head["broken"])
    return Measurement(table=table, run=run, exit_code=code)


def measured_on_nodes(folder: Path, baseline: str | None, sweep: Sweep) -> Measurement:
    """Read the runs of all nodes in `folder`. A named value needs an `ok` row on one of them."""
    runs, every = _runs_of_nodes(folder)
    return Measurement(table=build(runs, baseline), run=runs[0], runs=runs, exit_code=outcome.exit_code(every, sweep))


def checked_on_nodes(folder: Path, limits: Sequence[conditions.Condition], sweep: Sweep) -> Measurement:
    """Read the checks of all nodes in `folder`, and judge their rows by `limits`."""
    runs, every = _runs_of_nodes(folder)
    table = conditions.judged(build(runs), limits)
    code = outcome.check_exit_code(every, sweep, table.head["broken"])
    return Measurement(table=table, run=runs[0], runs=runs, exit_code=code)


def of_nodes(folder: Path, baseline: str | None = None) -> Measurement:
    """Read the runs or the checks of all nodes in `folder`, by the stored request."""
    nodes = read_nodes(folder)
    return (
        checked_on_nodes(folder, (), nodes.sweep) if nodes.task == CHECK else measured_on_nodes(folder, baseline, nodes.sweep)
    )


def _runs_of_nodes(folder: Path) -> tuple[tuple[Run, ...], Run]:
    """The run of each node in `folder`, and a run that has the cells of all."""
    runs = tuple(map(read_run, run_folders([folder])))
    return runs, replace(runs[0], cells=tuple(record for run in runs for record in run.cells))


def data_frame(rows: Iterable[RowValues], names: Sequence[str]) -> DataFrame:
    """A pandas table of `rows` with the columns `names`. A column of numbers without any figure has NaN."""
    with installed("pandas", INSTALL_PANDAS):
        import pandas
    frame = pandas.DataFrame([dict(row) for row in rows], columns=list(names))
    empty = [name for name in names if name in BY_NAME and BY_NAME[name].number and frame[name].isna().all()]
    return frame.astype(dict.fromkeys(empty, float))


def html_of(table: Table) -> str:
    """`table` as HTML like that of a report: titles and rows, the facts above and the lines below. Every text is escaped."""
    table = without_places(table)
    titles, rows = shown(table)
    styles = [NUMBER_STYLE if field.number else TEXT_STYLE for field in table.fields]
    head, body = _row("th", titles, styles), "".join(_row("td", row, styles) for row in rows)
    above = "".join(f"<div>{_text(fact)}</div>" for fact in table.facts)
    return f"{above}<table><thead>{head}</thead><tbody>{body}</tbody></table>{html_list(lines_below(table))}"


def html_list(lines: Iterable[str]) -> str:
    """`lines` as a list in HTML; nothing without lines."""
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _row(tag: str, texts: Sequence[str], styles: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}{style}>{_text(text)}</{tag}>' for text, style in zip(texts, styles))}</tr>"


def _text(text: str) -> str:
    return escape(plain(text))
