"""Ray's cost to the p50 of a row: the same sweep alone and on a node of a Ray cluster, at the same time and in turns.

    python benchmarks/ray_cost.py run FOLDER [PAIRS]      30 pairs, 1 to 1.5 minutes each; a second call continues
    python benchmarks/ray_cost.py show FOLDER             ratios with their 95 % intervals

Rows: the null backend with fixed work, and ort-cpu on a chain of matrix products.

A shared machine changes its speed by half within seconds, so two runs one after the other do not decide. Both runs of a pair
are therefore made at the same time, and take turns job by job (ray_turns.py): each block of one stands beside the same block
of the other. While the run alone has its turn, all processes of Ray stand still (SIGSTOP): its daemons, its workers and the
program that started the run on the node. So the ratio has what they cost. The figure of a pair is the trimmed mean of the
ratios of its blocks, as for a speed-up in one run. Each run has four lives of its processes.

Needs Linux, the extra `ray`, and a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxbench import cli
from onnxbench.budgets import BUDGETS
from onnxbench.results.stats.intervals import Repeated, log_interval
from onnxbench.results.store.record import read_run
from overhead import turns
from ray_turns import ALONE, RAY, Referee

NODES = Path(__file__).resolve().parents[1] / "tests/integration/ray_nodes.py"
TURNS = Path(__file__).resolve().parent / "taking_turns"
PAIRS, SIZE, LAYERS, WORK_NS, END_S = 30, 512, 4, 200_000, 60
SWEEP = ("--backend", "null,ort-cpu", "--batch", "8", "--budget", "normal")
SCHEDULE = replace(
    BUDGETS["normal"],
    looks=(44,),
    life_rounds=11,
    block_ms=10,
    warmup_ms=100,
    warmup_limit_ms=500,
    rate_ms=20,
    rate_rounds=11,
    passes=1,
    repeats=0,
    memory=False,
)
"""`normal` with more and shorter rounds in fewer lives: the machine's speed scatters more than the lives, and a life takes
as long as many rounds."""


def write_model(path: Path) -> None:
    """A chain of matrix products, which ONNX Runtime computes in about 0.2 ms on two cores: a call of 1 ms meets many more
    interruptions."""
    random = np.random.default_rng(0)
    names = [f"h{number}" for number in range(LAYERS)] + ["y"]
    weights = [(random.standard_normal((SIZE, SIZE)) / SIZE**0.5).astype(np.float32) for _ in range(LAYERS)]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(LAYERS)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIZE]) for name in (names[0], "y")]
    initial = [numpy_helper.from_array(array, f"w{n}") for n, array in enumerate(weights)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@contextmanager
def cluster(**variables: str) -> Iterator[tuple[int, str]]:
    """A cluster of one node with two CPUs, while inside: its process and its address."""
    with tempfile.TemporaryDirectory(prefix="r") as short:  # the path of a socket has at most 107 bytes
        environment = {**os.environ, "RAY_TMPDIR": short, **variables}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
        with subprocess.Popen([sys.executable, str(NODES)], env=environment, **pipes) as process:  # type: ignore[call-overload]
            address = process.stdout.readline().split()[0]
            process.stdin.write("add node\n")
            process.stdin.flush()
            process.stdout.readline()
            try:
                yield process.pid, address
            finally:  # also on Ctrl-C, on which Popen does not wait
                process.stdin.close()
                process.wait(END_S)


@contextmanager
def started(folder: Path, work: int, number: int, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A run of bench into `folder`, which ends with the block."""
    model = ("--model", str(folder.parent / "net.onnx"), "--option", f"null.work={work}", "--seed", str(number))
    command = [sys.executable, __file__, "bench", "infer", *model, *SWEEP, *options, "--out", str(folder)]
    with folder.with_suffix(".log").open("w") as log:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        process = subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True, **pipes)  # type: ignore[call-overload]
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(END_S)
                process.kill()


