"""PyTorch eager, on the CPU and on CUDA: the device is data. torch, inside functions.

Arithmetic is pinned: TF32 is off for fp32 in cuDNN convolutions (where torch has it on) and in matmuls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import BadInput, RuntimeFailed, Unavailable, installed, one_line, quantity
from ..spec import Artifact, Cell, Concurrency, TensorSpec, resolve
from . import snippets
from .cuda import GRAPH_CHOICES, GRAPH_OPTION, graphed
from .protocol import Array, Availability, Backend, Session, SessionInfo

NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}

FACTORY = """\
from importlib import import_module

import torch

FACTORY, WEIGHTS = $factory, $weights
module_name, _, factory = FACTORY.partition(":")
module = getattr(import_module(module_name), factory)()
if WEIGHTS:
    from safetensors.torch import load_model

    load_model(module, WEIGHTS)
"""
ON_CPU = """\
torch.set_num_interop_threads(1)
torch.set_float32_matmul_precision("highest")
module = module.eval().to(torch.$dtype)


def open_lane():
    torch.set_num_threads(THREADS)  # belongs to the thread that calls
    tensors = [torch.tensor(array) for array in inputs.values()]
    tensors = [tensor.to(torch.$dtype) if tensor.is_floating_point() else tensor for tensor in tensors]

    def call():
        with torch.inference_mode():
            module(*tensors)

    return call
"""
ON_CUDA = """\
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = $tf32
torch.backends.cudnn.benchmark = $benchmark
module = module.eval().to($device, torch.$dtype, memory_format=torch.$memory)
alive = []


