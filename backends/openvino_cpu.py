"""OpenVINO on the CPU. openvino, inside functions.

Arithmetic is pinned: by itself OpenVINO computes in BF16 wherever the CPU has it, whatever the file's types are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median
from typing import Any, ClassVar

from ..errors import RuntimeFailed, Unavailable, installed, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency
from . import snippets
from .protocol import Array, Availability, Backend, Session, SessionInfo, by_share

INTEGERS = {"i64": "int64", "i32": "int32", "boolean": "bool"}
RUNS, UNCOUNTED = 10, 2  # the first calls pay for memory and threads
TYPES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8", "f64": "fp64"}
MULTIPLIES = {
    "Convolution",
    "Deconvolution",
    "FullyConnected",
    "MatMul",
    "RNNCell",
    "RNNSeq",
}
INT8 = ("i8", "u8")
PLACES = {"Const", "Input", "Output", "Result", "Parameter"}
NOT_COMPUTE = PLACES | {"Reorder", "Reshape", "FakeQuantize", "Transpose", "Convert"}
READ_BACK = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "INFERENCE_PRECISION_HINT")

SNIPPET = """\
import openvino

core = openvino.Core()
model = core.read_model(MODEL)
model.reshape({name: list(array.shape) for name, array in inputs.items()})
compiled = core.compile_model(model, "CPU", $how)


def open_lane():
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array.copy()))
    return lambda: request.infer(share_outputs=True)
