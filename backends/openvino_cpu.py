"""OpenVINO on the CPU. Imports openvino, inside functions.

The precision is always set. By default OpenVINO computes FP32 files in BF16 on every CPU that has BF16 instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np

from .. import devices
from ..errors import RuntimeFailed, Unavailable, installed, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency
from ..tuning import Tunable
from . import openvino_options, openvino_profile, openvino_properties, snippets
from .opening import part
from .openvino_profile import OpenVinoProfiler
from .profiling import SessionProfiler
from .protocol import (
    PROFILED_CALLS,
    SCHEMES_OF_7_BITS,
    UNCOUNTED_CALLS,
    Array,
    Availability,
    Backend,
    Session,
    SessionInfo,
    join_types,
)

NUMPY_NAMES = {"i64": "int64", "i32": "int32", "boolean": "bool"}
OPENVINO_TYPES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8", "f64": "fp64"}
OPENVINO_LAYERS = {
    "Convolution",
    "Deconvolution",
    "FullyConnected",
    "MatMul",
    "RNNCell",
    "RNNSeq",
}
INT8_TYPES = ("i8", "u8")
FLOAT_TYPES = ("f32", "bf16", "f16")
GRAPH_ENDS = {"Const", "Input", "Output", "Result", "Parameter"}
OPENVINO_MOVES = GRAPH_ENDS | {"Reorder", "Reshape", "FakeQuantize", "Transpose", "Convert"}
REPORTED_PROPERTIES = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "INFERENCE_PRECISION_HINT")

OPENVINO_PROGRAM = """\
import openvino

core = openvino.Core()
${mmap}model = core.read_model(MODEL)
model.reshape({name: list(array.shape) for name, array in inputs.items()})
compiled = core.compile_model(model, "CPU", $properties)


def open_lane():
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array.copy()))
    $call
"""
OPENVINO_CALL = snippets.Call(
    plain="return lambda: request.infer(share_outputs=True)",
    feeding="""\

def call_and_feed():
    request.infer(share_outputs=True)
    for output, name in FEEDBACK.items():
        np.copyto(request.get_tensor(name).data, request.get_tensor(output).data)

return call_and_feed
""",
)


class OpenVinoSession(Session):
    """One infer request on a compiled model."""

    handover = "copied in place"

    def __init__(self, compiled: Any, artifact: Artifact, info: SessionInfo, recompile: Callable[[], Any]) -> None:
        """`recompile` compiles the same model again with PERF_COUNT, which slows a model down and is set at compile time."""
        self._compiled, self._artifact, self.info, self._recompile = compiled, artifact, info, recompile
        self._request = compiled.create_infer_request()

    def bind(self, inputs: Mapping[str, Array]) -> None:
        import openvino

        for port, name in zip(self._compiled.inputs, _port_names(self._compiled.inputs, inputs)):
            self._request.set_tensor(port, openvino.Tensor(inputs[name].copy()))

    def start(self) -> None:
        self._request.infer(share_outputs=True)  # without share_outputs every call copies its outputs to NumPy

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        ports = zip(self._artifact.outputs, self._compiled.outputs)
        return {spec.name: self._request.get_tensor(port).data.copy() for spec, port in ports}

    def feed(self, feedback: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
        sources = dict(zip((spec.name for spec in self._artifact.outputs), self._compiled.outputs))
        targets = dict(zip(_port_names(self._compiled.inputs, inputs), self._compiled.inputs))
        for source, target in feedback.items():
            np.copyto(self._request.get_tensor(targets[target]).data, self._request.get_tensor(sources[source]).data)

    def fork(self) -> Session:
        return OpenVinoLane(self._compiled, self._artifact, self.info, self._recompile)

    def profiler(self, folder: Path) -> SessionProfiler:
        kernels, links = _kernels(self._compiled), openvino_profile.links_of(self._compiled, _text)
        return OpenVinoProfiler(self._profiled, kernels, [links[kernel.node] for kernel in kernels])

    def _profiled(self) -> tuple[Session, Any]:
        """A session of a model that is compiled with PERF_COUNT, on the same inputs; and its request."""
        compiled = self._recompile()
        session = OpenVinoSession(compiled, self._artifact, self.info, self._recompile)
        for port, new_port in zip(self._compiled.inputs, compiled.inputs):
            session._request.set_tensor(new_port, self._request.get_tensor(port))
        return session, session._request

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return _kernels(self._compiled, self._time_layers() if timed else {})

    def _time_layers(self) -> dict[str, int]:
        """Median time of each layer in ns, by the layer's name."""
        compiled = self._recompile()
        request = compiled.create_infer_request()
        for port, new_port in zip(self._compiled.inputs, compiled.inputs):
            request.set_tensor(new_port, self._request.get_tensor(port))
        times_ns: dict[str, list[float]] = {}
        for _ in range(PROFILED_CALLS):
            request.infer()
            for layer in request.profiling_info:
                times_ns.setdefault(layer.node_name, []).append(layer.real_time.total_seconds() * 1e9)
        return {name: int(median(values[UNCOUNTED_CALLS:])) for name, values in times_ns.items()}


