"""Importer of other tools' files as rows of a table. The content of a file decides on its format. Standard library only.

Each format is a module in this folder and an entry in FORMATS.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, one_line
from ...evidence import Imported
from ...spec import Cell, Precision, Settings, Target
from ...untrusted import read_bytes
from . import benchmark_app, loadgen, trtexec
from .formats import Format, ImportedFigures

FORMATS: tuple[Format, ...] = (benchmark_app.JSON, trtexec.TIMES, loadgen.SUMMARY, trtexec.LOG, benchmark_app.CSV)
FILLED = ("backend", "batch", "device")  # options that replace a value that is missing in a file
LARGEST = 64_000_000  # bytes: trtexec exports a few hundred a query
UNPROVEN = (
    "measured by {}: without rounds there is no interval, and without evidence of noise there is no grade",
    "the file and the machine are identified only by their names",
)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Values from the command line for what files do not contain. `model` overrides the name in a file."""

    backend: str | None = None
    model: str | None = None
    precision: str | None = None
    batch: int | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImportedRow:
    """A cell and the event for its journal."""

    cell: Cell
    event: Imported


def read_rows(paths: Sequence[Path], options: ImportOptions) -> list[ImportedRow]:
    """Read a row from each file. `BadInput` for an unreadable file, a missing value, and two files of the same row."""
    rows: dict[str, tuple[Path, ImportedRow]] = {}
    contents = {path: read_figures(path) for path in paths}
    _check_used(contents, options)
    for path in paths:
        row = _row(path, contents[path], options)
        if row.cell.key in rows:
            other = rows[row.cell.key][0]
            raise BadInput(f"{other} and {path} are the same row, {row.cell.id}", "import each file with its own --out")
        rows[row.cell.key] = (path, row)
    return [row for _, row in rows.values()]


def read_figures(path: Path) -> ImportedFigures:
    """Read the figures in the file at `path`. `BadInput` for an unknown format, and for a damaged file."""
    text = _text(path)
    format = next((item for item in FORMATS if item.looks(text)), None)
    if format is None:
        formats = ", ".join(item.name for item in FORMATS)
        raise BadInput(f"{path} has an unknown format", f"give one of these files: {formats}")
    try:
        return format.parse(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"cannot read {path} as {format.name}: {one_line(error)}", "run the tool again") from error


def _text(path: Path) -> str:
    """Text of the file, in UTF-8, or in UTF-16, which PowerShell writes when it redirects output."""
    if not path.exists():
        raise BadInput(f"there is no file {path}", "write the path of a file of another tool")
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path} is larger than {LARGEST // 1_000_000} MB", "give a file of a single run")
        data = read_bytes(path)
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise BadInput(f"cannot read {path} as text ({one_line(error)})", "give a text file of another tool") from error


def _check_used(contents: Mapping[Path, ImportedFigures], options: ImportOptions) -> None:
    """`BadInput` for an option that contradicts a file and that no file needs.

    Also for an option that contradicts the guess for one of several files.
    """
    for name in FILLED:
        value, stated = getattr(options, name), {path: getattr(item, name) for path, item in contents.items()}
        if value is None:
            continue
        other = next((path for path in stated if stated[path] != value), None)
        if other and None not in stated.values():
            raise BadInput(f"--{name} {value} contradicts {other}, which has {stated[other]}", f"leave --{name} out")
        # A guess gives way to an option. With several files nobody can tell which of them the option is for.
        unsure = next((path for path, item in contents.items() if item.guesses.get(name, value) != value), None)
        if unsure and len(contents) > 1:
            guess = contents[unsure].guesses[name]
            raise BadInput(f"--{name} {value} may be wrong for {unsure}, which seems to have {guess}", "import that file alone")


def _row(path: Path, stated: ImportedFigures, options: ImportOptions) -> ImportedRow:
    filled = {name: _first(getattr(stated, name), getattr(options, name), stated.guesses.get(name)) for name in FILLED}
    figures = replace(stated, **{**filled, "model": _first(options.model, stated.model)})
    missing = _missing(figures, options)
    if missing:
        needed = " ".join(f"--{name}" for name in missing)
        raise BadInput(f"{path} does not contain its {' or '.join(missing)}", f"give {needed}")
    precision = Precision.parse(str(options.precision)).name
    notes = [*(text.format(figures.tool) for text in UNPROVEN), *figures.notes]
    event = Imported(figures=_by_column(figures), notes=tuple(notes), tool=figures.tool, version=figures.version)
    return ImportedRow(cell=_cell(figures, precision), event=event)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _missing(figures: ImportedFigures, options: ImportOptions) -> list[str]:
    """Names of the options that the user must give."""
    own = [name for name in ("backend", "model", "batch", "device") if getattr(figures, name) is None]
    # The files contain no precision, or one that does not describe the arithmetic: the user always gives it.
    return [*own, *([] if options.precision else ["precision"])]


def _cell(figures: ImportedFigures, precision: str) -> Cell:
    """Cell of the runtime, in an environment with the name of the tool."""
    target = Target.parse(f"{figures.backend}@{figures.tool}")
    return Cell(
        model=str(figures.model),
        sha256="",
        backend=target.backend,
        environment=target.environment,
        device=str(figures.device),
        precision=precision,
        batch=int(figures.batch or 1),
        shapes=(),
        settings=Settings(threads=figures.threads, options=figures.settings),
    )


def _by_column(figures: ImportedFigures) -> dict[str, Any]:
    if figures.queries_per_s is None:
        return dict(figures.figures)
    return {**figures.figures, "throughput_per_s": figures.queries_per_s * int(figures.batch or 1)}


def versions(rows: Sequence[ImportedRow]) -> dict[str, str]:
    """Versions of the runtimes by target, for the files that contain one."""
    return {str(row.cell.target): row.event.version for row in rows if row.event.version}
