"""Runs in the formats of other tools, as files by name. pyarrow, matplotlib and jinja2, inside functions.

csv, markdown and parquet hold the whole table. png and svg hold the plots, a file each.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import installed
from ..recommend.candidates import Request, baseline_of
from ..store.record import Run
from ..table.columns import COLUMNS
from ..table.findings import sentences
from ..table.render import render, without_places
from ..table.table import Table, build
from .data import gather, unfinished
from .plots import INSTALL, NO_PLOTS, draw, drawable, image

# counts. All other numbers are float64, even if a run has only whole ones: files of several runs need the same types.
INTEGERS = ("batch", "samples", "rounds", "disturbed", "lanes", "throughput_threads", "threads", "images")
TEXTS = ("markdown", "csv")
IMAGES = ("png", "svg")
NEEDED = {"html": ("jinja2",), "parquet": ("pyarrow",), "png": ("matplotlib",), "svg": ("matplotlib",)}


def require(format: str) -> None:
    """Raise `Unavailable`, with the command to install it, if a library that `format` needs is missing.

    The page needs no matplotlib: it is written without plots then.
    """
    for name in NEEDED.get(format, ()):
        with installed(name, INSTALL):
            importlib.import_module(name)


def export(
    runs: Sequence[Run], format: str, out: Path, request: Request, baseline: str | None
) -> tuple[dict[Path, bytes], list[str]]:
    """Make the files of the report in `format`, by path, and the sentences for stderr.

    `BadInput` if no run has that baseline.
    """
    if format in (*TEXTS, "parquet"):
        table = without_places(build(runs, baseline or baseline_of(runs)))
        content = parquet(table) if format == "parquet" else render(table, format).encode()
        return {out: content}, sentences(unfinished(runs))
    from .page import page

    gathered = gather(runs, request, baseline)
    report = replace(gathered, table=without_places(gathered.table))
    if format == "html":
        return {out: page(report).encode()}, [*sentences(report.notes), *([] if drawable() else [NO_PLOTS])]
    plots = draw(report)
    files = {_beside(out, plot.name): image(plot, format) for plot in plots if plot.figure}
    return files, [*sentences(report.notes), *(plot.caption for plot in plots if not plot.figure)]


def _beside(out: Path, name: str) -> Path:
    return out.with_name(f"{out.stem}-{name}{out.suffix}")


def parquet(table: Table) -> bytes:
    """Make a Parquet file of all rows and columns: numbers as float64 or int64, other values as text, none as null."""
    import io

    import pyarrow
    from pyarrow import parquet as store

    columns = {column.name: _column(pyarrow, column.name, column.number, table) for column in COLUMNS}
    sink = io.BytesIO()
    store.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _column(pyarrow: Any, name: str, number: bool, table: Table) -> Any:
    values = [row[name] for row in table.rows]
    if name in INTEGERS:
        return pyarrow.array(values, pyarrow.int64())
    if number:
        return pyarrow.array([None if value is None else float(value) for value in values], pyarrow.float64())
    return pyarrow.array([None if value is None else _storable(value) for value in values], pyarrow.string())


def _storable(value: object) -> str:
    """`value` as text, with `?` for each lone surrogate: UTF-8, which Parquet demands, has no code for it."""
    return str(value).encode("utf-8", "replace").decode()
