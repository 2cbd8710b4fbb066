"""Independent instruments: other ways to time the same model, against which onnxbench's figures are held.

    python benchmarks/peers.py serve KIND FILE BATCH THREADS [LANES]

serves one instrument: a JSON line says what was loaded, and then a line in, {"seconds": 0.3}, gets a line out. `Peer`
starts such a process and asks it, so that a benchmark can visit loaded peers in turns. `benchmark_app` runs OpenVINO's
own tool, in a fresh process each time. Nothing here imports onnxbench.

The kinds:

    ort-loop      a bare loop around ONNX Runtime; with LANES, that many threads on one session
    loadgen       the same session driven by MLPerf LoadGen, SingleStream (pip install mlcommons-loadgen)
    ov-loop       a bare loop around OpenVINO, with the latency that its infer request reports
    python-loop   BATCH turns of an empty Python loop; FILE and THREADS are ignored

Inputs are float32, drawn from seed 0. Every open dimension of the file is BATCH. Arithmetic is FP32.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Answer = dict[str, float]

WARM_UP_S = 0.5
UNTIMED_CALLS = 3
EXIT_S = 10.0


@dataclass(frozen=True)
class Load:
    """The load that an instrument times."""

    file: str
    batch: int
    threads: int
    lanes: int = 1


@dataclass(frozen=True)
class Instrument:
    """One untimed call; a measurement of so many seconds; and versions and settings as the library reports them."""

    call: Callable[[], object]
    ask: Callable[[float], Answer]
    about: dict[str, str]


def shapes(file: str, batch: int) -> dict[str, list[int]]:
    """The file's inputs with every open dimension set to `batch`; `ValueError` where the file fixes another batch."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    found = {value.name: [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim] for value in inputs}
    if any(shape and shape[0] != batch for shape in found.values()):
        raise ValueError(f"{file} does not take a batch of {batch}: {found}")
    return found


def arrays(load: Load) -> dict[str, Any]:
    """Normal float32 values for each input."""
    import numpy as np

    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes(load.file, load.batch).items()}


def timed(call: Callable[[], object], seconds: float, note: Callable[[], object] | None = None) -> tuple[list[int], int]:
    """Nanoseconds of each call, and of the whole loop, over at least `seconds`; `note` follows each call untimed."""
    took: list[int] = []
    begin = time.perf_counter_ns()
    end = begin + round(seconds * 1e9)
    while True:
        before = time.perf_counter_ns()
        call()
        after = time.perf_counter_ns()
        took.append(after - before)
        if note is not None:
            note()
        if after >= end:
            return took, after - begin


def abreast(calls: list[Callable[[], object]], seconds: float) -> list[tuple[list[int], int]]:
    """`timed` for each of `calls`: in this thread if there is one, else in threads that begin together."""
    if len(calls) == 1:
        return [timed(calls[0], seconds)]
    together = threading.Barrier(len(calls))

    def lane(call: Callable[[], object]) -> tuple[list[int], int]:
        together.wait()
        return timed(call, seconds)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lane, calls))


def ort_session(load: Load) -> tuple[Any, dict[str, str]]:
    """A session on the CPU provider with the threads that were asked for, and what it says about itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = load.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(load.file, options, providers=["CPUExecutionProvider"])
    threads = str(session.get_session_options().intra_op_num_threads)
    return session, {"version": f"onnxruntime {onnxruntime.__version__}", "threads": threads}


def ort_call(session: Any, inputs: dict[str, Any]) -> Callable[[], object]:
    """One inference on an IO binding of its own: inputs are in place, outputs stay where the session puts them."""
    import onnxruntime

    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array.copy(), "cpu", 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return functools.partial(session.run_with_iobinding, binding)


def ort_loop(load: Load) -> Instrument:
    """`p50_ns` and `calls` over all lanes; `items_per_s` is the sum of the lanes' own rates."""
    session, about = ort_session(load)
    inputs = arrays(load)
    calls = [ort_call(session, inputs) for _ in range(load.lanes)]

    def ask(seconds: float) -> Answer:
        lanes = abreast(calls, seconds)
        took = [duration for durations, _ in lanes for duration in durations]
        rate = sum(load.batch * len(durations) / elapsed * 1e9 for durations, elapsed in lanes)
        return {"p50_ns": statistics.median_low(took), "calls": len(took), "items_per_s": rate}

    return Instrument(lambda: [call() for call in calls], ask, about)


