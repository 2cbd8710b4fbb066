"""Parser of OpenVINO benchmark_app's `benchmark_report.json` (-json_stats) and `benchmark_report.csv`. Standard library only.

benchmark_app writes them with `-report_type no_counters`. The Python tool (tested with reports of 2026.4) and the C++ tool
name their fields differently. CSV files of 2022 and earlier have "network" in place of "model".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...errors import quantity
from .formats import Figure, Format, ImportedFigures, number, whole

TOOL = "benchmark_app"
Values = Mapping[str, Any]

SECTIONS = {
    "Command line parameters": "cmd_options",
    "Configuration setup": "configuration_setup",
    "Execution results": "execution_results",
}
READING = ("read model time (ms)", "read_model_time", "read network time (ms)")
COMPILING = ("compile model time (ms)", "compile_model_time", "load network time (ms)")
RESHAPING = ("reshape model time (ms)", "reshape_model_time", "reshape network time (ms)")
FIRST = ("first inference time (ms)", "first_inference_time")
MEDIAN = ("latency (ms)", "Median latency (ms)", "latency_median")
OF_PERCENTILE = re.compile(r"latency \((\d+) percentile\) \(ms\)")
COLUMNS = {50: "p50_ms", 90: "p90_ms", 99: "p99_ms"}

LATENCY = "latency is the runtime's own measurement of each request, without the call into the runtime"
NOTES = (
    "load_s is the sum of the times for reading, reshaping and compiling the model",
    "on a CPU with BF16, benchmark_app computes in BF16 unless -infer_precision is set, and does not report the type",
)
UNSURE = "batch 1 may mean that the model has no batch dimension: throughput is the reported calls times the row's batch"
FILLING = "throughput includes the time for setting inputs between calls, latency does not"
IN_FLIGHT = "median and percentiles are left out: with {} requests in flight they are not the latency of a single call"
ONE_IN_FLIGHT = "throughput is with one request in flight, without a search for the best number"
SEVERAL = "throughput is with {} requests in flight, set by an option or by benchmark_app, without a search for the best number"


def _looks_json(text: str) -> bool:
    return text.lstrip().startswith("{") and any(f'"{name}"' in text for name in SECTIONS.values())


def _looks_csv(text: str) -> bool:
    return any(line.strip() in SECTIONS for line in text[:100_000].splitlines())


def _parse_json(text: str) -> ImportedFigures:
    data = json.loads(text)
    parts = [data.get(name, {}) if isinstance(data, dict) else None for name in SECTIONS.values()]
    objects = [part for part in parts if isinstance(part, dict)]
    if len(objects) < len(parts):
        raise ValueError("its sections are not JSON objects")
    return _figures_of(*objects)


def _parse_csv(text: str) -> ImportedFigures:
    parts: dict[str, dict[str, str]] = {name: {} for name in SECTIONS.values()}
    section: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(";")
        if name in SECTIONS:
            section = parts[SECTIONS[name]]
        elif name:
            section[name] = value.strip().rstrip(";")
    return _figures_of(*parts.values())


def _figures_of(options: Values, setup: Values, results: Values) -> ImportedFigures:
    """Figures from the three sections of a report, in the order of SECTIONS."""
    if results.get("error") is not None:
        raise ValueError(f"the run failed: {' '.join(str(results['error']).split())[:200]}")
    requests = whole(_of(setup, "number of parallel infer requests", "nireq"), "the number of infer requests")
    device = str(_of(setup, "target device", "target_device") or "")
    full = _of(setup, "inference_only", "benchmark_mode", "benchmark mode")
    single = (LATENCY, ONE_IN_FLIGHT) if requests == 1 else (IN_FLIGHT.format(requests), SEVERAL.format(requests))
    threads = _option(options, "nthreads")
    batch, rate = _batch(setup), number(_of(results, "throughput"), "throughput")
    unsure = batch == 1  # also the batch of a model without a batch dimension
    return ImportedFigures(
        tool=TOOL,
        backend=_backend(device),
        model=_model(options, setup),
        batch=None if unsure else batch,
        guesses={"batch": 1} if unsure else {},
        queries_per_s=rate if unsure else None,
        device=_device(device),
        figures={**_columns(setup, results, options, requests), **({} if unsure else {"throughput_per_s": rate})},
        settings=(("api", str(_of(setup, "API", "api") or "?")[:20]), ("nireq", str(requests))),
        threads=whole(threads, "-nthreads") if threads else 0,
        notes=(
            *single,
            *((UNSURE,) if unsure else ()),
            *((FILLING,) if str(full) in ("False", "false", "full") else ()),
            *NOTES,
        ),
    )


def _of(values: Values, *names: str) -> Any:
    """Value of the first of `names` that is present; None for none."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _option(options: Values, name: str) -> str | None:
    """Value of a command line option; the tools write its name with or without dashes."""
    value = _of(options, f"-{name}", name, f"--{name}")
    return str(value) if isinstance(value, str | int | float) and str(value) else None


