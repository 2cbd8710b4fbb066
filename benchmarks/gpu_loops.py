"""Cost of onnxbench's sessions on a GPU over bare loops around the same runtime, in turns, in one process.

    PYTHON benchmarks/gpu_loops.py BACKEND FILE.onnx PRECISION BATCH ROUNDS [WEIGHTS.safetensors]     the CNN
    PYTHON benchmarks/gpu_loops.py CELL.json ROUNDS                     an artifact and a cell of a run, on the wire

PYTHON has the runtime of BACKEND and NumPy, and need not be the one that onnxbench is installed in. The loops are written with
the runtime's own API: PyTorch's CUDAGraph; ONNX Runtime's option enable_cuda_graph for the host and, since that waits inside
every call, its calls in a graph of cuda-core for the rest; TensorRT's execute_async_v3 in such a graph. Prints one JSON object;
each figure is a list with one value a round, ours and theirs in the same order.

    host       p50 of one call and the wait for it, ms
    device     between two events around one call, ms
    rate       items a second: the best of 1, 2 and 4 lanes (ours) and of as many streams that are kept full (theirs)
"""

from __future__ import annotations

import abc
import json
import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Call = Callable[[], object]
Arrays = Mapping[str, Any]

HOST_S, DEVICE_S, RATE_S, LANES, AHEAD = 0.1, 0.05, 0.1, (1, 2, 4), 32
ROOT = Path(__file__).resolve().parents[1]
now = time.perf_counter_ns


def timed(call: Call, seconds: float) -> float:
    """The median of the calls in `seconds`, ms."""
    samples, end = [], now() + int(seconds * 1e9)
    before = after = 0
    while after < end:
        before = now()
        call()
        after = now()
        samples.append(after - before)
    return median(samples) / 1e6


class TorchLoop:
    """The module's graph on `count` streams."""

    def __init__(self, case: Case) -> None:
        import torch
        from onnxbench.factories import make_module
        from safetensors.torch import load_model

        source, precision, arrays = case.artifact.source, case.cell.precision, case.arrays
        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
        module = make_module(source.factory, source.weights)
        load_model(module, source.weights)
        tensors = [torch.tensor(array).to("cuda") for array in arrays.values()]
        self.module = module.eval().to("cuda", dtype)
        self.given = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        self.slots = [self.slot() for _ in range(max(LANES))]

    def slot(self) -> tuple[Any, Any, Any]:
        stream, graph = self.torch.cuda.Stream(), self.torch.cuda.CUDAGraph()
        with self.torch.inference_mode(), self.torch.cuda.stream(stream):
            inputs = [tensor.clone() for tensor in self.given]
            for _ in range(3):
                self.module(*inputs)
        with self.torch.inference_mode(), self.torch.cuda.graph(graph, stream=stream):
            self.kept = self.module(*inputs)
        return stream, graph, inputs

    def host(self) -> float:
        stream, graph, _ = self.slots[0]
        with self.torch.cuda.stream(stream):
            return timed(lambda: (graph.replay(), stream.synchronize()), HOST_S)

    def device(self) -> float:
        (stream, graph, _), cuda = self.slots[0], self.torch.cuda
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        samples, stop = [], now() + int(DEVICE_S * 1e9)
        with cuda.stream(stream):
            while now() < stop:
                begin.record()
                graph.replay()
                end.record()
                end.synchronize()
                samples.append(begin.elapsed_time(end))
        return median(samples)

    def launch(self, number: int) -> None:
        stream, graph, _ = self.slots[number]
        with self.torch.cuda.stream(stream):
            graph.replay()

    def sync(self, number: int) -> None:
        self.slots[number][0].synchronize()


class GraphLoop(abc.ABC):
    """Graphs of cuda-core, each on a stream; `slot` says how a call is put on one."""

    def __init__(self) -> None:
        from cuda import core

        self.core, self.device_ = core, core.Device(0)
        self.device_.set_current()
        self.slots = [self.captured(*self.slot(self.device_.create_stream())) for _ in range(max(LANES))]

    @abc.abstractmethod
    def slot(self, stream: Any) -> tuple[Any, Call, Any]:
        """`stream`, what puts a call on it, and what that needs."""

    def captured(self, stream: Any, run: Call, kept: Any) -> tuple[Any, Any, Any]:
        for _ in range(3):
            run()
        stream.sync()
        builder = stream.create_graph_builder().begin_building("thread_local")
        run()
        return stream, builder.end_building().complete(), kept

    def host(self) -> float:
        stream, graph, _ = self.slots[0]
        return timed(lambda: (graph.launch(stream), stream.sync()), HOST_S)

    def device(self) -> float:
        stream, graph, _ = self.slots[0]
        options = self.core.EventOptions(timing_enabled=True)
        begin, end = (self.device_.create_event(options) for _ in range(2))
        samples, stop = [], now() + int(DEVICE_S * 1e9)
        while now() < stop:
            stream.record(begin)
            graph.launch(stream)
            stream.record(end)
            end.sync()
            samples.append(end - begin)
        return median(samples)

    def launch(self, number: int) -> None:
        stream, graph, _ = self.slots[number]
        graph.launch(stream)

    def sync(self, number: int) -> None:
        self.slots[number][0].sync()


