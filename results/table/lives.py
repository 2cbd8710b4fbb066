"""Lives of a row that were slower than its others from their first round to their last. Pure.

On an H200, one process in fifteen took twice as long as the others for one engine of TensorRT, as long as it lived. Means over
lives cut the values at both ends, so that few such lives leave no trace in the other columns of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median, median_low

from ..store.record import CellRecord
from ..store.series import rounds_by_life, values
from .findings import Finding

SLOW = 1.3  # times the p50 of the middle life. Whole lives differ by up to a tenth, and a shared machine jumps within them.


def of_lives(record: CellRecord) -> Iterator[Finding]:
    """Finding on the lives of which every round was slower than SLOW times the middle life."""
    lives = [list(rounds) for rounds in rounds_by_life(values(record, "p50"), record).values()]
    usual = median_low(map(median, lives)) if lives else 0.0
    slow = [rounds for rounds in lives if min(rounds) > SLOW * usual]
    if slow:
        ratio = median(map(median, slow)) / usual
        yield Finding.of("slow_lives", slow=len(slow), lives=len(lives), ratio=ratio)
