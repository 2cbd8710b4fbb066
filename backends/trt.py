"""TensorRT. Imports tensorrt and cuda-core, inside functions.

An engine is built for one file, one precision, the cell's shapes and this GPU, and is kept on disk. A session is an execution
context of an engine, with its own stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import Unsupported, installed, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency, Device
from ..tuning import Tunable
from . import cuda, shelf, snippets, trt_build, trt_layers
from .opening import part
from .profiling import SessionProfiler
from .protocol import PROFILED_CALLS, Array, Availability, Backend, Engine, Session, SessionInfo, Workshop, join_types, setting
from .trt_profile import TensorRtProfiler

NUMPY_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""NumPy dtypes by TensorRT's name. NumPy has no dtype for the other types (FP8, BF16, INT4)."""

LOGGER = """\
logger = tensorrt.Logger(tensorrt.Logger.ERROR)  # the logger prints to stdout, as this program does
"""
BUILD_ENGINE = """\
builder, flags, kinds = tensorrt.Builder(logger), tensorrt.BuilderFlag, tensorrt.NetworkDefinitionCreationFlag
kind = "EXPLICIT_BATCH" if hasattr(flags, "FP16") else "STRONGLY_TYPED"  # precision from flags, or from the file's types
network = builder.create_network(1 << int(getattr(kinds, kind)) if hasattr(kinds, kind) else 0)
parser = tensorrt.OnnxParser(network, logger)
if not parser.parse_from_file(MODEL):
    raise SystemExit(str(parser.get_error(0)))
config = builder.create_builder_config()
for name in $arithmetic:
    if hasattr(flags, name):
        (config.set_flag if name in $enabled else config.clear_flag)(getattr(flags, name))
if $level is not None:
    config.builder_optimization_level = $level
if $streams is not None:
    config.max_aux_streams = $streams
sources = [source for name, source in tensorrt.TacticSource.__members__.items() if name not in $excluded]
config.set_tactic_sources(sum(1 << int(source) for source in sources))
profile = builder.create_optimization_profile()
for name, array in inputs.items():
    profile.set_shape(name, array.shape, array.shape, array.shape)
config.add_optimization_profile(profile)
# takes seconds to minutes, and may choose other kernels than those that were measured: bench infer --keep-engines keeps those
plan = builder.build_serialized_network(network, config)
engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
"""
LOAD_ENGINE = """\
ENGINE = $engine  # the engine that was measured, built from MODEL
MAKER = $maker
with open(ENGINE, "rb") as file:
    plan = file.read()
if hashlib.sha256(plan).hexdigest() != $sha256:
    raise SystemExit(f"{ENGINE} is not the engine that was measured: its SHA-256 differs")
engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
if engine is None:
    raise SystemExit(f"TensorRT {tensorrt.__version__} cannot load {ENGINE} here, which was built by {MAKER}")
"""
LANE = """\
types = $types


def open_lane():
    stream, context, memory = device.create_stream(), engine.create_execution_context(), []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = types[str(engine.get_tensor_dtype(name)).rpartition(".")[2]]
        if name in inputs:
            array = np.ascontiguousarray(inputs[name], dtype)
            context.set_input_shape(name, array.shape)
        else:
            array = np.zeros(tuple(context.get_tensor_shape(name)), dtype)
        if str(engine.get_tensor_location(name)).endswith("HOST"):
            memory.append(array)
            context.set_tensor_address(name, array.ctypes.data)
            continue
        pinned = core.LegacyPinnedMemoryResource().allocate(max(1, array.nbytes))
        ctypes.memmove(int(pinned.handle), array.ctypes.data, array.nbytes)
        memory.append((device.allocate(max(1, array.nbytes), stream=stream), pinned))
        memory[-1][0].copy_from(pinned, stream=stream)
        context.set_tensor_address(name, int(memory[-1][0].handle))
    stream.sync()
    return on_stream(stream, lambda: memory and context.execute_async_v3(int(stream.handle)))
"""


def _program(engine: str, imports: str = "") -> str:
    """Template of a program. `engine`: the lines that make `engine`."""
    return f"import ctypes\n{imports}\nimport tensorrt\n{cuda.ON_STREAM}{LOGGER}{engine}{LANE}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedEngine:
    """An engine in memory, and the values that its sessions share. The engine needs `runtime` to stay alive."""

    trt: Any
    runtime: Any
    engine: Any
    artifact: Artifact
    cell: Cell
    graph: str
    info: SessionInfo

    @property
    def device(self) -> int:
        """Index of the GPU."""
        return Device.parse(self.cell.device).index

    def dtype(self, name: str) -> Any:
        """NumPy dtype of the tensor `name`. Raise `Unsupported` for a type that NumPy does not have."""
        type = str(self.engine.get_tensor_dtype(name)).rpartition(".")[2]
        if type not in NUMPY_TYPES:
            raise Unsupported(f"tensor {name!r} has TensorRT's type {type}, which NumPy does not have")
        return np.dtype(NUMPY_TYPES[type])


