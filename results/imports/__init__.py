"""Importer of other tools' files as rows of a table. The content of a file decides on its format. Standard library only.

Each format is a module in this folder and an entry in FORMATS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, one_line
from ...evidence import Imported
from ...spec import Cell, Options, Precision, Settings, Target
from . import (
    benchmark_app,
    benchmark_app_log,
    loadgen,
    onnxruntime_perf_test,
    optimum_benchmark,
    own,
    perf_analyzer,
    trtexec,
    trtexec_log,
    ultralytics,
)
from .contradictions import FILLED, renamed, require_agreement
from .formats import Format, ImportedFigures
from .text import LARGEST, read_text, unknown

FORMATS: tuple[Format, ...] = (  # a text is of the first format that it looks like
    benchmark_app.JSON,
    benchmark_app.CSV,
    benchmark_app_log.LOG,
    trtexec.TIMES,
    trtexec_log.LOG,
    loadgen.SUMMARY,
    onnxruntime_perf_test.OUTPUT,
    perf_analyzer.CSV,
    ultralytics.TABLE,
    optimum_benchmark.JSON,
    own.JSON,
    own.CSV,
)
UNPROVEN = (
    "measured by {}: without rounds there is no interval, and without evidence of noise there is no grade",
    "the file and the machine are identified only by their names",
)
MOST_GPUS = 64  # an index above comes from a damaged file
RAN = "it ran {}"  # what the file says of the time and the machine


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Values from the command line for what files do not contain. `model` may be `NAME` or `NAME-IN-THE-FILE=NAME`."""

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
    """Read the rows of each file. `BadInput` for an unreadable file, a missing or contradicted value, and equal rows."""
    contents = {path: read_figures(path) for path in paths}
    require_agreement(contents, options)
    rows: dict[str, tuple[Path, ImportedRow]] = {}
    for path in paths:
        for row in _rows(path, contents[path], options):
            if row.cell.key in rows:
                other = rows[row.cell.key][0]
                raise BadInput(f"{other} and {path} are the same row, {row.cell.id}", "import each file with its own --out")
            rows[row.cell.key] = (path, row)
    return [row for _, row in rows.values()]


def read_figures(path: Path) -> Sequence[ImportedFigures]:
    """Read the figures in the file at `path`. `BadInput` for an unknown format, a damaged file, and output of two tools."""
    text = read_text(path, LARGEST)
    matches = [item for item in FORMATS if item.looks(text)]
    if not matches:
        raise unknown(path, text, FORMATS)
    if len(matches) > 1 and all(item.log for item in matches):
        names = " and ".join(item.name for item in matches)
        raise BadInput(f"{path} contains {names}", "write the output of each tool to a file of its own")
    format = matches[0]
    try:
        rows = format.parse(text)
    except (ValueError, RecursionError) as error:
        hint = getattr(error, "hint", f"run it again and keep the whole output: {format.run}")
        raise BadInput(f"cannot read {path} as {format.name}: {one_line(error)}", hint) from error
    for row in rows:
        _require_finite(path, row.figures)
    return rows


def _require_finite(path: Path, figures: Mapping[str, Any]) -> None:
    """`BadInput` for a figure that a change of its unit made infinite or 0."""
    name = next((name for name, value in figures.items() if isinstance(value, float) and not 0 < value < math.inf), None)
    if name:
        raise BadInput(f"{path} has a {name} of {figures[name]:g}, which no run has", "run the tool again")


def _rows(path: Path, contents: Sequence[ImportedFigures], options: ImportOptions) -> Iterator[ImportedRow]:
    """Rows of one file. Repeated measurements of a cell get a number, since a table has one row for a cell."""
    counts: dict[str, int] = {}
    for figures in contents:
        row = _row(path, figures, options)
        counts[row.cell.key] = counts.get(row.cell.key, 0) + 1
        if counts[row.cell.key] > 1:
            repeat: Options = (("repeat", str(counts[row.cell.key])),)
            row = _row(path, replace(figures, settings=(*figures.settings, *repeat)), options)
        yield row


