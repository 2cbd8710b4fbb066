"""A backend for real_calibration.py and two_builds.py: ONNX Runtime with every call made longer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from onnxbench.backends.ort import OrtCpu, OrtSession
from onnxbench.backends.protocol import Session
from onnxbench.spec import Artifact, Cell, Concurrency

SLOWER = float(os.environ.get("SLOWER", "0.03"))  # the share by which a call takes longer
ENTRY_POINTS = "[onnxbench.backends]\nort-slower = slowed_ort:Slower\n"


def installed(folder: Path) -> dict[str, str]:
    """An environment in which `ort-slower` is installed; `folder` is where what says so is put."""
    info = folder / "slowed-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slowed\nVersion: 0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    known = os.environ.get("PYTHONPATH", "")
    paths = [str(folder), str(Path(__file__).parent), *filter(None, [known])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


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