class TensorRtSession(cuda.CudaSession):
    """An execution context with its own stream."""

    def __init__(self, loaded: LoadedEngine) -> None:
        self._loaded, self._context = loaded, _create_context(loaded)
        super().__init__(cuda.Stream(loaded.device, TensorRt.install), loaded.graph, loaded.info)

    def _typed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Convert inputs to the engine's dtypes: version 8.6 computes int64 inputs as int32."""
        names = [spec.name for spec in self._loaded.artifact.inputs]
        return {name: np.asarray(inputs[name], self._loaded.dtype(name)) for name in names}

    def _run(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise trt_build.logged_error(self._loaded.trt, "TensorRT could not run the engine")

    def _place(self) -> None:
        self._set_tensors(self._context)

    def _set_tensors(self, context: Any) -> None:
        """Give `context` the shapes of the inputs and all addresses. The first call allocates the outputs."""
        for name, array in self._inputs.on_host().items():
            context.set_input_shape(name, array.shape)
            # an input that sets a shape is read by the CPU, so that its address is one of the host
            on_host = str(self._loaded.engine.get_tensor_location(name)).endswith("HOST")
            context.set_tensor_address(name, array.ctypes.data if on_host else self._inputs.address(name))
        for name in (spec.name for spec in self._loaded.artifact.outputs):
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise Unsupported(f"the shape of output {name!r} depends on input values; this backend needs fixed shapes")
            if name not in self._outputs:
                self._outputs[name] = cuda.make_output(self._stream, shape, self._loaded.dtype(name))
            context.set_tensor_address(name, self._outputs[name].address)

    def fetch(self) -> dict[str, Array]:
        types = {spec.name: spec.dtype for spec in self._loaded.artifact.outputs}
        return {name: array.astype(types[name], copy=False) for name, array in super().fetch().items()}

    def fork(self) -> Session:
        return TensorRtSession(self._loaded)

    def close(self) -> None:
        super().close()
        self._context = None

    def profiler(self, folder: Path) -> SessionProfiler:
        # layers of a graph that is replayed have no times
        session = TensorRtSession(replace(self._loaded, graph="off"))
        session.bind(self._inputs.on_host())
        profiler = trt_build.make_profiler(self._loaded.trt)
        session._context.profiler = profiler
        return TensorRtProfiler(session, profiler.times_ns, self.kernels(), _layers_json(self._loaded))

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return trt_layers.read_layers(_layers_json(self._loaded), self._time_layers() if timed else {})

    def _time_layers(self) -> dict[str, list[int]]:
        """Time each layer in ns, one value per call, by the layer's name."""
        # a new context, because a profiler cannot be removed from a context
        context, profiler = _create_context(self._loaded), trt_build.make_profiler(self._loaded.trt)
        self._set_tensors(context)
        context.profiler = profiler
        for _ in range(PROFILED_CALLS):
            context.execute_async_v3(self._stream.handle)
            self._stream.sync()
        times_ns: dict[str, list[int]] = profiler.times_ns
        return times_ns


def _create_context(loaded: LoadedEngine) -> Any:
    context = loaded.engine.create_execution_context()
    if context is None:
        raise trt_build.logged_error(loaded.trt, "TensorRT could not create an execution context")
    return context


def _layers_json(loaded: LoadedEngine) -> str:
    """Layers of the engine, as the JSON text of TensorRT's inspector."""
    inspector = loaded.engine.create_engine_inspector()
    text: str = inspector.get_engine_information(loaded.trt.LayerInformationFormat.JSON)
    return text


class TensorRt(Backend):
    """TensorRT, with one engine for each cell."""

    name = "tensorrt"
    device_kind = "cuda"
    builds = True
    # docs/operators.md and the release notes of onnx-tensorrt
    opsets: ClassVar[Mapping[str, int]] = {"8.5": 17, "10.0": 20, "10.15": 24, "11.5": 25}
    # The first version with integers of 64 bits. 8.6 crashes in its builder, and ignores the start and end of a Shape node.
    open_shapes_since = "10.0"
    precisions: ClassVar[Mapping[str, Any]] = trt_build.FLAGS
    options: ClassVar[Mapping[str, str]] = {
        **cuda.GRAPH_OPTION,
        "optimization_level": "0 to 5: effort of the builder; a higher level takes longer. TensorRT's default is 3",
        "max_aux_streams": "most streams beside the main one, for layers at the same time: 0 to 4. By default TensorRT chooses",
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **cuda.GRAPH_CHOICES,
        "optimization_level": tuple("012345"),
        "max_aux_streams": tuple("01234"),
    }
    # Each value of the builder's options is a build, which may take minutes.
    tunables: ClassVar[tuple[Tunable, ...]] = (
        Tunable(name="optimization_level", values=("3", "4", "5")),
        Tunable(name="max_aux_streams", values=("", "0", "4")),
        Tunable(name="cuda_graph", values=("auto", "off")),
    )
    install = "pip install 'onnxbench[tensorrt]'"

    def _probe(self) -> Availability:
        trt = _import_tensorrt()
        return Availability(available=True, version=trt.__version__, devices=cuda.devices(self.install))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return artifact.obstacle and f"TensorRT cannot use this file: {artifact.obstacle}"

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{quantity(concurrency.lanes, 'execution context')} of one engine, each with its own CUDA stream"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        if cell.feedback:  # a program for a state on the GPU is not written yet, and one without it would mislead
            return ""
        values = {
            "arithmetic": sorted(trt_build.PRECISION_FLAGS),
            "enabled": trt_build.FLAGS[cell.precision],
            "level": _recipe(artifact, cell).level,
            "streams": _recipe(artifact, cell).aux_streams,
            "excluded": sorted(trt_build.LIBRARY_SOURCES),
            "types": NUMPY_TYPES,
        }
        case = snippets.ProgramCase(artifact, cell, concurrency)
        return snippets.write_program(_program(BUILD_ENGINE), case, snippets.QUEUED, **values, **cuda.program_values(cell))

    def engine_snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, engine: Engine) -> str:
        if cell.feedback:
            return ""
        values = {"types": NUMPY_TYPES, "engine": str(engine.path), "sha256": engine.sha256, "maker": engine.maker}
        case, template = snippets.ProgramCase(artifact, cell, concurrency), _program(LOAD_ENGINE, "import hashlib\n")
        return snippets.write_program(template, case, snippets.QUEUED, **values, **cuda.program_values(cell))

    def _build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine:
        trt = _import_tensorrt()
        trt_build.check_precision(trt, cell.precision)
        builder = f"TensorRT {trt.__version__} on {cuda.identity(Device.parse(cell.device).index, self.install)}"
        build = partial(trt_build.build_engine, trt, _recipe(artifact, cell))
        return shelf.Shelf(workshop, artifact, cell, builder).engine(build)

    def _open_engine(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, engine: Engine | None) -> Session:
        trt = _import_tensorrt()
        # a stream makes the cell's GPU current in this thread: TensorRT builds and loads on the current GPU
        cuda.Stream(Device.parse(cell.device).index, self.install)
        plan = engine.path.read_bytes() if engine else trt_build.build_engine(trt, _recipe(artifact, cell))[0]
        with part("load the engine"):
            runtime = trt.Runtime(trt_build.get_logger(trt))
            cuda_engine = runtime.deserialize_cuda_engine(plan)
        if cuda_engine is None:
            raise trt_build.logged_error(trt, "TensorRT cannot load the engine")
        loaded = LoadedEngine(
            trt=trt,
            runtime=runtime,
            engine=cuda_engine,
            artifact=artifact,
            cell=cell,
            graph=dict(cell.settings.options).get("cuda_graph", "auto"),
            info=SessionInfo(executed=cell.precision),
        )
        info = _info(loaded)
        with part("make the context"):
            return TensorRtSession(replace(loaded, info=info))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        return self._open_engine(artifact, cell, concurrency, None)


