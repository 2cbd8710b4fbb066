"""Parser of the table that Ultralytics' `yolo benchmark` prints and appends to benchmarks.log. Standard library only.

The format comes from its published sources and from published tables of versions 8.0 to 8.3, in pandas', polars' and
Markdown's layout. Each format that ran is a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .formats import Format, ImportedFigures, Unusable, inert, number, stem
from .trtexec import BACKEND

TOOL = "ultralytics"
TIME = "Inference time (ms/im)"
HEAD = re.compile(r"Benchmarks complete for (\S.{0,200}?) on (\S.{0,200}?) at imgsz=(\d+)")
SYSTEM = re.compile(
    r"Ultralytics \S{0,20}?\d+\.\d+\.\d+\D.{0,200}?torch-\S{1,40} "
    r"(?:CUDA:(?P<index>\d{1,3}) \((?P<gpu>.{1,100}?), \d+MiB\)|CPU(?: \((?P<cpu>.{1,100})\))?)"
)
NAME = re.compile(r"Format|Status|Size \(MB\)|metrics/\S+|Inference time \(ms/im\)|FPS")
CELL = re.compile(r"\s*[│┆|]\s*")
STATUS = {"✅": True, "❎": False, "❌": False}
RUNTIMES = (  # of a format's name, with the kind of device where the name of the backend has it
    ("pytorch", "torch-{device}"),
    ("onnx", "ort-{device}"),
    ("openvino", "openvino-{device}"),
    (BACKEND, BACKEND),
)
RUN = "yolo benchmark model=yolo11n.pt imgsz=640"
MEAN = "Ultralytics measured a mean of {:g} ms an image, with its own loop over a data set and without pre- and post-processing"
SIZE = "inputs have {0}x{0} pixels"
FAILED = "left out, because the export or the run failed: {}"
NO_MEDIAN = "p50_ms is left out: Ultralytics reports the mean"


def _looks(text: str) -> bool:
    return TIME in text and "Format" in text


def _parse(text: str) -> list[ImportedFigures]:
    rows = list(_rows(text))
    if not rows:
        raise Unusable("none of its formats has a time", f"run it again and keep what it prints: {RUN}")
    return rows


def _rows(text: str) -> Iterator[ImportedFigures]:
    """Rows of each table, with the line `Benchmarks complete` before it and the machine of the last line before that."""
    head: re.Match[str] | None = None
    system: re.Match[str] | None = None
    names: Sequence[str] = ()
    table: list[Mapping[str, str]] = []
    for line in [*(raw[:1000] for raw in text.splitlines()), ""]:
        if TIME in line:
            names = NAME.findall(line)
        elif names and line.strip():
            record = _record(names, _cells(line))
            table += [record] if record else []
        else:
            yield from _figures(table, head, system)
            names, table = (), []
            head, system = HEAD.search(line) or head, SYSTEM.search(line) or system


def _cells(line: str) -> list[str]:
    """Cells of a line: between bars, or the name before the mark of the status and the words after it."""
    if re.search("[│┆|]", line):
        return CELL.split(line.strip().strip("│|").strip())
    # In pandas' layout a name may contain spaces, and two numbers may have one space between them.
    name, *rest = re.split("(✅|❎|❌)\ufe0f?", line, maxsplit=1)
    return [name.strip(), rest[0], *rest[1].split()] if rest else []


def _record(names: Sequence[str], cells: Sequence[str]) -> Mapping[str, str] | None:
    """Cells by the name of their column, without the number of the row; None for a line that is not a row of the table."""
    if not any(mark in cell for cell in cells for mark in STATUS):
        return None
    if len(cells) == len(names) + 1:
        cells = cells[1:]
    if len(cells) != len(names):
        raise ValueError(f"a row has {len(cells)} values, and the table has {len(names)} columns")
    # Without bars the number and the name of a format may have one space between them.
    record = dict(zip(names, [re.sub(r"^\d+\s+", "", cells[0]), *cells[1:]]))
    return record if _status(record) in STATUS else None


def _status(record: Mapping[str, str]) -> str:
    return record.get("Status", "").strip("\ufe0f ")


def _figures(
    table: Sequence[Mapping[str, str]], head: re.Match[str] | None, system: re.Match[str] | None
) -> Iterator[ImportedFigures]:
    ran = [record for record in table if STATUS[_status(record)] and _time(record)]
    failed = ", ".join(inert(record.get("Format", "?"), 30) for record in table if record not in ran)
    for record in ran:
        milliseconds = number(_time(record), TIME)
        kind = inert(record.get("Format", ""), 40).strip().lower().replace(" ", "_")
        yield ImportedFigures(
            tool=TOOL,
            model=stem(head[1]) if head else None,
            batch=1,
            items_per_s=1e3 / milliseconds,
            figures={"lanes": 1},
            settings=(("format", kind),),
            facts=(("format", kind), *((("imgsz", head[3]),) if head else ())),
            notes=(
                MEAN.format(milliseconds),
                NO_MEDIAN,
                *((SIZE.format(head[3]),) if head else ()),
                *((FAILED.format(failed),) if failed else ()),
                *_accuracy(record),
            ),
            **_machine(kind, system),
        )


def _time(record: Mapping[str, str]) -> str:
    text = record.get(TIME, "").strip()
    return "" if text.lower() in ("", "-", "nan", "none", "null") else text


def _accuracy(record: Mapping[str, str]) -> tuple[str, ...]:
    """Note with the metric of accuracy, which has no column: its name depends on the task."""
    metric = next((name for name in record if name.startswith("metrics/")), None)
    return (f"Ultralytics' {inert(metric, 40)} is {inert(record[metric], 20)}",) if metric else ()


def _machine(kind: str, system: re.Match[str] | None) -> dict[str, Any]:
    """Backend, device and names of the machine, as far as the format's name and the line of the system say."""
    backend = next((target for word, target in RUNTIMES if word in kind), None)
    if not system:
        return {"guesses": {"backend": backend}} if backend else {}
    device = f"cuda:{int(system['index'])}" if system["index"] else "cpu"
    return {
        "device": device,
        "backend": backend.replace("{device}", device.partition(":")[0]) if backend else None,
        "processor": inert(system["cpu"], 80) if system["cpu"] else None,
        "accelerator": inert(system["gpu"], 80) if system["gpu"] else None,
    }


TABLE = Format(name="Ultralytics' benchmark table", looks=_looks, parse=_parse, run=RUN, log=True)
