"""How large is a report of many rows, how long does it take to make, and how long to open and to filter in Chromium?

    python benchmarks/report_size.py [ROWS] [ROUNDS] [FOLDER]

A synthetic run folder: models, backends, precisions and batches, with accuracy, a reason where a row failed, and notes. The
page is kept in FOLDER. Blocks share a few files of samples. It takes the extra `report`, playwright, and a chromium in PATH.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from onnxbench.results.recommend.candidates import wanted
from onnxbench.results.report.data import gather
from onnxbench.results.report.page import page
from onnxbench.results.store import record
from onnxbench.spec import PRECISIONS, Cell, Settings, Sweep, to_wire

FILES, PRECISE, BATCHES = 50, ("fp32", "bf16", "fp16", "int8"), (1, 2, 4, 8, 16)
BACKENDS = tuple(f"backend-{letter}" for letter in "abcdefgh")
COUNTS = {"wall_ns": 10**8, "cpus": 2, "steal_ns": 0, "others_ns": 0, "run_delay_ns": 0, "major_faults": 0}
FAILED = 40  # one row in so many failed
REPEATS = 5


def cells(rows: int) -> list[Cell]:
    shapes, settings = (("input", (1, 3, 48, 48)),), Settings(threads=2)
    models = (f"model-{number}" for number in itertools.count())
    axes = itertools.islice(((m, *rest) for m in models for rest in itertools.product(BACKENDS, PRECISE, BATCHES)), rows)
    how: dict[str, Any] = {"device": "cpu", "shapes": shapes, "settings": settings}
    return [Cell(model=m, sha256=f"{PRECISIONS[p].file:0<64}", backend=b, precision=p, batch=n, **how) for m, b, p, n in axes]


def write(folder: Path, rows: int, rounds: int) -> Path:
    """A run of `rows` cells."""
    (folder / "samples").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(FILES):
        times = generator.lognormal(14 + number / 10, 0.1, 400).astype(np.int64)
        np.savez(folder / f"samples/{number}.npz", latency=times, end_to_end=times + 10_000, device=times[:0])
    known = cells(rows)
    head = {"schema": record.SCHEMA, "host": {"cpu": "synthetic"}, "sweep": to_wire(Sweep()), "versions": {}}
    (folder / "run.json").write_text(json.dumps({**head, "cells": [record.listed(cell, cell.key) for cell in known]}))
    with (folder / "journal.jsonl").open("w") as journal:
        for number, cell in enumerate(known):
            for event in events(cell, number, rounds):
                journal.write(json.dumps({"cell": cell.key, **event}) + "\n")
    return folder


def events(cell: Cell, number: int, rounds: int) -> list[dict[str, Any]]:
    if number % FAILED == FAILED - 1:
        return [{"event": "ended", "status": "failed", "reason": f"the runtime raised: no kernel for node_{number}"}]
    file, rate = random.randrange(FILES), random.uniform(0.5, 2)
    info = {"executed": cell.precision, "placement": "12/12 CPU", "settings": {"threads": "2", "arena": "on"}}
    opened = {"event": "opened", "info": info, "load_s": random.random(), "first_ms": 9.5, "artifact_mb": 20.4}
    parity = {"sqnr_db": random.uniform(90, 150), "max_abs_err": random.random(), "rel_err": 1e-3, "agreement": 99.5}
    labels = {"top1": 97.5, "top1_drop": random.uniform(-0.5, 1), "images": 2000, "lost": 20, "gained": 15}
    warm = {"event": "warm", "stationary": True, "lanes": 2, "deploy": f"streams={number % 7} · 2 requests"}
    took = {"calls": 100, "took_ns": int(10**8 * rate), "lanes": 2}
    block = {"event": "block", "samples": f"samples/{file}.npz", "throughput": took, "settled": True}
    blocks = [{**block, "round": n, "noise": {"latency": COUNTS, "throughput": COUNTS}} for n in range(rounds)]
    ended = {"event": "stopped", "why": "interval", "half_width": 0.01}
    return [opened, {"event": "verified", **parity, **labels}, warm, *blocks, ended]


def browse(path: Path, rows: int) -> None:
    """Opens the page REPEATS times, each in a browser of its own, and prints what it took."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        for _ in range(REPEATS):
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            times, left = visit(browser.new_context(offline=True).new_page(), path, rows)
            print("opened {:.2f} s, filtered {:.2f} s, sorted {:.2f} s;".format(*times), left, flush=True)
            browser.close()


def visit(tab: Any, path: Path, rows: int) -> tuple[list[float], str]:
    """The seconds until the page shows its rows, until those of a filter, and until they are sorted; and how many are left."""
    from playwright.sync_api import expect

    count, times = tab.locator("#count"), [time.perf_counter()]
    tab.goto(path.as_uri())
    expect(count).to_contain_text(f"{rows} of", timeout=60_000)
    times.append(time.perf_counter())
    tab.fill("#filter", "backend-c int8")
    expect(count).not_to_contain_text(f"{rows} of {rows}", timeout=60_000)
    times.append(time.perf_counter())
    tab.locator("#grid th button").nth(4).click()
    expect(tab.locator("#grid th").nth(5)).to_have_attribute("aria-sort", "ascending")
    times.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(times)], count.inner_text()


def main() -> None:
    rows, rounds = (int(word) for word in (*sys.argv[1:3], *("10000", "10")[len(sys.argv[1:3]) :]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch) / "run", rows, rounds)
        times = [time.perf_counter()]
        run = record.read(folder)
        times.append(time.perf_counter())
        told = gather([run], wanted("throughput", (), (), ()))
        times.append(time.perf_counter())
        text = page(told)
        times.append(time.perf_counter())
        path = Path(sys.argv[3] if len(sys.argv) > 3 else scratch) / "report.html"
        path.write_text(text)
        read, computed, drawn = (after - before for before, after in itertools.pairwise(times))
        print(f"{rows} rows of {rounds} rounds: {path.stat().st_size / 1e6:.2f} MB; ", end="")
        print(f"read {read:.1f} s, computed {computed:.1f} s, page made {drawn:.1f} s", flush=True)
        browse(path, rows)


if __name__ == "__main__":
    main()
