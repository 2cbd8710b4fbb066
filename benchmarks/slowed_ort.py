"""Two backends for benchmarks/calibration.py: ONNX Runtime under another name, and with every call made 3 % longer."""

from __future__ import annotations

import time
from typing import Any

from onnxbench.backends.ort import OrtCpu, OrtSession
from onnxbench.backends.protocol import Session
from onnxbench.spec import Artifact, Cell, Concurrency

SLOWER = 0.03


class Again(OrtCpu):
    """ONNX Runtime, in a process of its own."""

    name = "ort-again"


class SlowedSession(OrtSession):
    """Spins after each run for SLOWER of the time that it took."""

    def start(self) -> None:
        begin = time.perf_counter_ns()
        super().start()
        end = begin + int((time.perf_counter_ns() - begin) * (1 + SLOWER))
        while time.perf_counter_ns() < end:
            pass


class Slower(OrtCpu):
    """ONNX Runtime with every call SLOWER longer."""

    name = "ort-slower"

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        session: Any = super()._open(artifact, cell, concurrency)
        session.__class__ = SlowedSession
        return session  # type: ignore[no-any-return]