def _model(options: Values, setup: Values) -> str | None:
    """Name of the model's file; without one on the command line the name of the graph."""
    path = _option(options, "m") or str(_of(setup, "topology") or "")
    name = re.split(r"[/\\]", path)[-1]
    return re.sub(r"\.(onnx|xml|blob|pb|tflite|pdmodel)$", "", name) or None


def _batch(setup: Values) -> int | None:
    """Batch size; None where the report has `?` or a range."""
    text = str(_of(setup, "batch size", "batch_size") or "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _backend(device: str) -> str | None:
    kind = device.partition(".")[0].lower()
    return f"openvino-{kind}" if re.fullmatch(r"[a-z]+", kind) else None


def _device(device: str) -> str | None:
    """Device as in `--device`: `cpu`, `gpu:1`; None for several devices, and for a device that the runtime selected."""
    match = re.fullmatch(r"(CPU|GPU|NPU)(?:\.(\d+))?", device)
    if not match:
        return None
    return "cpu" if match[1] == "CPU" else f"{match[1].lower()}:{match[2] or 0}"


def _columns(setup: Values, results: Values, options: Values, requests: int) -> dict[str, Figure]:
    counts = [value for name, value in setup.items() if re.search(r"streams(_num)?$", name)]
    streams = [f"{count} stream" if count == "1" else f"{count} streams" for count in counts]
    hint = _option(options, "hint")
    settings = [*streams, quantity(requests, "infer request"), *([f"-hint {hint}"] if hint else [])]
    return {
        "lanes": requests,
        "throughput_settings": " · ".join(settings),
        **(_latencies(results) if requests == 1 else {}),
        **_opening(results),
    }


def _latencies(results: Values) -> dict[str, Figure]:
    """Median and labelled percentiles in ms, for percentiles with a column, and the number of samples."""
    labelled = [(int(match[1]), results[name]) for name in results if (match := OF_PERCENTILE.fullmatch(name))]
    which = int(number(results.get("percentile_boundary", results.get("Percentile boundary", 50)), "percentile_boundary"))
    # The "median" field holds the percentile of -latency_percentile, which is not always 50.
    plain = [(which, _of(results, *MEDIAN))] if _of(results, *MEDIAN) is not None else []
    columns = {COLUMNS[of]: number(ms, f"latency's percentile {of}") for of, ms in [*plain, *labelled] if of in COLUMNS}
    calls = _of(results, "total number of iterations", "iterations_num")
    return {**columns, **({"samples": whole(calls, "the number of iterations")} if columns and calls is not None else {})}


def _opening(results: Values) -> dict[str, Figure]:
    parts = {names[0]: _of(results, *names) for names in (READING, COMPILING, RESHAPING)}
    times = {name: number(ms, name) for name, ms in parts.items() if ms is not None}
    first = _of(results, *FIRST)
    return {
        **({"load_s": sum(times.values()) / 1e3} if {READING[0], COMPILING[0]} <= times.keys() else {}),
        **({"first_ms": number(first, FIRST[0])} if first is not None else {}),
    }


JSON = Format(name="benchmark_app's benchmark_report.json (-json_stats)", looks=_looks_json, parse=_parse_json)
CSV = Format(name="benchmark_app's benchmark_report.csv", looks=_looks_csv, parse=_parse_csv)
