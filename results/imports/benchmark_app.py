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
from .formats import Figure, Format, ImportedFigures, Unusable, inert, number, stem, whole

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
PERCENTILES = (50, 90, 95, 99)  # those with a column
PRECISIONS = {  # of -infer_precision; layers of an INT8 file stay in INT8 beside it
    **dict.fromkeys(("f32", "float32"), ("fp32", "int8")),
    **dict.fromkeys(("f16", "float16"), ("fp16", "int8+fp16")),
    **dict.fromkeys(("bf16", "bfloat16"), ("bf16", "int8")),
}

LATENCY = "latency is the runtime's own measurement of each request, without the call into the runtime"
NOTES = (
    "load_s is the sum of the times for reading, reshaping and compiling the model",
    "on a CPU with BF16, benchmark_app computes in BF16 unless -infer_precision is set, and does not report the type",
)
UNSURE = "batch 1 may mean that the model has no batch dimension: throughput is the reported calls times the row's batch"
FILLING = "throughput includes the time for setting inputs between calls, latency does not"
IN_FLIGHT = "with {} requests in flight the latencies are not those of a single call: they are in the columns loaded_*"
ROUNDED = "latency is left out where the report has 0.00 ms: give what benchmark_app prints"
PRINTED = "benchmark_app's latency: {}"
SELECTED = "the device was selected by {}"
ONE_IN_FLIGHT = "throughput is with one request in flight, without a search for the best number"
SEVERAL = "throughput is with {} requests in flight, set by an option or by benchmark_app, without a search for the best number"


def _looks_json(text: str) -> bool:
    return text.lstrip().startswith("{") and any(f'"{name}"' in text for name in SECTIONS.values())


def _looks_csv(text: str) -> bool:
    return any(line.strip() in SECTIONS for line in text[:100_000].splitlines())


def _parse_json(text: str) -> list[ImportedFigures]:
    data = json.loads(text)
    parts = [data.get(name, {}) if isinstance(data, dict) else None for name in SECTIONS.values()]
    objects = [part for part in parts if isinstance(part, dict)]
    if len(objects) < len(parts):
        raise ValueError("its sections are not JSON objects")
    return [report_figures(*objects)]


def _parse_csv(text: str) -> list[ImportedFigures]:
    parts: dict[str, dict[str, str]] = {name: {} for name in SECTIONS.values()}
    section: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(";")
        if name in SECTIONS:
            section = parts[SECTIONS[name]]
        elif name:
            section[name] = value.strip().rstrip(";")
    return [report_figures(*parts.values())]


def report_figures(options: Values, setup: Values, results: Values) -> ImportedFigures:
    """Figures from the three sections of a report, in the order of SECTIONS."""
    if results.get("error") is not None:
        message = " ".join(str(results["error"]).split())[:200]
        raise Unusable(f"the run failed: {message}", "mend the model or the command and run benchmark_app again")
    requests = whole(_of(setup, "number of parallel infer requests", "nireq"), "the number of infer requests")
    device = str(_of(setup, "target device", "target_device") or "")
    executed = _device(str(setup.get("execution devices", device)))
    threads = setup.get("threads") or _option(options, "nthreads")
    return ImportedFigures(
        tool=TOOL,
        version=setup.get("version"),
        backend=_backend(executed) if executed else None,
        model=_model(options, setup),
        device=executed,
        precisions=_precisions(options, setup, device),
        figures=_columns(setup, results, options, requests),
        settings=(("api", str(_of(setup, "API", "api") or "?")[:20]), ("nireq", str(requests))),
        threads=whole(threads, "-nthreads") if threads else 0,
        notes=(*_notes(setup, results, requests, device), *((UNSURE,) if _is_unsure(options, setup) else ())),
        facts=tuple((name, str(setup[name])[:40]) for name in ("streams", "threads") if setup.get(name)),
        **_batch_and_rate(options, setup, results, executed),
    )


def _batch_and_rate(options: Values, setup: Values, results: Values, executed: str | None) -> dict[str, Any]:
    """Fields of the batch and of the throughput, which benchmark_app computes with the batch that it found."""
    batch, rate = _batch(setup), number(_of(results, "throughput"), "throughput")
    backend = {} if executed else {"backend": "openvino-{device}"}
    if batch != 1:
        # Without a batch (several shapes) benchmark_app counts the items itself, so the rate is not multiplied.
        return {"batch": batch, "items_per_s": rate, "guesses": backend}
    # benchmark_app also reports 1 for a model in which it found no batch dimension: then the rate is in calls.
    confirmed = None if _is_unsure(options, setup) else 1
    return {"batch": confirmed, "queries_per_s": rate, "guesses": {"batch": _leading(options, setup) or 1, **backend}}


def _is_unsure(options: Values, setup: Values) -> bool:
    """True for a reported batch of 1 that the shapes of the inputs do not confirm."""
    return _batch(setup) == 1 and _leading(options, setup) != 1


