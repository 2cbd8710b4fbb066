"""The backend `null`, an instrument that computes nothing. NumPy only.

Its rows measure the cost of this tool itself. Its option `fault` makes a worker fail at a chosen step: tests reach every
failure without a runtime. With ONNXBENCH_NULL_GPUS=2 it lists two GPUs that do not exist, and runs on them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from ..errors import RuntimeFailed
from ..spec import PRECISIONS, Artifact, Cell, Concurrency, Device
from .protocol import Array, Availability, Backend, Session, SessionInfo

GPUS_VARIABLE = "ONNXBENCH_NULL_GPUS"
CHUNK_BYTES, LIMIT_BYTES = 1 << 24, 1 << 29


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    threading.Event().wait()


def _fail() -> None:
    raise RuntimeFailed("the null backend failed, as its option fault requests")


def _print() -> None:
    os.write(1, b"a stray print\n")


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _starve() -> None:
    raise MemoryError


def _eat() -> None:
    """Allocate `LIMIT_BYTES` in chunks, then wait for the watchdog to kill the process."""
    # nonzero bytes: the system gives no memory to pages of zeros before they are written
    chunks = [b"\1" * CHUNK_BYTES for _ in range(LIMIT_BYTES // CHUNK_BYTES)]
    threading.Event().wait()
    del chunks  # keeps the list alive until here


FAULTS = {
    "die": _die,
    "crash": _crash,
    "hang": _hang,
    "raise": _fail,
    "print": _print,
    "starve": _starve,
    "eat": _eat,
}


class NullSession(Session):
    """A session that answers zeros. Each call runs `work` turns of an empty loop.

    The option `fault`, written `KIND@STEP[:N][/BATCH][+GPU]`, happens at the Nth `STEP`.
    """

    def __init__(self, artifact: Artifact, cell: Cell) -> None:
        options = dict(cell.settings.options)
        self._artifact, self._cell = artifact, cell
        self._work = self._turns = int(options.get("work", 0))
        self._by_value = int(options.get("by_value", 0))
        self._fault = _Fault(options.get("fault", ""), cell)
        self._fault.at("open")
        self.info = SessionInfo(executed=cell.precision, placement=None, settings=(("work", str(self._work)),))

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._fault.at("bind")
        missing = [spec.name for spec in self._artifact.inputs if spec.name not in inputs]
        if missing:
            raise RuntimeFailed(f"input {missing[0]!r} is not bound")
        if self._by_value:
            largest = max((float(np.abs(array).max(initial=0)) for array in inputs.values()), default=0.0)
            self._turns = self._work + int(self._by_value * largest)

    def start(self) -> None:
        self._fault.at("start")
        for _ in range(self._turns):
            pass

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        self._fault.at("fetch")
        shapes = {
            spec.name: [d if isinstance(d, int) else self._cell.batch for d in spec.shape] for spec in self._artifact.outputs
        }
        return {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in self._artifact.outputs}

    def fork(self) -> Session:
        return NullSession(self._artifact, self._cell)


class _Fault:
    """One fault at one step: `die@start:100/8+1` kills the worker at the 100th start, in cells of batch 8 on GPU 1 only."""

    def __init__(self, text: str, cell: Cell) -> None:
        kind, _, place = text.partition("@")
        place, _, gpu = place.partition("+")
        place, _, batch = place.partition("/")
        self._step, _, count = place.partition(":")
        self._left = int(count or 1)
        is_here = gpu in ("", str(Device.parse(cell.device).index)) and batch in ("", str(cell.batch))
        self._do = FAULTS.get(kind) if is_here else None

    def at(self, step: str) -> None:
        if self._do is None or step != self._step:
            return
        self._left -= 1
        if self._left == 0:
            self._do()


class Null(Backend):
    """The instrument. It accepts every model, precision and batch."""

    name = "null"
    instrument = True
    precisions: ClassVar[Mapping[str, str]] = {name: name for name in PRECISIONS}
    options: ClassVar[Mapping[str, str]] = {
        "work": "turns of an empty loop in each call",
        "by_value": "further turns for each unit of the largest value in the inputs: a call whose time depends on its data",
        "fault": "die|crash|hang|raise|print|starve|eat @ open|bind|start|fetch [:N] [/BATCH] [+GPU]",
    }

    def _probe(self) -> Availability:
        gpus = tuple(f"cuda:{index} null" for index in range(_gpu_count()))
        return Availability(available=True, version=np.__version__, devices=("cpu", *gpus))

    def supports(self, cell: Cell, artifact: Artifact) -> str | None:
        device = Device.parse(cell.device)
        on_cpu = replace(cell, device="cpu") if device.kind == "cuda" and device.index < _gpu_count() else cell
        return super().supports(on_cpu, artifact)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        return NullSession(artifact, cell)


def _gpu_count() -> int:
    """Number of the GPUs that do not exist."""
    return int(os.environ.get(GPUS_VARIABLE, "0"))