def open_lane():
    stream = torch.cuda.Stream($device)
    tensors = [torch.tensor(array).to($device) for array in inputs.values()]
    tensors = [tensor.to(torch.$dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    tensors = [tensor.to(memory_format=torch.$memory) if tensor.dim() == 4 else tensor for tensor in tensors]
    alive.append(tensors)  # a graph does not keep what it works on
    torch.cuda.synchronize($device)

    def run():
        torch.cuda.set_stream(stream)
        with torch.inference_mode():
            module(*tensors)

    for _ in range(3):
        run()
    stream.synchronize()
    if not $graph:
        return run, stream.synchronize
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        run()

    def start():
        torch.cuda.set_stream(stream)
        graph.replay()

    return start, stream.synchronize
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchOptions:
    """What a session needs to know of its cell: a torch dtype, where it runs, threads, and a GPU's options."""

    dtype: Any
    device: str
    threads: int
    graph: str = "off"
    channels_last: bool = False


class TorchSession(Session):
    """A module on the CPU. Inputs are passed by position, in the file's order; outputs are matched likewise."""

    def __init__(self, module: Any, artifact: Artifact, options: TorchOptions, info: SessionInfo) -> None:
        import torch

        self._torch, self._module, self._artifact, self._options = torch, module, artifact, options
        self.info = self._opened = info
        self._inputs: Sequence[Any] = ()
        self._result: Any = None

    def enter(self) -> None:
        """Threads belong to the process, and to each thread that calls: sessions for other numbers may have been here."""
        if self._torch.get_num_threads() != self._options.threads:
            self._torch.set_num_threads(self._options.threads)

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = [self._tensor(inputs[spec.name]) for spec in self._artifact.inputs]

    def _tensor(self, array: Array) -> Any:
        tensor = self._torch.tensor(array)
        return tensor.to(self._options.dtype) if tensor.is_floating_point() else tensor

    def start(self) -> None:
        with self._torch.inference_mode():
            self._result = self._module(*self._inputs)

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        return {spec.name: self._host(tensor, spec.dtype) for spec, tensor in self._outputs()}

    def _host(self, tensor: Any, dtype: str) -> Array:
        array: Array = tensor.to("cpu", getattr(self._torch, dtype), copy=True).numpy()
        return array

    def _outputs(self) -> list[tuple[TensorSpec, Any]]:
        from torch.utils._pytree import tree_leaves

        tensors = tree_leaves(self._result)
        if len(tensors) != len(self._artifact.outputs):
            raise RuntimeFailed(f"the module returns {len(tensors)} tensors and its file {len(self._artifact.outputs)}")
        return list(zip(self._artifact.outputs, tensors))

    def fork(self) -> Session:
        return type(self)(self._module, self._artifact, self._options, self._opened)


class TorchCudaSession(TorchSession):
    """A module on a GPU, on a stream of its own, with inputs in a fixed place there.

    The first call is one as it comes; then it is captured as a CUDA graph where that is asked for.
    """

    asynchronous = True

    def __init__(self, module: Any, artifact: Artifact, options: TorchOptions, info: SessionInfo) -> None:
        super().__init__(module, artifact, options, info)
        self._cuda = self._torch.cuda
        self._stream = self._cuda.Stream(options.device)
        self._begin, self._end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        self._pinned: dict[str, Any] = {}
        self._arrays: dict[str, Array] = {}
        self._rooms: dict[str, Any] = {}
        self._fetched: Any = None
        self._leaves: list[tuple[TensorSpec, Any, Any]] = []
        self._go: Callable[[], object] = self._first

    def enter(self) -> None:
        super().enter()
        self._cuda.set_stream(self._stream)

    def pin(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self._pinned = {name: self._torch.from_numpy(array.copy()).pin_memory() for name, array in inputs.items()}
        self._arrays = {name: tensor.numpy() for name, tensor in self._pinned.items()}
        return self._arrays

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._cuda.set_stream(self._stream)
        tensors = [self._given(spec.name, inputs[spec.name]) for spec in self._artifact.inputs]
        self._inputs = self._inputs or [self._room(tensor) for tensor in tensors]
        for room, tensor in zip(self._inputs, tensors):
            room.copy_(tensor, non_blocking=True)  # from memory that is not pinned it returns when that was read

    def _given(self, name: str, array: Array) -> Any:
        return self._pinned[name] if self._arrays.get(name) is array else self._torch.from_numpy(array)

    def _room(self, array: Any) -> Any:
        dtype = self._options.dtype if array.is_floating_point() else array.dtype
        room = self._torch.empty(array.shape, dtype=dtype, device=self._options.device)
        return room.to(memory_format=self._torch.channels_last) if self._options.channels_last and room.dim() == 4 else room

    def start(self) -> None:
        self._cuda.set_stream(self._stream)
        self._go()

    def wait(self) -> None:
        self._stream.synchronize()

    def device_ns(self) -> int | None:
        self._begin.record(self._stream)
        self.start()
        self._end.record(self._stream)
        self._end.synchronize()
        return int(self._begin.elapsed_time(self._end) * 1e6)

    def fetch(self) -> dict[str, Array]:
        self._cuda.set_stream(self._stream)
        if self._result is not self._fetched:  # with a graph it is the same every time
            self._fetched = self._result
            self._leaves = [(spec, tensor, self._host_room(spec, tensor)) for spec, tensor in self._outputs()]
        for _, tensor, room in self._leaves:
            room.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return {spec.name: room.numpy().copy() for spec, _, room in self._leaves}

    def _host_room(self, spec: TensorSpec, tensor: Any) -> Any:
        if spec.name not in self._rooms or self._rooms[spec.name].shape != tensor.shape:
            self._rooms[spec.name] = self._torch.empty(tensor.shape, dtype=getattr(self._torch, spec.dtype), pin_memory=True)
        return self._rooms[spec.name]

    def close(self) -> None:
        """Let go of memory on the device now: a session refers to itself, and the collector may be off for long."""
        self._go, self._inputs, self._leaves = self._first, (), []
        self._result = self._fetched = self._module = None

    def _eager(self) -> None:
        super().start()

    def _first(self) -> None:
        self._eager()
        self._go, self.info = graphed(self._options.graph, self._eager, self._captured, self.info)

    def _captured(self) -> Callable[[], object]:
        graph = self._cuda.CUDAGraph()
        with self._cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._eager()
        replay: Callable[[], object] = graph.replay
        replay()
        return replay


class TorchCpu(Backend):
    """PyTorch eager on the CPU."""

    name = "torch-cpu"
    session: ClassVar[type[TorchSession]] = TorchSession
    template: ClassVar[str] = ON_CPU
    tail: ClassVar[tuple[str, str]] = snippets.THREADED
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32", "bf16": "bfloat16"}
    install = "pip install 'onnxbench[torch]'"

    def _probe(self) -> Availability:
        torch = _import_torch()
        return Availability(available=True, version=torch.__version__, devices=("cpu",))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None if artifact.source else "no PyTorch source"

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        torch = _import_torch()
        _set_threads(torch, concurrency.threads)
        self._pin(torch, cell)
        options = self._options(torch, cell, concurrency)
        module = _load(artifact).to(options.device, options.dtype)
        if options.channels_last:
            module = module.to(memory_format=torch.channels_last)
        return self.session(module, artifact, options, self._info(torch, module, cell))

    def _options(self, torch: Any, cell: Cell, concurrency: Concurrency) -> TorchOptions:
        return TorchOptions(
            dtype=getattr(torch, self.precisions[cell.precision]), device=cell.device, threads=concurrency.threads
        )

    def deploy(self, concurrency: Concurrency) -> str:
        return f"torch.set_num_threads({concurrency.threads}) · {quantity(concurrency.lanes, 'thread')} calling the module"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        if artifact.source is None:
            return ""
        weights = artifact.source.weights
        own = {"factory": artifact.source.factory, "weights": weights}
        case = snippets.ProgramCase(artifact, cell, concurrency)
        return snippets.program(FACTORY + self.template, case, self.tail, **own, **self._flags(cell))

    def _flags(self, cell: Cell) -> dict[str, Any]:
        """What the snippet's own lines need."""
        return {"dtype": snippets.Code(self.precisions[cell.precision])}

    def _pin(self, torch: Any, cell: Cell) -> None:
        """Set the process-wide flags that this device's arithmetic depends on."""
        torch.set_float32_matmul_precision("highest")  # "medium" would multiply in BF16

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        weights = list(module.parameters()) + list(module.buffers())
        floats = {str(weight.dtype).removeprefix("torch.") for weight in weights if weight.is_floating_point()}
        executed = "+".join(sorted(NAMES.get(name, name) for name in floats)) or cell.precision
        settings = (
            ("threads", str(torch.get_num_threads())),
            ("interop_threads", str(torch.get_num_interop_threads())),
            ("omp_wait_policy", os.environ.get("OMP_WAIT_POLICY", "default")),
            ("float32_matmul_precision", torch.get_float32_matmul_precision()),
        )
        return SessionInfo(executed=executed, settings=settings)


class TorchCuda(TorchCpu):
    """PyTorch eager on an NVIDIA GPU, on a stream of its own, and as a CUDA graph where one can be captured."""

    name = "torch-cuda"
    device_kind = "cuda"
    session = TorchCudaSession
    template: ClassVar[str] = ON_CUDA
    tail = snippets.QUEUED
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    options: ClassVar[Mapping[str, str]] = {
        **GRAPH_OPTION,
        "channels_last": "off|on: weights and images with channels last in memory",
        "cudnn_benchmark": "off|on: cuDNN's algorithms are chosen by trying them",
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **GRAPH_CHOICES,
        "channels_last": ("off", "on"),
        "cudnn_benchmark": ("off", "on"),
    }

    def _probe(self) -> Availability:
        torch = _import_torch()
        if not torch.version.cuda:
            raise Unavailable(f"PyTorch {torch.__version__} is a build without CUDA", self.install)
        try:
            torch.cuda.init()
        except Exception as error:  # no driver, or one that is too old for this build
            built = f"PyTorch {torch.__version__}, built for CUDA {torch.version.cuda}"
            raise Unavailable(f"{built}, finds no GPU that it can use ({one_line(error)})") from error
        devices = tuple(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count()))
        return Availability(available=True, version=torch.__version__, devices=devices)

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{quantity(concurrency.lanes, 'call')} in flight, each on a CUDA stream of its own"

    def _options(self, torch: Any, cell: Cell, concurrency: Concurrency) -> TorchOptions:
        own = dict(cell.settings.options)
        options = super()._options(torch, cell, concurrency)
        return replace(options, graph=own.get("cuda_graph", "auto"), channels_last=own.get("channels_last") == "on")

    def _flags(self, cell: Cell) -> dict[str, Any]:
        own = dict(cell.settings.options)
        return {
            **super()._flags(cell),
            "device": cell.device,
            "graph": own.get("cuda_graph") != "off",
            "tf32": cell.precision == "tf32",
            "benchmark": own.get("cudnn_benchmark") == "on",
            "memory": snippets.Code("channels_last" if own.get("channels_last") == "on" else "preserve_format"),
        }

    def _pin(self, torch: Any, cell: Cell) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cell.precision == "tf32"
        torch.backends.cudnn.benchmark = dict(cell.settings.options).get("cudnn_benchmark") == "on"

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        base = super()._info(torch, module, cell)
        tf32 = torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
        settings = (
            ("tf32", str(tf32).lower()),
            ("cudnn_benchmark", str(torch.backends.cudnn.benchmark).lower()),
            ("channels_last", dict(cell.settings.options).get("channels_last", "off")),
        )
        return SessionInfo(executed="tf32" if tf32 else base.executed, settings=(*base.settings, *settings))


def _import_torch() -> Any:
    with installed("PyTorch", TorchCpu.install):
        import torch
    return torch


def _set_threads(torch: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)


def _load(artifact: Artifact) -> Any:
    from safetensors.torch import load_model

    source = artifact.source
    if source is None:
        raise BadInput("the model has no PyTorch source")
    module = resolve(source.factory)()
    if source.weights:
        load_model(module, source.weights)
    return module.eval()
