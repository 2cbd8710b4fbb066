"""ONNX Runtime's CUDA execution provider. Imports onnxruntime and cuda-core, inside functions.

A session runs on a stream that this module makes, and its calls return before the GPU is done. One thread can therefore keep
many lanes busy, and `cuda.CudaSession` captures a call as a CUDA graph. The provider's own option `enable_cuda_graph` is not
used: it waits for the GPU inside every call, and the graph belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ..errors import RuntimeFailed, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency, Device
from ..tuning import Tunable
from . import cuda, ort_options, snippets
from .ort import OrtCpu, SessionLoader, import_onnxruntime, name_outputs, profile_kernels, resolve_symbols, undeclared_outputs
from .ort_cuda_profile import OrtCudaProfiler, mark_tf32
from .profiling import SessionProfiler
from .protocol import Array, Availability, Session, SessionInfo

MakeLoad = Callable[[cuda.Stream], SessionLoader]
ReadInfo = Callable[[Any], SessionInfo]

KIND = "cuda"
SESSION_OPTIONS = ("cuda_graph", ort_options.FREE_DIMENSIONS)  # of a session of this project; the others are the provider's

ORT_CUDA_PROGRAM = (
    "import onnxruntime\n"
    + cuda.ON_STREAM
    + """\
options = onnxruntime.SessionOptions()
for symbol, size in $symbols.items():
    options.add_free_dimension_override_by_name(symbol, size)
asynchronous = onnxruntime.RunOptions()
asynchronous.add_run_config_entry("disable_synchronize_execution_providers", "1")


