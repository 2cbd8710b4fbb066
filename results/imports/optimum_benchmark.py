"""Parser of optimum-benchmark's benchmark.json, or benchmark_report.json without a configuration. Standard library only.

The format comes from published files of versions 0.2 to 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .formats import Figure, Format, ImportedFigures, Unusable, inert, number, stem, whole

TOOL = "optimum-benchmark"
PHASES = ("forward", "call", "prefill", "generate")  # of one inference: the first that a report has
BACKENDS = {"pytorch": "torch-{device}", "onnxruntime": "ort-{device}", "openvino": "openvino-{device}"}
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
SECONDS = {"s": 1.0, "ms": 1e-3}
SAMPLES = {"samples/s": 1.0, "images/s": 1.0, "sequences/s": 1.0}
RUN = "optimum-benchmark --config-name CONFIG (it writes benchmark.json)"
CALL = "latency is of optimum-benchmark's {} with one call in flight, from Python, with copies of inputs and outputs"
RATE = "throughput is with one call in flight, without a search for the best number"
LOADED = "load_s is optimum-benchmark's load, which includes reading the weights and building the model in Python"
TOKENS = "tokens_per_s, ttft and tpot are optimum-benchmark's decode throughput, prefill and decode by token"


def _looks(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    is_report = '"latency"' in text and '"p50"' in text and any(f'"{phase}"' in text for phase in PHASES)
    return is_report or '"optimum_benchmark' in text


def _parse(text: str) -> list[ImportedFigures]:
    data = json.loads(text)
    report = _part(data, "report") or _part(data)
    config = _part(data, "config")
    phase = next((name for name in PHASES if _part(report, name, "latency")), None)
    if not phase:
        names = ", ".join(inert(name, 20) for name in list(report)[:6])
        raise Unusable(f"it has no latency of {', '.join(PHASES)}, but {names or 'nothing'}", f"set latency: true in {RUN}")
    return [_row(config, report, phase)]


def _part(data: Any, *names: str) -> Mapping[str, Any]:
    """The object within `data` by the path of its names; empty where there is none."""
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _row(config: Mapping[str, Any], report: Mapping[str, Any], phase: str) -> ImportedFigures:
    backend, machine = _part(config, "backend"), _part(config, "environment")
    shapes = _part(config, "scenario", "input_shapes") or _part(config, "benchmark", "input_shapes")
    tokens = _tokens(report)
    gpus, device = machine.get("gpu"), _device(backend)
    threads = backend.get("intra_op_num_threads")
    quantized = backend.get("quantization_scheme") or backend.get("auto_quantization") or backend.get("quantization")
    return ImportedFigures(
        tool=TOOL,
        backend=_backend(backend, device),
        model=stem(str(backend["model"])) if isinstance(backend.get("model"), str) else None,
        batch=whole(shapes["batch_size"], "batch_size") if "batch_size" in shapes else None,
        device=device,
        precisions=() if quantized else _precisions(backend),
        figures={**_latencies(report, phase), **tokens, **_opening(report)},
        settings=(("phase", phase),),
        facts=(("phase", phase), *((inert(name, 30), inert(size, 20)) for name, size in list(shapes.items())[:6])),
        threads=whole(threads, "intra_op_num_threads") if threads else 0,
        processor=inert(machine["cpu"], 80).strip() if isinstance(machine.get("cpu"), str) else None,
        accelerator=inert(gpus[0], 80) if device not in (None, "cpu") and isinstance(gpus, list) and gpus else None,
        notes=(
            CALL.format(phase),
            RATE,
            *((LOADED,) if _part(report, "load", "latency") else ()),
            *((TOKENS,) if tokens else ()),
        ),
        items_per_s=_rate(report, phase),
    )


def _device(backend: Mapping[str, Any]) -> str | None:
    device = str(backend.get("device") or "")
    if device == "cpu":
        return "cpu"
    index = str(backend.get("device_ids") or "0").partition(",")[0]
    return f"cuda:{int(index)}" if device.startswith("cuda") and index.isdecimal() and len(index) < 4 else None


def _backend(backend: Mapping[str, Any], device: str | None) -> str | None:
    name = BACKENDS.get(str(backend.get("name") or ""))
    return name.replace("{device}", device.partition(":")[0]) if name and device else None


def _precisions(backend: Mapping[str, Any]) -> tuple[str, ...]:
    name = PRECISIONS.get(str(backend.get("torch_dtype") or backend.get("dtype") or ""))
    return (name,) if name else ()


def _latencies(report: Mapping[str, Any], phase: str) -> dict[str, Figure]:
    latency = _part(report, phase, "latency")
    scale = _scale(latency)
    columns: dict[str, Figure] = {
        f"{which}_ms": round(number(latency[which], f"{phase} {which}") * scale, 9)
        for which in ("p50", "p90", "p95", "p99")
        if latency.get(which) is not None
    }
    count = latency.get("count") or len(latency.get("values") or ())
    return {**columns, "lanes": 1, **({"samples": whole(count, "count")} if count else {})}


def _scale(latency: Mapping[str, Any]) -> float:
    unit = str(latency.get("unit", "s"))
    if unit not in SECONDS:
        raise ValueError(f"its unit is {inert(unit, 20)}, not s or ms")
    return SECONDS[unit] * 1e3


def _rate(report: Mapping[str, Any], phase: str) -> float | None:
    throughput = _part(report, phase, "throughput")
    if str(throughput.get("unit")) not in SAMPLES or throughput.get("value") is None:
        return None
    return number(throughput["value"], f"{phase} throughput")


def _tokens(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Figures of a language model: the decode's rate, the latency of the prefill, and that of a token."""
    decode, prefill = _part(report, "decode", "throughput"), _part(report, "prefill", "latency")
    token = _part(report, "per_token", "latency")
    named = (("ttft", prefill), ("tpot", token))
    times = {
        f"{column}_{which}_ms": round(number(part[which], f"{column} {which}") * _scale(part), 9)
        for column, part in named
        for which in ("p50", "p99")
        if part.get(which) is not None
    }
    if not decode and not token:
        return {}
    rate = decode.get("value") if str(decode.get("unit")) == "tokens/s" else None
    return {**times, **({"tokens_per_s": number(rate, "decode throughput")} if rate is not None else {})}


def _opening(report: Mapping[str, Any]) -> dict[str, Figure]:
    load = _part(report, "load", "latency")
    total = load.get("p50", load.get("mean"))
    return {"load_s": number(total, "load") * _scale(load) / 1e3} if total is not None else {}


JSON = Format(name="optimum-benchmark's JSON", looks=_looks, parse=_parse, run=RUN)
