"""Agreement of a difference in time with the same difference in cycles of a GPU. Pure."""

from __future__ import annotations

import math

AMBIGUOUS = "ambiguous"
EXPLAINED = 0.5
"""Least share of a difference that the clock explains where time and cycles disagree. Below it, one of the two is just short of
significance."""


def disagree(time: float, cycles: float, *, time_differs: bool, cycles_differ: bool) -> bool:
    """True if a ratio in `time` leads to another conclusion than the ratio in `cycles`.

    `time_differs`, `cycles_differ`: the difference of this ratio from 1 is significant.
    """
    in_time, in_cycles = math.log(time), math.log(cycles)
    largest = max(abs(in_time), abs(in_cycles))
    opposite = time_differs and cycles_differ and in_time * in_cycles < 0
    return opposite or (time_differs != cycles_differ and abs(in_time - in_cycles) >= EXPLAINED * largest)
