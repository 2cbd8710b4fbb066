"""How long does it take to compare two large runs? Synthetic run folders, and the whole command, from its start to its end.

    python benchmarks/compare_size.py [ROWS] [ROUNDS]

Finished runs have a digest, which `bench infer` leaves; other runs have their journals read, and those of older versions,
whose journals tell no medians, every block's file too (tried at a tenth of the rows, since it takes so long). All blocks share
one file of samples, which the disk's cache holds. The best of TIMES; `show` and `recommend` of one of the runs once each.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from onnxbench.results.store import digest, record
from onnxbench.spec import Cell, Settings, Sweep, to_wire

TIMES = 3
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
    (folder / "run.json").write_text(json.dumps({**head, "cells": [record.listed(cell, cell.key) for cell in known]}))
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


def timed(*words: str | Path) -> tuple[float, float]:
    """The wall time and the CPU time of a command, in s."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "onnxbench.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def tell(what: str, rows: int, rounds: int, *words: str | Path, times: int = TIMES) -> None:
    wall, cpu = (min(values) for values in zip(*(timed(*words) for _ in range(times))))
    print(f"{words[0]}, {rows} rows of {rounds} rounds, {what}: {wall:.2f} s, {cpu:.2f} s of CPU time", flush=True)


def ask(rows: int, rounds: int) -> None:
    """Runs whose journals tell medians: without their digests, then with them."""
    record.load_times = cache(record.load_times)  # so that it does not take minutes to make a digest here
    with tempfile.TemporaryDirectory() as scratch:
        base, new = (write(Path(scratch) / name, rows, rounds, medians=True) for name in "ab")
        tell("from the journals", rows, rounds, "compare", base, new)
        for folder in (base, new):
            digest.write(folder)
        for format in ("table", "json"):
            tell(f"with digests, as {format}", rows, rounds, "compare", base, new, "--format", format)
        tell("with digests", rows, rounds, "show", base, "--format", "csv", times=1)
        tell("with digests", rows, rounds, "recommend", base, times=1)


def ask_old(rows: int, rounds: int) -> None:
    """Runs whose journals do not tell medians."""
    with tempfile.TemporaryDirectory() as scratch:
        base, new = (write(Path(scratch) / name, rows, rounds, medians=False) for name in "ab")
        tell("samples read", rows, rounds, "compare", base, new, times=1)


def main() -> None:
    rows, rounds = (int(word) for word in (*sys.argv[1:], *("10000", "10")[len(sys.argv) - 1 :]))
    ask(rows, rounds)
    ask_old(max(1, rows // 10), rounds)


if __name__ == "__main__":
    main()