def _notes(setup: Values, results: Values, requests: int, device: str) -> tuple[str, ...]:
    full = _of(setup, "inference_only", "benchmark_mode", "benchmark mode")
    single = (LATENCY, ONE_IN_FLIGHT) if requests == 1 else (IN_FLIGHT.format(requests), SEVERAL.format(requests))
    statistics = (
        ("average", "avg latency", "latency_avg"),
        ("min", "min latency", "latency_min"),
        ("max", "max latency", "latency_max"),
    )
    printed = [f"{name} {inert(text, 20)} ms" for name, *names in statistics if (text := _of(results, *names)) is not None]
    times = [text for name, text in results.items() if name in MEDIAN or OF_PERCENTILE.fullmatch(name)]
    return (
        *single,
        *((ROUNDED,) if any(map(_is_rounded_away, times)) else ()),
        *((PRINTED.format(", ".join(printed)),) if printed else ()),
        *((FILLING,) if str(full) in ("False", "false", "full") else ()),
        *((SELECTED.format(inert(device, 40)),) if device.startswith(("AUTO", "MULTI", "HETERO")) else ()),
        *((NOTES[0],) if _of(results, *COMPILING) is not None else ()),
        *(NOTES[1:] if device.startswith("CPU") and not setup.get("precision hint") else ()),
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
    return stem(path)


def _batch(setup: Values) -> int | None:
    """Batch size; None where the report has `?` or a range."""
    text = str(_of(setup, "batch size", "batch_size") or "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _leading(options: Values, setup: Values) -> int | None:
    """First dimension of all inputs in -data_shape, -shape or the log; None without one, and for different ones."""
    text = setup.get("inputs") or _option(options, "data_shape") or _option(options, "shape") or ""
    firsts = {int(match[1]) for match in re.finditer(r"\[([1-9][0-9]{0,8})[],]", str(text))}
    return firsts.pop() if len(firsts) == 1 else None


def _precisions(options: Values, setup: Values, device: str) -> tuple[str, ...]:
    """Precisions that -infer_precision allows; empty without it, since the runtime then chooses by the processor."""
    text = str(setup.get("precision hint") or _option(options, "infer_precision") or "")
    by_device = dict(pair.split(":", 1) for pair in text.split(",") if ":" in pair)
    return PRECISIONS.get(by_device.get(device, text).strip().lower(), ())


def _backend(device: str) -> str:
    return f"openvino-{device.partition(':')[0]}"


def _device(text: str) -> str | None:
    """Device as in `--device`: `cpu`, `gpu:1`; None for several devices, and for a device that the runtime selected."""
    match = re.fullmatch(r"(CPU|GPU|NPU)(?:\.(\d{1,3}))?", text)
    if not match:
        return None
    return "cpu" if match[1] == "CPU" else f"{match[1].lower()}:{match[2] or 0}"


def _columns(setup: Values, results: Values, options: Values, requests: int) -> dict[str, Figure]:
    counts = [value for name, value in setup.items() if value is not None and re.search(r"streams(_num)?$", name)]
    streams = [f"{count} stream" if count == "1" else f"{count} streams" for count in counts]
    hint = _option(options, "hint")
    settings = [*streams, quantity(requests, "infer request"), *([f"-hint {hint}"] if hint else [])]
    return {
        "lanes": requests,
        "throughput_settings": " · ".join(settings),
        **_latencies(results, "" if requests == 1 else "loaded_"),
        **_opening(results),
    }


def _latencies(results: Values, prefix: str) -> dict[str, Figure]:
    """Median and labelled percentiles in ms, for PERCENTILES, and the number of samples. `prefix`: that of the columns."""
    labelled = [(int(match[1]), results[name]) for name in results if (match := OF_PERCENTILE.fullmatch(name))]
    which = int(number(results.get("percentile_boundary", results.get("Percentile boundary", 50)), "percentile_boundary"))
    # The "median" field holds the percentile of -latency_percentile, which is not always 50.
    plain = [(which, _of(results, *MEDIAN))] if _of(results, *MEDIAN) is not None else []
    pairs = [(of, ms) for of, ms in [*plain, *labelled] if of in PERCENTILES and not _is_rounded_away(ms)]
    printed = {of: number(ms, f"latency's percentile {of}") for of, ms in pairs}
    columns: dict[str, Figure] = {f"{prefix}p{of}_ms": ms for of, ms in printed.items()}
    calls = _of(results, "total number of iterations", "iterations_num")
    return {**columns, **({"samples": whole(calls, "the number of iterations")} if columns and calls is not None else {})}


def _is_rounded_away(text: object) -> bool:
    """True for a time below 5 us, of which the report's two decimals leave nothing."""
    return isinstance(text, str) and re.fullmatch(r"0\.0+", text) is not None


def _opening(results: Values) -> dict[str, Figure]:
    parts = {names[0]: _of(results, *names) for names in (READING, COMPILING, RESHAPING)}
    times = {name: number(ms, name, least=-1e-9) for name, ms in parts.items() if ms is not None}
    first = _of(results, *FIRST)
    return {
        **({"load_s": sum(times.values()) / 1e3} if {READING[0], COMPILING[0]} <= times.keys() else {}),
        **({"first_ms": number(first, FIRST[0])} if first is not None and not _is_rounded_away(first) else {}),
    }


RUN = "benchmark_app -m FILE.onnx -report_type no_counters"
JSON = Format(
    name="benchmark_app's benchmark_report.json (-json_stats)", looks=_looks_json, parse=_parse_json, run=f"{RUN} -json_stats"
)
CSV = Format(name="benchmark_app's benchmark_report.csv", looks=_looks_csv, parse=_parse_csv, run=RUN)
