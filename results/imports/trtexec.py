"""Parser of TensorRT trtexec's `--exportTimes=FILE` and of its printed log. Standard library only.

The formats come from the published source of version 8 and from published logs of versions 8 and 10, not from own runs.
The first versions 8 have `endToEndMs` too, and one percentile in the log. Logs of version 7 have another layout, and are
refused.
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
    "e2e_p50_ms is the sum of copying in, computing and copying out by the device's clock, without enqueueing and waiting",
    "device_p50_ms is trtexec's GPU compute time, during which other queries' transfers may run",
    "p50_ms is left out: trtexec does not report the latency of a call that the caller sees",
)
OVERLAP = "throughput is queries a second times the batch, and transfers of a query overlap the computation of another"
WARM_UP = "the exported times may contain warm-up queries"
NO_TRANSFERS = "e2e_p50_ms is left out: trtexec copied nothing (--noDataTransfers)"


def _looks_times(text: str) -> bool:
    return text.lstrip().startswith("[") and any(f'"{name}"' in text[:10_000] for name in TIMES_NAMES)


def _looks_log(text: str) -> bool:
    return SUMMARY in text or "TensorRT.trtexec" in text[:10_000]


def _parse_times(text: str) -> ImportedFigures:
    data = json.loads(text)
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise ValueError("it is not a list of queries")
    latency, compute, h2d, d2h = ([_time(item, name) for item in data] for name in TIMES_NAMES)
    medians = {"latency": median(latency), "computation": median(compute), "h2d": median(h2d), "d2h": median(d2h)}
    first, last = (_time(data[index], name) for index, name in ((0, "startH2dMs"), (-1, "endD2hMs")))
    if last <= first:
        raise ValueError("its last query ends before its first begins")
    return _figures_of(medians, len(data) / (last - first) * 1e3, extra=(WARM_UP,))


def _time(query: Mapping[str, Any], name: str) -> float:
    return number(query.get(name), name, least=-1e-9)


def _parse_log(text: str) -> ImportedFigures:
    """Read a log. `ValueError` for a log without a summary (trtexec failed) or with several summaries."""
    lines = [STAMP.sub("", line[:2000]).strip() for line in text.splitlines()]
    summaries = lines.count(SUMMARY)
    if summaries != 1:
        raise ValueError(f"it has {summaries} performance summaries, not exactly one")
    summary = {name: rest.strip() for line in lines[lines.index(SUMMARY) :] for name, _, rest in (line.partition(":"),)}
    if "Latency" not in summary:
        raise ValueError("its summary has no latency")
    medians = {kind: _median(name, summary.get(name, "")) for name, kind in DURATIONS.items()}
    rate = number(summary.get("Throughput", "").removesuffix("qps").strip(), "Throughput")
    version = re.search(r"\[TensorRT v(\d{4,6})\]", text[:100_000])
    return _figures_of(
        medians,
        rate,
        version=_version(int(version[1])) if version else None,
        model=_model(lines),
        device=_device(lines),
        leading=_leading(lines),
    )


def _median(name: str, line: str) -> float:
    match = MEDIAN.search(line)
    return number(match[1] if match else None, f"the median of {name}", least=-1e-9)


def _figures_of(
    medians: Mapping[str, float], rate: float, extra: Sequence[str] = (), leading: int | None = None, **more: Any
) -> ImportedFigures:
    copied = medians["h2d"] > 0 or medians["d2h"] > 0
    figures: dict[str, Figure] = {"device_p50_ms": number(medians["computation"], "the median computation")}
    if copied:
        figures["e2e_p50_ms"] = number(medians["latency"], "the median latency")
    notes = (OVERLAP, *(NOTES if copied else (NO_TRANSFERS, *NOTES[1:])), *extra)
    # trtexec runs on GPU 0 without --device, and its times file contains neither device nor batch.
    guesses: dict[str, str | int] = {"device": "cuda:0", **({"batch": leading} if leading else {})}
    return ImportedFigures(
        tool=TOOL, backend=BACKEND, figures=figures, queries_per_s=rate, guesses=guesses, notes=notes, **more
    )


def _version(number: int) -> str:
    """Version of trtexec's number: `10.2.0` of 100200, `8.6.1` of 8601. From major 10 on, minor and patch have two digits."""
    major, rest = divmod(number, 10_000) if number >= 100_000 else divmod(number, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _values(lines: Sequence[str], name: str) -> list[str]:
    """Values of the log's lines that begin with `name`."""
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name]


def _model(lines: Sequence[str]) -> str | None:
    paths = [text for text in _values(lines, "Model") if text]
    return re.sub(r"\.onnx$", "", re.split(r"[/\\]", paths[0])[-1]) or None if paths else None


def _device(lines: Sequence[str]) -> str | None:
    return next((f"cuda:{int(text)}" for text in _values(lines, "Device") if re.fullmatch(r"[0-9]{1,3}", text)), None)


def _leading(lines: Sequence[str]) -> int | None:
    """First dimension of the inputs; None for inputs with different first dimensions."""
    shapes = [text.partition("=")[2] for text in _values(lines, "Input inference shape")]
    first = {match[1] if (match := re.match(r"([1-9][0-9]{0,8})(x|$)", shape)) else "" for shape in shapes}
    return int(first.pop()) if len(first) == 1 and "" not in first else None


TIMES = Format(name="trtexec's --exportTimes file", looks=_looks_times, parse=_parse_times)
LOG = Format(name="trtexec's log", looks=_looks_log, parse=_parse_log)