def _row(path: Path, stated: ImportedFigures, options: ImportOptions) -> ImportedRow:
    values = {name: _first(getattr(stated, name), getattr(options, name), stated.guesses.get(name)) for name in FILLED}
    # Of the precisions that a file allows, the user may name another than the first.
    values["precision"] = _first(options.precision if options.precision in stated.precisions else None, values["precision"])
    values["model"] = renamed(options.model, _first(stated.model, stated.guesses.get("model")))
    if isinstance(values["backend"], str):
        kind = str(values["device"]).partition(":")[0] if values["device"] else "{device}"
        values["backend"] = values["backend"].replace("{device}", kind)
    missing = [name for name in FILLED if values[name] is None]
    if missing:
        needed = " ".join(f"--{name}" for name in missing)
        raise BadInput(f"{path} does not contain its {' or '.join(missing)}", f"give {needed}")
    precision = Precision.parse(str(values["precision"])).name
    filled = {name: values[name] for name in ("backend", "batch", "device", "model")}
    figures = replace(stated, **filled)
    return ImportedRow(cell=_cell(figures, precision), event=_event(path, figures))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


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


def _event(path: Path, figures: ImportedFigures) -> Imported:
    columns = dict(figures.figures)
    if figures.items_per_s is not None:
        columns["throughput_per_s"] = figures.items_per_s
    if figures.queries_per_s is not None:
        columns["throughput_per_s"] = _items_per_s(path, figures)
    _require_finite(path, columns)
    if settings := " ".join(f"{name}={value}" for name, value in (*figures.facts, *figures.definition)):
        columns["settings"] = settings
    facts = {"ran": figures.ran, "processor": figures.processor, "accelerator": figures.accelerator, **dict(figures.definition)}
    return Imported(
        tool=figures.tool,
        figures=columns,
        notes=(*(text.format(figures.tool) for text in UNPROVEN), *_ran(figures), *figures.notes),
        version=figures.version,
        facts={name: value for name, value in facts.items() if value},
    )


def _items_per_s(path: Path, figures: ImportedFigures) -> float:
    """Items a second. `BadInput` for a rate that is impossible with the durations of the file."""
    batch, rate = int(figures.batch or 1), float(figures.queries_per_s or 0)
    if figures.at_once <= 1:
        return rate * batch
    # Without the head of a log only the durations show that its rate counts the items of an implicit batch.
    if figures.at_once <= batch:
        return rate
    raise BadInput(
        f"{path} has {rate:g} queries a second, which is impossible with the duration of a query and batch {batch}",
        "give the batch of the run with --batch, or a log with its head, which contains the batch",
    )


def _ran(figures: ImportedFigures) -> list[str]:
    machine = figures.accelerator or figures.processor
    facts = [f"on {machine}" if machine else "", f"at {figures.ran} by its own clock" if figures.ran else ""]
    text = " ".join(filter(None, facts))
    return [RAN.format(text)] if text else []


def machine(rows: Sequence[ImportedRow]) -> tuple[str | None, dict[int, str]]:
    """Name of the processor, and names of the GPUs by index, where the files agree; None without a processor.

    `BadInput` for files of several machines, which one run folder cannot hold.
    """
    processors = {row.event.facts.get("processor") for row in rows}
    named = sorted(name for name in processors if name)
    gpus = {(row.cell.device, row.event.facts["accelerator"]) for row in rows if "accelerator" in row.event.facts}
    if len(named) > 1 or len(gpus) > len({device for device, _ in gpus}):
        names = ", ".join(named if len(named) > 1 else sorted(str(name) for _, name in gpus))
        raise BadInput(f"the files are of several machines: {names}", "import the files of each machine with its own --out")
    indices = {int(device.partition(":")[2] or 0): str(name) for device, name in gpus if device != "cpu"}
    few = {index: name for index, name in indices.items() if index < MOST_GPUS}
    return (named[0] if processors == set(named) and named else None), few


def versions(rows: Sequence[ImportedRow]) -> dict[str, str]:
    """Versions of the runtimes by target, for the files that contain one."""
    return {str(row.cell.target): row.event.version for row in rows if row.event.version}
