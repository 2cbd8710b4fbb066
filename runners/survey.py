"""Asking every backend, each in a process of its own, whether it can run here. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import BenchError
from .clock import Clock
from .isolate import Worker
from .plan import Found, found_from

PROBE_TIMEOUT_S = 120.0


def survey(names: Sequence[str], logs: Path, clock: Clock) -> list[Found]:
    """What each of `names` says of itself, all asked at the same time. A probe that dies is an unavailable backend."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(logs / f"probe-{name}.log", clock)) for name in names}
        for name, worker in workers.items():
            worker.send("probe", backend=name)
        return [_answer(name, worker) for name, worker in workers.items()]


def _answer(name: str, worker: Worker) -> Found:
    try:
        return found_from(name, worker.receive("probe", PROBE_TIMEOUT_S))
    except BenchError as error:
        return Found(name=name, available=False, device_kind="", reason=error.message)
