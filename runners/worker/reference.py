"""The FP32 reference of all rows: ONNX Runtime on the CPU, else onnx's own evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import backends
from ...backends.protocol import Array, Session, SessionInfo
from ...errors import distinct_names
from ...spec import Artifact, Cell, Settings, Shapes
from .threads import usable_threads

RUNTIME = "ort-cpu"


class EvaluatorSession(Session):
    """Session on onnx's reference evaluator: slow, and correct by definition."""

    info = SessionInfo(executed="fp32")

    def __init__(self, evaluator: Any) -> None:
        self._evaluator = evaluator
        self._inputs: dict[str, Array] = {}
        self._outputs: list[Array] = []

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = dict(inputs)

    def start(self) -> None:
        self._outputs = self._evaluator.run(None, self._inputs)

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        return dict(zip(distinct_names(self._evaluator.output_names), self._outputs))

    def fork(self) -> Session:
        return EvaluatorSession(self._evaluator)


def open_reference(artifact: Artifact, shapes: Shapes) -> tuple[Session, str]:
    """Session of the reference at `shapes`, and the name of its runtime (`ort-cpu 1.31.1`)."""
    backend = backends.get(RUNTIME)
    probe = backend.probe()
    if probe.available:
        batch = shapes[0][1][0] if shapes and shapes[0][1] else 1
        cell = Cell(
            model=artifact.model,
            sha256=artifact.sha256,
            backend=RUNTIME,
            device="cpu",
            precision="fp32",
            batch=batch,
            shapes=shapes,
            settings=Settings(threads=usable_threads()),
        )
        return backend.open(artifact, cell), f"{RUNTIME} {probe.version}"
    import onnx
    from onnx.reference import ReferenceEvaluator

    return EvaluatorSession(ReferenceEvaluator(artifact.path)), f"onnx reference evaluator {onnx.__version__}"
