"""PyTorch eager, on the CPU and on CUDA. Imports torch, inside functions.

The precision is always set: for `fp32`, TF32 is off in matmuls and in cuDNN convolutions, where torch has it on by default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..errors import RuntimeFailed, Unavailable, installed, one_line, quantity
from ..factories import library_of, set_fp32
from ..spec import Artifact, Cell, Concurrency, TensorSpec
from ..tuning import Tunable
from . import snippets, torch_options
from .cuda import FLUSH_SHARE, GRAPH_CHOICES, GRAPH_OPTION, use_graph
from .opening import part
from .profiling import SessionProfiler
from .protocol import Array, Availability, Backend, Session, SessionInfo
from .torch_build import torch_build
from .torch_modules import load_module
from .torch_profile import TorchProfiler
from .torch_programs import TORCH_CPU_PROGRAM, TORCH_CUDA_PROGRAM, TORCH_LIBRARIES, TORCH_MODULE, feed_values

TORCH_TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchOptions:
    """Settings of a session: a torch dtype, a device (`cpu`, `cuda:0`), compute threads, and options.

    `benchmark`, `sdpa`: settings of the process, which each thread sets before its calls.
    """

    dtype: Any
    device: str
    threads: int
    graph: str = "off"
    channels_last: bool = False
    benchmark: bool = False
    sdpa: str = "auto"


class TorchSession(Session):
    """A module on the CPU. Inputs and outputs are matched with those of the ONNX file by their order."""

    handover = "output tensors become inputs"

    def __init__(self, module: Any, artifact: Artifact, options: TorchOptions, info: SessionInfo) -> None:
        import torch

        self._torch, self._module, self._artifact, self._options = torch, module, artifact, options
        self.info = self._opened = info
        self._inputs: list[Any] = []
        self._result: Any = None

    def enter(self) -> None:
        """Set the number of threads. torch keeps it per calling thread, and another session may have changed it."""
        if self._torch.get_num_threads() != self._options.threads:
            self._torch.set_num_threads(self._options.threads)

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = [self._tensor(inputs[spec.name]) for spec in self._artifact.inputs]

    def _tensor(self, array: Array) -> Any:
        tensor = self._torch.tensor(array)
        return self._laid_out(tensor.to(self._options.dtype) if tensor.is_floating_point() else tensor)

    def _laid_out(self, tensor: Any) -> Any:
        is_image = tensor.dim() == 4  # channels_last exists for four dimensions only
        return tensor.to(memory_format=self._torch.channels_last) if self._options.channels_last and is_image else tensor

    def start(self) -> None:
        with self._torch.inference_mode():
            self._result = self._module(*self._inputs)

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        return {spec.name: self._host(tensor, spec.dtype) for spec, tensor in self._outputs()}

    def feed(self, feedback: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
        for place, tensor in self._fed(feedback):
            self._inputs[place] = tensor.to(self._inputs[place].dtype)

    def _fed(self, feedback: Mapping[str, str]) -> list[tuple[int, Any]]:
        """Place of each input that is fed, and the output tensor that feeds it."""
        names = [spec.name for spec in self._artifact.inputs]
        return [(names.index(feedback[spec.name]), tensor) for spec, tensor in self._outputs() if spec.name in feedback]

    def _host(self, tensor: Any, dtype: str) -> Array:
        array: Array = tensor.to("cpu", getattr(self._torch, dtype), copy=True).numpy()
        return array

    def _outputs(self) -> list[tuple[TensorSpec, Any]]:
        from torch.utils._pytree import tree_leaves

        tensors = tree_leaves(self._result)
        if len(tensors) != len(self._artifact.outputs):
            raise RuntimeFailed(f"the module returns {len(tensors)} tensors, its ONNX file {len(self._artifact.outputs)}")
        return list(zip(self._artifact.outputs, tensors))

    def profiler(self, folder: Path) -> SessionProfiler:
        # launches of kernels belong to operations, and a replayed graph launches none
        session = type(self)(self._module, self._artifact, replace(self._options, graph="off"), self._opened)
        session._inputs = self._inputs
        return TorchProfiler(session, self._module, self.info.executed.partition("+")[0], self._options.device != "cpu")

    def fork(self) -> Session:
        return type(self)(self._module, self._artifact, self._options, self._opened)


class TorchCudaSession(TorchSession):
    """A module on a GPU with its own stream, and with inputs at fixed addresses.

    The first call launches kernels. Later calls replay a CUDA graph of it, unless the option `cuda_graph` is off.
    """

    asynchronous = True
    handover = "copied on the device between two buffers"

    def __init__(self, module: Any, artifact: Artifact, options: TorchOptions, info: SessionInfo) -> None:
        super().__init__(module, artifact, options, info)
        self._cuda = self._torch.cuda
        self._stream = self._cuda.Stream(options.device)
        self._begin, self._end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        self._pinned: dict[str, Any] = {}
        self._arrays: dict[str, Array] = {}
        self._host_tensors: dict[str, Any] = {}
        self._last_result: Any = None
        self._flushed: Any = None
        self._copies: list[tuple[TensorSpec, Any, Any]] = []
        self._call: Callable[[], object] = self._first_call

    def enter(self) -> None:
        super().enter()
        torch_options.apply_process_wide(self._torch, self._options.benchmark, self._options.sdpa)
        self._cuda.set_stream(self._stream)

    def pin(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self._pinned = {name: self._torch.from_numpy(array.copy()).pin_memory() for name, array in inputs.items()}
        self._arrays = {name: tensor.numpy() for name, tensor in self._pinned.items()}
        return self._arrays

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._cuda.set_stream(self._stream)
        sources = [self._host_source(spec.name, inputs[spec.name]) for spec in self._artifact.inputs]
        self._inputs = self._inputs or [self._allocate_input(source) for source in sources]
        for target, source in zip(self._inputs, sources):
            target.copy_(source, non_blocking=True)  # of pageable memory it returns only when the memory was read

    def _host_source(self, name: str, array: Array) -> Any:
        return self._pinned[name] if self._arrays.get(name) is array else self._torch.from_numpy(array)

    def _allocate_input(self, source: Any) -> Any:
        dtype = self._options.dtype if source.is_floating_point() else source.dtype
        return self._laid_out(self._torch.empty(source.shape, dtype=dtype, device=self._options.device))

    def start(self) -> None:
        self._cuda.set_stream(self._stream)
        self._call()

    def wait(self) -> None:
        self._stream.synchronize()

    def device_ns(self) -> int | None:
        self._begin.record(self._stream)
        self.start()
        self._end.record(self._stream)
        self._end.synchronize()
        return int(self._begin.elapsed_time(self._end) * 1e6)

    def flush_bytes(self) -> int:
        return FLUSH_SHARE * int(self._cuda.get_device_properties(self._options.device).L2_cache_size)

    def flush(self) -> None:
        self._cuda.set_stream(self._stream)
        if self._flushed is None:
            self._flushed = self._torch.empty(self.flush_bytes(), dtype=self._torch.uint8, device=self._options.device)
        self._flushed.zero_()
        self._stream.synchronize()

    def fetch(self) -> dict[str, Array]:
        self._cuda.set_stream(self._stream)
        if self._result is not self._last_result:  # a graph writes to the same tensors in every call
            self._last_result = self._result
            self._copies = [(spec, tensor, self._host_tensor(spec, tensor)) for spec, tensor in self._outputs()]
        for _, tensor, host in self._copies:
            host.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return {spec.name: host.numpy().copy() for spec, _, host in self._copies}

    def feed(self, feedback: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
        self._cuda.set_stream(self._stream)
        for place, tensor in self._fed(feedback):
            self._inputs[place].copy_(tensor, non_blocking=True)

    def _host_tensor(self, spec: TensorSpec, tensor: Any) -> Any:
        if spec.name not in self._host_tensors or self._host_tensors[spec.name].shape != tensor.shape:
            dtype = getattr(self._torch, spec.dtype)
            self._host_tensors[spec.name] = self._torch.empty(tensor.shape, dtype=dtype, pin_memory=True)
        return self._host_tensors[spec.name]

    def close(self) -> None:
        """Free memory on the device now. A session refers to itself, and measurements switch the garbage collector off."""
        self._call, self._inputs, self._copies = self._first_call, [], []
        self._result = self._last_result = self._module = self._flushed = None

    def _call_module(self) -> None:
        super().start()

    def _first_call(self) -> None:
        self._call_module()
        self._call, self.info = use_graph(self._options.graph, self._call_module, self._capture, self.info)

    def _capture(self) -> Callable[[], object]:
        graph = self._cuda.CUDAGraph()
        # thread_local: calls of other threads on the GPU do not end this capture
        with self._cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._call_module()
        replay: Callable[[], object] = graph.replay
        replay()
        return replay


class TorchCpu(Backend):
    """PyTorch eager on the CPU. `program` and `loop` are the parts of a program to paste that depend on the device."""

    name = "torch-cpu"
    session: ClassVar[type[TorchSession]] = TorchSession
    program: ClassVar[str] = TORCH_CPU_PROGRAM
    loop: ClassVar[snippets.Loop] = snippets.THREADED
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32", "bf16": "bfloat16"}
    options: ClassVar[Mapping[str, str]] = torch_options.CPU_OPTIONS
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = torch_options.CPU_CHOICES
    tunables: ClassVar[tuple[Tunable, ...]] = torch_options.CPU_TUNABLES
    install = "pip install 'onnxbench[torch]'"

    def _probe(self) -> Availability:
        torch = import_torch()
        return Availability(available=True, version=torch.__version__, devices=("cpu",))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None if artifact.source else "PyTorch needs the model's code; this model is an ONNX file only"

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        torch = import_torch()
        set_threads(torch, concurrency.threads)
        options = self._torch_options(torch, cell, concurrency)
        module = load_module(artifact)
        self._set_arithmetic(torch, cell)
        with part("convert and move"):
            module = module.to(options.device, options.dtype)
            if options.channels_last:
                module = module.to(memory_format=torch.channels_last)
        return self.session(module, artifact, options, self._info(torch, module, cell))

    def _torch_options(self, torch: Any, cell: Cell, concurrency: Concurrency) -> TorchOptions:
        return TorchOptions(
            dtype=getattr(torch, self.precisions[cell.precision]),
            device=cell.device,
            threads=concurrency.threads,
            channels_last=torch_options.has_channels_last(cell),
        )

    def deploy(self, concurrency: Concurrency) -> str:
        return f"torch.set_num_threads({concurrency.threads}) · {quantity(concurrency.lanes, 'thread')} calling the module"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        return self._write(self.program, snippets.ProgramCase(artifact, cell, concurrency))

    def _write(self, program: str, case: snippets.ProgramCase, **more: Any) -> str:
        """Write the program of `case` from the template `program`, whose names have `more` values."""
        artifact, cell, _ = case
        if artifact.source is None:
            return ""
        factory, names = artifact.source.factory, [spec.name for spec in artifact.inputs]
        source = {"factory": factory, "name": factory.partition(":")[2], "names": names, "weights": artifact.source.weights}
        values = {**source, **feed_values(artifact, cell), **self._program_values(cell), **more}
        head = TORCH_LIBRARIES.get(library_of(artifact.source.factory), TORCH_MODULE)
        return snippets.write_program(head + program, case, self.loop, **values)

    def _program_values(self, cell: Cell) -> dict[str, Any]:
        """Values of the names in `program`."""
        memory = "channels_last" if torch_options.has_channels_last(cell) else "preserve_format"
        return {"dtype": snippets.Code(self.precisions[cell.precision]), "memory": snippets.Code(memory)}

    def _set_arithmetic(self, torch: Any, cell: Cell) -> None:
        """Set the process-wide flags that decide the precision on this device."""
        set_fp32(torch, tf32=False)

    def _types(self, module: Any) -> str:
        """Types of the arithmetic of `module`, as its weights show them; empty for a module without weights."""
        weights = list(module.parameters()) + list(module.buffers())
        floats = {str(weight.dtype).removeprefix("torch.") for weight in weights if weight.is_floating_point()}
        return "+".join(sorted(TORCH_TYPES.get(name, name) for name in floats))

    def _layout(self, torch: Any, module: Any, cell: Cell) -> str:
        return torch_options.read_layout(torch, module, cell)

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        settings = (
            ("threads", str(torch.get_num_threads())),
            ("interop_threads", str(torch.get_num_interop_threads())),
            ("omp_wait_policy", os.environ.get("OMP_WAIT_POLICY", "default")),
            ("float32_matmul_precision", torch.get_float32_matmul_precision()),
            (torch_options.LAYOUT, self._layout(torch, module, cell)),
        )
        return SessionInfo(executed=self._types(module) or cell.precision, settings=settings)


class TorchCuda(TorchCpu):
    """PyTorch eager on an NVIDIA GPU: each session has its own stream, and a CUDA graph where one can be captured."""

    name = "torch-cuda"
    device_kind = "cuda"
    session = TorchCudaSession
    program: ClassVar[str] = TORCH_CUDA_PROGRAM
    loop = snippets.QUEUED
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    options: ClassVar[Mapping[str, str]] = {**GRAPH_OPTION, **torch_options.CUDA_OPTIONS}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {**GRAPH_CHOICES, **torch_options.CUDA_CHOICES}
    tunables: ClassVar[tuple[Tunable, ...]] = torch_options.CUDA_TUNABLES
    searches: ClassVar[Mapping[str, tuple[str, ...]]] = {"cudnn_benchmark": ("on",)}

    def _probe(self) -> Availability:
        installed_build = torch_build()
        if installed_build and not installed_build.cuda:
            raise Unavailable(f"PyTorch {installed_build.version} was built without CUDA", self.install)
        torch = import_torch()
        try:
            torch.cuda.init()
        except Exception as error:  # no driver, or one that is too old for this build
            build = f"PyTorch {torch.__version__} (built for CUDA {torch.version.cuda})"
            raise Unavailable(f"{build} finds no usable GPU ({one_line(error)})") from error
        devices = tuple(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count()))
        return Availability(available=True, version=torch.__version__, devices=devices)

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{quantity(concurrency.lanes, 'call')} in flight, each with its own CUDA stream"

    def _torch_options(self, torch: Any, cell: Cell, concurrency: Concurrency) -> TorchOptions:
        settings = dict(cell.settings.options)
        options = super()._torch_options(torch, cell, concurrency)
        benchmark, sdpa = settings.get("cudnn_benchmark") == "on", settings.get(torch_options.SDPA, "auto")
        return replace(options, graph=settings.get("cuda_graph", "auto"), benchmark=benchmark, sdpa=sdpa)

    def _program_values(self, cell: Cell) -> dict[str, Any]:
        settings = dict(cell.settings.options)
        return {
            **super()._program_values(cell),
            "device": cell.device,
            "graph": settings.get("cuda_graph") != "off",
            "tf32": cell.precision == "tf32",
            "matmul": "high" if cell.precision == "tf32" else "highest",
            "benchmark": settings.get("cudnn_benchmark") == "on",
            "sdpa": snippets.Code(torch_options.sdpa_program(cell)),
        }

    def _set_arithmetic(self, torch: Any, cell: Cell) -> None:
        set_fp32(torch, cell.precision == "tf32")
        settings = dict(cell.settings.options)
        torch_options.apply_process_wide(
            torch, settings.get("cudnn_benchmark") == "on", settings.get(torch_options.SDPA, "auto")
        )

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        base = super()._info(torch, module, cell)
        tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
        settings = (("tf32", str(tf32).lower()), *torch_options.read_process_wide(torch))
        return SessionInfo(executed="tf32" if tf32 else base.executed, settings=(*base.settings, *settings))


def import_torch() -> Any:
    """The module torch."""
    with installed("PyTorch", TorchCpu.install):
        import torch
    return torch


def set_threads(torch: Any, threads: int) -> None:
    """Set the compute threads of this thread's calls, and one thread between operators."""
    torch.set_num_threads(threads)
    # torch raises if the number of inter-op threads is set twice in a process
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