def measure(folder: Path, work: int, number: int) -> dict[str, Any]:
    """Make a pair of runs. Returns the ratios of their blocks with facts of the turns."""
    alone, node = folder / ALONE, folder / RAY
    for out in (alone, node):
        shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        in_turn = {"PYTHONPATH": f"{TURNS}:{os.environ.get('PYTHONPATH', '')}", "ONNXBENCH_TURNS": f"{place}/turns"}
        nodes, address = stack.enter_context(cluster(**in_turn, ONNXBENCH_CACHE=str(folder / "cache-ray")))
        on_node = {"RAY_ADDRESS": address, "ONNXBENCH_CACHE": str(folder / "cache-ray")}
        driver = stack.enter_context(started(node, work, number, "--on", "ray", **on_node))
        referee = Referee(Path(place) / "turns", [nodes, driver.pid])
        single = stack.enter_context(started(alone, work, number, **in_turn, ONNXBENCH_CACHE=str(folder / "cache-one")))
        referee.serve([driver, single])
        for process in (driver, single):
            if process.wait():
                sys.exit(f"a run failed; its log is in {folder}")
    (node,) = (path.parent for path in node.glob("*/run.json"))
    return {**compare(alone, node), **referee.told()}


def compare(alone: Path, node: Path) -> dict[str, Any]:
    """p50 of each row alone in ms, and the ratios of the p50 of its blocks, by backend."""
    one, other = (read_run(path) for path in (alone, node))
    p50_ms, ratios = {}, {}
    for cell, same in zip(one.cells, other.cells, strict=True):
        assert cell.cell.key == same.cell.key
        blocks = [(cell.blocks[number], same.blocks[number]) for number in sorted(cell.blocks.keys() & same.blocks.keys())]
        times = [[block.p50_ns["latency"] for block in pair] for pair in blocks if all(block.p50_ns for block in pair)]
        p50_ms[cell.cell.backend] = float(np.median([first for first, _ in times])) / 1e6
        ratios[cell.cell.backend] = [second / first for first, second in times]
    return {"p50_ms": p50_ms, "ratios": ratios}


def bench(*arguments: str) -> None:
    """The command `bench`, with this benchmark's schedule."""
    BUDGETS["normal"] = SCHEDULE  # type: ignore[index]
    sys.argv[1:] = arguments
    cli.main()


def run(folder: Path, pairs: int = PAIRS) -> None:
    """Measure the pairs that FOLDER lacks."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that no process stays stopped
    folder.mkdir(parents=True, exist_ok=True)
    plan, results = folder / "plan.json", folder / "pairs.jsonl"
    if not plan.exists():
        write_model(folder / "net.onnx")
        plan.write_text(json.dumps({"work": turns(WORK_NS)}))
    work = json.loads(plan.read_text())["work"]
    for number in range(len(results.read_text().splitlines()) if results.exists() else 0, pairs):
        pair = measure(folder, work, number)
        with results.open("a") as file:
            file.write(json.dumps(pair) + "\n")
        print(number + 1, pair["p50_ms"], typical(pair), flush=True)


def typical(pair: Mapping[str, Any]) -> dict[str, float]:
    """Ratio of a pair by backend."""
    return {name: trimmed for name, ratios in pair["ratios"].items() if (trimmed := Repeated(ratios).typical)}


def show(folder: Path) -> None:
    """Print the ratio of each row with its interval, and how like the two ways were."""
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    for backend in pairs[0]["ratios"]:
        interval = log_interval([typical(pair)[backend] for pair in pairs])
        if interval is None:
            sys.exit(f"{len(pairs)} pairs are too few for an interval; run more")
        low, middle, high = ((value - 1) * 100 for value in (interval.low, interval.middle, interval.high))
        p50 = np.median([pair["p50_ms"][backend] for pair in pairs])
        print(f"{backend}: p50 {p50:.4g} ms alone; on a node of Ray {middle:+.2f} % ({low:+.2f} to {high:+.2f} %)", end="")
        print(f" over {len(pairs)} pairs")
    apart_s, stop_s = np.median([pair["apart_s"] for pair in pairs]), max(pair["longest_stop_s"] for pair in pairs)
    print(f"a block and its neighbour begin {apart_s:.2f} s apart; Ray stood still for at most {stop_s:.1f} s")
    if any(pair["unlike"] is None for pair in pairs):
        sys.exit("the workers of a pair were not compared")
    unlike = {name: values for pair in pairs for name, values in pair["unlike"].items()}
    print("differences of the workers, alone and on the node:", unlike or "none")


if __name__ == "__main__":
    verb, place, *more = sys.argv[1:]
    if verb == "bench":
        bench(place, *more)
    else:
        {"run": run, "show": show}[verb](Path(place), *map(int, more))
