"""Files of other tools as rows of this one's table: each format by its content, not by its name. Standard library only.

A format is one file beside this one and one entry here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
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
FILLED = ("backend", "batch", "device")  # what options fill in where a file does not say it
LARGEST = 64_000_000  # bytes: trtexec exports a few hundred a query
UNPROVEN = (
    "measured by {}: no rounds, so no interval, and no grade, as no evidence of noise came with it",
    "which file it ran, and on which machine, is not known but by name",
)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user says of what files do not say, and what the model is called whatever they say."""

    backend: str | None = None
    model: str | None = None
    precision: str | None = None
    batch: int | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImportedRow:
    """A cell, and its journal's event."""

    cell: Cell
    event: Imported


def read_rows(paths: Sequence[Path], options: ImportOptions) -> list[ImportedRow]:
    """A row for each file. `BadInput` for a file that cannot be taken, for what nobody says, and for the same row twice."""
    made: dict[str, tuple[Path, ImportedRow]] = {}
    found = {path: read_figures(path) for path in paths}
    _check_used(found, options)
    for path in paths:
        row = _row(path, found[path], options)
        if row.cell.key in made:
            other = made[row.cell.key][0]
            raise BadInput(f"{other} and {path} are the same row, {row.cell.id}", "import each into a run of its own")
        made[row.cell.key] = (path, row)
    return [row for _, row in made.values()]


def read_figures(path: Path) -> ImportedFigures:
    """What the file at `path` says. `BadInput` for a format that is not known, and for a damaged file."""
    text = _text(path)
    format = next((item for item in FORMATS if item.looks(text)), None)
    if format is None:
        known = ", ".join(item.name for item in FORMATS)
        raise BadInput(f"{path} is of no format that is known", f"what can be imported: {known}")
    try:
        return format.parse(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be taken as {format.name} ({one_line(error)})", "run that tool again") from error


def _text(path: Path) -> str:
    """The file's text: UTF-8, or UTF-16 as PowerShell redirects it."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path} is larger than {LARGEST // 1_000_000} MB", "cut it down to one run")
        data = read_bytes(path)
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise BadInput(
            f"cannot read {path} as text ({one_line(error)})", "give a file that one of those tools wrote"
        ) from error


def _check_used(found: Mapping[Path, ImportedFigures], options: ImportOptions) -> None:
    """`BadInput` for an option that no file needs, where one says something else, and for one of several files that only seems
    to be something else."""
    for name in FILLED:
        value, said = getattr(options, name), {path: getattr(item, name) for path, item in found.items()}
        if value is None:
            continue
        other = next((path for path in said if said[path] != value), None)
        if other and None not in said.values():
            raise BadInput(f"--{name} {value} is not what {other} says ({said[other]})", f"leave --{name} out")
        unsure = next((path for path, item in found.items() if item.guesses.get(name, value) != value), None)
        if unsure and len(found) > 1:
            raise BadInput(f"--{name} {value} may not be meant for {unsure} ({found[unsure].guesses[name]})", "import it apart")


def _row(path: Path, found: ImportedFigures, options: ImportOptions) -> ImportedRow:
    filled = {name: _first(getattr(found, name), getattr(options, name), found.guesses.get(name)) for name in FILLED}
    known = replace(found, **{**filled, "model": _first(options.model, found.model)})
    lacking = _lacking(known, options)
    if lacking:
        raise BadInput(f"{path} does not say its {' or '.join(lacking)}", f"give {' '.join(f'--{name}' for name in lacking)}")
    precision = Precision.parse(str(options.precision)).name
    notes = [*(text.format(found.tool) for text in UNPROVEN), *found.notes]
    event = Imported(figures=_figures(known), notes=tuple(notes), tool=found.tool, version=found.version)
    return ImportedRow(cell=_cell(known, precision), event=event)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _lacking(known: ImportedFigures, options: ImportOptions) -> list[str]:
    """The options that are needed; a precision is in none of the files, or says nothing of the arithmetic."""
    own = [name for name in ("backend", "model", "batch", "device") if getattr(known, name) is None]
    return [*own, *([] if options.precision else ["precision"])]


def _cell(known: ImportedFigures, precision: str) -> Cell:
    """The cell, on the runtime in an environment that is called as the tool is."""
    target = Target.parse(f"{known.backend}@{known.tool}")
    return Cell(
        model=str(known.model),
        sha256="",
        backend=target.backend,
        environment=target.environment,
        device=str(known.device),
        precision=precision,
        batch=int(known.batch or 1),
        shapes=(),
        settings=Settings(threads=known.threads, options=known.settings),
    )


def _figures(known: ImportedFigures) -> dict[str, Any]:
    rate = {} if known.queries_per_s is None else {"throughput_per_s": known.queries_per_s * int(known.batch or 1)}
    return {**known.figures, **rate}


def versions(made: Sequence[ImportedRow]) -> dict[str, str]:
    """The version of each target's runtime, where a file tells it."""
    return dict(_versions(made))


def _versions(made: Sequence[ImportedRow]) -> Iterator[tuple[str, str]]:
    for row in made:
        if row.event.version:
            yield str(row.cell.target), row.event.version
