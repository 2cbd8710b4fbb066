"""Does the search find settings as good as the best that one can set by hand? In turns, in one run.

    python benchmarks/throughput.py FILE.onnx [ROUNDS] [BATCH ...]

openvino-cpu is held against benchmark_app with -hint throughput, -hint latency and every number of streams, ort-cpu against
bare loops over threads and lanes. Ratios are ours over theirs, paired by round; the best of theirs is named.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from statistics import median

from onnxbench.runners.worker.threads import usable_threads
from peers import Peer, benchmark_app
from tool import BenchmarkCell, ratio, told

SECONDS = 1.0
Ways = Mapping[str, Callable[[], float]]


def in_turns(ways: Ways, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            found[name].append(ways[name]())
    return found


def report(batch: int, ours: str, deploy: str, found: Mapping[str, list[float]]) -> None:
    print(f"{ours}, batch {batch}: {median(found[ours]):.0f} items/s with {deploy}")
    others = sorted((name for name in found if name != ours), key=lambda name: -median(found[name]))
    for name in others:
        print(f"    over {name}: {told(ratio(found[ours], found[name]))} ({median(found[name]):.0f} items/s)", flush=True)


def openvino(file: str, batch: int, rounds: int) -> None:
    threads = usable_threads()
    settings = {"-hint throughput": ("-hint", "throughput"), "-hint latency": ("-hint", "latency")}
    for streams in range(1, threads + 1):
        options = ("-hint", "none", "-nstreams", str(streams), "-nthreads", str(threads))
        settings[" ".join(options)] = options
    with BenchmarkCell("openvino-cpu", file, batch) as cell:
        deploy = cell.warm(search=True)
        ways: dict[str, Callable[[], float]] = {
            f"benchmark_app {name}": (lambda options=options: benchmark_app(file, batch, SECONDS, *options)["items_per_s"])
            for name, options in settings.items()
        }
        ways["openvino-cpu"] = lambda: cell.throughput(SECONDS)
        report(batch, "openvino-cpu", deploy, in_turns(ways, rounds))


def onnxruntime(file: str, batch: int, rounds: int) -> None:
    with ExitStack() as stack:
        cell = stack.enter_context(BenchmarkCell("ort-cpu", file, batch))
        deploy = cell.warm(search=True)
        ways: dict[str, Callable[[], float]] = {"ort-cpu": lambda: cell.throughput(SECONDS)}
        for threads in range(1, usable_threads() + 1):
            for lanes in range(1, usable_threads() + 1):
                peer = stack.enter_context(Peer("ort-loop", file, batch, threads, lanes))
                ways[f"a bare loop, {threads} threads, {lanes} lanes"] = lambda peer=peer: peer.ask(SECONDS)["items_per_s"]
        report(batch, "ort-cpu", deploy, in_turns(ways, rounds))


def main() -> None:
    file, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    random.seed(0)
    for batch in [int(text) for text in sys.argv[3:]] or [1, 8, 32]:
        onnxruntime(file, batch, rounds)
        openvino(file, batch, rounds)


if __name__ == "__main__":
    main()
