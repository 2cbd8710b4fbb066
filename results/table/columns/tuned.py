"""Columns of the options that a search found. Pure."""

from __future__ import annotations

from ....evidence import LATENCY, THROUGHPUT
from ..column import Column
from ..tuning import options_text

COLUMNS = (
    Column(
        name="tuned_latency",
        value=lambda row: options_text(row.record, LATENCY),
        number=False,
        shown=False,
        absent="absent_search",
        definition="Options for single calls that --tune found faster than the default; default if it found none.",
    ),
    Column(
        name="tuned_throughput",
        value=lambda row: options_text(row.record, THROUGHPUT),
        number=False,
        shown=False,
        absent="absent_search",
        definition="Options for parallel calls that --tune found faster than the default; default if it found none.",
    ),
)
