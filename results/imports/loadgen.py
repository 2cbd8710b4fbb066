"""Parser of MLPerf LoadGen's `mlperf_log_summary.txt`, with latencies of samples or of tokens. Standard library only.

Tested with mlcommons-loadgen 6.0, and with a published summary of 2.0. The summary does not contain a version; the names
of its lines are nearly the same since 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from .formats import Figure, Format, ImportedFigures, Unusable, inert, number, whole

TOOL = "loadgen"
Values = Mapping[str, str]
PERCENTILES = {"p50_ms": "50.00", "p90_ms": "90.00", "p95_ms": "95.00", "p99_ms": "99.00"}
LINE = re.compile(r"\s*([^:]+?)\s*:\s*(\S.*?)\s*")
SUT = "latency is from a query's issue to the completion that the system under test reports, its own overhead included"
HEAD, ENDING = "MLPerf Results Summary", "No errors encountered during test."
TOKENS = "tokens_per_s, ttft and tpot are LoadGen's token rate, first token latency and time per output token"
COMPLETED = "{} samples/s completed"
TARGET_PERCENTILE = "p99 is LoadGen's default for the target latency: the summary does not contain the percentile"
KEPT = "slo_rate_per_s is a rate at which the run kept its target latency, not the highest such rate"
SUBMISSION = "a submission run: the figures are of its performance part"
PERFORMANCE = "give the summary of a run in PerformanceOnly mode"
TTFT, TPOT = "first token latency (ns)", "time to output token (ns)"


def _single(values: Values) -> dict[str, Figure]:
    rate = number(values.get("QPS w/ loadgen overhead"), "QPS w/ loadgen overhead")
    return {**_percentiles(values), "throughput_per_s": rate, "lanes": 1}


def _percentiles(values: Values, prefix: str = "") -> dict[str, Figure]:
    names = {column: f"{which} percentile latency (ns)" for column, which in PERCENTILES.items()}
    return {f"{prefix}{column}": number(values.get(name), name) / 1e6 for column, name in names.items()}


def _offline(values: Values) -> dict[str, Figure]:
    return {"throughput_per_s": number(values.get("Samples per second"), "Samples per second")}


def _server(values: Values) -> dict[str, Figure]:
    """Latencies under load, and for a valid run the rate at which it kept its target latency."""
    name, completed = "Scheduled samples per second", values.get("Completed samples per second")
    rate = {"loaded_per_s": number(completed, "Completed samples per second")} if completed else {}
    figures: dict[str, Figure] = {**rate, **_percentiles(values, "loaded_")}
    if values.get("Result is") != "VALID":
        return figures
    return {**figures, "slo_rate_per_s": number(values.get(name), name), "slo": _target(values)}


def _target(values: Values) -> str:
    """Target latencies of a Server run as in the column `slo`."""
    named = (("", "target_latency (ns)"), ("TTFT ", "ttft_latency (ns)"), ("TPOT ", "tpot_latency (ns)"))
    tokens = _has_tokens(values)
    limits = [(kind, number(values[name], name) / 1e6) for kind, name in named if name in values and bool(kind) == tokens]
    if not limits:
        raise ValueError("target_latency (ns) is missing")
    return ", ".join(f"{kind}p99 <= {limit:g} ms" for kind, limit in limits) + ", poisson arrivals"


def _has_tokens(values: Values) -> bool:
    return any(TTFT in name.lower() for name in values)


def _tokens(values: Values) -> dict[str, Figure]:
    """Figures of tokens; empty for a run without them."""
    lower = {name.lower().replace("per output token", "to output token"): text for name, text in values.items()}
    names = {
        "tokens_per_s": ("completed tokens per second", "tokens per second", "tps w/ loadgen overhead"),
        **{f"ttft_p{which[:2]}_ms": (f"{which} percentile {TTFT}",) for which in ("50.00", "99.00")},
        **{f"tpot_p{which[:2]}_ms": (f"{which} percentile {TPOT}",) for which in ("50.00", "99.00")},
    }
    lines = {column: next((name for name in options if name in lower), None) for column, options in names.items()}
    return {
        column: number(lower[name], name) / (1e6 if column.endswith("_ms") else 1) for column, name in lines.items() if name
    }


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
            "queries arrive at random, and their latency includes waiting: they are in the columns loaded_*",
            "the system under test makes the batches",
        ),
    ),
}


def _looks(text: str) -> bool:
    return HEAD in text or (ENDING in text and len(text) < 10_000)


def _parse(text: str) -> list[ImportedFigures]:
    if HEAD not in text:
        raise Unusable("it has no figures: LoadGen writes such a summary for an accuracy run", PERFORMANCE)
    if text.count(HEAD) > 1:
        raise Unusable(f"it has {text.count(HEAD)} summaries", "give each summary in a file of its own")
    values = _values(text)
    scenario, mode = values.get("Scenario", "").replace(" ", ""), values.get("Mode", "").replace(" ", "")
    _require_times(mode)
    if scenario not in SCENARIOS:
        raise ValueError(f"its scenario is {scenario[:40] or 'missing'}, not one of {', '.join(SCENARIOS)}")
    figures, notes = SCENARIOS[scenario]
    samples = whole(values.get("samples_per_query"), "samples_per_query")
    tokens = _tokens(values)
    row = ImportedFigures(
        tool=TOOL,
        # In Offline a query has all samples, and in Server the system under test makes the batches.
        batch=samples if scenario in ("SingleStream", "MultiStream") else None,
        figures={**figures(values), **tokens},
        settings=(("scenario", scenario),),
        facts=tuple((name, values[name]) for name in ("target_qps",) if name in values),
        notes=(f"LoadGen's scenario {scenario}", *_remarks(text, values, mode), *((TOKENS,) if tokens else ()), *notes),
    )
    return [row]


def _require_times(mode: str) -> None:
    """`Unusable` for a mode that measures no times, or that searches."""
    if mode.startswith("Accuracy"):
        raise Unusable("it is of an accuracy run, which measures no times", PERFORMANCE)
    if mode.startswith("FindPeak"):
        raise Unusable("it is of a search for the highest rate (FindPeakPerformance), whose steps differ", PERFORMANCE)
    if not mode.startswith(("Performance", "Submission")):
        raise ValueError(f"its mode is {mode[:40] or 'missing'}, not PerformanceOnly or SubmissionRun")


def _values(text: str) -> dict[str, str]:
    """First value of each name."""
    # LoadGen writes a percentile twice, with the same value.
    values: dict[str, str] = {}
    for line in text.splitlines():
        if match := LINE.fullmatch(line[:200]):
            values.setdefault(match[1], match[2])
    return values


def _remarks(text: str, values: Values, mode: str) -> list[str]:
    server = values.get("Scenario") == "Server"
    completed = values.get("Completed samples per second")
    return [
        *_invalid(text, values),
        *([SUBMISSION] if mode.startswith("Submission") else []),
        *([f"target latency {_target(values)}", TARGET_PERCENTILE] if server else []),
        *([KEPT] if server and values.get("Result is") == "VALID" else []),
        *([COMPLETED.format(f"{number(completed, 'Completed samples per second'):g}")] if server and completed else []),
    ]


def _invalid(text: str, values: Values) -> Sequence[str]:
    """Note with the requirements that an invalid run misses; empty for a valid run."""
    if values.get("Result is") == "VALID":
        return ()
    missed = [match[1] for line in text.splitlines() if (match := re.fullmatch(r"\s*(\w[\w ]{0,60}\w)\s*: NO\s*", line[:200]))]
    return (f"LoadGen's result is {inert(values.get('Result is', 'missing'), 20)}: not {', not '.join(missed) or 'valid'}",)


SUMMARY = Format(
    name="LoadGen's mlperf_log_summary.txt",
    looks=_looks,
    parse=_parse,
    run="your LoadGen program in PerformanceOnly mode",
    log=True,
)
