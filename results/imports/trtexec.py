"""Parser of TensorRT trtexec's `--exportTimes=FILE`, and the notes on all of trtexec's figures. Standard library only.

The formats come from the published sources of versions 7, 8 and 10, and from published logs of versions 7, 8 and 10, not
from own runs. The first versions 8 have `endToEndMs` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import median
from typing import Any

from .formats import Figure, Format, ImportedFigures, number

TOOL, BACKEND = "trtexec", "tensorrt"
TIMES_NAMES = ("latencyMs", "computeMs", "h2dMs", "d2hMs")
E2E = "e2e_p50_ms is the sum of copying in, computing and copying out by the device's clock, without enqueueing and waiting"
COMPUTED = "device_p50_ms is trtexec's GPU compute time, during which other queries' transfers may run"
COMPUTED_ALONE = "device_p50_ms is trtexec's GPU compute time"
NO_CALL = "p50_ms is left out: trtexec does not report the latency of a call that the caller sees"
OVERLAP = "throughput is queries a second times the batch, and transfers of a query overlap the computation of another"
NO_OVERLAP = "throughput is queries a second times the batch, without transfers"
COUNTS_ITEMS = "trtexec counts each item of an implicit batch as a query: throughput is as printed"
WARM_UP = "the exported times may contain warm-up queries"
NO_TRANSFERS = "e2e_p50_ms is left out: trtexec copied nothing ({})"
OPTION, DEFAULT = "--noDataTransfers", "the default since TensorRT 11"


def _looks_times(text: str) -> bool:
    return text.lstrip().startswith("[") and any(f'"{name}"' in text[:10_000] for name in TIMES_NAMES)


def _parse_times(text: str) -> list[ImportedFigures]:
    data = json.loads(text)
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise ValueError("it is not a list of queries")
    latency, compute, h2d, d2h = ([_time(item, name) for item in data] for name in TIMES_NAMES)
    first, last = (_time(data[index], name) for index, name in ((0, "startH2dMs"), (-1, "endD2hMs")))
    if last <= first:
        raise ValueError("its last query ends before its first begins")
    medians = {"latency": median(latency), "computation": median(compute), "h2d": median(h2d), "d2h": median(d2h)}
    # trtexec runs on GPU 0 without --device, and its times file contains neither device nor batch.
    guesses = {"device": "cuda:0"}
    rate = len(data) / (last - first) * 1e3
    notes = (rate_note(medians["h2d"] > 0 or medians["d2h"] > 0, False), WARM_UP)
    return [figures_of(medians, queries_per_s=rate, guesses=guesses, notes=notes, figures={"samples": len(data)})]


def _time(query: Mapping[str, Any], name: str) -> float:
    return number(query.get(name), name, least=-1e-9)


def figures_of(medians: Mapping[str, float], *, figures: Mapping[str, Figure], major: int = 0, **more: Any) -> ImportedFigures:
    """Build the figures of a run from its `medians` in ms: latency, computation, h2d and d2h.

    `major`: version of TensorRT, 0 for an unknown one. `more`: other fields of `ImportedFigures`.
    """
    copied = medians["h2d"] > 0 or medians["d2h"] > 0
    columns = {**figures, "device_p50_ms": number(medians["computation"], "the median computation")}
    if copied:
        columns["e2e_p50_ms"] = number(medians["latency"], "the median latency")
    uncopied = NO_TRANSFERS.format(DEFAULT if major >= 11 else OPTION)
    notes = (E2E, COMPUTED) if copied else (uncopied, COMPUTED_ALONE)
    extra = more.pop("notes", ())
    return ImportedFigures(tool=TOOL, backend=BACKEND, figures=columns, notes=(*notes, NO_CALL, *extra), **more)


def rate_note(copied: bool, items_counted: bool) -> str:
    """Note on the throughput. `items_counted`: trtexec counted each item of a batch."""
    if items_counted:
        return COUNTS_ITEMS
    return OVERLAP if copied else NO_OVERLAP


TIMES = Format(
    name="trtexec's --exportTimes file",
    looks=_looks_times,
    parse=_parse_times,
    run="trtexec --onnx=FILE.onnx --exportTimes=times.json",
)