"""


class OpenVinoSession(Session):
    """One infer request on a compiled model."""

    def __init__(self, compiled: Any, artifact: Artifact, info: SessionInfo, recompile: Callable[[], Any]) -> None:
        """`recompile` compiles the same model again, to count the time of each layer."""
        self._compiled, self._artifact, self.info, self._recompile = compiled, artifact, info, recompile
        self._request = compiled.create_infer_request()

    def bind(self, inputs: Mapping[str, Array]) -> None:
        import openvino

        for port, name in zip(self._compiled.inputs, _names(self._compiled.inputs, inputs)):
            self._request.set_tensor(port, openvino.Tensor(inputs[name].copy()))

    def start(self) -> None:
        self._request.infer(share_outputs=True)  # by default the binding copies the outputs, which is fetch's job

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        ports = zip(self._artifact.outputs, self._compiled.outputs)
        return {spec.name: self._request.get_tensor(port).data.copy() for spec, port in ports}

    def fork(self) -> Session:
        return OpenVinoLane(self._compiled, self._artifact, self.info, self._recompile)

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return _kernels(self._compiled, self._times() if timed else {})

    def _times(self) -> dict[str, int]:
        """How many ns each layer took, the median over calls."""
        compiled = self._recompile()
        request = compiled.create_infer_request()
        for own, other in zip(self._compiled.inputs, compiled.inputs):
            request.set_tensor(other, self._request.get_tensor(own))
        times: dict[str, list[float]] = {}
        for _ in range(RUNS):
            request.infer()
            for layer in request.profiling_info:
                times.setdefault(layer.node_name, []).append(layer.real_time.total_seconds() * 1e9)
        return {name: int(median(took[UNCOUNTED:])) for name, took in times.items()}


class OpenVinoLane(OpenVinoSession):
    """An infer request among others in flight: `start` hands it to a stream and returns."""

    asynchronous = True

    def start(self) -> None:
        self._request.start_async()

    def wait(self) -> None:
        self._request.wait()


class OpenVinoCpu(Backend):
    """OpenVINO's CPU plugin. Files in FP16 and INT8 keep their types where it has kernels for them."""

    name = "openvino-cpu"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "f32", "bf16": "bf16", "fp16": "f32", "int8": "f32"}
    on_request = ("fp16",)
    int8_scheme = "openvino"
    install = "pip install 'onnxbench[openvino]'"

    def _probe(self) -> Availability:
        openvino = _import_openvino()
        return Availability(available=True, version=openvino.__version__.split("-")[0], devices=("cpu",))

    def concurrencies(self, threads: int) -> tuple[Concurrency, ...]:
        """Streams share the threads; with two requests for each stream the next one waits there already."""
        streams = [count for count in range(1, threads + 1) if threads % count == 0]
        pairs = [(lanes * count, count) for count in streams for lanes in (1, 2)]
        return tuple(Concurrency(lanes=lanes, streams=count, threads=threads // count) for lanes, count in pairs)

    def deploy(self, concurrency: Concurrency) -> str:
        options = _parallel(concurrency)
        told = " ".join(f"{name}={options[name]}" for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS"))
        return f"{told} · {quantity(concurrency.lanes, 'infer request')}"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        how = self._how(cell, concurrency)
        return snippets.program(SNIPPET, snippets.ProgramCase(artifact, cell, concurrency), snippets.THREADED, how=how)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        openvino = _import_openvino()
        core = openvino.Core()
        if cell.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unavailable("this CPU has no BF16 arithmetic")
        model = core.read_model(artifact.path)
        model.reshape(_shapes(model, cell))
        how = self._how(cell, concurrency)
        compiled = core.compile_model(model, "CPU", how)

        def recompile() -> Any:
            return core.compile_model(model, "CPU", {**how, "PERF_COUNT": True})

        return OpenVinoSession(compiled, artifact, _info(compiled), recompile)

    def _how(self, cell: Cell, concurrency: Concurrency) -> dict[str, Any]:
        return {"INFERENCE_PRECISION_HINT": self.precisions[cell.precision], **_parallel(concurrency)}


def _parallel(concurrency: Concurrency) -> dict[str, Any]:
    return {
        "NUM_STREAMS": concurrency.streams,
        "INFERENCE_NUM_THREADS": concurrency.streams * concurrency.threads,
        "ENABLE_CPU_PINNING": False,
    }


def _import_openvino() -> Any:
    with installed("openvino", OpenVinoCpu.install):
        import openvino
    return openvino


def _shapes(model: Any, cell: Cell) -> dict[Any, list[int]]:
    """Each of the model's inputs with its shape in `cell`."""
    shapes = dict(cell.shapes)
    return {port: list(shapes[name]) for port, name in zip(model.inputs, _names(model.inputs, shapes))}


def _names(ports: Sequence[Any], known: Collection[str]) -> list[str]:
    """Which of the file's inputs, `known` in their order, each port is. A port may have several names.

    An input that is an output too goes by the output's name alone: it is the next one that no port goes by.
    """
    told: list[str | None] = [next((name for name in port.get_names() if name in known), None) for port in ports]
    order = list(known)
    found: list[str] = []
    for port, name in zip(ports, told):
        after = order[order.index(found[-1]) + 1 :] if found else order
        which = name or next((other for other in after if other not in told), None)
        if which is None:
            raise RuntimeFailed(f"OpenVINO made an input {sorted(port.get_names())} that the file does not have")
        found.append(which)
    return found


def _info(compiled: Any) -> SessionInfo:
    """Types that the compiled graph computes in, and the settings, both as the plugin reports them."""
    executed = by_share(kernel.type for kernel in _kernels(compiled) if kernel.type)
    every = by_share(INTEGERS.get(kind, kind) for _, layer, kind in _layers(compiled) if layer not in NOT_COMPUTE)
    settings = tuple((name.lower(), str(compiled.get_property(name))) for name in READ_BACK)
    return SessionInfo(executed=executed or every or "none", settings=settings)


def _layers(compiled: Any) -> list[tuple[str, str, str]]:
    """Name, kind and type of each layer of the compiled graph."""
    told = [(op.get_friendly_name(), op.get_rt_info()) for op in compiled.get_runtime_model().get_ordered_ops()]
    return [(name, str(_text(layer, "layerType")), str(_text(layer, "runtimePrecision"))) for name, layer in told]


def _kernels(compiled: Any, times_ns: Mapping[str, int] | None = None) -> tuple[Kernel, ...]:
    """Every layer of the compiled graph. Where none multiplies in 8 bits, 8 bits are booleans."""
    layers = [(name, layer, kind) for name, layer, kind in _layers(compiled) if layer not in PLACES]
    booleans = INT8 if not any(kind in INT8 and layer in MULTIPLIES for _, layer, kind in layers) else ()
    return tuple(
        Kernel(
            node=name,
            operator=layer,
            type="" if layer in NOT_COMPUTE or kind in booleans else TYPES.get(kind, ""),
            layer=layer in MULTIPLIES,
            ns=(times_ns or {}).get(name),
        )
        for name, layer, kind in layers
    )


def _text(layer: Any, name: str) -> str:
    value = layer[name] if name in layer else ""  # noqa: SIM401 (an RTMap has no get)
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