def open_lane():
    stream = device.create_stream()
    provider = {**$provider, "user_compute_stream": str(int(stream.handle))}
    providers = [("CUDAExecutionProvider", provider), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(MODEL, options, providers=providers)
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", $index))
    outputs = list({output.name: output for output in session.get_outputs()}.values())

    def bind_outputs():
        for output in outputs:
            binding.bind_output(output.name, "cuda", $index)

    def call_with_new_outputs():  # for outputs of another shape than the file declares: ONNX Runtime refuses bound ones
        bind_outputs()
        session.run_with_iobinding(binding, asynchronous)

    bind_outputs()
    session.run_with_iobinding(binding)
    values = binding.get_outputs()
    shapes = [(output.shape, value.shape()) for output, value in zip(outputs, values)]
    if any([d if isinstance(d, int) else s for d, s in zip(*pair)] != list(pair[1]) for pair in shapes):
        return on_stream(stream, call_with_new_outputs)
    for output, value in zip(outputs, values):  # a graph needs fixed addresses
        binding.bind_ortvalue_output(output.name, value)
    return on_stream(stream, lambda: session.run_with_iobinding(binding, asynchronous))
"""
)


class OrtCudaSession(cuda.CudaSession):
    """An InferenceSession on a stream of its own. `profile`: folder for its profile; None without one.

    Outputs of another shape than the file declares are allocated in every call, because ONNX Runtime refuses bound ones. Their
    addresses change, and no CUDA graph is captured then.
    """

    def __init__(
        self,
        make_load: MakeLoad,
        artifact: Artifact,
        device: Device,
        graph: str,
        read_info: ReadInfo,
        profile: Path | None = None,
    ) -> None:
        import onnxruntime

        stream = cuda.Stream(device.index, OrtCuda.install)
        self._arguments = (make_load, artifact, device, graph, read_info)
        self._load, self._types = make_load(stream), {spec.name: spec.dtype for spec in artifact.outputs}
        self._session = self._load(profile)
        self._binding, self._index = self._session.io_binding(), device.index
        self._undeclared: list[str] = []
        # without it every run waits for the GPU, and a CUDA graph cannot be captured
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        super().__init__(stream, graph, read_info(self._session))

    def _typed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {port.name: inputs[port.name] for port in self._session.get_inputs()}

    def _run(self) -> None:
        for name in self._undeclared:
            self._binding.bind_output(name, KIND, self._index)
        self._session.run_with_iobinding(self._binding, self._options)

    def _place(self) -> None:
        """Run once with outputs that the runtime allocates, to learn their shapes; then bind outputs of our own."""
        for name, array in self._inputs.on_host().items():
            self._binding.bind_input(name, KIND, self._index, array.dtype, array.shape, self._inputs.address(name))
        names = dict.fromkeys(port.name for port in self._session.get_outputs())
        for name in names:
            self._binding.bind_output(name, KIND, self._index)
        self._run()
        self.wait()
        shapes = {name: tuple(value.shape()) for name, value in zip(names, self._binding.get_outputs())}
        self._undeclared = undeclared_outputs(self._session, self._binding)
        self._binding.clear_binding_outputs()
        for name, shape in shapes.items():
            if name in self._undeclared:
                self._binding.bind_output(name, KIND, self._index)
                continue
            self._outputs[name] = output = cuda.make_output(self._stream, shape, self._types[name])
            self._binding.bind_output(name, KIND, self._index, output.pinned.array.dtype, shape, output.address)

    def _capture(self) -> cuda.Call:
        if self._undeclared:
            raise RuntimeFailed(
                f"output {self._undeclared[0]!r} has another shape than the file declares, and moves in every call"
            )
        return super()._capture()

    def fetch(self) -> dict[str, Array]:
        outputs = super().fetch()
        names = [port.name for port in self._session.get_outputs()]
        values = dict(zip(dict.fromkeys(names), self._binding.get_outputs())) if self._undeclared else {}
        outputs |= {name: values[name].numpy() for name in self._undeclared}
        return name_outputs(names, (outputs[name] for name in dict.fromkeys(names)))

    def fork(self) -> Session:
        return OrtCudaSession(*self._arguments)

    def close(self) -> None:
        super().close()
        self._binding = self._session = None

    def profiler(self, folder: Path) -> SessionProfiler:
        make_load, artifact, device, _, read_info = self._arguments
        self._load(folder, graph=True)  # by itself, because writing the graph would add to the times of the opening
        # nodes run once when a graph is captured, and not when it is replayed
        session = OrtCudaSession(make_load, artifact, device, "off", read_info, folder)
        session.bind(self._inputs.on_host())
        return OrtCudaProfiler(session, session._session, OrtCuda.provider, self.info.executed)

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return mark_tf32(profile_kernels(self._load, self._inputs.on_host(), timed), self.info.executed)


class OrtCuda(OrtCpu):
    """ONNX Runtime's CUDA execution provider. `fp32` switches TF32 off, which is on by default (`use_tf32`)."""

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
        "cudnn_conv_algo_search": "search for the algorithm of a convolution: EXHAUSTIVE (default), HEURISTIC or DEFAULT",
        "prefer_nhwc": "1: convolutions with channels last (NHWC); 0: NCHW",
        "arena_extend_strategy": "growth of the memory arena: kNextPowerOfTwo (default) or kSameAsRequested",
        **ort_options.FREE_OPTION,
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **cuda.GRAPH_CHOICES,
        "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "prefer_nhwc": ("0", "1"),
        "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
        **ort_options.FREE_CHOICES,
    }
    tunables: ClassVar[tuple[Tunable, ...]] = (
        Tunable(name="prefer_nhwc", values=("0", "1"), images=True),
        ort_options.FREE_TUNABLE,
        Tunable(name="cudnn_conv_algo_search", values=("EXHAUSTIVE", "HEURISTIC", "DEFAULT")),
        Tunable(name="cuda_graph", values=("auto", "off")),
        Tunable(name="arena_extend_strategy", values=("kNextPowerOfTwo", "kSameAsRequested")),
    )
    searches: ClassVar[Mapping[str, tuple[str, ...]]] = {"cudnn_conv_algo_search": ("", "EXHAUSTIVE")}
    int8_scheme = "portable"
    int8_schemes: ClassVar[tuple[str, ...]] = ("portable", "layers", "ort", "openvino", "portable-7bit")
    on_request: ClassVar[tuple[str, ...]] = ("int8",)  # INT8 files run in FP32: it dequantizes before each layer
    arithmetic: ClassVar[Mapping[str, str]] = {"int8": "fp32"}
    install = "pip install 'onnxbench[ort-gpu]'"

    def _probe(self) -> Availability:
        onnxruntime = import_onnxruntime(self.install)
        if self.provider not in onnxruntime.get_available_providers():
            return Availability(
                available=False, reason=f"onnxruntime {onnxruntime.__version__} was built without CUDA", install=self.install
            )
        return Availability(available=True, version=onnxruntime.__version__, devices=cuda.devices(self.install))

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{quantity(concurrency.lanes, 'session')}, each with its own CUDA stream (user_compute_stream)"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        if cell.feedback:  # a program for a state on the GPU is not written yet, and one without it would mislead
            return ""
        case, device = snippets.ProgramCase(artifact, cell, concurrency), cuda.program_values(cell)
        values = {"symbols": resolve_symbols(artifact, cell), "provider": self._provider(cell, device["index"])}
        return snippets.write_program(ORT_CUDA_PROGRAM, case, snippets.QUEUED, **values, **device)

    def _provider(self, cell: Cell, index: int) -> dict[str, str]:
        """Options of the provider, without the stream."""
        options = {name: value for name, value in cell.settings.options if name not in SESSION_OPTIONS}
        return {"device_id": str(index), **self.precisions[cell.precision], **options}

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        device, graph = Device.parse(cell.device), dict(cell.settings.options).get("cuda_graph", "auto")

        def make_load(stream: cuda.Stream) -> SessionLoader:
            provider = (self.provider, {**self._provider(cell, device.index), "user_compute_stream": str(stream.handle)})
            return self.make_loader(artifact, cell, concurrency, [provider, "CPUExecutionProvider"])

        return OrtCudaSession(make_load, artifact, device, graph, lambda session: self._info(session, cell))

    def _info(self, session: Any, cell: Cell) -> SessionInfo:
        info = super()._info(session, cell)
        options = session.get_provider_options()[self.provider]
        names = ("use_tf32", "cudnn_conv_algo_search", "prefer_nhwc", "arena_extend_strategy")
        settings = tuple((name, str(options[name])) for name in names if name in options)
        return replace(info, settings=(*info.settings, *settings))
