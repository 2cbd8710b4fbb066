"""Asking every backend, each in a process of its own, whether it can run here. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchError
from .clock import Clock
from .isolate import Worker
from .plan import Found, found_from

PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the backends said, and the workers of those that can run here: their runtime is imported already."""

    found: Sequence[Found]
    workers: dict[str, Worker]

    def dismiss(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            worker.dismiss()


def survey(names: Sequence[str], logs: Path, clock: Clock) -> Survey:
    """What each of `names` says of itself, all asked at the same time. A probe that dies is an unavailable backend."""
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in names:
            workers[name] = Worker(logs / f"{name}.log", clock)
            stack.callback(workers[name].dismiss)
            workers[name].send("probe", backend=name)
        found = [_answer(name, worker) for name, worker in workers.items()]
        stack.pop_all()
    usable = {item.name for item in found if item.available}
    for name in workers.keys() - usable:
        workers.pop(name).dismiss()
    return Survey(found=found, workers=workers)


def _answer(name: str, worker: Worker) -> Found:
    try:
        return found_from(name, worker.receive("probe", PROBE_TIMEOUT_S))
    except BenchError as error:
        return Found(name=name, available=False, device_kind="", reason=error.message)
