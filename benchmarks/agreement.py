"""Do independent instruments see the same latency? Same file, threads and shape; in turns, all loaded, in one run.

    python benchmarks/agreement.py FILE.onnx [BATCH] [ROUNDS]

ort-cpu is held against a bare loop and MLPerf LoadGen's single stream. openvino-cpu is held against benchmark_app -api sync,
whose latency is the runtime's own: ours should lie between it and it plus what the Python binding costs, which a bare loop
around the same request measures. Ratios are ours over theirs, paired by round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

from onnxbench.runners.worker.threads import usable_threads
from peers import Peer, benchmark_app
from tool import BenchmarkCell, ratio, told

SECONDS = 0.15
Visit = Callable[[], dict[str, float]]


def in_turns(ours: Visit, theirs: Visit, rounds: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Figures of both tools in each round; the first one changes from round to round."""
    found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            found[which].append((ours, theirs)[which]())
    return found


def p50(found: list[dict[str, float]], key: str = "p50_ns") -> list[float]:
    return [row[key] for row in found]


def against_peer(cell: BenchmarkCell, kind: str, load: tuple[str, int], rounds: int) -> str:
    with Peer(kind, *load, usable_threads()) as peer:
        ours, theirs = in_turns(lambda: cell.latency(SECONDS), lambda: peer.ask(SECONDS), rounds)
    return f"{cell.name} over {kind}: {told(ratio(p50(ours), p50(theirs)))}"


def against_benchmark_app(cell: BenchmarkCell, load: tuple[str, int], rounds: int) -> list[str]:
    """Over its median, and over that with what a call costs in Python beside the runtime's own latency."""
    options = ("-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", str(usable_threads()), "-pin", "NO")
    with Peer("ov-loop", *load, usable_threads()) as peer:
        binding_ns = median(peer.ask(SECONDS)["binding_ns"] for _ in range(rounds))
    ours, theirs = in_turns(lambda: cell.latency(SECONDS), lambda: benchmark_app(*load, 1, *options), rounds)
    app = [1e6 * value for value in p50(theirs, "p50_ms")]
    return [
        f"openvino-cpu over benchmark_app -api sync: {told(ratio(p50(ours), app))}",
        f"openvino-cpu over that and the binding's {binding_ns / 1e3:.0f} us: "
        + told(ratio(p50(ours), [one + binding_ns for one in app])),
    ]


def main() -> None:
    file, batch = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    load = (file, batch)
    print(f"batch {batch}, {usable_threads()} threads, {rounds} rounds", flush=True)
    with BenchmarkCell("ort-cpu", *load) as cell:
        cell.warm()
        for kind in ("ort-loop", "loadgen"):
            print(against_peer(cell, kind, load, rounds), flush=True)
    with BenchmarkCell("openvino-cpu", *load) as cell:
        cell.warm()
        print(against_peer(cell, "ov-loop", load, rounds), flush=True)
        for line in against_benchmark_app(cell, load, rounds // 2):
            print(line, flush=True)


if __name__ == "__main__":
    main()
