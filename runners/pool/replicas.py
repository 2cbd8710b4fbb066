"""Workers of a cell on several GPUs: one process for each GPU, which together are one worker. Loads no framework.

A process for each GPU is how such models are deployed, and it holds for every runtime (docs/adr/0048). Each process gets the
cell with its own device. All count throughput over the same time. An error names the GPU on which it happened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from ...errors import BenchError
from ...spec import Cell, Device, gpu_count
from ..worker.clock import Clock
from ..worker.jobs import Job, TimeThroughput, Verify, WarmUp
from .pool import Pool, Worker
from .process import OnReport
from .replica_answers import COMBINED

Answer = TypeVar("Answer")

BEGIN_S = 0.02  # until all workers have read a job that they begin at the same time


def start_worker(pool: Pool, cell: Cell, log: Path, python: str = sys.executable, *, network: bool = False) -> Worker:
    """Start the worker of `cell`: a process, or for a cell on several GPUs a process for each of them."""
    if (gpu_count(cell.device) or 1) == 1:
        return pool.start(log, python, network=network)
    workers: dict[Device, Worker] = {}
    try:
        for device in Device.parse(cell.device).each:
            # a log of its own: the reason of a dead process is the last line of its log
            own = log.with_stem(f"{log.stem}-{device.kind}{device.index}")
            workers[device] = pool.start(own, python, network=network)
    except BaseException:
        for worker in workers.values():
            worker.dismiss()
        raise
    return Replicas(workers)


class Replicas:
    """One worker made of the `workers` of several devices, as a context manager.

    A job that COMBINED has goes to all workers. Every other job, such as one for single calls, goes to the first alone.
    `clock`: its monotonic time is that of the machine, which all processes share.
    """

    def __init__(self, workers: Mapping[Device, Worker], clock: Clock | None = None) -> None:
        self._workers, self._clock = dict(workers), clock or Clock()
        self._keys: dict[tuple[str, Device], str] = {}

    @property
    def network(self) -> str:
        """The report of the first worker: all are started alike."""
        return self._workers[self._first].network

    @property
    def begin_ns(self) -> int:
        """Start of the first process."""
        return min(worker.begin_ns for worker in self._workers.values())

    def resident_mb(self) -> float:
        """Resident memory of all processes, in MB."""
        return sum(worker.resident_mb() for worker in self._workers.values())

    @property
    def can_pause(self) -> bool:
        """False: the processes of GPUs do not spin beside another cell."""
        return False

    def pause(self) -> None:
        """Do nothing."""

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """Send `job` and return the answer of all. Raises like a worker; the message names the GPU."""
        if isinstance(job, WarmUp) and job.concurrency is None:
            return cast(Answer, self._combined(job, self._warmed(job, timeout_s)))
        if isinstance(job, TimeThroughput):
            job = cast("Job[Answer]", replace(job, begin_ns=self._clock.now_ns() + int(BEGIN_S * 1e9)))
        return self._combined(job, self._asked(self._for(job), job, timeout_s, on_report))

    def send(self, job: Job[Any]) -> None:
        """Send `job` without waiting for the answers. Raises `WorkerDied`."""
        self._send(self._for(job), job)

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """Wait for the answers to a sent `job`, and combine them. Raises like `ask`."""
        return self._combined(job, self._received(self._for(job), job, timeout_s, on_report))

    def kill(self) -> None:
        """Kill all processes now."""
        for worker in self._workers.values():
            worker.kill()

    def dismiss(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.dismiss()

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.dismiss()

    @property
    def _first(self) -> Device:
        return next(iter(self._workers))

    def _for(self, job: Job[Any]) -> Sequence[Device]:
        """Devices whose workers get `job`."""
        return list(self._workers) if type(job) in COMBINED else [self._first]

    def _warmed(self, job: Job[Answer], timeout_s: float) -> dict[Device, Answer]:
        """Warm up all. The search runs on one GPU while the others are idle, and its winner holds for all."""
        first: dict[Device, Any] = self._asked([self._first], job, timeout_s)
        job = replace(job, **{"concurrency": first[self._first].concurrency})
        return {**first, **self._asked(list(self._workers)[1:], job, timeout_s)}

    def _asked(
        self, devices: Sequence[Device], job: Job[Answer], timeout_s: float, on_report: OnReport | None = None
    ) -> dict[Device, Answer]:
        self._send(devices, job)
        return self._received(devices, job, timeout_s, on_report)

    def _send(self, devices: Sequence[Device], job: Job[Any]) -> None:
        for device in devices:
            with _naming(device):
                self._workers[device].send(self._own(job, device))

    def _received(
        self, devices: Sequence[Device], job: Job[Answer], timeout_s: float, on_report: OnReport | None
    ) -> dict[Device, Answer]:
        """Answers by device. Raises the first failure, after all others have answered: the next job finds no old answer."""
        answers: dict[Device, Answer] = {}
        failures: list[BenchError] = []
        for device in devices:
            try:
                with _naming(device):
                    own = self._own(job, device)
                    answers[device] = self._workers[device].receive(
                        own, timeout_s, on_report if device == self._first else None
                    )
            except BenchError as error:
                if error.spoils_worker:  # its caller ends all processes, thus nobody needs the other answers
                    raise
                failures.append(error)
        if failures:
            raise failures[0]
        return answers

    def _combined(self, job: Job[Answer], answers: Mapping[Device, Answer]) -> Answer:
        combine = COMBINED.get(type(job))
        answer: Answer = combine(answers) if combine else answers[self._first]
        return answer

    def _own(self, job: Job[Answer], device: Device) -> Job[Answer]:
        """`job` for the worker of one device: with the cells on this device, and with the key of the cell."""
        cells = {name: cell for name in ("cell", "parallel") if isinstance(cell := getattr(job, name, None), Cell)}
        changed: dict[str, Any] = {name: replace(cell, device=str(device)) for name, cell in cells.items()}
        self._keys |= {(cell.key, device): changed[name].key for name, cell in cells.items()}
        if key := getattr(job, "key", None):
            changed["key"] = self._keys.get((key, device), key)
        if isinstance(job, Verify) and device != self._first:  # the accuracy of one replica holds for all
            changed["samples"] = None
        return replace(job, **changed) if changed else job


@contextmanager
def _naming(device: Device) -> Iterator[None]:
    """Put the device before the message of each error inside."""
    try:
        yield
    except BenchError as error:
        raise type(error)(f"on {device}: {error.message}", error.hint) from error