def _recipe(artifact: Artifact, cell: Cell) -> trt_build.EngineRecipe:
    level, streams = setting(cell, "optimization_level"), setting(cell, "max_aux_streams")
    return trt_build.EngineRecipe(
        path=Path(artifact.path),
        shapes=cell.shapes,
        precision=cell.precision,
        level=int(level) if level else None,
        aux_streams=int(streams) if streams else None,
    )


def _info(loaded: LoadedEngine) -> SessionInfo:
    """Types that the engine's layers compute in, from the inspector, and the settings of its build."""
    kernels = [kernel for kernel in trt_layers.read_layers(_layers_json(loaded), {}) if kernel.type]
    layers = [kernel.type for kernel in kernels if kernel.layer]
    # types of layers that multiply come first: small element-wise kernels are more in number, but not in work
    types = (join_types(layers), join_types(kernel.type for kernel in kernels if kernel.type not in layers))
    options = dict(loaded.cell.settings.options)
    settings = (
        ("flags", "+".join(trt_build.list_flags(loaded.trt, loaded.cell.precision)) or "none"),
        ("optimization_level", options.get("optimization_level", "default")),
        ("max_aux_streams", str(getattr(loaded.engine, "num_aux_streams", "unknown"))),
        ("profile", " ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in loaded.cell.shapes)),
    )
    return SessionInfo(executed="+".join(filter(None, types)) or loaded.cell.precision, settings=settings)


def _import_tensorrt() -> Any:
    with installed("TensorRT", TensorRt.install):
        import tensorrt
    return tensorrt