class OrtLoop(GraphLoop):
    """Sessions on streams; what the host sees is a session with the provider's own graph, which waits inside every call."""

    def __init__(self, case: Case, outputs: Arrays) -> None:
        import onnxruntime

        self.ort, self.file, self.arrays, self.outputs = onnxruntime, case.artifact.path, case.arrays, outputs
        shapes = dict(case.cell.shapes)  # fixed sizes change which nodes ONNX Runtime fuses: they are those of the row
        self.sizes = {dim: size for spec in case.artifact.inputs for dim, size in zip(spec.shape, shapes[spec.name])}
        self.is_open = dict(case.cell.settings.options).get("free_dimensions") == "open"
        self.provider = {"use_tf32": str(int(case.cell.precision == "tf32"))}
        super().__init__()
        self.own = self.open(enable_cuda_graph="1")
        for _ in range(3):
            self.own[0].run_with_iobinding(self.own[1])

    def open(self, **more: str) -> tuple[Any, Any, list[Any]]:
        """A session, its binding to places on the device, and these."""
        options = self.ort.SessionOptions()
        options.log_severity_level = 3
        for name, size in self.sizes.items():
            if isinstance(name, str) and not self.is_open:
                options.add_free_dimension_override_by_name(name, size)
        providers = [("CUDAExecutionProvider", {**self.provider, **more})]
        session = self.ort.InferenceSession(self.file, options, providers=providers)
        binding, value, kept = session.io_binding(), self.ort.OrtValue, []
        for name, array in self.arrays.items():
            kept.append(value.ortvalue_from_numpy(array, "cuda", 0))
            binding.bind_ortvalue_input(name, kept[-1])
        for name, array in self.outputs.items():
            kept.append(value.ortvalue_from_shape_and_type(array.shape, array.dtype, "cuda", 0))
            binding.bind_ortvalue_output(name, kept[-1])
        return session, binding, kept

    def slot(self, stream: Any) -> tuple[Any, Call, Any]:
        how = self.ort.RunOptions()
        how.add_run_config_entry("disable_synchronize_execution_providers", "1")
        opened = self.open(user_compute_stream=str(int(stream.handle)))
        return stream, lambda: opened[0].run_with_iobinding(opened[1], how), opened

    def host(self) -> float:
        session, binding, _ = self.own
        return timed(lambda: session.run_with_iobinding(binding), HOST_S)


class TensorRtLoop(GraphLoop):
    """Contexts of the engine of a session, `loaded`."""

    def __init__(self, loaded: Any, arrays: Arrays) -> None:
        self.loaded, self.engine, self.arrays = loaded, loaded.engine, arrays
        super().__init__()

    def slot(self, stream: Any) -> tuple[Any, Call, Any]:
        from cuda.bindings import driver

        context, kept = self.engine.create_execution_context(), []
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            if name in self.arrays:
                context.set_input_shape(name, self.arrays[name].shape)
            dtype = self.loaded.dtype(name)
            nbytes = int(np.prod(context.get_tensor_shape(name))) * dtype.itemsize
            kept.append(self.device_.allocate(nbytes, stream=stream))
            if name in self.arrays:  # ids of a text must lie in their table
                array = np.ascontiguousarray(self.arrays[name], dtype)
                stream.sync()
                driver.cuMemcpyHtoD(int(kept[-1].handle), array.ctypes.data, array.nbytes)
            context.set_tensor_address(name, int(kept[-1].handle))
        return stream, lambda: context.execute_async_v3(int(stream.handle)), (context, kept)


def full(loop: Any, count: int, seconds: float) -> float:
    """Calls a second with `count` streams that are given AHEAD calls each before they are waited for."""
    for number in range(count):
        loop.launch(number)
        loop.sync(number)
    calls, begin = 0, now()
    while now() - begin < seconds * 1e9:
        for _ in range(AHEAD):
            for number in range(count):
                loop.launch(number)
        for number in range(count):
            loop.sync(number)
        calls += AHEAD * count
    return calls / (now() - begin) * 1e9


