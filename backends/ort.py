"""ONNX Runtime on the CPU, and the parts that its CUDA provider shares. Imports onnxruntime, inside functions.

IO binding puts inputs and outputs in place before the call. A timed call has no copy of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from .. import devices
from ..errors import RuntimeFailed, distinct_names, installed, one_line, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency
from ..tuning import Tunable
from . import ort_options, ort_profile, snippets
from .ort_profile import GRAPH, GRAPH_WEIGHTS
from .profiling import Recorded, SessionProfiler
from .protocol import PROFILED_CALLS, SCHEMES_OF_7_BITS, Array, Availability, Backend, Session, SessionInfo, setting


class SessionLoader(Protocol):
    """Function that opens the file as an InferenceSession. With a `folder`, the session writes its profile there.

    With `graph`, it writes its optimized graph there instead.
    """

    def __call__(self, folder: Path | None, graph: bool = False) -> Any: ...


RIGHT_SUMS = "session.x64quantprecision"
REPLACES_TWICE = "Attempt to replace the existing tensor"
CUTS_OFF = (
    "layers of this file share 8-bit weights, and ONNX Runtime cannot load it with session.x64quantprecision=1;"
    " without that, this CPU, which has no VNNI, may cut sums off"
)
"""Version 1.31 converts the weights of each layer to unsigned ones, and fails at weights that it has converted already."""

ORT_PROGRAM = """\
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = THREADS
options.inter_op_num_threads = 1
${tuned}options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
options.add_session_config_entry("session.x64quantprecision", "1")
for symbol, size in $symbols.items():
    options.add_free_dimension_override_by_name(symbol, size)
session = onnxruntime.InferenceSession(MODEL, options, providers=[$provider])


def open_lane():
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    outputs = list({output.name: output for output in session.get_outputs()}.values())

    def bind_outputs():
        binding.clear_binding_outputs()
        for output in outputs:
            binding.bind_output(output.name)

    def call_with_new_outputs():  # for outputs of another shape than the file declares: ONNX Runtime refuses bound ones
        bind_outputs()
        session.run_with_iobinding(binding)

    call_with_new_outputs()
    shapes = [(output.shape, value.shape()) for output, value in zip(outputs, binding.get_outputs())]
    declared = all([d if isinstance(d, int) else s for d, s in zip(*pair)] == list(pair[1]) for pair in shapes)
    $call
"""
ORT_CALL = snippets.Call(
    plain="return (lambda: session.run_with_iobinding(binding)) if declared else call_with_new_outputs",
    feeding="""\

def call_and_feed():  # an output becomes an input without a copy, so each call has new outputs
    call_with_new_outputs()
    for output, value in zip(outputs, binding.get_outputs()):
        if output.name in FEEDBACK:
            binding.bind_ortvalue_input(FEEDBACK[output.name], value)

