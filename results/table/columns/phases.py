"""Columns of the parts of a call, which a program of the user reports (`bench measure`). Pure."""

from __future__ import annotations

from ....axes import Scalar
from ....loop import PHASES
from ..column import LESS, ONE_CALL, Column, timed
from ..row import Row

DEFINITIONS = {
    "copy_in": "Median time of a call that a program of your own spends on copying inputs.",
    "compute": "Median time of a call that a program of your own spends on computing.",
    "wait": "Median time of a call that a program of your own spends on waiting, for a device or for another thread.",
    "copy_out": "Median time of a call that a program of your own spends on copying outputs.",
}


def _phase(name: str, priority: int) -> Column:
    def value(row: Row) -> Scalar:
        percentiles = row.pooled.kinds.get(name)
        return None if percentiles is None or percentiles.p50_ns is None else percentiles.p50_ns / 1e6

    return timed(
        f"{name}_ms",
        value,
        unit="ms",
        title=name.replace("_", " "),
        priority=priority,
        better=LESS,
        in_flight=ONE_CALL,
        absent="absent_phase",
        definition=DEFINITIONS[name],
    )


COLUMNS = tuple(_phase(name, 16) for name in PHASES)
