"""Schedules of blocks compared: the width of the interval of a ratio that each gives in the same time.

    python benchmarks/schedules.py FILE.onnx [SECONDS]        200 s of calls, on a machine that does nothing else

One ONNX Runtime session with all threads is called again and again. A schedule then takes blocks out of this series as if
several cells had been called in turn: each cell of a set for a latency block and a gap, and in some rounds for a throughput
block. Two "cells" are compared, so the true ratio is 1. The calls are those of one process; processes that take turns differ
more.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.special import stdtrit

LIVES, DRAWS = 6, 1500
GAP_S = 0.06  # of a cell, until its threads no longer spin
Series = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """A life of `rounds` rounds with blocks of `block_s`, and throughput for `rate_s` in every `rate_rounds`-th round.

    `trim`: share of the life's ratios that is left out at each end.
    """

    block_s: float
    rate_s: float
    rounds: int
    rate_rounds: int
    trim: float


SCHEDULES = (
    Schedule(0.1, 0.18, 2, 1, 0),
    Schedule(0.05, 0.12, 4, 1, 0.25),
    Schedule(0.03, 0.15, 6, 3, 0),
    Schedule(0.03, 0.15, 6, 3, 0.25),
    Schedule(0.03, 0.15, 6, 3, 1 / 3),
    Schedule(0.02, 0.15, 6, 3, 1 / 3),
    Schedule(0.02, 0.15, 12, 4, 1 / 3),
)


def record(file: str, seconds: float) -> tuple[Series, Series]:
    """Begin of each call in s, and its duration on the log scale."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    feed = {given.name: np.random.default_rng(0).random(shape, np.float32)}
    for _ in range(200):
        session.run(None, feed)
    begins, end = [time.perf_counter()], time.perf_counter() + seconds
    while begins[-1] < end:
        session.run(None, feed)
        begins.append(time.perf_counter())
    times = np.array(begins)
    return times[:-1] - times[0], np.log(np.diff(times))


def life(schedule: Schedule, cells: int, begin: float, series: tuple[Series, Series], random: np.random.Generator) -> float:
    """Log ratio of two of `cells` in a life that begins at `begin`."""
    times, logs = series
    ratios: list[float] = []
    for number in range(schedule.rounds):
        medians = {}
        for cell in random.permutation(cells):
            first, last = np.searchsorted(times, [begin, begin + schedule.block_s])
            medians[int(cell)] = float(np.median(logs[first : max(last, first + 1)]))
            begin += schedule.block_s + GAP_S
        begin += cells * schedule.rate_s * (number % schedule.rate_rounds == 0)
        ratios.append(medians[0] - medians[1])
    cut = int(schedule.trim * len(ratios))
    return float(np.mean(sorted(ratios)[cut : len(ratios) - cut]))


def seconds(schedule: Schedule) -> float:
    """Time of one cell in one life."""
    rates = math.ceil(schedule.rounds / schedule.rate_rounds)
    return schedule.rounds * (schedule.block_s + GAP_S) + rates * schedule.rate_s


def main() -> None:
    length = float(sys.argv[2]) if len(sys.argv) > 2 else 200.0
    series, random = record(sys.argv[1], length), np.random.default_rng(0)
    factor = float(stdtrit(LIVES - 1, 0.975)) / math.sqrt(LIVES)
    for cells in (2, 5):
        for schedule in SCHEDULES:
            spare = length - cells * seconds(schedule) - 1
            ratios = np.array([life(schedule, cells, random.uniform(0, spare), series, random) for _ in range(DRAWS)])
            half = np.median([factor * random.choice(ratios, LIVES).std(ddof=1) for _ in range(DRAWS)])
            print(
                f"{cells} cells, {seconds(schedule):.2f} s a life: half-width over {LIVES} lives {100 * half:.1f} %  {schedule}"
            )


if __name__ == "__main__":
    main()
