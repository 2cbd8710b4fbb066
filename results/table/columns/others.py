"""Columns of figures that only other tools report: latency with several requests in flight, and tokens."""

from __future__ import annotations

from typing import Any

from ..column import LESS, MORE, Column
from ..row import Row


def _imported(name: str, **traits: Any) -> Column:
    """A column that only an imported row has. The table takes such a figure from the record by the column's name."""
    return Column(name=name, value=_none, **traits)


def _none(row: Row) -> None:
    return None


def _loaded(percentile: str, definition: str, priority: int) -> Column:
    return _imported(
        f"loaded_{percentile}_ms",
        unit="ms",
        title=f"{percentile} under load",
        priority=priority,
        better=LESS,
        definition=definition,
    )


COLUMNS = (
    _imported(
        "loaded_per_s",
        unit="/s",
        title="rate completed",
        priority=40,
        better=MORE,
        definition="Items a second that were completed while requests arrived at another tool's rate.",
    ),
    _loaded("p50", "Median latency of a request with others in flight, by another tool; waiting is included.", 41),
    _loaded("p90", "Latency that 90 % of the requests with others in flight do not exceed, by another tool.", 44),
    _loaded("p95", "Latency that 95 % of the requests with others in flight do not exceed, by another tool.", 43),
    _loaded("p99", "Latency that 99 % of the requests with others in flight do not exceed, by another tool.", 42),
    _imported(
        "tokens_per_s",
        unit="/s",
        title="tokens",
        priority=40,
        better=MORE,
        definition="Tokens a second that a language model generated, by another tool.",
    ),
    _imported(
        "ttft_p50_ms",
        unit="ms",
        title="TTFT p50",
        priority=41,
        better=LESS,
        definition="Median time from a request to its first token, by another tool.",
    ),
    _imported(
        "ttft_p99_ms",
        unit="ms",
        title="TTFT p99",
        priority=42,
        better=LESS,
        definition="Time to the first token that 99 % of the requests do not exceed, by another tool.",
    ),
    _imported(
        "tpot_p50_ms",
        unit="ms",
        title="TPOT p50",
        priority=41,
        better=LESS,
        definition="Median time between two tokens of a request, by another tool.",
    ),
    _imported(
        "tpot_p99_ms",
        unit="ms",
        title="TPOT p99",
        priority=42,
        better=LESS,
        definition="Time between two tokens that 99 % of the requests do not exceed, by another tool.",
    ),
)
