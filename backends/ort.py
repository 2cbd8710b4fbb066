"""ONNX Runtime on the CPU, and what its CUDA provider shares with it. onnxruntime, inside functions.

Inputs and outputs are bound to device memory before the call (IO binding), so that a call is the call alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ..errors import RuntimeFailed, Unsupported, installed, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency
from . import ort_profile, snippets
from .protocol import Array, Availability, Backend, Session, SessionInfo

Reopen = Callable[[Path], Any]
Load = Callable[[Path | None], Any]

SNIPPET = """\
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = THREADS
options.inter_op_num_threads = 1
for symbol, size in $symbols.items():
    options.add_free_dimension_override_by_name(symbol, size)
session = onnxruntime.InferenceSession(MODEL, options, providers=[$provider])


def open_lane():
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)
"""


class OrtSession(Session):
    """An InferenceSession with an IO binding of its own."""

    def __init__(self, session: Any, info: SessionInfo, reopen: Reopen) -> None:
        """`reopen` loads the same model again, as a session that writes its profile into a folder."""
        self._session, self.info, self._reopen = session, info, reopen
        self._binding = session.io_binding()
        self._names = [output.name for output in session.get_outputs()]
        self._values: list[Any] = []

    def bind(self, inputs: Mapping[str, Array]) -> None:
        import onnxruntime

        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._values.clear()  # they share the arrays' memory, and older bindings do not keep them alive
        for name in (entry.name for entry in self._session.get_inputs()):
            value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs[name].copy())
            self._binding.bind_ortvalue_input(name, value)
            self._values.append(value)
        for name in self._names:
            self._binding.bind_output(name)

    def start(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        arrays = self._binding.copy_outputs_to_cpu()
        return dict(zip(self._names, arrays))

    def fork(self) -> Session:
        return OrtSession(self._session, self.info, self._reopen)

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        names = (entry.name for entry in self._session.get_inputs())
        return profiled(self._reopen, {name: value.numpy() for name, value in zip(names, self._values)}, timed)


def profiled(reopen: Reopen, feed: Mapping[str, Array], timed: bool) -> tuple[Kernel, ...]:
    """The kernels of one call on `feed`, of a session that is loaded for it."""
    with tempfile.TemporaryDirectory() as folder:
        session = reopen(Path(folder))
        for _ in range(ort_profile.RUNS if timed else 1):
            session.run(None, feed)
        found = ort_profile.read(Path(session.end_profiling()))
    return tuple(kernel if timed else replace(kernel, ns=None) for kernel in found)


class OrtCpu(Backend):
    """ONNX Runtime's CPU execution provider. Files in FP16 are computed in FP32 there, so it has no fp16 arithmetic."""

    name = "ort-cpu"
    provider: ClassVar[str] = "CPUExecutionProvider"
    precisions: ClassVar[Mapping[str, Any]] = {"fp32": {}, "fp16": {}, "int8": {}}
    on_request: ClassVar[tuple[str, ...]] = ("fp16",)
    int8_scheme = "ort"
    arithmetic: ClassVar[Mapping[str, str]] = {"fp16": "fp32"}
    install = "pip install 'onnxbench[ort]'"

    def _probe(self) -> Availability:
        onnxruntime = import_onnxruntime(self.install)
        return Availability(available=True, version=onnxruntime.__version__, devices=("cpu",))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None

    def deploy(self, concurrency: Concurrency) -> str:
        return (
            f"intra_op_num_threads={concurrency.threads} · {quantity(concurrency.lanes, 'thread')} calling run on one session"
        )

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        own = {"symbols": symbols(artifact, cell), "provider": self.provider}
        return snippets.program(SNIPPET, snippets.ProgramCase(artifact, cell, concurrency), snippets.THREADED, **own)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        load = self.loader(artifact, cell, concurrency, [self.provider])
        session = load(None)
        return OrtSession(session, self._info(session, cell), load)

    def loader(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, providers: Sequence[Any]) -> Load:
        """Loads the model as an InferenceSession on `providers`; one that is given a folder writes its profile there."""
        onnxruntime = import_onnxruntime(self.install)

        def load(profile: Path | None) -> Any:
            options = session_options(onnxruntime, artifact, cell, concurrency)
            if profile:
                options.enable_profiling, options.profile_file_prefix = True, str(profile / "profile")
            session = onnxruntime.InferenceSession(artifact.path, options, providers=list(providers))
            if session.get_providers()[0] != self.provider:
                raise RuntimeFailed(f"ONNX Runtime left {self.provider} and ran on {session.get_providers()[0]}")
            return session

        return load

    def _info(self, session: Any, cell: Cell) -> SessionInfo:
        options = session.get_session_options()
        settings = (("threads", str(options.intra_op_num_threads)),)
        executed = self.arithmetic.get(cell.precision, cell.precision)
        return SessionInfo(executed=executed, placement=placement_of(session, self.provider), settings=settings)


def import_onnxruntime(install: str) -> Any:
    """The module, or `Unavailable` with how to install it."""
    with installed("onnxruntime", install):
        import onnxruntime
    return onnxruntime


def session_options(onnxruntime: Any, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Any:
    """Threads as asked; open dimensions fixed, as a deployment would."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = concurrency.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for symbol, size in symbols(artifact, cell).items():
        options.add_free_dimension_override_by_name(symbol, size)
    return options


def symbols(artifact: Artifact, cell: Cell) -> dict[str, int]:
    """Each symbol's size in `cell`; `Unsupported` where the shapes give one symbol two sizes."""
    sizes: dict[str, int] = {}
    shapes = dict(cell.shapes)
    for spec in artifact.inputs:
        for dim, size in zip(spec.shape, shapes[spec.name]):
            if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
                raise Unsupported(f"dimension {dim!r} is both {sizes[dim]} and {size}")
    return sizes


def placement_of(session: Any, provider: str) -> str | None:
    """`13/13 CPU`: nodes that the graph partitioner gave to `provider`; None for versions that do not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return f"{counts.get(provider, 0)}/{sum(counts.values())} {provider.removesuffix('ExecutionProvider')}"
