"""Lives of a row that report other settings than the row, or were slower than its others in every round. Pure.

On an H200, one process of TensorRT in fifteen took twice as long as the others, from its first round to its last. The mean over
lives cuts the values at both ends, so a few such lives do not show in the other columns of a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median, median_low

from ...errors import quantity
from ...evidence import Reopened
from ..store.record import CellRecord
from ..store.series import rounds_by_life, values
from .findings import Finding

SLOW = 1.3  # times the p50 of the middle life. Processes of one runtime differ by a few percent (docs/evidence.md, Places).


def of_lives(record: CellRecord) -> Iterator[Finding]:
    """Findings on the lives of which every round was slower than SLOW times the middle life, and on openings that differ."""
    for reports, count in Counter(map(_difference, record.reopened)).items():
        yield Finding.of("reopened", openings=quantity(count, "later opening"), difference=reports)
    lives = [list(rounds) for rounds in rounds_by_life(values(record, "p50"), record).values()]
    usual = median_low(map(median, lives)) if lives else 0.0
    slow = [rounds for rounds in lives if min(rounds) > SLOW * usual > 0]
    if slow:
        ratio = median(map(median, slow)) / usual
        yield Finding.of("slow_lives", slow=len(slow), lives=len(lives), ratio=ratio)


def _difference(event: Reopened) -> str:
    return ", ".join(f"{name}={value} instead of {event.usual.get(name) or 'none'}" for name, value in event.reports.items())
