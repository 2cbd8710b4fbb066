"""Pools of workers, as the rest of the package knows them: start a worker, ask it, end it. psutil and NVML for this machine.

A pool starts its workers on one machine, and tells of that machine. Nothing outside this folder knows a worker's process, and
no job holds a path but as jobs.Here and jobs.There, so a pool may have its workers elsewhere.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from ...results.store.head import Host
from ..worker.clock import Clock
from ..worker.jobs import Job
from ..worker.nvml import Nvml
from ..worker.threads import usable_threads
from . import host
from .process import OnReport, ProcessWorker

Answer = TypeVar("Answer")


class Worker(Protocol):
    """A worker that answers jobs, one after the other (process.ProcessWorker says what each part means)."""

    network: str
    begin_ns: int

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer: ...

    def send(self, job: Job[Any]) -> None: ...

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer: ...

    def resident_mb(self) -> float: ...

    def dismiss(self) -> None: ...

    def __enter__(self) -> Worker: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Pool(Protocol):
    """A source of workers on one machine, with facts of that machine."""

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> Worker:
        """A new worker of the interpreter `python`; what it prints goes to the file `log`. Without `network` it has none where
        the system allows that."""

    def host(self) -> Host:
        """Facts of the machine."""

    def threads(self) -> int:
        """Number of threads that may compute at the same time."""

    def memory_free_mb(self) -> float:
        """Memory that workers could still take."""

    def gpu_free_mb(self, index: int) -> float | None:
        """Memory that nobody holds on the GPU with CUDA's `index`; None where that cannot be known."""


@dataclass(frozen=True, kw_only=True)
class Local:
    """The pool of this machine: each worker is a process, and sees the parent's folders."""

    clock: Clock = field(default_factory=Clock)
    gpu: Nvml = field(default_factory=Nvml)

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> Worker:
        """A new process."""
        return ProcessWorker(log, self.clock, python, network=network)

    def host(self) -> Host:
        return host.describe(self.gpu)

    def threads(self) -> int:
        return usable_threads()

    def memory_free_mb(self) -> float:
        return host.memory_free_mb()

    def gpu_free_mb(self, index: int) -> float | None:
        return self.gpu.memory_free_mb(index)
