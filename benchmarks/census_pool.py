"""Pool that lends each worker again: a census runs thousands of checks, and a process takes seconds to load a runtime."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from onnxbench.errors import BenchError
from onnxbench.results.store.head import Host
from onnxbench.runners.pool.pool import Local, Worker
from onnxbench.runners.pool.process import OnReport
from onnxbench.runners.worker.jobs import Job

Answer = TypeVar("Answer")
MOST_LOANS = 600  # of one process: runtimes do not free all memory of a compiled model


@dataclass(eq=False)
class LentWorker:
    """A worker of `pool`. `dismiss` gives the worker back, unless it died, or an answer is still to come.

    `unread`: number of jobs whose answers nobody has read. The next borrower would take such an answer for its own.
    """

    worker: Worker
    name: str
    pool: LendingPool
    loans: int = 0
    spoiled: bool = False
    unread: int = 0

    @property
    def network(self) -> str:
        return self.worker.network

    @property
    def begin_ns(self) -> int:
        return self.worker.begin_ns

    @property
    def can_pause(self) -> bool:
        return self.worker.can_pause

    def pause(self) -> None:
        self.worker.pause()

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        self.send(job)
        return self.receive(job, timeout_s, on_report)

    def send(self, job: Job[Any]) -> None:
        try:
            self.worker.send(job)
            self.unread += 1
        except BenchError as error:
            self.spoiled = self.spoiled or error.spoils_worker
            raise

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        try:
            answer = self.worker.receive(job, timeout_s, on_report)
        except BenchError as error:
            self.spoiled = self.spoiled or error.spoils_worker
            self.unread -= 1
            raise
        self.unread -= 1
        return answer

    def resident_mb(self) -> float:
        return self.worker.resident_mb()

    def dismiss(self) -> None:
        self.pool.take_back(self)

    def __enter__(self) -> LentWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        # An error in the middle of an answer leaves bytes in the pipe: the next borrower would read them.
        self.spoiled = self.spoiled or isinstance(error, KeyboardInterrupt)
        self.dismiss()


@dataclass(eq=False)
class LendingPool:
    """Pool of this machine. A worker is lent to the steps whose log has one name: those of one backend, and the preparation."""

    logs: Path
    local: Local = field(default_factory=Local)
    idle: dict[str, list[LentWorker]] = field(default_factory=lambda: defaultdict(list))
    facts: Host | None = None

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> LentWorker:
        """Lend an idle worker, else a new one."""
        if self.idle[log.name]:
            lent = self.idle[log.name].pop()
            lent.loans += 1
            return lent
        return LentWorker(worker=self.local.start(self.logs / log.name, python, network=network), name=log.name, pool=self)

    def take_back(self, lent: LentWorker) -> None:
        """Keep a worker for the next loan. End a spoiled one, and one after many loans."""
        if lent.spoiled or lent.unread or lent.loans >= MOST_LOANS:
            lent.worker.dismiss()
        elif lent not in self.idle[lent.name]:
            self.idle[lent.name].append(lent)

    def close(self) -> None:
        """End the idle workers."""
        for lent in (lent for each in self.idle.values() for lent in each):
            lent.worker.dismiss()
        self.idle.clear()

    def host(self) -> Host:
        self.facts = self.facts or self.local.host()
        return self.facts

    def threads(self) -> int:
        return self.local.threads()

    def memory_free_mb(self) -> float:
        return self.local.memory_free_mb()

    def contiguous_memory(self) -> AbstractContextManager[object]:
        return nullcontext()  # nothing is timed

    def gpu_free_mb(self, index: int) -> float | None:
        return self.local.gpu_free_mb(index)
