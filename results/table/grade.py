"""How far a row can be trusted, A to C, and why. Pure.

A: the interval is within the budget's half-width, no disturbed block is left, there is no drift, and what was asked for ran
where it was asked for. B: one of these is missed, or the system does not count disturbances (macOS). C: more are, or the
rounds are too few for an interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...spec import Sweep
from ..stats.intervals import LEAST_ROUNDS, Interval, drift
from ..store.noise import disturbances
from ..store.record import CellRecord
from ..store.series import asked_interval, disturbed, values
from .executed import unlike


def grade(record: CellRecord, base: CellRecord | None, asked: Sweep | None) -> tuple[str, list[str]]:
    """The grade and its reasons. `asked`: the run's sweep, for its metric and its budget's half-width."""
    name, interval = asked_interval(record, base, asked.metric if asked else "p50")
    missed = [*_wide(name, interval, asked), *_dirty(record), *_unseen(record), *_drift(record), *unlike(record)]
    if interval is None:
        return "C", [f"no interval of {name}: fewer than {LEAST_ROUNDS} rounds", *missed]
    return "ABC"[min(len(missed), 2)], missed


def _wide(name: str, interval: Interval | None, asked: Sweep | None) -> Sequence[str]:
    if interval is None or asked is None or interval.half_width <= asked.budget.half_width:
        return []
    return [f"the interval of {name} is wider than ±{asked.budget.half_width:.1%}"]


def _dirty(record: CellRecord) -> Sequence[str]:
    """What disturbed blocks most often that stayed so."""
    dirty = disturbed(record)
    if not dirty:
        return []
    causes = Counter(cause for number in dirty for cause in disturbances(record.blocks[number].noise))
    return [f"blocks disturbed: {causes.most_common(1)[0][0]}"]


def _unseen(record: CellRecord) -> Sequence[str]:
    """Counters that are missing: without them a block may be disturbed, and nobody knows."""
    return [f"no evidence of noise: the system has no {', '.join(record.unseen)}"] if record.unseen else []


def _drift(record: CellRecord) -> Sequence[str]:
    change = drift(list(values(record, "p50").values()))
    return [f"p50 {'rose' if change > 0 else 'fell'} by more than 5 % from the first round to the last"] if change else []
