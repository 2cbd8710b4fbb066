"""Grade of the trust in a row, A to C, with its reasons. Pure.

A has four requirements: the interval is within the budget's half-width, no disturbed block is left, there is no drift, and the
requested arithmetic ran on the requested device. B misses one, or the system counts no disturbances (macOS). C misses more, or
has too few rounds for an interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...spec import Sweep
from ..stats.intervals import LEAST_ROUNDS, Interval, drift
from ..store.noise import disturbances
from ..store.record import CellRecord
from ..store.series import disturbed, stopping_interval, values
from ..store.verdict import UNDETERMINED
from .executed import unlike
from .findings import Finding


def grade(record: CellRecord, base: CellRecord | None, sweep: Sweep | None) -> tuple[str, list[Finding]]:
    """Grade and its reasons. `sweep`: the run's sweep, for its metric and its budget's half-width."""
    name, interval = stopping_interval(record, base, sweep.metric if sweep else "p50")
    missed = [
        *_wide(name, interval, sweep),
        *_dirty(record),
        *_unseen(record),
        *_drift(record),
        *unlike(record),
        *_unproven(record),
    ]
    # without an interval the spread of the rounds is unknown, whatever else is fulfilled
    if interval is None:
        return "C", [Finding.of("no_interval", metric=name, rounds=LEAST_ROUNDS), *missed]
    return "ABC"[min(len(missed), 2)], missed


def _wide(name: str, interval: Interval | None, sweep: Sweep | None) -> Sequence[Finding]:
    if interval is None or sweep is None or interval.half_width <= sweep.budget.half_width:
        return []
    return [Finding.of("wide_interval", metric=name, half_width=sweep.budget.half_width)]


def _dirty(record: CellRecord) -> Sequence[Finding]:
    """Finding with the most frequent cause of disturbed blocks that were not measured again."""
    dirty = disturbed(record)
    if not dirty:
        return []
    causes = Counter(cause for number in dirty for cause in disturbances(record.blocks[number].noise))
    return [Finding.of("disturbed", cause=causes.most_common(1)[0][0])]


def _unseen(record: CellRecord) -> Sequence[Finding]:
    """Finding on missing counters, without which a disturbed block is not seen."""
    return [Finding.of("noise_unseen", counters=", ".join(record.unseen))] if record.unseen else []


def _unproven(record: CellRecord) -> Sequence[Finding]:
    """Finding for a row whose parity is not determined."""
    return [Finding.of("undetermined")] if record.status == UNDETERMINED else []


def _drift(record: CellRecord) -> Sequence[Finding]:
    change = drift(list(values(record, "p50").values()))
    return [Finding.of("drift", direction="rose" if change > 0 else "fell")] if change else []
