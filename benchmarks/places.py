"""Speed of a process by its place of opening: ONNX Runtime in several processes, which open one by one and then take turns.

    python benchmarks/places.py FILE.onnx [LIVES] [PLACES] [WAY]

Default: 8 lives of 5 places each WAY, `scattered` and `contiguous` in turn. Each life has fresh processes, with a model of one
input. In `contiguous` lives the small free blocks of memory are taken while processes open (`runners/pool/fragments.py`), as in
a run of `bench infer`. Printed: the time of each place relative to its round, and the share of pages whose neighbour is their
neighbour in memory too. The system tells the latter to root alone. Needs Linux, and a machine that does nothing else.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean, median

import numpy as np
from onnxbench.results.stats.intervals import LIFE, Repeated
from onnxbench.runners.pool import host
from onnxbench.runners.pool.fragments import contiguous_memory

THREADS, ROUNDS, VISIT_S, IDLE_S, TRIM = 2, 24, 0.02, 0.07, 0.1
LEAST = 1 << 20  # bytes of a mapping that is looked at
PRESENT, FRAME = np.uint64(1 << 63), np.uint64((1 << 55) - 1)  # fields of an entry of /proc/PID/pagemap
WAYS = ("scattered", "contiguous")


def work(path: str) -> None:
    """Open the model, print the share of neighbours, and then the median time in ns of a visit for each line of stdin."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    spec = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    feed = {spec.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    for _ in range(30):
        session.run(None, feed)
    print(json.dumps(neighbours()), flush=True)
    for _ in sys.stdin:
        times, end = [], time.perf_counter() + VISIT_S
        while len(times) < 5 or time.perf_counter() < end:
            begin = time.perf_counter_ns()
            session.run(None, feed)
            times.append(time.perf_counter_ns() - begin)
        print(median(times[1:]), flush=True)


def neighbours() -> float:
    """Share of the own writable pages whose next page is also the next one in memory; 0 where the system does not tell."""
    total = near = 0
    with Path("/proc/self/pagemap").open("rb") as entries:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            begin, end = (int(text, 16) for text in span.split("-"))
            if "w" in rights and end - begin >= LEAST:
                entries.seek(begin // 4096 * 8)
                found = np.frombuffer(entries.read((end - begin) // 4096 * 8), np.uint64)
                frames = (found[(found & PRESENT) > 0] & FRAME).astype(np.int64)
                total, near = total + len(frames), near + int((np.diff(frames) == 1).sum())
    return near / max(total, 1)


def live(path: str, places: int, way: str) -> tuple[list[float], list[float], float]:
    """One life: mean log time of each place against its round, share of neighbours of each, and the median time in ms."""
    memory: AbstractContextManager[object] = nullcontext()
    if way == "contiguous":
        memory = contiguous_memory(host.memory_free_mb())
    workers, shares = [], []
    with memory:
        for _ in range(places):
            command = [sys.executable, __file__, "work", path]
            workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            shares.append(float(_line(workers[-1])))
    times = np.zeros((ROUNDS, places))
    for number in range(ROUNDS):
        for place in random.sample(range(places), places):
            times[number, place] = float(_line(workers[place], "go"))
            time.sleep(IDLE_S)  # until its threads are idle
    for worker in workers:
        worker.communicate()
    logs = np.log(times) - np.log(times).mean(1, keepdims=True)
    cut = round(ROUNDS * TRIM)
    return list(np.sort(logs, 0)[cut : ROUNDS - cut].mean(0)), shares, float(np.median(times)) / 1e6


def _line(worker: subprocess.Popen[str], said: str = "") -> str:
    assert worker.stdin
    assert worker.stdout
    if said:
        worker.stdin.write(said + "\n")
        worker.stdin.flush()
    return worker.stdout.readline()


def main(path: str, lives: str = "8", places_each: str = "5", *ways: str) -> None:
    places, ways = int(places_each), ways or WAYS
    found: dict[str, list[tuple[list[float], list[float], float]]] = {way: [] for way in ways}
    for number in range(int(lives) * len(ways)):
        way = ways[number % len(ways)]
        found[way].append(live(path, places, way))
        logs, shares, ms = found[way][-1]
        print(
            way, " ".join(f"{100 * log:+.1f}" for log in logs), "%,", f"{ms:.3f} ms, neighbours {fmean(shares):.0%}", flush=True
        )
    for way, results in found.items():
        slopes = [float(np.polyfit(range(places), logs, 1)[0]) for logs, _, _ in results]
        interval = Repeated(np.exp(slopes).tolist(), LIFE).interval
        slope = f"{100 * (interval.low - 1):+.2f} to {100 * (interval.high - 1):+.2f} %" if interval else "few lives"
        means = " ".join(f"{100 * fmean(logs[place] for logs, _, _ in results):+.2f}" for place in range(places))
        near = " ".join(f"{fmean(shares[place] for _, shares, _ in results):.0%}" for place in range(places))
        spread = float(np.std([logs for logs, _, _ in results]))
        print(f"{way}: {means} % by place; a place later: {slope}; spread {spread:.1%}; neighbours {near}")
        relative = [[share - fmean(shares) for share in shares] for _, shares, _ in results]
        together = float(np.corrcoef(np.ravel(relative), np.ravel([logs for logs, _, _ in results]))[0, 1])
        print(f"  median {median(ms for _, _, ms in results):.3f} ms; correlation of time and neighbours {together:.2f}")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2])
    else:
        main(*sys.argv[1:])
