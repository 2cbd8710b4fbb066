"""Synthetic run folders of many rows, for compare_size.py and report_size.py: as `bench infer` leaves them, in seconds.

Models, backends, precisions and batches, with accuracy, and a reason where a row failed. Every block has a file of its own,
with one of a few sets of times.
"""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import (
    Block,
    Cold,
    Counts,
    Failed,
    Finished,
    Info,
    Life,
    Noise,
    Opened,
    Rate,
    Verified,
    Warm,
)
from onnxbench.results.stats.percentiles import nearest_rank
from onnxbench.results.store.head import RUN, SCHEMA, Head, Host, head_to_wire
from onnxbench.results.store.journal import JOURNAL, SAMPLES, Event, event_to_wire
from onnxbench.results.store.record import CellRecord
from onnxbench.results.store.series import pool
from onnxbench.runners.sweep.journal import sample_file
from onnxbench.spec import PRECISIONS, Cell, Concurrency, Settings, Sweep

SETS, CALLS, PRECISE, BATCHES = 50, 100, ("fp32", "bf16", "fp16", "int8"), (1, 2, 4, 8, 16)
BACKENDS = tuple(f"backend-{letter}" for letter in "abcdefgh")
FAILED = 40  # one row in so many failed
COUNTED = Counts(wall_ns=10**8, cpus=2, others_ns=10**6, run_delay_ns=10**5, involuntary_switches=3, mhz=2400)
BUDGET = BUDGETS["normal"]

Times = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The times of a block's calls by kind, the file that holds them, and their medians."""

    times: Times
    file: bytes
    p50_ns: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Held(CellRecord):
    """A record whose samples are in memory, by round."""

    times: Mapping[int, Times]

    def calls(self, number: int, kind: str) -> NDArray[np.int64]:
        return self.times[number][kind]


def write(folder: Path, rows: int, rounds: int, seed: int = 0, life_rounds: int = 0) -> Path:
    """A finished run of `rows` cells; those of other seeds have the same cells and other times.

    `life_rounds`: rounds of one life, whose first round alone measures the throughput; 0 for one process and no lives.
    """
    (folder / SAMPLES).mkdir(parents=True)
    chance, sets = random.Random(seed), _sets(seed)
    known = {cell: cell.key for cell in _cells(rows)}
    head = Head(schema=SCHEMA, host=Host(cpu="synthetic"), sweep=Sweep(budget=BUDGET))
    (folder / RUN).write_text(json.dumps(head_to_wire(head, known)))
    with (folder / JOURNAL).open("w") as journal:
        for number, (cell, key) in enumerate(known.items()):
            drawn = [chance.choice(sets) for _ in range(rounds)]
            for event in _events(folder, cell, number, drawn, chance, life_rounds):
                journal.write(json.dumps(event_to_wire(key, event)) + "\n")
    return folder


def _cells(rows: int) -> list[Cell]:
    models = (f"model-{number}" for number in itertools.count())
    axes = itertools.islice(((m, *rest) for m in models for rest in itertools.product(BACKENDS, PRECISE, BATCHES)), rows)
    return [
        Cell(
            model=model,
            sha256=f"{PRECISIONS[precision].file:0<64}",
            backend=backend,
            device="cpu",
            precision=precision,
            batch=batch,
            shapes=(("input", (batch, 3, 48, 48)),),
            settings=Settings(threads=2),
        )
        for model, backend, precision, batch in axes
    ]


def _sets(seed: int) -> list[Drawn]:
    generator, found = np.random.default_rng(seed), []
    for number in range(SETS):
        latency = generator.lognormal(14 + number / 1000, 0.1, CALLS).astype(np.int64)
        times = {"latency": latency, "end_to_end": latency + 10_000, "device": latency[:0]}
        file = io.BytesIO()
        np.savez(file, **times)  # type: ignore[arg-type]
        p50_ns = {kind: nearest_rank(calls, 50) for kind, calls in times.items() if len(calls)}
        found.append(Drawn(times=times, file=file.getvalue(), p50_ns=p50_ns))
    return found


def _events(
    folder: Path, cell: Cell, number: int, drawn: Sequence[Drawn], chance: random.Random, life_rounds: int
) -> list[Event]:
    """All that the journal has of a cell, whose samples are written."""
    if number % FAILED == FAILED - 1:
        return [Failed(status="failed", reason=f"the runtime raised: no kernel for node_{number}")]
    rate = Rate(calls=100, took_ns=int(10**8 * chance.uniform(0.5, 2)), lanes=2)
    count = -(-len(drawn) // life_rounds) if life_rounds else 0
    lives = [Life(number=life, position=0, load_s=0.2, first_ms=9.5) for life in range(count)]
    blocks = {nth: _block(folder, cell, nth, block, rate, life_rounds) for nth, block in enumerate(drawn)}
    times = {nth: block.times for nth, block in enumerate(drawn)}
    held = Held(cell=cell, folder=folder, blocks=blocks, times=times)
    finished = Finished(why="interval", of="p50", half_width=0.01, budget=BUDGET.name)
    return [*_opened(cell, number, chance), *lives, *blocks.values(), finished, pool(held)]


def _opened(cell: Cell, number: int, chance: random.Random) -> list[Event]:
    """Events of a cell before its rounds."""
    info = Info(executed=cell.precision, placement="12/12 CPU", settings={"threads": "2", "arena": "on"})
    how = Concurrency(lanes=2, streams=2, threads=1)
    return [
        Cold(peak_rss_mb=chance.uniform(100, 110)),
        Opened(info=info, load_s=chance.random(), first_ms=9.5, artifact_mb=20.4),
        Verified(
            sqnr_db=chance.uniform(90, 150),
            max_abs_err=chance.random(),
            rel_err=1e-3,
            agreement=99.5,
            top1=97.5,
            top1_drop=chance.uniform(-0.5, 1),
            images=2000,
            lost=20,
            gained=15,
        ),
        Warm(lanes=2, concurrency=how, deploy=f"streams={number % 7} · 2 requests"),
    ]


def _block(folder: Path, cell: Cell, number: int, drawn: Drawn, rate: Rate, life_rounds: int) -> Block:
    name = sample_file(cell.key, number)
    (folder / name).write_bytes(drawn.file)
    rated = not life_rounds or number % life_rounds == 0
    return Block(
        round=number,
        samples=name,
        calls=CALLS,
        p50_ns=drawn.p50_ns,
        throughput=rate if rated else None,
        noise=Noise(latency=COUNTED, throughput=COUNTED if rated else None),
        life=number // life_rounds if life_rounds else None,
    )
