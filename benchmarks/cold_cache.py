"""Evidence on --cache cold: a triad finds its data in memory after a flush, and a model with 20 MB of weights is slower.

    python benchmarks/cold_cache.py [cpu | cuda]

1. A triad (a = b + s * c) over 12 MB, timed warm, after a sleep as long as a flush, and after a flush. The sleep shows that
   the time alone does not cool the caches.
2. An empty call of the null backend, whose time with cold caches must be far below the duration of a flush.
3. A chain of matrix products with 20 MB of weights, as `bench infer --cache warm,cold` measures it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxbench.runners.worker.flush import HostFlush, host_bytes, usable_cpus

NUMBERS, SCALE = 500_000, 3.0  # three arrays of 4 MB each
REPEATS = 40
WIDTH, LAYERS = 1120, 4  # 4 x 1120 x 1120 weights of 4 bytes: 20 MB
BACKENDS = {"cpu": "ort-cpu,openvino-cpu,null", "cuda": "ort-cuda,torch-cuda,tensorrt"}
Floats = NDArray[np.float64]


def triad_ns(arrays: tuple[Floats, Floats, Floats]) -> int:
    """Duration of one triad on one thread, without allocations."""
    a, b, c = arrays
    begin = time.perf_counter_ns()
    np.multiply(c, SCALE, out=a)
    np.add(a, b, out=a)
    return time.perf_counter_ns() - begin


def show_flush() -> None:
    """Print the bandwidth of the triad warm, after a sleep and after a flush, and the duration of a flush."""
    flush = HostFlush(host_bytes(), usable_cpus())
    arrays = (np.zeros(NUMBERS), np.ones(NUMBERS), np.ones(NUMBERS))
    flush()
    begin = time.perf_counter_ns()
    flush()
    flush_s = (time.perf_counter_ns() - begin) / 1e9
    before = {"warm": lambda: None, "after a sleep": lambda: time.sleep(flush_s), "after a flush": flush}
    times: dict[str, list[int]] = {name: [] for name in before}
    for _ in range(REPEATS):
        for name, prepare in before.items():
            triad_ns(arrays)
            triad_ns(arrays)
            prepare()
            times[name].append(triad_ns(arrays))
    print(f"buffer {flush.numbers.nbytes / 1e6:.0f} MB on {len(usable_cpus())} CPUs; one flush takes {flush_s * 1e3:.1f} ms")
    moved = 5 * NUMBERS * 8  # c read, a written, a and b read, a written
    for name, ns in times.items():
        quartiles = [moved / one for one in np.percentile(ns, (75, 50, 25))]
        print(f"triad {name}: {quartiles[1]:.1f} GB/s (quartiles {quartiles[0]:.1f} to {quartiles[2]:.1f})")


def write_model(path: Path) -> None:
    """A chain of matrix products with ReLU between them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weights, nodes, name = [], [], "x"
    for layer in range(LAYERS):
        values = generator.standard_normal((WIDTH, WIDTH), np.float32) / WIDTH**0.5
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"m{layer}"]))
        name = f"h{layer}" if layer < LAYERS - 1 else "y"
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [name]))
    shape = ["batch", WIDTH]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def show_model(kind: str) -> None:
    """Print p50 of the model with 20 MB of weights, warm and cold."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "chain.onnx"
        write_model(model)
        print(f"model: {model.stat().st_size / 1e6:.1f} MB")
        given = ["--model", str(model), "--batch", "1", "--precision", "fp32", "--backend", BACKENDS[kind]]
        command = [sys.executable, "-m", "onnxbench.cli", "infer", *given, "--cache", "warm,cold", "--out", f"{folder}/run"]
        done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
        for row in json.loads(done.stdout)["rows"] if done.stdout else []:
            print(described(row))
        if done.returncode:
            print(done.stderr, file=sys.stderr)


def described(row: dict[str, Any]) -> str:
    """Backend, state of the caches, status, p50 with its interval, and the device's own time."""
    p50, low, high = (
        "none" if row[f"p50_{end}ms"] is None else f"{row[f'p50_{end}ms']:.4f}" for end in ("", "ci_low_", "ci_high_")
    )
    device = f", device {row['device_p50_ms']:.4f} ms" if row["device_p50_ms"] else ""
    return f"{row['backend']} {row['cache'] or 'warm'}: {row['status']}, p50 {p50} ms ({low} to {high}){device}"


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    if kind == "cpu":
        show_flush()
    show_model(kind)


if __name__ == "__main__":
    main()
