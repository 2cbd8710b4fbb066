"""How long measuring may take: what `--budget` names. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long to measure: every cell is visited once in each round.

    `looks`: after how many rounds a cell's interval is looked at; it is narrow enough when its half-width is at most
    `half_width` (a share), and the last look ends the cell as it is. `repeats`: visits that may be made again
    because something disturbed them, as a share of the rounds. `cell_s`: how long a cell may take on average; after
    that it ends as soon as it has had the rounds of the first look. A latency block lasts `block_ms` and has `block_calls`
    calls at least, so that slow models have enough for their p50. `passes`: how often each way of calling in parallel is
    tried. `images`: how many labelled images accuracy rests on at most. `memory`: whether a fresh process for each cell
    tells its memory; `cold_starts`: how many `--cold` times. `energy_ms`: how long a GPU is kept busy for a cell's energy.
    `load_s`: how long a rate of `--load` lasts at least; `load_halvings`: how often the distance between a rate that held and
    one that did not is halved; `load_passes`: how often the two beside the answer are measured.
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
    repeats: float = 0.5
    energy_ms: float = 0.0
    load_s: float = 1.0
    load_halvings: int = 2
    load_passes: int = 1

    @property
    def rounds(self) -> int:
        """The most rounds that a cell takes."""
        return self.looks[-1]


BUDGETS: Mapping[str, Budget] = {
    row.name: row
    for row in (
        Budget(
            name="quick",
            looks=(3,),
            half_width=0.05,
            block_ms=60,
            block_calls=2,
            warmup_ms=100,
            warmup_limit_ms=1000,
            images=128,
            memory=False,
            cold_starts=3,
            cell_s=2,
            passes=2,
            energy_ms=500,
            load_s=1,
            load_halvings=2,
            load_passes=1,
        ),
        Budget(
            name="normal",
            looks=(10, 14, 20),
            half_width=0.02,
            block_ms=100,
            block_calls=1,
            warmup_ms=200,
            warmup_limit_ms=2000,
            images=2000,
            memory=True,
            cold_starts=5,
            cell_s=4.5,
            passes=5,
            energy_ms=1000,
            load_s=2,
            load_halvings=3,
            load_passes=3,
        ),
        Budget(
            name="thorough",
            looks=(20, 30, 45, 60),
            half_width=0.015,
            block_ms=150,
            block_calls=1,
            warmup_ms=500,
            warmup_limit_ms=6000,
            images=10_000,
            memory=True,
            cold_starts=10,
            cell_s=45,
            passes=7,
            energy_ms=3000,
            load_s=8,
            load_halvings=4,
            load_passes=5,
        ),
    )
}
