"""Durations and counts of a measurement, by the names of `--budget`. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of a measurement. Every cell is visited once in each round.

    - `looks`: numbers of rounds after which the stop rule computes a cell's interval. The last look ends the cell.
    - `life_rounds`: rounds of one life. After them every process ends, and fresh ones open in another order. 0: one life.
    - `most_life_rounds`, `life_ms`: a set of cells has more rounds in a life, until its longest latency blocks took `life_ms`
      together, and at most so many. Looks do not count these. 0: none.
    - `half_width`: half-width, as a share of the metric, at which the interval is narrow enough.
    - `repeats`: most visits that are repeated because something disturbed them, as a share of the rounds.
    - `cell_s`: average time of a cell, in seconds. After that time, a cell ends at the rounds of the first look.
    - `block_ms`, `block_calls`: least duration and least number of calls of a latency block.
    - `rate_ms`: least duration of a throughput block. 0, as in runs without the field: as long as a latency block.
    - `rate_rounds`: rounds from one throughput block to the next. Every life begins with one.
    - `warmup_ms`, `warmup_limit_ms`: least and longest duration of a warm-up.
    - `images`: most labelled images for accuracy.
    - `memory`: measure each cell's memory in a fresh process.
    - `cold_starts`: fresh processes that `--cold` starts for a cell.
    - `passes`: measurements of each candidate of concurrency.
    - `energy_ms`: least duration of the calls that measure a cell's energy, where its device has a counter.
    - `throttle_pause_s`: seconds of the pause before a block with throttled clocks of the GPU is measured again. Each further
      pause for the block is twice as long. `throttle_s`: longest time of all pauses of a cell; 0 for no pauses.
    - `load_s`: least duration of one request rate of `--load`, in seconds.
    - `load_halvings`: halvings of the interval between a rate within the limit and a rate beyond it.
    - `load_passes`: measurements of the two rates beside the answer.
    - `tune_s`: time after which the search of a cell's options tries no further option, in seconds. Half is for latency.
    """

    name: str
    looks: tuple[int, ...]
    half_width: float
    block_ms: float
    block_calls: int
    warmup_ms: float
    warmup_limit_ms: float
    images: int
    memory: bool
    cold_starts: int
    cell_s: float
    passes: int
    rate_ms: float = 0.0
    rate_rounds: int = 1
    life_rounds: int = 0
    most_life_rounds: int = 0
    life_ms: float = 0.0
    repeats: float = 0.5
    energy_ms: float = 0.0
    throttle_pause_s: float = 1.0
    throttle_s: float = 0.0
    load_s: float = 1.0
    load_halvings: int = 2
    load_passes: int = 1
    tune_s: float = 0.0

    @property
    def rounds(self) -> int:
        """The largest number of rounds of a cell."""
        return self.looks[-1]

    @property
    def throughput_ms(self) -> float:
        """Least duration of a throughput block."""
        return self.rate_ms or self.block_ms

    @property
    def openings(self) -> int:
        """Least number of times that a cell opens: once without lives, else once before its first life and in each life."""
        return 1 + -(-self.looks[0] // self.life_rounds) if self.life_rounds else 1

    def with_lives(self, least: int) -> Budget:
        """This budget with at least `least` lives. Without lives of its own, they share the rounds of its first look."""
        length = self.life_rounds or max(1, self.looks[0] // least)
        return replace(self, life_rounds=length, looks=tuple(max(look, length * least) for look in self.looks))


BUDGETS: Mapping[str, Budget] = {
    row.name: row
    for row in (
        Budget(
            name="quick",
            looks=(3,),
            half_width=0.05,
            block_ms=60,
            rate_ms=60,
            block_calls=2,  # three short blocks: one call each would leave a slow model three times for its p50
            warmup_ms=100,
            warmup_limit_ms=1000,
            images=128,
            memory=False,
            cold_starts=3,
            cell_s=2,
            passes=2,
            energy_ms=500,
            throttle_pause_s=0.5,
            throttle_s=4,
            load_s=1,
            load_halvings=2,
            load_passes=1,
            tune_s=10,
        ),
        Budget(
            name="normal",
            # A shared machine changes its speed by a tenth within a second. Short blocks bring the cells of a set close
            # together in time, and many of them let a life drop the ratios that a change entered (docs/adr/0025).
            looks=(40, 50, 60),
            life_rounds=5,
            most_life_rounds=12,
            life_ms=240,
            half_width=0.02,
            block_ms=20,
            rate_ms=150,
            rate_rounds=12,
            repeats=0.2,
            block_calls=1,
            warmup_ms=200,
            warmup_limit_ms=2000,
            images=2000,
            memory=True,
            cold_starts=5,
            cell_s=4.5,
            passes=5,
            energy_ms=1000,
            throttle_pause_s=1,
            throttle_s=30,
            load_s=2,
            load_halvings=3,
            load_passes=5,
            tune_s=40,
        ),
        Budget(
            name="thorough",
            looks=(144, 192, 240),
            life_rounds=12,
            half_width=0.015,
            block_ms=25,
            rate_ms=150,
            rate_rounds=4,
            repeats=0.2,
            block_calls=1,
            warmup_ms=500,
            warmup_limit_ms=6000,
            images=10_000,
            memory=True,
            cold_starts=10,
            cell_s=45,
            passes=7,
            energy_ms=3000,
            throttle_pause_s=2,
            throttle_s=120,
            load_s=8,
            load_halvings=4,
            load_passes=6,
            tune_s=120,
        ),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Open-loop load: items arrive at random times (`poisson`), whether or not earlier items are finished.

    The result is the highest request rate at which `percentile` of the response times is at most `limit_ms`. The response time
    begins when the item is due. A call waits at most `max_wait_ms` for its batch to fill. Cells with more than `max_batch`
    items a call are not measured under load.
    """

    percentile: float
    limit_ms: float
    arrivals: str = "poisson"
    max_batch: int | None = None
    max_wait_ms: float = 2.0
