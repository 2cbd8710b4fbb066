"""Parser of what OpenVINO's benchmark_app prints, in Python and in C++, one or several runs. Standard library only.

Tested with logs of 2024 and 2025. The log becomes the sections of a report, which benchmark_app.py reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .benchmark_app import RUN, report_figures
from .formats import Format, ImportedFigures, Unusable, pieces

STEP = re.compile(r"\[Step (\d+)/\d+\]")
INFO = re.compile(r"\[ (?:INFO|WARNING|ERROR) \] ?")
BUILD = re.compile(r"Build \.+ (\d{4}\.\d+(?:\.\d+)?)")
REQUESTS = re.compile(r"\(Start inference (\w+)(?:, (\d+) inference requests)?")
TIME = re.compile(r"(Read|Reshape|Compile|Import) model took (\S+) ms")
FIRST = re.compile(r"First inference took (\S+) ms")
PERCENTILE = re.compile(r"(\d+) percentile")
INPUT = re.compile(r"\S.* \(node: .*\) : \S+ / \[[^]]*\] / (\[[^]]*\])")
RATE = re.compile(r"Throughput:\s+(\S+) FPS\s*$")
HINT = re.compile(r"(?:<Type: ')?([a-z0-9]+)(?:'>)?")
TIMES = {"Read": "read model time (ms)", "Reshape": "reshape model time (ms)", "Compile": "compile model time (ms)"}


def _looks(text: str) -> bool:
    return ("[Step 1" in text and "[ INFO ]" in text) or ("[ INFO ] Throughput:" in text and "[ INFO ] Count:" in text)


def _parse(text: str) -> list[ImportedFigures]:
    lines = [line[:2000] for line in text.splitlines()]
    runs = pieces(lines, lambda line: (match := STEP.search(line)) is not None and match[1] == "1")
    contents = [[_content(line) for line in run] for run in runs]
    done = [run for run in contents if any(RATE.match(line) for line in run)]
    if not done:
        errors = [INFO.sub("", line[line.index("[ ERROR ]") :]) for line in lines if "[ ERROR ]" in line]
        reason = f"benchmark_app failed: {errors[0].strip()[:200]}" if errors else "it ends before the throughput"
        raise Unusable(reason, f"run it again and keep the whole output: {RUN}")
    return [_figures(run) for run in done]


def _content(line: str) -> str:
    """Line without the mark of its level and without what another program wrote before it."""
    marks = list(INFO.finditer(line)) or list(STEP.finditer(line))
    return line[marks[-1].start() if STEP.search(line) else marks[-1].end() :].strip() if marks else line.strip()


def _figures(lines: Sequence[str]) -> ImportedFigures:
    values: dict[str, str] = {}
    for name, _, text in (line.partition(":") for line in lines):
        values.setdefault(name.strip(), text.strip())
    results = _results(lines, values)
    return report_figures({}, _setup(lines, values, results), results)


def _first(lines: Sequence[str], pattern: re.Pattern[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.search(line))), None)


def _setup(lines: Sequence[str], values: Mapping[str, str], results: Mapping[str, Any]) -> dict[str, Any]:
    started, build = _first(lines, REQUESTS), _first(lines, BUILD)
    hint = HINT.fullmatch(values.get("INFERENCE_PRECISION_HINT", ""))
    devices = re.sub(r"[\[\]' ]", "", values.get("Execution Devices") or values.get("EXECUTION_DEVICES") or "")
    requested = next((line for line in _between(lines, "Device info:") if re.fullmatch(r"[A-Z]+(\.\d+)?([:,].*)?", line)), "")
    return {
        # The file's name is not in the log, and the graph's name is what the exporter wrote.
        "topology": "",
        "target device": requested or devices,
        **({"execution devices": devices} if devices else {}),
        "API": (started[1].removesuffix("hronously") if started else None),
        "number of parallel infer requests": _requests(started, values, results),
        "batch size": values.get("Model batch size"),
        "inference_only": not any(line.startswith("Benchmarking in full mode") for line in lines),
        "inputs": ",".join(match[1] for line in _last_inputs(lines) if (match := INPUT.fullmatch(line))),
        "precision hint": hint[1] if hint and hint[1] not in ("undefined", "dynamic") else None,
        "streams": values.get("NUM_STREAMS"),
        "threads": values.get("INFERENCE_NUM_THREADS"),
        "version": build[1] if build else None,
    }


def _requests(started: re.Match[str] | None, values: Mapping[str, str], results: Mapping[str, Any]) -> int | str | None:
    """Number of requests in flight; from the rate and the mean latency (Little's law) for the end of a log alone."""
    if started:
        return started[2] or "1"
    calls, duration, average = (results.get(name) for name in ("total number of iterations", "duration", "avg latency"))
    try:
        return max(1, round(float(calls or "") / float(duration or "") * float(average or "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _between(lines: Sequence[str], begin: str) -> list[str]:
    """The lines after the line `begin`."""
    return list(lines[lines.index(begin) + 1 : lines.index(begin) + 6]) if begin in lines else []


def _last_inputs(lines: Sequence[str]) -> list[str]:
    """Lines of the inputs as they ran: the last list of inputs."""
    starts = [index for index, line in enumerate(lines) if line == "Model inputs:"]
    listed: list[str] = []
    for line in lines[starts[-1] + 1 :] if starts else ():
        if not INPUT.fullmatch(line):
            break
        listed.append(line)
    return listed


def _results(lines: Sequence[str], values: Mapping[str, str]) -> dict[str, Any]:
    times = {TIMES[match[1]]: match[2] for line in lines if (match := TIME.match(line)) and match[1] in TIMES}
    first, rate = _first(lines, FIRST), _first(lines, RATE)
    percentiles = {
        f"latency ({match[1]} percentile) (ms)": _ms(text)
        for name, text in values.items()
        if (match := PERCENTILE.fullmatch(name))
    }
    return {
        **times,
        **percentiles,
        **({"first inference time (ms)": first[1]} if first else {}),
        **({"latency (ms)": _ms(values["Median"])} if "Median" in values else {}),
        **({"avg latency": _ms(values["Average"])} if "Average" in values else {}),
        **({"min latency": _ms(values["Min"])} if "Min" in values else {}),
        **({"max latency": _ms(values["Max"])} if "Max" in values else {}),
        **({"total number of iterations": values["Count"].removesuffix("iterations").strip()} if "Count" in values else {}),
        **({"duration": _ms(values["Duration"])} if "Duration" in values else {}),
        "throughput": rate[1] if rate else None,
    }


def _ms(text: str) -> str:
    """Number in ms; the whole text for another unit, as a sign of a log that is cut."""
    # Version 2026 prints short times in microseconds.
    match = re.fullmatch(r"(\S+) (ms|us)", text)
    if not match:
        return f"{text} without unit"
    try:
        return match[1] if match[2] == "ms" else f"{float(match[1]) / 1e3:.9g}"
    except ValueError:
        return match[1]


LOG = Format(name="benchmark_app's output", looks=_looks, parse=_parse, run=RUN, log=True)
