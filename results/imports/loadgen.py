"""Parser of MLPerf LoadGen's `mlperf_log_summary.txt`. Standard library only.

Tested with mlcommons-loadgen 6.0. The summary does not contain a version; the names of its lines are the same since 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from .formats import Figure, Format, ImportedFigures, number, whole

TOOL = "loadgen"
Values = Mapping[str, str]
PERCENTILES = {"p50_ms": "50.00", "p90_ms": "90.00", "p99_ms": "99.00"}
LINE = re.compile(r"\s*([^:]+?)\s*:\s*(\S.*?)\s*")
SUT = "latency is from a query's issue to the completion that the system under test reports, its own overhead included"


def _single(values: Values) -> dict[str, Figure]:
    rate = number(values.get("QPS w/ loadgen overhead"), "QPS w/ loadgen overhead")
    return {**_percentiles(values), "throughput_per_s": rate, "lanes": 1}


def _percentiles(values: Values) -> dict[str, Figure]:
    names = {column: f"{which} percentile latency (ns)" for column, which in PERCENTILES.items()}
    return {column: number(values.get(name), name) / 1e6 for column, name in names.items()}


def _offline(values: Values) -> dict[str, Figure]:
    return {"throughput_per_s": number(values.get("Samples per second"), "Samples per second")}


def _server(values: Values) -> dict[str, Figure]:
    """Rate at which the run kept its target latency; empty for a run that is not valid."""
    if values.get("Result is") != "VALID":
        return {}
    name = "Scheduled samples per second"
    return {"slo_rate_per_s": number(values.get(name), name)}


SCENARIOS: Mapping[str, tuple[Callable[[Values], dict[str, Figure]], tuple[str, ...]]] = {
    "SingleStream": (
        _single,
        (
            "LoadGen's own result is the 90th percentile (p90), not the median",
            "throughput is with one query in flight, without a search for the best number",
            SUT,
        ),
    ),
    "MultiStream": (
        _percentiles,
        (
            "latency is of a query with several samples, imported as a call with that batch, and LoadGen's own result is p99",
            SUT,
        ),
    ),
    "Offline": (
        _offline,
        (
            "latencies are left out: the single query has all samples, and the system under test makes the batches",
            "lanes and threads are unknown",
        ),
    ),
    "Server": (
        _server,
        (
            "latencies are left out: queries arrive at random, and their latency includes waiting",
            "slo_rate_per_s is a rate at which the run kept its target latency, not the highest such rate",
        ),
    ),
}


def _looks(text: str) -> bool:
    return "MLPerf Results Summary" in text[:10_000]


def _parse(text: str) -> ImportedFigures:
    values = _values(text)
    scenario, mode = values.get("Scenario", "").replace(" ", ""), values.get("Mode", "")
    if scenario not in SCENARIOS:
        raise ValueError(f"its scenario is {scenario[:40] or 'missing'}, not one of {', '.join(SCENARIOS)}")
    if not mode.startswith("Performance"):
        raise ValueError(f"its mode is {mode[:40] or 'missing'}, but only PerformanceOnly measures times")
    figures, notes = SCENARIOS[scenario]
    # Offline has a single query with all samples, which is not a batch.
    batch = None if scenario == "Offline" else whole(values.get("samples_per_query"), "samples_per_query")
    return ImportedFigures(
        tool=TOOL,
        batch=batch,
        figures=figures(values),
        settings=(("scenario", scenario),),
        notes=(f"LoadGen's scenario {scenario}", *_invalid(text, values), *_target(values), *notes),
    )


def _values(text: str) -> dict[str, str]:
    """First value of each name."""
    # LoadGen writes a percentile twice, with the same value.
    values: dict[str, str] = {}
    for line in text.splitlines():
        if match := LINE.fullmatch(line[:200]):
            values.setdefault(match[1], match[2])
    return values


def _invalid(text: str, values: Values) -> Sequence[str]:
    """Note with the requirements that an invalid run misses; empty for a valid run."""
    if values.get("Result is") == "VALID":
        return ()
    missed = [match[1] for line in text.splitlines() if (match := re.fullmatch(r"\s*(\w[\w ]{0,60}\w)\s*: NO\s*", line[:200]))]
    return (f"LoadGen's result is {values.get('Result is', 'missing')[:20]}: not {', not '.join(missed)}",)


def _target(values: Values) -> Sequence[str]:
    """Note with the target latency of a Server run; empty for other scenarios."""
    target = values.get("target_latency (ns)", "0")
    return () if values.get("Scenario") != "Server" else (f"target latency {number(target, 'target_latency (ns)') / 1e6:g} ms",)


SUMMARY = Format(name="LoadGen's mlperf_log_summary.txt", looks=_looks, parse=_parse)
