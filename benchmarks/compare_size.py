"""How long does it take to compare two large runs? Synthetic run folders, with and without medians in the journal.

    python benchmarks/compare_size.py [ROWS] [ROUNDS]

With them no samples are read; without them, as in runs of older versions, every block's file is opened (tried at a tenth of
the rows, since it takes so long). All blocks share one file of samples, which the disk's cache holds.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from onnxbench.results import record
from onnxbench.results.compare import compare
from onnxbench.spec import Cell, Settings, Sweep, to_wire

RATE = {"calls": 100, "took_ns": 10**8, "lanes": 1}
COUNTS = {"wall_ns": 10**8, "cpus": 2, "steal_ns": 0, "others_ns": 0, "run_delay_ns": 0, "major_faults": 0}


def cells(rows: int) -> list[Cell]:
    shapes, settings = (("input", (1, 3, 48, 48)),), Settings(threads=2)
    how: dict[str, Any] = {"sha256": "ab" * 32, "backend": "null", "device": "cpu", "precision": "fp32"}
    return [Cell(model=f"m{n}", batch=1, shapes=shapes, settings=settings, **how) for n in range(rows)]


def write(folder: Path, rows: int, rounds: int, medians: bool) -> Path:
    """A run of `rows` cells."""
    (folder / "samples").mkdir(parents=True)
    times = np.random.default_rng(0).normal(1e6, 1e4, 100).astype(np.int64)
    np.savez(folder / "samples/all.npz", latency=times, end_to_end=times, device=times[:0])
    known = cells(rows)
    head = {"schema": record.SCHEMA, "host": {"cpu": "synthetic"}, "sweep": to_wire(Sweep())}
    (folder / "run.json").write_text(json.dumps({**head, "cells": [to_wire(cell) for cell in known]}))
    with (folder / "journal.jsonl").open("w") as journal:
        for cell in known:
            for event in events(rounds, medians):
                journal.write(json.dumps({"cell": cell.key, **event}) + "\n")
    return folder


def events(rounds: int, medians: bool) -> list[dict[str, Any]]:
    parts = {"latency": COUNTS, "throughput": COUNTS}
    block = {"event": "block", "samples": "samples/all.npz", "throughput": RATE, "noise": parts, "settled": True}
    told = [{"latency": random.gauss(1e6, 1e4), "end_to_end": random.gauss(1e6, 1e4)} for _ in range(rounds)]
    blocks = [{**block, "round": n, **({"p50_ns": p50s} if medians else {})} for n, p50s in enumerate(told)]
    return [{"event": "warm", "stationary": True}, *blocks, {"event": "stopped", "why": "interval", "half_width": 0.01}]


def ask(rows: int, rounds: int, medians: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folders = [write(Path(scratch) / name, rows, rounds, medians) for name in "ab"]
        gc.disable()  # as the command does
        begin = time.perf_counter()
        base, new = (record.read(folder) for folder in folders)
        between = time.perf_counter()
        _, found = compare([base], [new])
        end = time.perf_counter()
        gc.enable()
    what = "medians in the journal" if medians else "samples read"
    print(
        f"{rows} rows of {rounds} rounds a side, {what}: read {between - begin:.2f} s, compared {end - between:.2f} s", end=""
    )
    print(f", {1e3 * (end - begin) / rows:.2f} ms a row; {len(found)} findings", flush=True)


def main() -> None:
    rows, rounds = (int(word) for word in (*sys.argv[1:], *("10000", "10")[len(sys.argv) - 1 :]))
    ask(rows, rounds, medians=True)
    ask(max(1, rows // 10), rounds, medians=False)


if __name__ == "__main__":
    main()