class OpenVinoLane(OpenVinoSession):
    """An infer request with other requests in flight: `start` gives it to a stream and returns."""

    asynchronous = True

    def start(self) -> None:
        self._request.start_async()

    def wait(self) -> None:
        self._request.wait()


class OpenVinoCpu(Backend):
    """OpenVINO's CPU plugin.

    It computes FP16 files in FP32. INT8 files keep INT8 layers where the plugin has kernels for them.
    """

    name = "openvino-cpu"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "f32", "bf16": "bf16", "fp16": "f32", "int8": "f32"}
    on_request = ("fp16",)
    int8_scheme, int8_scheme_without_vnni = "openvino", "openvino-7bit"
    # a dynamic file runs in FP32
    int8_schemes: ClassVar[tuple[str, ...]] = ("portable", "layers", "ort", "openvino", *SCHEMES_OF_7_BITS)
    options: ClassVar[Mapping[str, str]] = openvino_options.OPTIONS
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = openvino_options.CHOICES
    tunables: ClassVar[tuple[Tunable, ...]] = openvino_options.TUNABLES
    install = "pip install 'onnxbench[openvino]'"

    def _probe(self) -> Availability:
        openvino = _import_openvino()
        return Availability(available=True, version=openvino.__version__.split("-")[0], devices=("cpu",))

    def concurrencies(self, threads: int) -> tuple[Concurrency, ...]:
        return openvino_properties.concurrencies(threads)

    def deploy(self, concurrency: Concurrency) -> str:
        properties = openvino_properties.parallel_properties(concurrency)
        settings = " ".join(f"{name}={properties[name]}" for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS"))
        return f"{settings} · {quantity(concurrency.lanes, 'infer request')}"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        case = snippets.ProgramCase(artifact, cell, concurrency)
        values = {"properties": self._properties(cell, concurrency), "mmap": snippets.Code(openvino_options.program(cell))}
        return snippets.write_program(OPENVINO_PROGRAM, case, snippets.THREADED, **values, call=OPENVINO_CALL.code(cell))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        openvino = _import_openvino()
        with part("start"):
            core = openvino.Core()
        if cell.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unavailable("this CPU has no BF16 instructions")
        core.set_property(openvino_options.of_reading(cell))
        with part("parse"):
            model = core.read_model(artifact.path)
        with part("reshape"):
            model.reshape(_shapes(model, cell))
        properties = self._properties(cell, concurrency)
        with part("optimize and allocate"):
            compiled = core.compile_model(model, "CPU", properties)

        def recompile() -> Any:
            return core.compile_model(model, "CPU", {**properties, "PERF_COUNT": True})

        info = _info(compiled)
        info = replace(
            info,
            settings=(*info.settings, *openvino_options.read_options(core, compiled, cell)),
            remarks=_remarks(info, cell),
        )
        return OpenVinoSession(compiled, artifact, info, recompile)

    def _properties(self, cell: Cell, concurrency: Concurrency) -> dict[str, Any]:
        properties = openvino_properties.cpu_properties(self.precisions[cell.precision], concurrency)
        return openvino_options.changed(properties, cell)


def _import_openvino() -> Any:
    with installed("openvino", OpenVinoCpu.install):
        import openvino
    return openvino


def _shapes(model: Any, cell: Cell) -> dict[Any, list[int]]:
    """Map each input port of the model to its shape in `cell`."""
    shapes = dict(cell.shapes)
    return {port: list(shapes[name]) for port, name in zip(model.inputs, _port_names(model.inputs, shapes))}


def _port_names(ports: Sequence[Any], inputs: Collection[str]) -> list[str]:
    """Name of each port: one of the file's `inputs`, which are in the file's order. A port may have several names.

    OpenVINO names an input that is also an output by the output alone. Such a port is the next input without a port.
    """
    own_names = [next((name for name in port.get_names() if name in inputs), None) for port in ports]
    order = list(inputs)
    names: list[str] = []
    for port, own_name in zip(ports, own_names):
        rest = order[order.index(names[-1]) + 1 :] if names else order
        name = own_name or next((candidate for candidate in rest if candidate not in own_names), None)
        if name is None:
            raise RuntimeFailed(f"OpenVINO has an input {sorted(port.get_names())} that is not in the file")
        names.append(name)
    return names


def _info(compiled: Any) -> SessionInfo:
    """Types that the compiled graph computes in, and the properties, both as the plugin reports them."""
    executed = join_types(kernel.type for kernel in _kernels(compiled) if kernel.type)
    # a model of integers or booleans alone has no kernel with a float type: report the types that it has
    others = join_types(NUMPY_NAMES.get(type, type) for _, kind, type in _layers(compiled) if kind not in OPENVINO_MOVES)
    settings = tuple((name.lower(), str(compiled.get_property(name))) for name in REPORTED_PROPERTIES)
    return SessionInfo(executed=executed or others or "none", settings=settings)


def _remarks(info: SessionInfo, cell: Cell) -> tuple[str, ...]:
    """A warning where layers in 8 bits may cut sums off; https://docs.openvino.ai calls that the saturation issue."""
    if "int8" not in info.executed or cell.scheme in SCHEMES_OF_7_BITS or not devices.lacks_vnni():
        return ()
    return (
        "this CPU has no VNNI, so OpenVINO adds products of 8 bits in 16 bits and may cut sums off;"
        f" bench export --int8 {OpenVinoCpu.int8_scheme_without_vnni} makes a file whose sums fit",
    )


def _layers(compiled: Any) -> list[tuple[str, str, str]]:
    """Name, kind and type of each layer of the compiled graph."""
    facts = [(op.get_friendly_name(), op.get_rt_info()) for op in compiled.get_runtime_model().get_ordered_ops()]
    return [(name, _text(info, "layerType"), _layer_type(info)) for name, info in facts]


def _layer_type(info: Any) -> str:
    """Type that a layer computes in."""
    stored, primitive = _text(info, "runtimePrecision"), _text(info, "primitiveType").rpartition("_")[2]
    # For a layer with compressed weights runtimePrecision is the type of the weights (u4). The primitive (brgemm_avx512_f32)
    # has the type of the multiplication.
    return primitive if _text(info, "layerType") in OPENVINO_LAYERS and primitive in FLOAT_TYPES else stored


def _kernels(compiled: Any, times_ns: Mapping[str, int] | None = None) -> tuple[Kernel, ...]:
    """List the layers of the compiled graph as kernels."""
    layers = [(name, kind, type) for name, kind, type in _layers(compiled) if kind not in GRAPH_ENDS]
    # the plugin reports booleans as 8-bit types: where no layer multiplies in INT8, those types are booleans
    booleans = () if any(type in INT8_TYPES and kind in OPENVINO_LAYERS for _, kind, type in layers) else INT8_TYPES
    return tuple(
        Kernel(
            node=name,
            operator=kind,
            type="" if kind in OPENVINO_MOVES or type in booleans else OPENVINO_TYPES.get(type, ""),
            layer=kind in OPENVINO_LAYERS,
            ns=(times_ns or {}).get(name),
        )
        for name, kind, type in layers
    )


def _text(info: Any, name: str) -> str:
    """Value `name` of an operation's `rt_info`: an OVAny or a string, by version."""
    value = info[name] if name in info else ""  # noqa: SIM401 (an RTMap has no get)
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
