"""Device times of onnxbench against NVIDIA's nvbench (package cuda-bench), on the same session, in turns, in one process.

    PYTHON benchmarks/device_time.py BACKEND FILE.onnx PRECISION BATCH ROUNDS [WEIGHTS.safetensors]

BACKEND is torch-cuda, ort-cuda or tensorrt. PYTHON has its runtime, NumPy and cuda-bench, and need not be the one that
onnxbench is installed in. Prints one JSON object; each list has one value a round, in ms.

    ours     median of calls between two events, as in device_p50_ms
    warm     nvbench's median of single calls, each after an untimed call that fills the caches
    cold     nvbench's median of single calls after it has flushed the second-level cache
    batch    nvbench's mean of calls one right after the other
    mhz      the clock: ours by NVML, theirs by nvbench's kernel that counts cycles

nvbench holds the stream until the call is on it. So `warm` lacks the time from the event to the launch, which `ours` has, and
the ratio is above 1 by a few microseconds of a short call.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gpu_loops import DEVICE_S, ROOT, given, ours

GET = "pip install 'cuda-bench[cu12]' (or [cu13], as the driver); it is nvbench for Python, and nothing here replaces it"
SAMPLES, CLOCK = 200, "nv/cold/sm_clock_rate/mean"
WARM, PLAIN = "warm", "plain"
TAGS = {"cold": "nv/cold/time/gpu/median", "batch": "nv/batch/time/gpu/mean"}
now = time.perf_counter_ns


class OnStream:
    """A CUDA stream by its handle, as nvbench takes it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


def stream_of(session: Any) -> OnStream:
    """Stream of a session: cuda-core's or PyTorch's."""
    stream = session._stream
    return OnStream(int(getattr(stream, "cuda_stream", None) or stream.handle))


class Turns:
    """Rounds of one session: ours, and nvbench's two ways, in an order that alternates."""

    def __init__(self, session: Any, read_ms: Callable[[], float], read_mhz: Callable[[], float | None]) -> None:
        self._session, self._read_ms, self._read_mhz = session, read_ms, read_mhz
        self.ms: list[float] = []
        self.mhz: list[float | None] = []

    def state(self, state: Any) -> None:
        """One state of nvbench: a round and a way. Ours has a visit beside the warm one, before it in every second round."""
        warm, even = state.get_string("way") == WARM, state.get_int64("round") % 2 == 0
        if warm and even:
            self._visit()
        state.set_stream(stream_of(self._session))
        if warm:
            state.exec(self._warm, timer=True)
        else:
            state.exec(lambda launch: self._session.start())
        if warm and not even:
            self._visit()

    def _visit(self) -> None:
        self.ms.append(self._read_ms())
        self.mhz.append(self._read_mhz())

    def _warm(self, launch: Any, timer: Any) -> None:
        self._session.start()
        timer.start()
        self._session.start()
        timer.stop()


def run(bench: Any, turns: Turns, rounds: int, folder: Path) -> Mapping[str, list[float]]:
    """Let nvbench run all rounds; its figures by name, times in ms."""
    bench.register(turns.state).set_name("session").add_int64_axis("round", [*range(rounds)]).add_string_axis(
        "way", [WARM, PLAIN]
    ).set_min_samples(SAMPLES)
    file = folder / "nvbench.json"
    bench.run_all_benchmarks(["device_time", "--device", "0", "--json", str(file)])
    return figures(json.loads(file.read_text()))


def figures(stored: Mapping[str, Any]) -> Mapping[str, list[float]]:
    """Figures of nvbench's JSON, one a round, in the order of the rounds."""
    (benchmark,) = stored["benchmarks"]
    found: dict[str, list[float]] = {"warm": [], "cold": [], "batch": [], "mhz": []}
    for state in sorted(benchmark["states"], key=lambda item: int(_axes(item)["round"])):
        if state.get("is_skipped"):
            raise SystemExit(f"nvbench skipped {state['name']}: {state.get('skip_reason')}")
        summaries = {item["tag"]: _value(item) for item in state["summaries"]}
        if _axes(state)["way"] == WARM:
            found["warm"].append(summaries[TAGS["cold"]] * 1e3)
            found["mhz"].append(summaries[CLOCK] / 1e6)
        else:
            found["cold"].append(summaries[TAGS["cold"]] * 1e3)
            found["batch"].append(summaries[TAGS["batch"]] * 1e3)
    return found


def _axes(state: Mapping[str, Any]) -> Mapping[str, str]:
    return {axis["name"]: axis["value"] for axis in state["axis_values"]}


def _value(summary: Mapping[str, Any]) -> float:
    """Value of a summary; nvbench writes numbers as texts. NaN for a summary that is no number."""
    values = {item["name"]: item["value"] for item in summary["data"]}
    try:
        return float(values["value"])
    except (KeyError, TypeError, ValueError):
        return float("nan")


def imported() -> Any:
    """cuda-bench. Ends with the sentence that tells how to get it."""
    try:
        from cuda import bench

        bench.run_all_benchmarks  # noqa: B018 (loads the native part for this CUDA)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"cuda-bench cannot be imported ({error}); {GET}") from None
    return bench


def summary(our_ms: Sequence[float], theirs: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Lowest, median and highest ratio of ours to each of theirs, paired by round."""
    ratios = {name: sorted(a / b for a, b in zip(our_ms, theirs[name])) for name in ("warm", "cold", "batch")}
    return {name: [values[0], median(values), values[-1]] for name, values in ratios.items()}


def main() -> None:
    bench = imported()
    runpy.run_path(str(ROOT / "runners/worker/bootstrap.py"))["load_package"]()
    import numpy as np
    from onnxbench.runners.worker import measure
    from onnxbench.runners.worker.nvml import Nvml

    name, file, precision, batch, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    arrays = {"input": np.random.default_rng(0).standard_normal((batch, 3, 48, 48)).astype(np.float32)}
    backend = given(name, str(Path(file).absolute()), precision, batch, sys.argv[6] if len(sys.argv) > 6 else None)
    session, gpu = ours(*backend, arrays)[0], Nvml()

    def read_ms() -> float:
        measure.rewarm(session, now, block_ns=int(DEVICE_S * 1e9))
        return float(np.median(measure.on_device(session, now, least_ns=int(DEVICE_S * 1e9)))) / 1e6

    turns = Turns(session, read_ms, lambda: gpu.watch(0)().sm_mhz)
    with tempfile.TemporaryDirectory() as folder:
        theirs = run(bench, turns, rounds, Path(folder))
    facts = {"backend": name, "precision": precision, "batch": batch, "settings": dict(session.info.settings)}
    figured = {"ours": turns.ms, **theirs, "mhz": {"ours": turns.mhz, "theirs": theirs["mhz"]}}
    print(json.dumps({**facts, **figured, "ratio": summary(turns.ms, theirs)}))


if __name__ == "__main__":
    main()
