"""Ray's cost to the p50 of a row: the same sweep alone, and on a node of a Ray cluster, in interleaved pairs.

    python benchmarks/ray_cost.py run FOLDER [PAIRS]      30 pairs, about 40 s each; a second call continues
    python benchmarks/ray_cost.py show FOLDER             ratios with their 95 % intervals

Rows: the null backend with fixed work of about 200 microseconds, and ort-cpu on a chain of matrix products. No Ray process
runs during the run alone, so that the ratio has Ray's processes of an idle node too. The order in a pair alternates. Needs
the extra `ray`, and a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxbench.results.stats.intervals import log_interval
from overhead import turns

NODES = Path(__file__).resolve().parents[1] / "tests/integration/ray_nodes.py"
PAIRS, SIZE, LAYERS, WORK_NS = 30, 512, 4, 200_000
SWEEP = ("--backend", "null,ort-cpu", "--batch", "64", "--budget", "quick", "--format", "json")


def write_model(path: Path) -> None:
    """A chain of matrix products, which ONNX Runtime computes in about 0.1 ms on two cores."""
    random = np.random.default_rng(0)
    names = [f"h{number}" for number in range(LAYERS)] + ["y"]
    weights = [(random.standard_normal((SIZE, SIZE)) / SIZE**0.5).astype(np.float32) for _ in range(LAYERS)]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(LAYERS)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIZE]) for name in (names[0], "y")]
    initial = [numpy_helper.from_array(array, f"w{n}") for n, array in enumerate(weights)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of one node with two CPUs, while inside: the variables with which bench finds it."""
    short = Path(f"/tmp/r{os.getpid()}")  # the path of a socket has at most 107 bytes
    variables = {**os.environ, "RAY_TMPDIR": str(short), "ONNXBENCH_CACHE": str(folder / "cache")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(NODES)], env=variables, **pipes) as process:  # type: ignore[call-overload]
        address = process.stdout.readline().split()[0]
        process.stdin.write("add node\n")
        process.stdin.flush()
        process.stdout.readline()
        yield {"RAY_ADDRESS": address}
        process.stdin.close()
        process.wait(60)
    shutil.rmtree(short, ignore_errors=True)


def measure(folder: Path, work: int, *options: str, **variables: str) -> dict[str, float]:
    """p50 in ms by backend, of one run."""
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    model = ("--model", str(folder / "net.onnx"), "--option", f"null.work={work}", "--out", str(out))
    command = [sys.executable, "-m", "onnxbench.cli", "infer", *model, *SWEEP, *options]
    environment = {**os.environ, "ONNXBENCH_CACHE": str(folder / "cache"), **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return {row["backend"]: row["p50_ms"] for row in json.loads(done.stdout)["rows"]}


def run(folder: Path, pairs: int = PAIRS) -> None:
    """Measure the pairs that FOLDER lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    plan, results = folder / "plan.json", folder / "pairs.jsonl"
    if not plan.exists():
        write_model(folder / "net.onnx")
        plan.write_text(json.dumps({"work": turns(WORK_NS)}))
    work = json.loads(plan.read_text())["work"]
    for number in range(len(results.read_text().splitlines()) if results.exists() else 0, pairs):
        pair: dict[str, dict[str, float]] = {}
        for way in ("alone", "ray") if number % 2 else ("ray", "alone"):
            if way == "alone":
                pair[way] = measure(folder, work)
                continue
            with cluster(folder) as variables:
                pair[way] = measure(folder, work, "--on", "ray", **variables)
        with results.open("a") as file:
            file.write(json.dumps(pair) + "\n")
        print(number + 1, pair, flush=True)


def show(folder: Path) -> None:
    """Print the ratio of each row with its interval."""
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    for backend in pairs[0]["alone"]:
        ratios = [pair["ray"][backend] / pair["alone"][backend] for pair in pairs]
        interval = log_interval(ratios)
        if interval is None:
            sys.exit(f"{len(pairs)} pairs are too few for an interval; run more")
        low, middle, high = ((value - 1) * 100 for value in (interval.low, interval.middle, interval.high))
        p50 = np.median([pair["alone"][backend] for pair in pairs])
        print(
            f"{backend}: p50 {p50:.4g} ms alone; on a node of Ray {middle:+.2f} % (95 %: {low:+.2f} to {high:+.2f} %)", end=""
        )
        print(f" over {len(pairs)} pairs")


if __name__ == "__main__":
    verb, place, *more = sys.argv[1:]
    {"run": run, "show": show}[verb](Path(place), *map(int, more))
