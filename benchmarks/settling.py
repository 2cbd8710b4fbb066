"""Wait of a worker for the idle threads of its runtime, for several steps between two looks at its CPU time.

    python benchmarks/settling.py FILE.onnx

Each runtime makes calls for 60 ms, again and again. After them the CPU time of the process is read every millisecond, for
200 ms. From the readings follow the time at which a worker with each step would be idle, and the CPU time that its threads use
in the next 50 ms all the same.
"""

from __future__ import annotations

import bisect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from onnxbench.runners.worker.measure import IDLE_SHARE

STEPS_MS = (2, 3, 5, 10)
TIMES, CALLS_S, READ_S, AFTER_S, BUSY_S = 25, 0.06, 0.2, 0.05, 0.005
RUNTIMES = ("onnxruntime", "openvino")
Readings = Sequence[tuple[float, float]]


def call_of(runtime: str, file: str) -> Callable[[], object]:
    """Function that makes one call of the model at batch 1."""
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        shape = [dim if isinstance(dim, int) else 1 for dim in session.get_inputs()[0].shape]
        inputs = {session.get_inputs()[0].name: np.zeros(shape, np.float32)}
        return lambda: session.run(None, inputs)
    import openvino

    model = openvino.Core().read_model(file)
    shape = [dim.get_length() if dim.is_static else 1 for dim in model.inputs[0].partial_shape]
    request = openvino.compile_model(model, "CPU").create_infer_request()
    return lambda: request.infer([np.zeros(shape, np.float32)])


def read(call: Callable[[], object]) -> list[tuple[float, float]]:
    """Seconds and CPU seconds of the process, each millisecond after calls."""
    end = time.perf_counter() + CALLS_S
    while time.perf_counter() < end:
        call()
    begin, readings = time.perf_counter(), []
    while time.perf_counter() - begin < READ_S:
        readings.append((time.perf_counter() - begin, time.process_time()))
        time.sleep(0.001)
    return readings


def own_share() -> float:
    """CPU time of reading, as a share of the time: that of a process without other threads."""
    readings = read(lambda: None)
    return (readings[-1][1] - readings[0][1]) / readings[-1][0]


def idle_at(readings: Readings, step_s: float, own: float) -> tuple[float, float]:
    """Seconds until a worker with this step is idle, and CPU seconds of its threads in the time after it."""
    times = [at for at, _ in readings]

    def cpu_s(at: float) -> tuple[float, float]:
        place = min(bisect.bisect_left(times, at), len(times) - 1)
        return readings[place][0], readings[place][1] - own * readings[place][0]

    at, used = cpu_s(0.0)
    while True:
        later, used_later = cpu_s(at + step_s)
        if used_later - used < IDLE_SHARE * step_s or later + AFTER_S > READ_S:
            return later, cpu_s(later + AFTER_S)[1] - used_later
        at, used = later, used_later


def main() -> None:
    if len(sys.argv) == 2:
        for runtime in RUNTIMES:  # a process each, since the CPU time is that of a process
            subprocess.run([sys.executable, __file__, sys.argv[1], runtime], check=True)
        return
    _, file, runtime = sys.argv
    own, call = own_share(), call_of(runtime, file)
    series = [read(call) for _ in range(TIMES)]
    for step_ms in STEPS_MS:
        ends = [idle_at(readings, step_ms / 1e3, own) for readings in series]
        busy = sum(after > BUSY_S for _, after in ends)
        wait_ms = fmean(wait for wait, _ in ends) * 1e3
        print(json.dumps({"runtime": runtime, "step_ms": step_ms, "wait_ms": round(wait_ms, 1), "busy": busy, "of": TIMES}))


if __name__ == "__main__":
    main()
