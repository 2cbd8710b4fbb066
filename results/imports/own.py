"""Parser of your own CSV or JSON: one latency a line, or columns by name (docs/sharing.md). Standard library only.

latency_ms               model,backend,device,precision,batch,p50_ms,throughput_per_s
1.25                     detector,my-runtime,cpu,fp32,1,1.27,790
1.31
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...spec import nearest
from .formats import Figure, Format, ImportedFigures, Unusable, inert, number, whole

TOOL = "own"
SCALES = {"latency_ms": 1.0, "latency_s": 1e3, "latency_us": 1e-3, "latency_ns": 1e-6}
LISTS = {f"latencies_{name.rpartition('_')[2]}": scale for name, scale in SCALES.items()}
TEXTS = ("model", "backend", "device", "precision", "tool", "version", "processor", "accelerator", "ran")
COUNTS = ("batch", "threads")
WHOLE = ("samples", "lanes")
NUMBERS = (
    *("p50_ms", "p90_ms", "p95_ms", "p99_ms", "e2e_p50_ms", "device_p50_ms", "throughput_per_s"),
    *("build_s", "load_s", "first_ms", "cold_s", "peak_rss_mb", "device_mem_mb", "artifact_mb", "top1", "energy_mj"),
    *("loaded_per_s", "loaded_p50_ms", "loaded_p90_ms", "loaded_p95_ms", "loaded_p99_ms", "tokens_per_s"),
    *("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms"),
)
NAMES = (*TEXTS, *COUNTS, *WHOLE, *NUMBERS)
FIGURES = {*WHOLE, *NUMBERS}
REMARK = re.compile(r"#\s*([a-z0-9_]+)\s*[:=]\s*(.*)")
DEFINED = "the figures mean what their author measured: nothing in the file shows how"
WITHHELD = "{} is left out: it needs {} latencies"
CONFIDENCE = 0.95
RUN = "your own program, with one latency a line after a first line latency_ms"
DOCUMENT = "see docs/sharing.md for the columns"


def _looks_csv(text: str) -> bool:
    head = next((line for line in text[:20_000].splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    names = {name.strip().strip('"') for name in re.split(r"[,;\t]", head)}
    return bool(names & (FIGURES | SCALES.keys()))


def _looks_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    return any(f'"{name}"' in text for name in (*LISTS, *NUMBERS)) and '"unit"' not in text[:100_000]


def _parse_json(text: str) -> list[ImportedFigures]:
    data = json.loads(text)
    items = data if isinstance(data, list) else [data]
    if not items or not all(isinstance(item, dict) for item in items):
        raise Unusable("it is not an object or a list of objects", DOCUMENT)
    return [_of_object(item) for item in items]


def _of_object(item: Mapping[str, Any]) -> ImportedFigures:
    names = [name for name in LISTS if name in item]
    if len(names) > 1 or any(not isinstance(item[name], list) for name in names):
        raise Unusable(f"{' and '.join(names)} must be one list of numbers", DOCUMENT)
    values = {name: value for name, value in item.items() if name not in names}
    return _row(values, [number(value, names[0]) * LISTS[names[0]] for value in item[names[0]]] if names else ())


def _parse_csv(text: str) -> list[ImportedFigures]:
    remarks: dict[str, str] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if match := REMARK.fullmatch(line.strip()):
            remarks.setdefault(match[1], match[2].strip())
        elif line.strip() and not line.lstrip().startswith("#"):
            lines.append(line)
    head = lines[0].strip().rstrip(",;").strip('"')
    if head in SCALES:
        named = ((line.strip().rstrip(",;"), f"latency {at}") for at, line in enumerate(lines[1:], 1))
        return [_row(remarks, [number(text, name) * SCALES[head] for text, name in named])]
    records = _records(lines)
    texts = ({name.strip(): text.strip() for name, text in record.items() if text.strip()} for record in records)
    return [_row({**remarks, **values}, ()) for values in texts]


def _records(lines: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table by the names in its first line. `Unusable` without rows, and for rows of another length."""
    separator = next(mark for mark in (";", "\t", ",") if mark in lines[0] or mark == ",")
    try:
        records = list(csv.DictReader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise Unusable(f"it is not a table of values: {error}", DOCUMENT) from error
    if not records:
        raise Unusable("it has a first line and no rows", DOCUMENT)
    if any(None in record or None in record.values() for record in records):
        raise Unusable("a line has more or fewer values than the first line has columns", DOCUMENT)
    return records


def _row(values: Mapping[str, Any], latencies: Sequence[float]) -> ImportedFigures:
    """Row of named values and of latencies in ms. `Unusable` for a name that this tool does not have."""
    other = next((name for name in values if name not in NAMES), None)
    if other is not None:
        raise Unusable(f"{inert(other, 40)!r} is not a column of an import", f"{nearest(other, NAMES)}; {DOCUMENT}")
    texts = {name: inert(values[name], 100).strip() or None for name in TEXTS if values.get(name) is not None}
    measured, notes = _percentiles(latencies)
    figures = {**_figures(values), **measured}
    if not figures:
        raise Unusable("it has no figures", DOCUMENT)
    return ImportedFigures(
        tool=re.sub(r"[^A-Za-z0-9_-]", "-", texts.pop("tool", None) or TOOL)[:40],
        precisions=(precision,) if (precision := texts.pop("precision", None)) else (),
        batch=whole(values["batch"], "batch") if values.get("batch") is not None else None,
        threads=whole(values["threads"], "threads") if values.get("threads") is not None else 0,
        figures=figures,
        notes=(DEFINED, *notes),
        **texts,  # type: ignore[arg-type]
    )


def _figures(values: Mapping[str, Any]) -> dict[str, Figure]:
    counts = {name: whole(values[name], name) for name in WHOLE if values.get(name) is not None}
    numbers = {name: number(values[name], name) for name in NUMBERS if values.get(name) is not None}
    return {**counts, **numbers}


def _percentiles(latencies: Sequence[float]) -> tuple[dict[str, Figure], list[str]]:
    """Nearest-rank percentiles in ms for which there are enough latencies, and notes on the others."""
    if not latencies:
        return {}, []
    ordered = sorted(latencies)
    columns: dict[str, Figure] = {"samples": len(ordered)}
    notes = []
    for which in (50, 90, 95, 99):
        needed = _needed(which)
        if len(ordered) >= needed:
            columns[f"p{which}_ms"] = ordered[math.ceil(which / 100 * len(ordered)) - 1]
        else:
            notes.append(WITHHELD.format(f"p{which}_ms", needed))
    return columns, notes


def _needed(percentile: float) -> int:
    """Number of latencies that a percentile needs, by the rule of own rows (results/stats/percentiles.py)."""
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(percentile / 100))


CSV = Format(name="your own CSV", looks=_looks_csv, parse=_parse_csv, run=RUN)
JSON = Format(name="your own JSON", looks=_looks_json, parse=_parse_json, run=RUN)
