"""TensorRT. tensorrt and cuda-core, inside functions.

An engine is built for one file, one precision, the cell's own shapes and this GPU, and kept; a session is an execution context
of it on a stream of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import Unsupported, installed
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency, Device
from . import cuda, snippets, trt_build, trt_layers, trt_shelf
from .protocol import Array, Availability, Backend, Engine, Session, SessionInfo, Workshop, by_share

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""NumPy's names of TensorRT's types; what is not here has no array."""

SNIPPET = (
    "import ctypes\n\nimport tensorrt\n"
    + cuda.ON_STREAM
    + """\
logger = tensorrt.Logger(tensorrt.Logger.ERROR)  # it prints where the result is printed
builder, flags, kinds = tensorrt.Builder(logger), tensorrt.BuilderFlag, tensorrt.NetworkDefinitionCreationFlag
kind = "EXPLICIT_BATCH" if hasattr(flags, "FP16") else "STRONGLY_TYPED"  # flags choose the arithmetic, or the file's types do
network = builder.create_network(1 << int(getattr(kinds, kind)) if hasattr(kinds, kind) else 0)
parser = tensorrt.OnnxParser(network, logger)
if not parser.parse_from_file(MODEL):
    raise SystemExit(str(parser.get_error(0)))
config = builder.create_builder_config()
for name in $arithmetic:
    if hasattr(flags, name):
        (config.set_flag if name in $chosen else config.clear_flag)(getattr(flags, name))
if $level is not None:
    config.builder_optimization_level = $level
own = [source for name, source in tensorrt.TacticSource.__members__.items() if name not in $outside]
config.set_tactic_sources(sum(1 << int(source) for source in own))
profile = builder.create_optimization_profile()
for name, array in inputs.items():
    profile.set_shape(name, array.shape, array.shape, array.shape)
config.add_optimization_profile(profile)
# takes seconds to minutes, and may choose other kernels than were measured: keep what proves fast in a file
plan = builder.build_serialized_network(network, config)
engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
types = $types


def open_lane():
    stream, context, kept = device.create_stream(), engine.create_execution_context(), []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = types[str(engine.get_tensor_dtype(name)).rpartition(".")[2]]
        if name in inputs:
            array = np.ascontiguousarray(inputs[name], dtype)
            context.set_input_shape(name, array.shape)
        else:
            array = np.zeros(tuple(context.get_tensor_shape(name)), dtype)
        if str(engine.get_tensor_location(name)).endswith("HOST"):
            kept.append(array)
            context.set_tensor_address(name, array.ctypes.data)
            continue
        pinned = core.LegacyPinnedMemoryResource().allocate(max(1, array.nbytes))
        ctypes.memmove(int(pinned.handle), array.ctypes.data, array.nbytes)
        kept.append((device.allocate(max(1, array.nbytes), stream=stream), pinned))
        kept[-1][0].copy_from(pinned, stream=stream)
        context.set_tensor_address(name, int(kept[-1][0].handle))
    stream.sync()
    return on_stream(stream, lambda: kept and context.execute_async_v3(int(stream.handle)))
"""
)

PROFILED = 10  # calls whose layers are timed


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedEngine:
    """An engine in memory, with the runtime that it needs, and what its sessions need to know."""

    trt: Any
    runtime: Any
    engine: Any
    artifact: Artifact
    cell: Cell
    graph: str
    info: SessionInfo

    @property
    def device(self) -> int:
        """The GPU's index."""
        return Device.parse(self.cell.device).index

    def dtype(self, name: str) -> Any:
        """The NumPy type of one of the engine's tensors."""
        told = str(self.engine.get_tensor_dtype(name)).rpartition(".")[2]
        if told not in DTYPES:
            raise Unsupported(f"TensorRT has {name!r} in {told}, of which there are no arrays")
        return np.dtype(DTYPES[told])


class TensorRtSession(cuda.CudaSession):
    """An execution context on a stream of its own."""

    def __init__(self, loaded: LoadedEngine) -> None:
        self._loaded, self._context = loaded, _context(loaded)
        super().__init__(cuda.Stream(loaded.device, TensorRt.install), loaded.graph, loaded.info)

    def _typed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Version 8.6 takes int64 as int32."""
        names = [spec.name for spec in self._loaded.artifact.inputs]
        return {name: np.asarray(inputs[name], self._loaded.dtype(name)) for name in names}

    def _run(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise trt_build.last_words(self._loaded.trt, "TensorRT could not run the engine")

    def _place(self) -> None:
        self._tell(self._context)

    def _tell(self, context: Any) -> None:
        """Tell `context` the inputs' shapes and where everything is; outputs get room the first time."""
        for name, array in self._inputs.on_host().items():
            context.set_input_shape(name, array.shape)
            on_host = str(self._loaded.engine.get_tensor_location(name)).endswith("HOST")
            context.set_tensor_address(name, array.ctypes.data if on_host else self._inputs.address(name))
        for name in (spec.name for spec in self._loaded.artifact.outputs):
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise Unsupported(f"the shape of output {name!r} depends on values, so that it has no fixed place")
            if name not in self._outputs:
                self._outputs[name] = cuda.output(self._stream, shape, self._loaded.dtype(name))
            context.set_tensor_address(name, self._outputs[name].address)

    def fetch(self) -> dict[str, Array]:
        types = {spec.name: spec.dtype for spec in self._loaded.artifact.outputs}
        return {name: array.astype(types[name], copy=False) for name, array in super().fetch().items()}

    def fork(self) -> Session:
        return TensorRtSession(self._loaded)

    def close(self) -> None:
        super().close()
        self._context = None

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return trt_layers.read(_layers(self._loaded), self._layer_times() if timed else {})

    def _layer_times(self) -> dict[str, list[int]]:
        """Nanoseconds of each layer by name, in calls of a context of their own: a profiler cannot be taken off again."""
        context, profiler = _context(self._loaded), trt_build.profiler(self._loaded.trt)
        self._tell(context)
        context.profiler = profiler
        for _ in range(PROFILED):
            context.execute_async_v3(self._stream.handle)
            self._stream.sync()
        times: dict[str, list[int]] = profiler.times_ns
        return times


