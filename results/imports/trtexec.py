"""TensorRT's trtexec: what `--exportTimes=FILE` writes, and the log that it prints. Standard library only.

The formats were read in the published source of a version 8 and in logs of 8 and 10 that people showed, and not seen from a run
(the first of 8 have `endToEndMs` too, and one percentile in the log). Logs of 7, of another layout, are not taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .formats import Figure, Format, ImportedFigures, number

TOOL, BACKEND = "trtexec", "tensorrt"
TIMES_NAMES = ("latencyMs", "computeMs", "h2dMs", "d2hMs")
SUMMARY = "=== Performance summary ==="
STAMP = re.compile(r"^\[[^\]]*\] \[[A-Z]\] ")
MEDIAN = re.compile(r"\bmedian = (\S+) ms")
DURATIONS = {"Latency": "latency", "GPU Compute Time": "computation", "H2D Latency": "h2d", "D2H Latency": "d2h"}
NOTES = (
    "e2e_p50_ms is copying in, computing and copying out, added up by the device's clock, without enqueueing or waiting for it",
    "device_p50_ms is trtexec's GPU compute time, with other queries' transfers beside it",
    "trtexec tells no latency of a call as its caller sees it, so p50_ms is left out",
)
OVERLAP = "throughput is queries a second times the batch, with transfers of one query beside the computation of another"
WARM_UP = "warm-up queries may be among the exported times"
NO_TRANSFERS = "nothing was copied (--noDataTransfers), so there is no end to end"


def _looks_times(text: str) -> bool:
    return text.lstrip().startswith("[") and any(f'"{name}"' in text[:10_000] for name in TIMES_NAMES)


def _looks_log(text: str) -> bool:
    return SUMMARY in text or "TensorRT.trtexec" in text[:10_000]


def _parse_times(text: str) -> ImportedFigures:
    data = json.loads(text)
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise ValueError("it is no list of queries")
    latency, compute, h2d, d2h = ([_time(item, name) for item in data] for name in TIMES_NAMES)
    medians = {"latency": median(latency), "computation": median(compute), "h2d": median(h2d), "d2h": median(d2h)}
    first, last = (_time(data[index], name) for index, name in ((0, "startH2dMs"), (-1, "endD2hMs")))
    if last <= first:
        raise ValueError("its last query ends before its first begins")
    return _found(medians, len(data) / (last - first) * 1e3, extra=(WARM_UP,))


def _time(query: Mapping[str, Any], name: str) -> float:
    return number(query.get(name), name, least=-1e-9)


def _parse_log(text: str) -> ImportedFigures:
    """`ValueError` for a log without a summary (trtexec failed), or with several."""
    lines = [STAMP.sub("", line[:2000]).strip() for line in text.splitlines()]
    summaries = lines.count(SUMMARY)
    if summaries != 1:
        raise ValueError(f"it has {summaries or 'no'} performance summar{'ies' if summaries > 1 else 'y'}, and one is taken")
    told = {name: rest.strip() for line in lines[lines.index(SUMMARY) :] for name, _, rest in (line.partition(":"),)}
    if "Latency" not in told:
        raise ValueError("its summary has no line of Latency")
    medians = {kind: _median(name, told.get(name, "")) for name, kind in DURATIONS.items()}
    rate = number(told.get("Throughput", "").removesuffix("qps").strip(), "Throughput")
    version = re.search(r"\[TensorRT v(\d{4,6})\]", text[:100_000])
    return _found(
        medians,
        rate,
        version=_version(int(version[1])) if version else None,
        model=_model(lines),
        device=_device(lines),
        leading=_leading(lines),
    )


def _median(name: str, told: str) -> float:
    found = MEDIAN.search(told)
    return number(found[1] if found else None, f"the median of {name}", least=-1e-9)


def _found(
    medians: Mapping[str, float], rate: float, extra: Sequence[str] = (), leading: int | None = None, **said: Any
) -> ImportedFigures:
    copied = medians["h2d"] > 0 or medians["d2h"] > 0
    figures: dict[str, Figure] = {"device_p50_ms": number(medians["computation"], "the median computation")}
    if copied:
        figures["e2e_p50_ms"] = number(medians["latency"], "the median latency")
    notes = (OVERLAP, *(NOTES if copied else (NO_TRANSFERS, *NOTES[1:])), *extra)
    guesses: dict[str, str | int] = {"device": "cuda:0", **({"batch": leading} if leading else {})}
    return ImportedFigures(
        tool=TOOL, backend=BACKEND, figures=figures, queries_per_s=rate, guesses=guesses, notes=notes, **said
    )


def _version(number: int) -> str:
    """`10.2.0` of 100200, `8.6.1` of 8601: a major from 10 on has two digits for each of the others."""
    major, rest = divmod(number, 10_000) if number >= 100_000 else divmod(number, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _said(lines: Sequence[str], name: str) -> list[str]:
    """What the log says of `name` before its summary."""
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name]


def _model(lines: Sequence[str]) -> str | None:
    paths = [text for text in _said(lines, "Model") if text]
    return re.sub(r"\.onnx$", "", re.split(r"[/\\]", paths[0])[-1]) or None if paths else None


def _device(lines: Sequence[str]) -> str | None:
    return next((f"cuda:{int(text)}" for text in _said(lines, "Device") if re.fullmatch(r"[0-9]{1,3}", text)), None)


def _leading(lines: Sequence[str]) -> int | None:
    """The first dimension of the inputs, where it is the same for all."""
    shapes = [text.partition("=")[2] for text in _said(lines, "Input inference shape")]
    first = {found[1] if (found := re.match(r"([1-9][0-9]{0,8})(x|$)", shape)) else "" for shape in shapes}
    return int(first.pop()) if len(first) == 1 and "" not in first else None


TIMES = Format(name="trtexec's --exportTimes file", looks=_looks_times, parse=_parse_times)
LOG = Format(name="trtexec's log", looks=_looks_log, parse=_parse_log)