def loadgen(load: Load) -> Instrument:
    """`p50_ns` as LoadGen's summary states it, and `calls` that it issued: a test for each ask, a whole batch a query."""
    lg: Any = importlib.import_module("mlperf_loadgen")
    session, about = ort_session(load)
    call = ort_call(session, arrays(load))
    expected_ns = statistics.median_low(timed(call, WARM_UP_S)[0])
    about["loadgen"] = importlib.metadata.version("mlcommons-loadgen")
    return Instrument(call, lambda seconds: loadgen_test(lg, call, seconds, expected_ns), about)


def loadgen_test(lg: Any, call: Callable[[], object], seconds: float, expected_ns: int) -> Answer:
    """One SingleStream performance test."""
    calls = 0

    def issue(samples: Any) -> None:
        nonlocal calls
        calls += 1
        answers = [lg.QuerySampleResponse(sample.id, 0, 0) for sample in samples]
        call()
        lg.QuerySamplesComplete(answers)

    system, library = lg.ConstructSUT(issue, lambda: None), lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    try:
        with tempfile.TemporaryDirectory() as folder:
            audit = str(Path(folder, "audit.config"))  # does not exist: nothing in the working directory is to be read
            lg.StartTestWithLogSettings(system, library, *loadgen_setup(lg, folder, seconds, expected_ns), audit)
            summary = Path(folder, "mlperf_log_summary.txt").read_text()
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)
    return {"p50_ns": int(said(r"^50\.00 percentile latency \(ns\) *: *(\d+)", summary)), "calls": calls}


def loadgen_setup(lg: Any, folder: str, seconds: float, expected_ns: int) -> tuple[Any, Any]:
    """LoadGen draws twice the queries that the expected latency asks for, and ends early where they run out."""
    settings, logs = lg.TestSettings(), lg.LogSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(seconds * 1e3)
    settings.min_query_count = 10
    settings.single_stream_expected_latency_ns = max(1, expected_ns // 2)
    logs.log_output.outdir = folder
    logs.enable_trace = False
    return settings, logs


def ov_compiled(load: Load) -> Any:
    """The model with static shapes, in FP32, on one stream of unpinned threads."""
    import openvino

    core = openvino.Core()
    model = core.read_model(load.file)
    model.reshape(shapes(load.file, load.batch))
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": load.threads, "NUM_STREAMS": 1}
    return core.compile_model(model, "CPU", how | {"ENABLE_CPU_PINNING": False})


def ov_loop(load: Load) -> Instrument:
    """`p50_ns` by the host's clock, `runtime_p50_ns` as the request reports it, `binding_ns`: the p50 of what is between.

    The request's latency is taken in OpenVINO's Python extension, around the call into the runtime, so that the
    difference is what the extension and Python add.
    """
    import openvino

    compiled = ov_compiled(load)
    request = compiled.create_infer_request()
    for name, array in arrays(load).items():
        request.set_tensor(name, openvino.Tensor(array.copy()))
    names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "INFERENCE_PRECISION_HINT", "ENABLE_CPU_PINNING")
    about = {name: str(compiled.get_property(name)) for name in names}
    about["version"] = f"openvino {openvino.__version__}"
    return Instrument(lambda: request.infer(share_outputs=True), functools.partial(ov_ask, request, load.batch), about)


def ov_ask(request: Any, batch: int, seconds: float) -> Answer:
    """The request's own latency, in ms, is read after each call and made ns."""
    inner: list[int] = []
    infer = functools.partial(request.infer, share_outputs=True)
    host, elapsed = timed(infer, seconds, lambda: inner.append(round(request.latency * 1e6)))
    between = [outside - inside for outside, inside in zip(host, inner)]
    found = {"p50_ns": host, "runtime_p50_ns": inner, "binding_ns": between}
    rate = batch * len(host) / elapsed * 1e9
    return {name: statistics.median_low(values) for name, values in found.items()} | {"calls": len(host), "items_per_s": rate}


def python_loop(load: Load) -> Instrument:
    """`p50_ns` of an empty loop of `batch` turns: the machine's speed without any runtime."""
    turns = load.batch

    def call() -> None:
        for _ in range(turns):
            pass

    def ask(seconds: float) -> Answer:
        took, _ = timed(call, seconds)
        return {"p50_ns": statistics.median_low(took), "calls": len(took)}

    return Instrument(call, ask, {"version": f"python {sys.version.split()[0]}"})


KINDS: dict[str, Callable[[Load], Instrument]] = {
    "ort-loop": ort_loop,
    "loadgen": loadgen,
    "ov-loop": ov_loop,
    "python-loop": python_loop,
}