def ours(backend: Any, artifact: Any, cell: Any, arrays: Arrays) -> Sequence[Any]:
    """A session as `bench infer` has it, and the lanes beside it."""
    from onnxbench.backends.protocol import Workshop
    from onnxbench.exporters import cache

    built = backend.build(artifact, cell, Workshop(folder=cache.root() / "engines", now_ns=now))
    session = backend.open(artifact, cell, engine=built)
    lanes = [session, *(session.fork() for _ in range(max(LANES) - 1))]
    for lane in lanes:
        lane.enter()
        lane.bind(arrays)
        for _ in range(20):
            lane.start()
            lane.wait()
    lanes[0].enter()
    return lanes


@dataclass(frozen=True)
class Case:
    """A file, a cell, and the arrays of its inputs."""

    artifact: Any
    cell: Any
    arrays: Arrays


def main() -> None:
    runpy.run_path(str(ROOT / "runners/worker/bootstrap.py"))["load_package"]()
    from onnxbench import backends

    case, rounds = stored(sys.argv[1], int(sys.argv[2])) if sys.argv[1].endswith(".json") else given(*sys.argv[1:])
    lanes = ours(backends.get(case.cell.backend), case.artifact, case.cell, case.arrays)
    loop = bare(case, lanes[0])
    found: dict[str, dict[str, list[float]]] = {what: {"ours": [], "theirs": []} for what in ("host", "device", "rate")}
    for number in range(rounds):
        turns = pairs(lanes, loop, case.cell.batch)
        for what, who, work in turns if number % 2 else reversed(turns):
            found[what][who].append(work())
    cell = case.cell
    facts = {"model": cell.model, "backend": cell.backend, "precision": cell.precision, "batch": cell.batch}
    settings = dict(lanes[0].info.settings)
    print(json.dumps({**facts, "settings": settings, "remarks": lanes[0].info.remarks, "found": found}))


def bare(case: Case, session: Any) -> Any:
    """The loop of the runtime of `case`. TensorRT's has the engine of `session`, since two builds differ."""
    if case.cell.backend == "tensorrt":
        return TensorRtLoop(session._loaded, case.arrays)
    return TorchLoop(case) if case.cell.backend == "torch-cuda" else OrtLoop(case, session.fetch())


def stored(file: str, rounds: int) -> tuple[Case, int]:
    """A case of a run, from an artifact and a cell on the wire."""
    from onnxbench import spec
    from onnxbench.models import inputs

    told = json.loads(Path(file).read_text())
    artifact, cell = spec.from_wire(spec.Artifact, told["artifact"]), spec.from_wire(spec.Cell, told["cell"])
    return Case(artifact, cell, inputs.draw(artifact.inputs, cell.shapes, 0)), rounds


def given(name: str, file: str, precision: str, size: str, rounds: str, weights: str | None = None) -> tuple[Case, int]:
    """The CNN's file and cell, and the number of rounds."""
    from onnxbench import spec

    batch = int(size)

    image = spec.TensorSpec(name="input", dtype="float32", shape=("batch", 3, 48, 48))
    logits = spec.TensorSpec(name="logits", dtype="float32", shape=("batch", 10))
    artifact = spec.Artifact(
        model="cnn",
        precision=spec.PRECISIONS[precision].file,
        path=str(Path(file).absolute()),
        sha256=Path(file).name,
        nbytes=0,
        opset=20,
        inputs=(image,),
        outputs=(logits,),
        source=spec.Source(factory="onnxbench.models.cnn:cnn", weights=weights),
    )
    cell = spec.Cell(
        model="cnn",
        sha256=artifact.sha256,
        backend=name,
        device="cuda:0",
        precision=precision,
        batch=batch,
        shapes=(("input", (batch, 3, 48, 48)),),
        settings=spec.Settings(threads=1),
    )
    arrays = {"input": np.random.default_rng(0).standard_normal((batch, 3, 48, 48)).astype(np.float32)}
    return Case(artifact, cell, arrays), int(rounds)


def pairs(lanes: Sequence[Any], loop: Any, batch: int) -> list[tuple[str, str, Callable[[], float]]]:
    """Figures of a round: ours, and that of the bare loop."""
    from onnxbench.runners.worker import lanes as several
    from onnxbench.runners.worker import measure

    length = several.Length(least_ns=int(RATE_S * 1e9), lead_ns=int(RATE_S * 1e8))
    return [
        ("host", "ours", lambda: float(np.median(measure.latency(lanes[0], now, least_ns=int(HOST_S * 1e9)))) / 1e6),
        ("host", "theirs", loop.host),
        ("device", "ours", lambda: float(np.median(measure.on_device(lanes[0], now, least_ns=int(DEVICE_S * 1e9)))) / 1e6),
        ("device", "theirs", loop.device),
        ("rate", "ours", lambda: batch * max(several.throughput(lanes[:count], now, length).calls_per_s for count in LANES)),
        ("rate", "theirs", lambda: batch * max(full(loop, count, RATE_S) for count in LANES)),
    ]


if __name__ == "__main__":
    main()
