"""Cost of the harness itself: the null backend against the same loop without it, in turns in one process.

    python benchmarks/overhead.py

Under 2 microseconds a call at p50, and under 1 % of a call of 200 microseconds, is what is claimed.
"""

from __future__ import annotations

import random
import time

import numpy as np
from onnxbench.backends.null import Null
from onnxbench.results.stats.intervals import log_interval
from onnxbench.runners.worker import lanes, measure
from onnxbench.spec import Artifact, Cell, Settings
from tool import told

ROUNDS, BLOCK_NS = 40, 60_000_000
FILE = Artifact(model="m", precision="fp32", path="", sha256="", nbytes=0, opset=20, inputs=(), outputs=())


def spin(work: int) -> None:
    """The work of the null backend in a call."""
    for _ in range(work):
        pass


def bare(work: int) -> tuple[float, float]:
    """p50 in ns and calls a second of the loop alone."""
    now, samples, begin = time.perf_counter_ns, [], time.perf_counter_ns()
    end = begin + BLOCK_NS
    while now() < end:
        before = now()
        spin(work)
        samples.append(now() - before)
    return float(np.median(samples)), len(samples) / (now() - begin) * 1e9


def harnessed(work: int) -> tuple[float, float]:
    """The same through the null backend and the measuring loops."""
    with Null().open(FILE, _cell(work)) as session:
        samples = measure.latency(session, time.perf_counter_ns, least_ns=BLOCK_NS)
        rate = lanes.throughput([session], time.perf_counter_ns, lanes.Length(least_ns=BLOCK_NS))
    return float(np.median(samples)), rate.calls_per_s


def _cell(work: int) -> Cell:
    settings = Settings(threads=1, options=(("work", str(work)),))
    return Cell(model="m", sha256="", backend="null", device="cpu", precision="fp32", batch=1, shapes=(), settings=settings)


def turns(least_ns: float) -> int:
    """Number of turns of an empty loop that take `least_ns`."""
    work = 100
    while bare(work)[0] < least_ns:
        work = int(work * 1.2)
    return work


def compare(work: int, what: str) -> None:
    rows: list[tuple[float, float, float, float]] = []
    with measure.quiet():
        for _ in range(ROUNDS):
            ways = [bare, harnessed]
            random.shuffle(ways)
            found = {way: way(work) for way in ways}
            rows.append((*found[bare], *found[harnessed]))
    added = [new - base for base, _, new, _ in rows]
    slower = log_interval([new / base for base, _, new, _ in rows])
    rate = log_interval([new / base for _, base, _, new in rows])
    assert slower is not None
    assert rate is not None
    middle = float(np.median([base for base, *_ in rows])) / 1e3
    print(
        f"{what}: bare p50 {middle:.2f} us, the harness adds {float(np.median(added)):.0f} ns at p50 (ratio {told(slower)});"
        f" throughput over the bare loop's {told(rate)}"
    )


def main() -> None:
    compare(0, "empty call")
    compare(turns(100_000), "10,000 calls a second")
    compare(turns(200_000), "call of 200 us")


if __name__ == "__main__":
    main()