def _context(loaded: LoadedEngine) -> Any:
    context = loaded.engine.create_execution_context()
    if context is None:
        raise trt_build.last_words(loaded.trt, "TensorRT made no execution context")
    return context


def _layers(loaded: LoadedEngine) -> str:
    """The inspector's JSON."""
    inspector = loaded.engine.create_engine_inspector()
    text: str = inspector.get_engine_information(loaded.trt.LayerInformationFormat.JSON)
    return text


class TensorRt(Backend):
    """TensorRT, with an engine for every cell."""

    name = "tensorrt"
    device_kind = "cuda"
    builds = True
    precisions: ClassVar[Mapping[str, Any]] = trt_build.FLAGS
    options: ClassVar[Mapping[str, str]] = {
        **cuda.GRAPH_OPTION,
        "optimization_level": "0 to 5: how long the builder tries; TensorRT's own default is 3",
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **cuda.GRAPH_CHOICES,
        "optimization_level": tuple("012345"),
    }
    install = "pip install 'onnxbench[tensorrt]'"

    def _probe(self) -> Availability:
        trt = _import_tensorrt()
        return Availability(available=True, version=trt.__version__, devices=cuda.devices(self.install))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return artifact.obstacle and f"TensorRT does not take the file: {artifact.obstacle}"

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{concurrency.lanes} execution contexts of one engine, each on a CUDA stream of its own"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        own = {
            "arithmetic": sorted(trt_build.ARITHMETIC),
            "chosen": trt_build.FLAGS[cell.precision],
            "level": _recipe(artifact, cell).level,
            "outside": sorted(trt_build.OUTSIDE),
            "types": DTYPES,
        }
        case = snippets.ProgramCase(artifact, cell, concurrency)
        return snippets.program(SNIPPET, case, snippets.QUEUED, **own, **cuda.programmed(cell))

    def _build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine:
        trt = _import_tensorrt()
        trt_build.check_precision(trt, cell.precision)
        maker = f"TensorRT {trt.__version__} on {cuda.identity(Device.parse(cell.device).index, self.install)}"
        return trt_shelf.Shelf(workshop, artifact, cell, maker).engine(partial(trt_build.build, trt, _recipe(artifact, cell)))

    def _open_built(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, built: Engine | None) -> Session:
        trt = _import_tensorrt()
        cuda.Stream(Device.parse(cell.device).index, self.install)
        plan = built.path.read_bytes() if built else trt_build.build(trt, _recipe(artifact, cell))[0]
        runtime = trt.Runtime(trt_build.logger(trt))
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise trt_build.last_words(trt, "TensorRT cannot load the engine")
        info = SessionInfo(executed=cell.precision)
        graph = dict(cell.settings.options).get("cuda_graph", "auto")
        loaded = LoadedEngine(trt=trt, runtime=runtime, engine=engine, artifact=artifact, cell=cell, graph=graph, info=info)
        return TensorRtSession(replace(loaded, info=_info(loaded)))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        return self._open_built(artifact, cell, concurrency, None)


def _recipe(artifact: Artifact, cell: Cell) -> trt_build.EngineRecipe:
    level = dict(cell.settings.options).get("optimization_level")
    return trt_build.EngineRecipe(
        path=Path(artifact.path), shapes=cell.shapes, precision=cell.precision, level=int(level) if level else None
    )


def _info(loaded: LoadedEngine) -> SessionInfo:
    """What the engine's layers compute in, by the inspector; and how it was built."""
    kernels = [kernel for kernel in trt_layers.read(_layers(loaded), {}) if kernel.type]
    layers = [kernel.type for kernel in kernels if kernel.layer]
    types = (by_share(layers), by_share(kernel.type for kernel in kernels if kernel.type not in layers))
    options = dict(loaded.cell.settings.options)
    settings = (
        ("flags", "+".join(trt_build.flags(loaded.trt, loaded.cell.precision)) or "none"),
        ("optimization_level", options.get("optimization_level", "default")),
        ("profile", " ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in loaded.cell.shapes)),
    )
    return SessionInfo(executed="+".join(filter(None, types)) or loaded.cell.precision, settings=settings)


def _import_tensorrt() -> Any:
    with installed("TensorRT", TensorRt.install):
        import tensorrt
    return tensorrt
