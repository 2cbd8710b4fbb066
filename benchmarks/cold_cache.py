"""Evidence on --cache cold: a triad finds its data in memory after a flush, and a model with 20 MB of weights is slower.

    python benchmarks/cold_cache.py [cpu | cuda]

1. A triad (a = b + s * c) and a gather (one number of each cache line in random order), warm, after a wait,
   and after a flush. The wait shows the effect of the time alone.
2. An empty call of the null backend, whose time with cold caches must be far below the duration of a flush.
3. A chain of matrix products with 20 MB of weights, as `bench infer --cache warm,cold` measures it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxbench.runners.worker.flush import HostFlush, host_bytes, usable_cpus

SIZES_MB = (1.5, 12.0, 24.0)  # of the three arrays of a triad together
SCALE, REPEATS, LINE = 3.0, 40, 8  # LINE: float64 numbers in a cache line
WAIT_S, ATTEMPTS = 0.003, 200
WIDTH, LAYERS = 1120, 4  # 4 x 1120 x 1120 weights of 4 bytes: 20 MB
BACKENDS = {"cpu": "ort-cpu,openvino-cpu,null", "cuda": "ort-cuda,torch-cuda,tensorrt"}
Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class Arrays:
    """Three arrays of one size, and one number of each cache line of the first in random order."""

    a: Floats
    b: Floats
    c: Floats
    lines: NDArray[np.int64]
    gathered: Floats

    @classmethod
    def of(cls, size_mb: float) -> Arrays:
        numbers = int(size_mb * 1e6 / 3 / 8)
        lines = np.random.default_rng(0).permutation(numbers // LINE) * LINE
        ends = (np.zeros(numbers), np.ones(numbers), np.ones(numbers))
        return cls(a=ends[0], b=ends[1], c=ends[2], lines=lines, gathered=np.zeros(len(lines)))

    def triad(self) -> float:
        """Bandwidth of a = b + SCALE * c on one thread, in GB/s."""
        begin = time.perf_counter_ns()
        np.multiply(self.c, SCALE, out=self.a)
        np.add(self.a, self.b, out=self.a)
        return 5 * self.a.nbytes / (time.perf_counter_ns() - begin)

    def gather(self) -> float:
        """Time to read one number of a cache line in random order, in ns."""
        begin = time.perf_counter_ns()
        np.take(self.b, self.lines, out=self.gathered, mode="clip")
        return (time.perf_counter_ns() - begin) / len(self.lines)


def wait(warm: Callable[[], object]) -> None:
    """Compute for WAIT_S without memory, and without another process on this CPU, which would use the caches."""
    for _ in range(ATTEMPTS):
        warm()
        before, end = switches(), time.perf_counter() + WAIT_S
        while time.perf_counter() < end:
            pass
        if switches() == before:
            return


def switches() -> int:
    """Number of times that the system took the CPU from this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def show_flush() -> None:
    """Print triad and gather warm, after a wait, and after a flush."""
    flush = HostFlush(host_bytes(), usable_cpus())
    flush()
    begin = time.perf_counter_ns()
    flush()
    flush_s = (time.perf_counter_ns() - begin) / 1e9
    print(f"buffer {flush.numbers.nbytes / 1e6:.0f} MB on {len(usable_cpus())} CPUs; one flush takes {flush_s * 1e3:.1f} ms")
    before: dict[str, Callable[[Callable[[], object]], object]] = {
        "warm": lambda _: None,
        "wait": wait,
        "flush": lambda _: flush(),
    }
    for size_mb in SIZES_MB:
        arrays = Arrays.of(size_mb)
        for name, unit, measured in (("triad", "GB/s", arrays.triad), ("gather", "ns a line", arrays.gather)):
            figures: dict[str, list[float]] = {state: [] for state in before}
            for _ in range(REPEATS):
                for state, prepare in before.items():
                    measured()
                    prepare(measured)
                    figures[state].append(measured())
            texts = [f"{state} {quartiles(values)}" for state, values in figures.items()]
            print(f"{name} over {size_mb:g} MB, {unit}: {', '.join(texts)}")


def quartiles(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


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
