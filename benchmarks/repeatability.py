"""Does the same question get the same answer? Five runs of the whole tool, and of vendors' tools one after the other.

    python benchmarks/repeatability.py FILE.onnx [RUNS] [BUDGET]

The question is how much faster openvino-cpu is than ort-cpu at batch 1. The vendors' way is LoadGen's single stream for ONNX
Runtime, then benchmark_app -api sync for OpenVINO, of ten seconds each. It is asked on the machine as it is, then while another
process computes on one core for one second in every three. The spread is the largest answer over the smallest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from onnxbench.runners.worker.threads import usable_threads
from peers import Peer, benchmark_app

DISTURB = "import time\nwhile True:\n    end = time.monotonic() + 1\n    while time.monotonic() < end: pass\n    time.sleep(2)"
VENDOR_S = 10


@contextmanager
def disturbed() -> Iterator[None]:
    """Another process computes for one second in every three."""
    other = subprocess.Popen([sys.executable, "-c", DISTURB])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def ours(file: str, budget: str, seed: int) -> dict[str, Any]:
    """The row of openvino-cpu, and how long it took."""
    command = [sys.executable, "-m", "onnxbench.cli", "infer", "--model", file, "--backend", "ort-cpu,openvino-cpu"]
    command += ["--baseline", "ort-cpu", "--batch", "1", "--budget", budget, "--seed", str(seed), "--format", "json"]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*command, "--out", str(Path(folder) / "run")], capture_output=True, text=True)
    row = next(row for row in json.loads(done.stdout)["rows"] if row["backend"] == "openvino-cpu")
    return {**row, "took_s": time.monotonic() - begin}


def vendors(file: str) -> float:
    """The ratio of the medians of two tools that ran one after the other."""
    threads = usable_threads()
    with Peer("loadgen", file, 1, threads) as peer:
        base = peer.ask(VENDOR_S)["p50_ns"] / 1e6
    options = ("-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", str(threads))
    return base / float(benchmark_app(file, 1, VENDOR_S, *options)["p50_ms"])


def ask(file: str, runs: int, budget: str, what: str) -> None:
    rows, others = [], []
    for seed in range(runs):
        rows.append(ours(file, budget, seed))
        others.append(vendors(file))
        row = rows[-1]
        interval = f"[{row['speedup_ci_low']:.3f}, {row['speedup_ci_high']:.3f}]"
        trust = f"grade {row['grade']}, {row['rounds']} rounds, {row['disturbed']} left disturbed, {row['took_s']:.0f} s"
        told = f"{row['speedup']:.3f} {interval} {row['verdict']}, {trust}"
        print(f"{what}, run {seed + 1}: {told}; vendors' tools {others[-1]:.3f}", flush=True)
    own = [float(row["speedup"]) for row in rows]
    spreads = [max(values) / min(values) - 1 for values in (own, others)]
    print(f"{what}: spread of onnxbench {spreads[0]:.1%}, of the vendors' tools {spreads[1]:.1%}", flush=True)


def main() -> None:
    file, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    budget = sys.argv[3] if len(sys.argv) > 3 else "thorough"
    ask(file, runs, budget, "as it is")
    with ExitStack() as stack:
        stack.enter_context(disturbed())
        ask(file, runs, budget, "disturbed")


if __name__ == "__main__":
    main()
