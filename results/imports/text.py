"""Text of another tool's file, and what an unknown file looks like. Standard library only."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import BadInput, cut, one_line
from ...untrusted import read_bytes
from .formats import Format

LARGEST = 64_000_000  # bytes: trtexec exports a few hundred a query
OWN = "or write your figures as a CSV with the columns model,backend,device,precision,batch,p50_ms (docs/sharing.md)"
RELATIVES = (  # files that are near a known format: a pattern, the name, and what to run instead
    (r":::MLLOG", "LoadGen's mlperf_log_detail.txt", "give the mlperf_log_summary.txt of the same folder"),
    (
        r'"qsl_idx"|^\[\s*\{ *"seq_id"',
        "LoadGen's mlperf_log_accuracy.json",
        "give the mlperf_log_summary.txt of a performance run",
    ),
    (r"^layerName[;,]execStatus", "a report of benchmark_app's counters", "run benchmark_app -report_type no_counters"),
    (r'^\s*\[\s*\{\s*"count"\s*:', "trtexec's --exportProfile file", "run trtexec with --exportTimes, or keep what it prints"),
    (r'^\s*\[\s*\{\s*"name"\s*:.*"dimensions"', "trtexec's --exportOutput file", "run trtexec with --exportTimes"),
    (
        r'"traceEvents"|"cat"\s*:\s*"(Session|Node)"',
        "a trace of a profiler",
        "run onnxruntime_perf_test -s, and keep what it prints",
    ),
    (r"\[I\] (trt|onnxrt)-runner", "Polygraphy's output", "run trtexec on the same model, and keep what it prints"),
    (
        r'"benchmarks"\s*:\s*\[',
        "JSON of pytest-benchmark or Google Benchmark",
        "write its times with a line latency_ms before them",
    ),
    (r'"request_throughput"|"ttft"|Serving Benchmark Result', "a benchmark of a model server", "run perf_analyzer -f FILE.csv"),
)


def read_text(path: Path, largest: int) -> str:
    """Text of the file, in UTF-8, or in UTF-16, which PowerShell writes when it redirects output, or in Windows' code page."""
    try:
        size = path.stat().st_size
        if size > largest:
            limit = f"the limit is {largest // 1_000_000} MB"
            raise BadInput(f"{path} has {size / 1e6:.0f} MB, and {limit}", "give the output of a single run, without --verbose")
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}", "write the path of a file of another tool") from error
    except OSError as error:
        raise BadInput(f"cannot read {path} as text ({one_line(error)})", "give a text file of another tool") from error
    try:
        return data.decode(_encoding(data))
    except UnicodeError as error:
        if b"\0" in data:
            raise BadInput(f"{path} is not a text file", "give what another tool printed or wrote as text") from error
        return data.decode("cp1252", "replace")


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-16-le" if data[1:4:2] == b"\0\0" and data[:1] != b"\0" else "utf-8-sig"


def unknown(path: Path, text: str, formats: Sequence[Format]) -> BadInput:
    """Error for a file of no known format: what it looks like, and what to give instead."""
    relative = next(((name, run) for pattern, name, run in RELATIVES if re.search(pattern, text[:100_000], re.MULTILINE)), None)
    if relative:
        return BadInput(f"{path} looks like {relative[0]}, which has no figures of a run", relative[1])
    if _are_numbers(text):
        hint = "write a first line with the name and the unit: latency_ms, latency_s, latency_us or latency_ns"
        return BadInput(f"{path} has numbers without a unit", hint)
    names = ", ".join(item.name for item in formats)
    return BadInput(f"{path} looks like {_kind(text)}, which is an unknown format", f"give one of these files: {names}, {OWN}")


def _are_numbers(text: str) -> bool:
    lines = text[:2000].splitlines()[:20]
    return bool(lines) and all(re.fullmatch(r"\s*[0-9]+([.,][0-9]+)?(e[-+]?[0-9]+)?\s*", line) for line in lines[:-1] or lines)


def _kind(text: str) -> str:
    begin = text.lstrip()[:1]
    if not text.strip():
        return "an empty file"
    if "\0" in text[:10_000]:
        return "a binary file"
    if begin in "{[":
        return _json_kind(text)
    first = text.strip().splitlines()[0]
    separator = next((mark for mark in (",", ";", "\t") if first.count(mark) >= 1), None)
    if separator and not first.startswith("["):
        names = [name.strip() for name in first.split(separator)[:6]]
        return f"a table with the columns {_safe(', '.join(names))}"
    return f"text that begins with {_safe(first)!r}"


def _json_kind(text: str) -> str:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "damaged JSON"
    if isinstance(data, dict):
        return f"JSON with the keys {_safe(', '.join(map(str, list(data)[:6])))}"
    return "a JSON list" if isinstance(data, list) else "a JSON value"


def _safe(text: str) -> str:
    """Text on one line without control characters, which a hostile file could send to a terminal."""
    return cut("".join(char if char.isprintable() else "?" for char in text), 80)
