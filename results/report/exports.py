"""Runs in the formats of other tools, as files by name. pyarrow, matplotlib and jinja2, inside functions.

csv, markdown and parquet are the whole table; png and svg are the plots, a file each.
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

INTEGERS = ("batch", "samples", "rounds", "disturbed", "lanes", "throughput_threads", "threads", "images")
TEXTS = ("markdown", "csv")
IMAGES = ("png", "svg")
NEEDED = {"html": ("jinja2", "matplotlib"), "parquet": ("pyarrow",), "png": ("matplotlib",), "svg": ("matplotlib",)}
INSTALL = "pip install 'onnxbench[report]'"


def require(format: str) -> None:
    """`Unavailable`, with what to install, if a library that `format` takes is not here."""
    for name in NEEDED.get(format, ()):
        with installed(name, INSTALL):
            importlib.import_module(name)


def export(
    runs: Sequence[Run], format: str, out: Path, request: Request, baseline: str | None
) -> tuple[dict[Path, bytes], list[str]]:
    """The files that the report in `format` is, by their path, and what people should be told of it.

    `BadInput` if no run has that baseline.
    """
    if format in (*TEXTS, "parquet"):
        table = without_places(build(runs, baseline or baseline_of(runs)))
        content = parquet(table) if format == "parquet" else render(table, format).encode()
        return {out: content}, sentences(unfinished(runs))
    from .page import page
    from .plots import draw, image

    gathered = gather(runs, request, baseline)
    report = replace(gathered, table=without_places(gathered.table))
    if format == "html":
        return {out: page(report).encode()}, sentences(report.notes)
    plots = draw(report)
    files = {_beside(out, plot.name): image(plot, format) for plot in plots if plot.figure}
    return files, [*sentences(report.notes), *(plot.caption for plot in plots if not plot.figure)]


def _beside(out: Path, name: str) -> Path:
    return out.with_name(f"{out.stem}-{name}{out.suffix}")


def parquet(table: Table) -> bytes:
    """All rows and columns: numbers as float64 or int64, all else as text; null where a row has no value."""
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
    """A text without what UTF-8 cannot hold."""
    return str(value).encode("utf-8", "replace").decode()
