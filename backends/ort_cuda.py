"""ONNX Runtime's CUDA execution provider. onnxruntime and cuda-core, inside functions.

A session runs on a stream of ours and returns before it is done, so that one thread keeps many lanes busy, and its calls can
be captured as a CUDA graph from outside. Its own option `enable_cuda_graph` waits inside every call, and belongs to a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency, Device
from . import cuda, snippets
from .ort import Load, OrtCpu, import_onnxruntime, profiled, symbols
from .protocol import Array, Availability, Session, SessionInfo

OpenOn = Callable[[cuda.Stream], Load]
InfoOf = Callable[[Any], SessionInfo]

KIND = "cuda"

SNIPPET = (
    "import onnxruntime\n"
    + cuda.ON_STREAM
    + """\
options = onnxruntime.SessionOptions()
for symbol, size in $symbols.items():
    options.add_free_dimension_override_by_name(symbol, size)
how = onnxruntime.RunOptions()
how.add_run_config_entry("disable_synchronize_execution_providers", "1")


def open_lane():
    stream = device.create_stream()
    provider = {**$provider, "user_compute_stream": str(int(stream.handle))}
    providers = [("CUDAExecutionProvider", provider), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(MODEL, options, providers=providers)
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", $index))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", $index)
    session.run_with_iobinding(binding)
    for output, value in zip(session.get_outputs(), binding.get_outputs()):  # a graph writes to fixed places
        binding.bind_ortvalue_output(output.name, value)
    return on_stream(stream, lambda: session.run_with_iobinding(binding, how))
"""
)


class OrtCudaSession(cuda.CudaSession):
    """An InferenceSession on a stream of its own."""

    def __init__(self, open_on: OpenOn, artifact: Artifact, device: Device, graph: str, info: InfoOf) -> None:
        import onnxruntime

        stream = cuda.Stream(device.index, OrtCuda.install)
        self._arguments = (open_on, artifact, device, graph, info)
        self._load, self._types = open_on(stream), {spec.name: spec.dtype for spec in artifact.outputs}
        self._session = self._load(None)
        self._binding, self._index = self._session.io_binding(), device.index
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        super().__init__(stream, graph, info(self._session))

    def _typed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {entry.name: inputs[entry.name] for entry in self._session.get_inputs()}

    def _run(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)

    def _place(self) -> None:
        """Let the runtime make the outputs once, and give them places of the same shapes."""
        for name, array in self._inputs.on_host().items():
            self._binding.bind_input(name, KIND, self._index, array.dtype, array.shape, self._inputs.address(name))
        names = [entry.name for entry in self._session.get_outputs()]
        for name in names:
            self._binding.bind_output(name, KIND, self._index)
        self._run()
        self.wait()
        shapes = {name: tuple(value.shape()) for name, value in zip(names, self._binding.get_outputs())}
        self._binding.clear_binding_outputs()
        for name, shape in shapes.items():
            self._outputs[name] = place = cuda.output(self._stream, shape, self._types[name])
            self._binding.bind_output(name, KIND, self._index, place.pinned.array.dtype, shape, place.address)

    def fork(self) -> Session:
        return OrtCudaSession(*self._arguments)

    def close(self) -> None:
        super().close()
        self._binding = self._session = None

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return as_executed(profiled(self._load, self._inputs.on_host(), timed), self.info.executed)


def as_executed(kernels: Iterable[Kernel], executed: str) -> tuple[Kernel, ...]:
    """In the profile TF32 is float, as its values are."""
    return tuple(replace(item, type="tf32") if (executed, item.type) == ("tf32", "fp32") else item for item in kernels)


class OrtCuda(OrtCpu):
    """ONNX Runtime's CUDA execution provider. TF32, which it uses unless told, is a precision of its own here."""

    name = "ort-cuda"
    device_kind = KIND
    provider = "CUDAExecutionProvider"
    precisions: ClassVar[Mapping[str, Any]] = {
        "fp32": {"use_tf32": "0"},
        "tf32": {"use_tf32": "1"},
        "fp16": {"use_tf32": "0"},
        "int8": {"use_tf32": "0"},
    }
    options: ClassVar[Mapping[str, str]] = {
        **cuda.GRAPH_OPTION,
        "cudnn_conv_algo_search": "how a convolution's algorithm is found: EXHAUSTIVE (its default), HEURISTIC, DEFAULT",
        "prefer_nhwc": "0|1: convolutions with channels last",
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **cuda.GRAPH_CHOICES,
        "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "prefer_nhwc": ("0", "1"),
    }
    int8_scheme = "portable"
    on_request: ClassVar[tuple[str, ...]] = ("int8",)  # it undoes Q/DQ pairs before every layer
    arithmetic: ClassVar[Mapping[str, str]] = {"int8": "fp32"}
    install = "pip install 'onnxbench[ort-gpu]'"

    def _probe(self) -> Availability:
        onnxruntime = import_onnxruntime(self.install)
        if self.provider not in onnxruntime.get_available_providers():
            return Availability(
                available=False, reason=f"onnxruntime {onnxruntime.__version__} is a build without CUDA", install=self.install
            )
        return Availability(available=True, version=onnxruntime.__version__, devices=cuda.devices(self.install))

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{concurrency.lanes} sessions, each on a CUDA stream of its own (user_compute_stream)"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        device = cuda.programmed(cell)
        told = {"symbols": symbols(artifact, cell), "provider": self._provider(cell, device["index"])}
        return snippets.program(SNIPPET, snippets.ProgramCase(artifact, cell, concurrency), snippets.QUEUED, **told, **device)

    def _provider(self, cell: Cell, index: int) -> dict[str, str]:
        """The provider's options but for the stream."""
        own = {name: value for name, value in cell.settings.options if name != "cuda_graph"}
        return {"device_id": str(index), **self.precisions[cell.precision], **own}

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        device, graph = Device.parse(cell.device), dict(cell.settings.options).get("cuda_graph", "auto")

        def open_on(stream: cuda.Stream) -> Load:
            provider = (self.provider, {**self._provider(cell, device.index), "user_compute_stream": str(stream.handle)})
            return self.loader(artifact, cell, concurrency, [provider, "CPUExecutionProvider"])

        return OrtCudaSession(open_on, artifact, device, graph, lambda session: self._info(session, cell))

    def _info(self, session: Any, cell: Cell) -> SessionInfo:
        info = super()._info(session, cell)
        told = session.get_provider_options()[self.provider]
        shown = ("use_tf32", "cudnn_conv_algo_search", "prefer_nhwc")
        settings = tuple((name, str(told[name])) for name in shown if name in told)
        return replace(info, settings=(*info.settings, *settings))