return call_and_feed
""",
)


class OrtSession(Session):
    """An InferenceSession with an IO binding of its own.

    The first call allocates the outputs, and later calls write to them. If an output has another shape than the file declares,
    every call allocates new ones: ONNX Runtime compares bound outputs with the declaration, and refuses those.
    """

    handover = "copied in place"

    def __init__(self, session: Any, info: SessionInfo, load: SessionLoader) -> None:
        self._session, self.info, self._load = session, info, load
        self._binding = session.io_binding()
        self._names = [output.name for output in session.get_outputs()]
        self._values: list[Any] = []
        self._arrays: dict[str, Array] = {}
        self._rebinds: bool | None = None

    def bind(self, inputs: Mapping[str, Array]) -> None:
        import onnxruntime

        self._binding.clear_binding_inputs()
        # ortvalue_from_numpy shares the array's memory, and an IO binding of older versions keeps no reference to the
        # value: `_values` does, until the binding has no more use for it
        self._values.clear()
        for name in (port.name for port in self._session.get_inputs()):
            self._arrays[name] = inputs[name].copy()
            value = onnxruntime.OrtValue.ortvalue_from_numpy(self._arrays[name])
            self._binding.bind_ortvalue_input(name, value)
            self._values.append(value)
        self._bind_outputs()

    def _bind_outputs(self) -> None:
        self._binding.clear_binding_outputs()
        for name in dict.fromkeys(self._names):
            self._binding.bind_output(name)

    def start(self) -> None:
        if self._rebinds:
            self._bind_outputs()
        self._session.run_with_iobinding(self._binding)
        if self._rebinds is None:  # once, after the first call
            self._rebinds = bool(undeclared_outputs(self._session, self._binding))

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        return name_outputs(self._names, self._binding.copy_outputs_to_cpu())

    def feed(self, feedback: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
        values = dict(zip(dict.fromkeys(self._names), self._binding.get_outputs()))
        for source, target in feedback.items():
            np.copyto(self._arrays[target], values[source].numpy())

    def refill(self, inputs: Mapping[str, Array]) -> None:
        if all(array.dtype.kind in "fiub" for array in self._arrays.values()):
            for name, array in self._arrays.items():
                np.copyto(array, inputs[name])
        else:  # ONNX Runtime has a copy of texts
            self.bind(inputs)

    def fork(self) -> Session:
        return OrtSession(self._session, self.info, self._load)

    def profiler(self, folder: Path) -> SessionProfiler:
        return OrtProfiler(self._load, self.info, self._arrays, folder)

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        names = (port.name for port in self._session.get_inputs())
        return profile_kernels(self._load, {name: value.numpy() for name, value in zip(names, self._values)}, timed)


class OrtProfiler(SessionProfiler):
    """A session that writes a profile into `folder` when it ends. Another one wrote the optimized graph there before."""

    def __init__(self, load: SessionLoader, info: SessionInfo, inputs: Mapping[str, Array], folder: Path) -> None:
        load(folder, graph=True)  # by itself, because writing the graph would add to the times of the opening
        self._profiled = load(folder)
        self.session = OrtSession(self._profiled, info, load)
        self.session.bind(inputs)

    def read(self) -> Recorded:
        return ort_profile.record(Path(self._profiled.end_profiling()), GRAPH)


def profile_kernels(load: SessionLoader, inputs: Mapping[str, Array], timed: bool) -> tuple[Kernel, ...]:
    """List the kernels of one call on `inputs`, in a new session: profiling slows a session down, and is set when it opens."""
    with tempfile.TemporaryDirectory() as folder:
        session = load(Path(folder))
        for _ in range(PROFILED_CALLS if timed else 1):
            session.run(None, inputs)
        kernels = ort_profile.read_profile(Path(session.end_profiling()))
    return tuple(kernel if timed else replace(kernel, ns=None) for kernel in kernels)


class OrtCpu(Backend):
    """ONNX Runtime's CPU execution provider. It converts FP16 files to FP32 when it loads them, and computes in FP32.

    `arithmetic`: the type that a precision is computed in, where they differ.
    """

    name = "ort-cpu"
    provider: ClassVar[str] = "CPUExecutionProvider"
    # Its table of compatibility; 1.31 refuses opset 27 as one under development.
    opsets: ClassVar[Mapping[str, int]] = {"1.14": 18, "1.15": 19, "1.17": 20, "1.18": 21, "1.21": 22, "1.22": 23, "1.31": 26}
    precisions: ClassVar[Mapping[str, Any]] = {"fp32": {}, "fp16": {}, "int8": {}}
    on_request: ClassVar[tuple[str, ...]] = ("fp16",)
    int8_scheme = "ort"
    int8_schemes: ClassVar[tuple[str, ...]] = ("portable", "layers", "dynamic", "ort", "openvino", *SCHEMES_OF_7_BITS)
    arithmetic: ClassVar[Mapping[str, str]] = {"fp16": "fp32"}
    options: ClassVar[Mapping[str, str]] = ort_options.OPTIONS
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = ort_options.CHOICES
    tunables: ClassVar[tuple[Tunable, ...]] = ort_options.TUNABLES
    install = "pip install 'onnxbench[ort]'"

    def _probe(self) -> Availability:
        onnxruntime = import_onnxruntime(self.install)
        return Availability(available=True, version=onnxruntime.__version__, devices=("cpu",))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None

    def deploy(self, concurrency: Concurrency) -> str:
        callers = quantity(concurrency.lanes, "thread")
        return f"intra_op_num_threads={concurrency.threads} · {callers} calling run on one session"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        case = snippets.ProgramCase(artifact, cell, concurrency)
        symbols = resolve_symbols(artifact, cell)
        values = {"symbols": symbols, "provider": self.provider, "tuned": snippets.Code(ort_options.program(cell, concurrency))}
        return snippets.write_program(ORT_PROGRAM, case, snippets.THREADED, **values, call=ORT_CALL.code(cell))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        load = self.make_loader(artifact, cell, concurrency, [self.provider])
        session = load(None)
        return OrtSession(session, self._info(session, cell), load)

    def make_loader(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, providers: Sequence[Any]) -> SessionLoader:
        """Make a function that opens the file on `providers`. It raises `RuntimeFailed` if the session uses another one."""
        onnxruntime = import_onnxruntime(self.install)

        def load(folder: Path | None, graph: bool = False) -> Any:
            options = make_session_options(onnxruntime, artifact, cell, concurrency)
            ort_options.apply(onnxruntime, options, cell, concurrency)
            if folder and graph:
                options.optimized_model_filepath = str(folder / GRAPH)
                # apart, because a file with more than 2 GB of weights cannot be written
                options.add_session_config_entry("session.optimized_model_external_initializers_file_name", GRAPH_WEIGHTS)
            elif folder:
                options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
            session = _create(onnxruntime, artifact.path, options, providers)
            # ONNX Runtime falls back to the next provider in silence when one cannot start
            actual = session.get_providers()[0]
            if actual != self.provider:
                raise RuntimeFailed(f"ONNX Runtime cannot use {self.provider} here; it fell back to {actual}")
            return session

        return load

    def _info(self, session: Any, cell: Cell) -> SessionInfo:
        options = session.get_session_options()
        settings = (("threads", str(options.intra_op_num_threads)), *ort_options.read_options(options, cell))
        executed = self.arithmetic.get(cell.precision, cell.precision)
        placement = count_placement(session, self.provider)
        cuts_off = options.get_session_config_entry(RIGHT_SUMS) != "1" and devices.lacks_vnni()
        remarks = (CUTS_OFF,) if cuts_off else ()
        return SessionInfo(executed=executed, placement=placement, settings=settings, remarks=remarks)


def _create(onnxruntime: Any, path: str, options: Any, providers: Sequence[Any]) -> Any:
    """Create an InferenceSession, without RIGHT_SUMS for a file that ONNX Runtime cannot load with it."""
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors have no common base
        if REPLACES_TWICE not in str(error):
            raise
    options.add_session_config_entry(RIGHT_SUMS, "0")
    return onnxruntime.InferenceSession(path, options, providers=list(providers))


def name_outputs(names: Sequence[str], arrays: Iterable[Array]) -> dict[str, Array]:
    """Outputs by the names of an artifact. A binding has one of `arrays` for each different name in `names`."""
    by_name = dict(zip(dict.fromkeys(names), arrays))
    return {distinct: by_name[name] for distinct, name in zip(distinct_names(names), names)}


def undeclared_outputs(session: Any, binding: Any) -> list[str]:
    """List the outputs whose shape in the last call differs from the shape that the file declares."""
    ports = {port.name: port for port in session.get_outputs()}.values()
    pairs = [(port, value.shape()) for port, value in zip(ports, binding.get_outputs())]
    return [port.name for port, shape in pairs if not _fits(port.shape, shape)]


def _fits(declared: Sequence[Any], shape: Sequence[int]) -> bool:
    """Tell if `shape` has the declared rank and sizes. An open dimension is a text or None."""
    sizes = zip(declared, shape)
    return len(declared) == len(shape) and all(dim == size for dim, size in sizes if isinstance(dim, int))


def import_onnxruntime(install: str) -> Any:
    """Import onnxruntime. Raise `Unavailable`, with the command to install it, if it is missing."""
    with installed("onnxruntime", install):
        import onnxruntime
    return onnxruntime


def find_load_error(path: str) -> str | None:
    """Error of ONNX Runtime when it loads the file at `path`; None if it loads the file, or is not installed."""
    if not OrtCpu().probe().available:
        return None
    onnxruntime = import_onnxruntime(OrtCpu.install)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal errors only: the caller reports the error
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.InferenceSession(path, options, providers=[OrtCpu.provider])
    except Exception as error:  # ONNX Runtime's errors have no common base
        return one_line(error)
    return None


def make_session_options(onnxruntime: Any, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Any:
    """Make options with the threads of `concurrency`, and with open dimensions fixed to the shapes of `cell`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = concurrency.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # lets get_provider_graph_assignment_info report; versions that do not know the entry ignore it
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # ONNX Runtime fuses 4-bit weights with their MatMul. By default (level 4) it rounds the activations to 8 bits; level 1
    # computes in FP32
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # On x86-64 CPUs without VNNI, ONNX Runtime by default adds two products of 8 bits in 16 bits, and cuts the sum off. With
    # this entry it adds them in 32 bits. On other CPUs the entry changes nothing.
    options.add_session_config_entry(RIGHT_SUMS, "1")
    for symbol, size in resolve_symbols(artifact, cell).items():
        options.add_free_dimension_override_by_name(symbol, size)
    return options


def resolve_symbols(artifact: Artifact, cell: Cell) -> dict[str, int]:
    """Map each named dimension to its size in `cell`. A name with two sizes, or without one, stays open.

    Empty where an option of `cell` leaves all dimensions open.
    """
    if setting(cell, ort_options.FREE_DIMENSIONS) == "open":
        return {}
    sizes: dict[str, set[int]] = {}
    shapes = dict(cell.shapes)
    for spec in artifact.inputs:
        for dim, size in zip(spec.shape, shapes.get(spec.name, ())):
            if isinstance(dim, str):
                sizes.setdefault(dim, set()).add(size)
    return {dim: min(each) for dim, each in sizes.items() if len(each) == 1}


def count_placement(session: Any, provider: str) -> str | None:
    """Count the nodes on `provider`, of all nodes: `13/13 CPU`. None for versions that do not report the placement."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return f"{counts.get(provider, 0)}/{sum(counts.values())} {provider.removesuffix('ExecutionProvider')}"
