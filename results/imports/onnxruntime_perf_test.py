"""Parser of what onnxruntime_perf_test prints, in each of its spellings, one or several runs. Standard library only.

The formats come from its published sources and from published outputs of versions 1.4 to 1.23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .formats import Figure, Format, ImportedFigures, Unusable, number, pieces, whole

TOOL = "onnxruntime_perf_test"
LINE = re.compile(
    r"(Session creation time cost|First inference time cost|Total inference time cost|Total inference requests|Total time cost"
    r"|Total iterations|Average (?:inference )?time cost(?: total)?|Total inference run time|Number of inferences per second"
    r"|Peak working set size|(?:Min|Max|P50|P90|P95|P99) Latency(?=.*\ds|.*\d s))(?: is|:)\s*(\S+)"
)
THREADS = re.compile(r"Setting intra_op_num_threads to (\d+)")
RATE, P50 = "Number of inferences per second", "P50 Latency"
PERCENTILES = ("p50", "p90", "p95", "p99")
RUN = "onnxruntime_perf_test -s -I -m times -r 1000 FILE.onnx"
ONE = "latency is of Session.Run with inputs in host memory, with one call in flight"
SEVERAL = "about {} calls in flight: the latencies are in the columns loaded_*"
UNITS = "throughput is inferences a second times the batch"
MEMORY = "peak_rss_mb is that of the process that measured, with its test data"
NO_LATENCIES = "latencies are left out: onnxruntime_perf_test prints them with -s"


def _looks(text: str) -> bool:
    return "Session creation time cost" in text or (RATE in text and P50 in text) or ("P50 Latency is" in text)


def _parse(text: str) -> list[ImportedFigures]:
    """Read a row for each run. A run begins with the creation of its session."""
    lines = [line[:500] for line in text.splitlines()]
    runs = pieces(lines, lambda line: "Session creation time cost" in line)
    pairs = [(run, _values(run)) for run in runs]
    rows = [_row(run, values) for run, values in pairs if RATE in values or P50 in values]
    if not rows:
        raise Unusable("it ends before the number of inferences per second", f"run it again and keep the whole output: {RUN}")
    return rows


def _values(lines: Sequence[str]) -> Mapping[str, str]:
    """First value of each line that has one, wherever it stands in the line. Percentiles in s, as printed."""
    values: dict[str, str] = {}
    for line in lines:
        if match := LINE.search(line):
            values.setdefault(match[1], match[2])
    return values


def _row(lines: Sequence[str], values: Mapping[str, str]) -> ImportedFigures:
    calls, in_flight = _calls(values), _in_flight(values)
    threads = next((match[1] for line in lines if (match := THREADS.search(line))), None)
    latencies = _latencies(values, "" if in_flight == 1 else "loaded_")
    rate = number(values[RATE], RATE) if RATE in values else None
    return ImportedFigures(
        tool=TOOL,
        queries_per_s=rate,
        figures={
            **latencies,
            **({"samples": calls} if calls and latencies else {}),
            **({"lanes": in_flight} if rate else {}),
            **_opening(values),
        },
        threads=whole(threads, "intra_op_num_threads") if threads else 0,
        notes=(
            ONE if in_flight == 1 else SEVERAL.format(in_flight),
            *((UNITS,) if rate else ()),
            *((MEMORY,) if "Peak working set size" in values else ()),
            *(() if latencies else (NO_LATENCIES,)),
        ),
    )


def _calls(values: Mapping[str, str]) -> int | None:
    text = values.get("Total inference requests") or values.get("Total iterations")
    return whole(text, "the number of requests") if text else None


def _in_flight(values: Mapping[str, str]) -> int:
    """Number of calls in flight (option -c), which is not printed: the time of all calls over the time of the run."""
    total, run = (values.get(f"Total inference {name}") for name in ("time cost", "run time"))
    if not total or not run:
        return 1
    return max(1, round(number(total, "Total inference time cost") / number(run, "Total inference run time")))


def _latencies(values: Mapping[str, str], prefix: str) -> dict[str, Figure]:
    names = {which: f"{which.upper()} Latency" for which in PERCENTILES}
    texts = {which: values[name].removesuffix("sec").removesuffix("s") for which, name in names.items() if name in values}
    return {f"{prefix}{which}_ms": round(number(text, names[which]) * 1e3, 9) for which, text in texts.items()}


def _opening(values: Mapping[str, str]) -> dict[str, Figure]:
    created, first = values.get("Session creation time cost"), values.get("First inference time cost")
    peak = values.get("Peak working set size")
    # The first call is printed in whole milliseconds: 0 is shorter than one.
    is_known = first is not None and first.strip("0.") != ""
    return {
        **({"load_s": number(created, "Session creation time cost")} if created else {}),
        **({"first_ms": number(first, "First inference time cost")} if is_known else {}),
        **({"peak_rss_mb": number(peak, "Peak working set size") / 1e6} if peak and peak != "0" else {}),
    }


OUTPUT = Format(name="onnxruntime_perf_test's output", looks=_looks, parse=_parse, run=RUN, log=True)
