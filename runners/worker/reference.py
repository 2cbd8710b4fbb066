"""The FP32 reference of all rows: ONNX Runtime on the CPU, else onnx's own evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import backends
from ...backends.ort import OrtCpu, make_session_options
from ...backends.protocol import Array, Session, SessionInfo
from ...errors import distinct_names
from ...spec import Artifact, Cell, Concurrency, Settings, Shapes
from .threads import usable_threads

RUNTIME = "ort-cpu"


class PlainSession(Session):
    """Session on a function that computes outputs from inputs: an ONNX Runtime session, or onnx's reference evaluator."""

    info = SessionInfo(executed="fp32")

    def __init__(self, run: Callable[[None, Mapping[str, Array]], Sequence[Array]], names: Sequence[str]) -> None:
        self._run, self._names = run, names
        self._inputs: dict[str, Array] = {}
        self._outputs: Sequence[Array] = []

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = dict(inputs)

    def start(self) -> None:
        self._outputs = self._run(None, self._inputs)

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        return dict(zip(distinct_names(self._names), self._outputs))

    def fork(self) -> Session:
        return PlainSession(self._run, self._names)


def reference_runtime() -> str:
    """Name and version of the runtime: `ort-cpu 1.31.1`, else that of onnx's reference evaluator."""
    probe = backends.get(RUNTIME).probe()
    if probe.available:
        return f"{RUNTIME} {probe.version}"
    import onnx

    return f"onnx reference evaluator {onnx.__version__}"


def open_reference(artifact: Artifact, shapes: Shapes) -> tuple[Session, str]:
    """Session of the reference at `shapes`, and the name of its runtime (`ort-cpu 1.31.1`)."""
    backend, runtime = backends.get(RUNTIME), reference_runtime()
    if runtime.startswith(RUNTIME):
        return backend.open(artifact, _cell(artifact, shapes)), runtime
    return open_evaluator(artifact), runtime


def open_file(artifact: Artifact, shapes: Shapes, *, optimize: bool) -> Session:
    """Session of the reference runtime with all graph optimizations, or without any."""
    if not reference_runtime().startswith(RUNTIME):
        return open_evaluator(artifact)
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    cell = _cell(artifact, shapes)
    options = make_session_options(onnxruntime, artifact, cell, Concurrency(threads=cell.settings.threads))
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(artifact.path, options, providers=[OrtCpu.provider])
    return PlainSession(session.run, [output.name for output in session.get_outputs()])


def _cell(artifact: Artifact, shapes: Shapes) -> Cell:
    return Cell(
        model=artifact.model,
        sha256=artifact.sha256,
        backend=RUNTIME,
        device="cpu",
        precision="fp32",
        batch=shapes[0][1][0] if shapes and shapes[0][1] else 1,
        shapes=shapes,
        settings=Settings(threads=usable_threads()),
    )


def open_evaluator(artifact: Artifact) -> Session:
    """Session of onnx's own evaluator, which is slow and knows every opset."""
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(artifact.path)
    return PlainSession(evaluator.run, evaluator.output_names)
