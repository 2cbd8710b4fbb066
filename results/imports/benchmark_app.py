"""OpenVINO's benchmark_app: `benchmark_report.json` (-json_stats) and `benchmark_report.csv`. Standard library only.

They are written with `-report_type no_counters`. Read are the reports of the Python tool (seen from 2026.4) and those of
the C++ one, which names its fields otherwise; the CSV of 2022 and before calls the model a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

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

LATENCY = "latency is what the runtime measures of each request, without the call into it"
NOTES = (
    "load_s is the sum of the times for reading, reshaping and compiling the model",
    "on a CPU that has BF16, benchmark_app computes in it unless -infer_precision says otherwise, and its report does not tell",
)
UNSURE = "its report says batch 1, as it does too where it finds no batch dimension, so throughput is its calls times the row's"
FILLING = "inputs are set between the calls, which throughput includes and latency does not"
IN_FLIGHT = "median and percentiles are with {} requests in flight, so they are not one call's latency and are left out"
ONE_IN_FLIGHT = "throughput is of one request in flight, and nothing was searched for"
SEVERAL = "throughput is of {} requests in flight, as benchmark_app was told or chose, and nothing was searched for"


def _looks_json(text: str) -> bool:
    return text.lstrip().startswith("{") and any(f'"{name}"' in text for name in SECTIONS.values())


def _looks_csv(text: str) -> bool:
    return any(line.strip() in SECTIONS for line in text[:100_000].splitlines())


def _parse_json(text: str) -> ImportedFigures:
    data = json.loads(text)
    parts = [data.get(name, {}) if isinstance(data, dict) else None for name in SECTIONS.values()]
    known = [part for part in parts if isinstance(part, dict)]
    if len(known) < len(parts):
        raise ValueError("its parts are no objects")
    return _found(*known)


def _parse_csv(text: str) -> ImportedFigures:
    parts: dict[str, dict[str, str]] = {name: {} for name in SECTIONS.values()}
    own: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(";")
        if name in SECTIONS:
            own = parts[SECTIONS[name]]
        elif name:
            own[name] = value.strip().rstrip(";")
    return _found(*parts.values())


def _found(given: Values, setup: Values, results: Values) -> ImportedFigures:
    """What the three parts of a report say, in the order of SECTIONS."""
    if results.get("error") is not None:
        raise ValueError(f"the run failed: {' '.join(str(results['error']).split())[:200]}")
    requests = whole(_of(setup, "number of parallel infer requests", "nireq"), "the number of infer requests")
    device = str(_of(setup, "target device", "target_device") or "")
    full = _of(setup, "inference_only", "benchmark_mode", "benchmark mode")
    single = (LATENCY, ONE_IN_FLIGHT) if requests == 1 else (IN_FLIGHT.format(requests), SEVERAL.format(requests))
    threads = _option(given, "nthreads")
    batch, rate = _batch(setup), number(_of(results, "throughput"), "throughput")
    unsure = batch == 1
    return ImportedFigures(
        tool=TOOL,
        backend=_backend(device),
        model=_model(given, setup),
        batch=None if unsure else batch,
        guesses={"batch": 1} if unsure else {},
        queries_per_s=rate if unsure else None,
        device=_device(device),
        figures={**_figures(setup, results, given, requests), **({} if unsure else {"throughput_per_s": rate})},
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
    """The first of `names` that is there."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _option(given: Values, name: str) -> str | None:
    """An option of the command line, which the tools write with dashes or without."""
    found = _of(given, f"-{name}", name, f"--{name}")
    return str(found) if isinstance(found, str | int | float) and str(found) else None


def _model(given: Values, setup: Values) -> str | None:
    """The name of the model's file; a graph's own name where the command line does not tell."""
    path = _option(given, "m") or str(_of(setup, "topology") or "")
    name = re.split(r"[/\\]", path)[-1]
    return re.sub(r"\.(onnx|xml|blob|pb|tflite|pdmodel)$", "", name) or None


def _batch(setup: Values) -> int | None:
    """None for a model of which it says `?`, or a range."""
    text = str(_of(setup, "batch size", "batch_size") or "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _backend(device: str) -> str | None:
    kind = device.partition(".")[0].lower()
    return f"openvino-{kind}" if re.fullmatch(r"[a-z]+", kind) else None


def _device(device: str) -> str | None:
    """`cpu`, `gpu:1`; None for several at once, or one that the runtime chose."""
    found = re.fullmatch(r"(CPU|GPU|NPU)(?:\.(\d+))?", device)
    if not found:
        return None
    return "cpu" if found[1] == "CPU" else f"{found[1].lower()}:{found[2] or 0}"


def _figures(setup: Values, results: Values, given: Values, requests: int) -> dict[str, Figure]:
    streams = [f"{value} streams" for name, value in setup.items() if re.search(r"streams(_num)?$", name)]
    hint = _option(given, "hint")
    told = [*streams, f"{requests} infer requests", *([f"-hint {hint}"] if hint else [])]
    return {
        "lanes": requests,
        "throughput_settings": " · ".join(told),
        **(_latencies(results) if requests == 1 else {}),
        **_opening(results),
    }


def _latencies(results: Values) -> dict[str, Figure]:
    """The one percentile that it was asked for, if there is a column for it."""
    labelled = [(int(match[1]), results[name]) for name in results if (match := OF_PERCENTILE.fullmatch(name))]
    which = int(number(results.get("percentile_boundary", results.get("Percentile boundary", 50)), "percentile_boundary"))
    plain = [(which, _of(results, *MEDIAN))] if _of(results, *MEDIAN) is not None else []
    found = {COLUMNS[of]: number(ms, f"latency's percentile {of}") for of, ms in [*plain, *labelled] if of in COLUMNS}
    calls = _of(results, "total number of iterations", "iterations_num")
    return {**found, **({"samples": whole(calls, "the number of iterations")} if found and calls is not None else {})}


def _opening(results: Values) -> dict[str, Figure]:
    parts = {names[0]: _of(results, *names) for names in (READING, COMPILING, RESHAPING)}
    known = {name: number(ms, name) for name, ms in parts.items() if ms is not None}
    first = _of(results, *FIRST)
    return {
        **({"load_s": sum(known.values()) / 1e3} if {READING[0], COMPILING[0]} <= known.keys() else {}),
        **({"first_ms": number(first, FIRST[0])} if first is not None else {}),
    }


JSON = Format(name="benchmark_app's benchmark_report.json (-json_stats)", looks=_looks_json, parse=_parse_json)
CSV = Format(name="benchmark_app's benchmark_report.csv", looks=_looks_csv, parse=_parse_csv)
