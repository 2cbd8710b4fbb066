"""Parser of the CSV of Triton's perf_analyzer (-f): a row for each concurrency or request rate. Standard library only.

The format comes from its published sources (report_writer.cc) and documentation. Times are in microseconds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping

from .formats import Figure, Format, ImportedFigures, Unusable, number, whole

TOOL = "perf_analyzer"
RATE = "Inferences/Second"
LOADS = ("Concurrency", "Request Rate")
PERCENTILE = re.compile(r"p(50|90|95|99) latency")
PARTS = ("Client Send", "Network+Server Send/Recv", "Server Queue", "Server Compute Input", "Server Compute Infer")
ENDS = ("Server Compute Output", "Client Recv")
RUN = "perf_analyzer -m MODEL --concurrency-range 1:4 -f perf_analyzer.csv"
SERVER = "latencies are those of a client of a server, with network and queue: they are in the columns loaded_*"
RATE_NOTE = "throughput is items a second, which perf_analyzer counts with the batch (-b)"
SPLIT = "mean parts of a request, in ms: {}"


def _looks(text: str) -> bool:
    first = text.lstrip()[:2000].partition("\n")[0]
    return RATE in first.split(",") and any(name in first.split(",") for name in LOADS)


def _parse(text: str) -> list[ImportedFigures]:
    records = list(csv.DictReader(line for line in text.lstrip().splitlines() if line.strip()))
    # Other tables (of several GPUs, say) may follow the first, with a head of their own.
    rows = [_row(record) for record in records if record.get(RATE) != RATE]
    if not rows:
        raise Unusable("it has a head and no rows", f"run it again: {RUN}")
    return rows


def _row(record: Mapping[str, str | None]) -> ImportedFigures:
    # A decimal comma gives a value too many, after which every value would stand under the wrong name.
    if None in record.values() or any(record.get(None, ())):  # type: ignore[call-overload]
        raise ValueError("a row has more or fewer values than the first line has names")
    name = next(name for name in LOADS if name in record)
    load = number(record[name], name)
    latencies: dict[str, Figure] = {
        f"loaded_p{match[1]}_ms": _ms(record, column) for column in record if column and (match := PERCENTILE.fullmatch(column))
    }
    if not latencies:
        raise ValueError("it has no percentiles of latency")
    rate = number(record[RATE], RATE)
    by_concurrency = name == "Concurrency"
    return ImportedFigures(
        tool=TOOL,
        items_per_s=rate if by_concurrency else None,
        figures={
            **latencies,
            **({"lanes": whole(record[name], name)} if by_concurrency else {"loaded_per_s": rate}),
        },
        settings=((name.lower().replace(" ", "_"), f"{load:g}"),),
        facts=((name.lower().replace(" ", "_"), f"{load:g}"),),
        notes=(SERVER, *((RATE_NOTE,) if by_concurrency else ()), *_split(record)),
    )


def _ms(record: Mapping[str, str | None], column: str) -> float:
    return number(record[column], column) / 1e3


def _split(record: Mapping[str, str | None]) -> tuple[str, ...]:
    """Note with the mean time of each part of a request."""
    parts = [(name, record.get(name)) for name in (*PARTS, *ENDS)]
    # A part may take less than the microsecond in which it is printed.
    times = [f"{name} {number(text, name, least=-1) / 1e3:g}" for name, text in parts if text]
    return (SPLIT.format(", ".join(times)),) if times else ()


CSV = Format(name="perf_analyzer's CSV", looks=_looks, parse=_parse, run=RUN)
