"""Findings about the options that a search found for a row, and the texts of their columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import quantity
from ...evidence import LATENCY, THROUGHPUT, Tuned
from ...spec import COLD
from ...tuning import Pairs, written
from ..store.record import CellRecord
from .findings import Finding


def options_text(record: CellRecord, of: str) -> str | None:
    """Options of a tuned row for latency or throughput, `default` where nothing was faster; None for any other row."""
    if record.tuned is None or (of == THROUGHPUT and record.cell.cache == COLD):
        return None
    options = _options(record.tuned, of)
    return written(options) if options else "default"


def _options(tuned: Tuned, of: str) -> Pairs:
    return tuned.latency if of == LATENCY else tuned.throughput


def of_tuning(record: CellRecord) -> Iterator[Finding]:
    """Findings on the search: its result, the candidates that it dropped, and the options that it did not try."""
    tuned = record.tuned
    if tuned is None:
        return
    size: dict[str, str | float] = {"candidates": quantity(len(tuned.candidates), "candidate"), "seconds": tuned.seconds}
    if tuned.is_default:
        yield Finding.of("tuned_default", beside=tuned.default, **size)
    else:
        yield Finding.of("tuned", latency=written(tuned.latency), throughput=written(tuned.throughput), **size)
        for of in (LATENCY, THROUGHPUT):
            if not _options(tuned, of):
                yield Finding.of("tuned_partly", of=of, beside=tuned.default)
    for item in tuned.dropped:
        yield Finding.of("tuned_dropped", options=written(item.options), of=item.of, reason=item.reason)
    for of in dict.fromkeys(of for of, _ in tuned.untried):
        yield Finding.of("tuned_untried", options=", ".join(name for other, name in tuned.untried if other == of), of=of)