def serve(kind: str, load: Load) -> None:
    """Say what was loaded, once it is warm; then answer requests until stdin ends, each when the process is idle again."""
    if load.lanes > 1 and kind != "ort-loop":
        raise ValueError(f"{kind} has one lane")
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print goes to stderr
        instrument = KINDS[kind](load)
        instrument.ask(WARM_UP_S)
        settle()
        print(json.dumps(instrument.about), file=answers, flush=True)
        for line in sys.stdin:
            for _ in range(UNTIMED_CALLS):
                instrument.call()
            answer = instrument.ask(json.loads(line)["seconds"])
            settle()
            print(json.dumps(answer), file=answers, flush=True)


def settle() -> None:
    """Wait, 1 s at most, until this process is idle: thread pools spin on after a call, which whoever is next would feel."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.0005:
            return


class Peer:
    """An instrument in a process of its own that stays loaded from entering the context to leaving it.

    Entering waits for loading and warm-up. What the process cannot do is a `RuntimeError` with its last words.
    """

    def __init__(self, kind: str, file: Path | str, batch: int, threads: int, lanes: int = 1) -> None:
        self.kind = kind
        self.about: dict[str, str] = {}
        load = [str(part) for part in (file, batch, threads, lanes)]
        self._command = [sys.executable, str(Path(__file__).resolve()), "serve", kind, *load]

    def __enter__(self) -> Peer:
        self._words = tempfile.TemporaryFile("w+")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=self._words, text=True)
        try:
            self.about = self._line()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, seconds: float) -> Answer:
        """Measure for `seconds`; a call that has begun is finished."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process has ended, which the missing answer tells
            self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self._process.stdin.flush()
        answer: Answer = self._line()
        return answer

    def close(self) -> None:
        """End the process, by force if it does not end by itself, and wait for it."""
        try:
            self._process.communicate(timeout=EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._words.close()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait(EXIT_S)
        self._words.seek(0)
        raise RuntimeError(f"{self.kind}: {last_line(self._words.read())}")


def benchmark_app(file: Path | str, batch: int, seconds: float, *options: str) -> dict[str, Any]:
    """One run of OpenVINO's `benchmark_app`, in whole seconds.

    `p50_ms` is the median of the latencies that requests report (in steps of 0.01 ms, of 0.01 us where their mean is
    under 1 ms), `items_per_s` its FPS: batch x calls over its time. `streams`, `requests`, `threads` and `precision` are
    what it says it used. By itself it makes the input of an image model u8; here it stays float32.
    """
    tool = str(Path(sys.executable).with_name("benchmark_app"))
    shape = ",".join(f"{name}{json.dumps(dims, separators=(',', ':'))}" for name, dims in shapes(str(file), batch).items())
    model = ["-m", str(file), "-d", "CPU", "-t", str(max(1, round(seconds))), "-infer_precision", "f32", "-shape", shape]
    with tempfile.TemporaryDirectory() as folder:
        report = ["-ip", "f32", "-json_stats", "-report_type", "no_counters", "-report_folder", folder]
        done = subprocess.run([tool, *model, *report, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError("benchmark_app: " + last_line(re.sub(r"(?m)^\[ INFO \].*", "", done.stdout)))
        return app_figures(json.loads(Path(folder, "benchmark_report.json").read_text()), done.stdout)


def app_figures(report: dict[str, Any], log: str) -> dict[str, Any]:
    """From the report what it has; from the log what only that has, the finer median among it."""
    setup, results = report["configuration_setup"], report["execution_results"]
    median, unit = said(r"Median: +([\d.]+ \w+)", log).split()
    return {
        "p50_ms": float(median) / {"ms": 1, "us": 1000}[unit],
        "items_per_s": float(results["throughput"]),
        "streams": int(said(r" NUM_STREAMS: (\d+)", log)),
        "requests": int(setup["number of parallel infer requests"]),
        "threads": int(said(r" INFERENCE_NUM_THREADS: (\d+)", log)),
        "precision": said(r" INFERENCE_PRECISION_HINT: <Type: '(\w+)'>", log),
    }


def said(pattern: str, text: str) -> str:
    """The first group of `pattern` in `text`; `RuntimeError` where it is not."""
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no {pattern!r} in what it wrote, which ends: {last_line(text)}")
    return found[1]


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "ended without a word")


def main() -> None:
    match sys.argv[1:]:
        case ["serve", kind, file, *numbers] if kind in KINDS and len(numbers) in (2, 3):
            serve(kind, Load(file, *map(int, numbers)))
        case _:
            sys.exit(f"usage: python benchmarks/peers.py serve {{{','.join(KINDS)}}} FILE BATCH THREADS [LANES]")


if __name__ == "__main__":
    main()
