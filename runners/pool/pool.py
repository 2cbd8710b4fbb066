"""Pools of workers: the interface to start, ask and end a worker. Imports psutil and NVML for this machine.

A pool starts its workers on one machine, and gives facts of that machine. A pool may have its workers on another machine: no
code outside this folder uses a worker's process, and a job has paths as jobs.Here and jobs.There alone.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from ...results.store.head import Host
from ..worker.clock import Clock
from ..worker.jobs import Job
from ..worker.nvml import Nvml
from ..worker.threads import usable_threads
from . import fragments, host
from .clock_lock import locked_clocks
from .process import OnReport, ProcessWorker

Answer = TypeVar("Answer")


class Worker(Protocol):
    """A worker that answers jobs, one after the other. process.ProcessWorker documents each part."""

    @property
    def network(self) -> str: ...

    @property
    def begin_ns(self) -> int: ...

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer: ...

    def send(self, job: Job[Any]) -> None: ...

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer: ...

    def resident_mb(self) -> float: ...

    @property
    def can_pause(self) -> bool: ...

    def pause(self) -> None: ...

    def kill(self) -> None: ...

    def dismiss(self) -> None: ...

    def __enter__(self) -> Worker: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Pool(Protocol):
    """Source of workers on one machine, with facts of that machine."""

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> Worker:
        """Start a worker of the interpreter `python`. Its output goes to the file `log`.

        `network` False: the worker has no network where the system can isolate it.
        """

    def host(self) -> Host:
        """Facts of the machine for run.json."""

    def threads(self) -> int:
        """Number of threads that may compute at the same time."""

    def memory_free_mb(self) -> float:
        """Memory in MB that workers can still use."""

    def contiguous_memory(self) -> AbstractContextManager[object]:
        """Give workers that open while inside memory in large blocks, where the system can."""

    def gpu_free_mb(self, index: int) -> float | None:
        """Free memory in MB of the GPU with CUDA's `index`; None where no driver reports it."""

    def locked_clocks(self, index: int, mhz: int) -> AbstractContextManager[None]:
        """Lock the clock of a GPU while inside, at `mhz` or for 0 at its base clock. Raises `BadInput` where it cannot."""


@dataclass(frozen=True, kw_only=True)
class Local:
    """Pool of this machine. Each worker is a process that shares the parent's folders."""

    clock: Clock = field(default_factory=Clock)
    gpu: Nvml = field(default_factory=Nvml)

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> Worker:
        """Start a process."""
        return ProcessWorker(log, self.clock, python, network=network)

    def host(self) -> Host:
        return host.describe(self.gpu)

    def threads(self) -> int:
        return usable_threads()

    def memory_free_mb(self) -> float:
        return host.memory_free_mb()

    def contiguous_memory(self) -> AbstractContextManager[object]:
        return fragments.contiguous_memory(host.memory_free_mb())

    def gpu_free_mb(self, index: int) -> float | None:
        return self.gpu.memory_free_mb(index)

    def locked_clocks(self, index: int, mhz: int) -> AbstractContextManager[None]:
        return locked_clocks(index, mhz, self.gpu)
