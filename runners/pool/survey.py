"""Asking every backend, each in a process of its own, whether it can run here. Loads no framework."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ... import backends
from ...errors import BenchError, WorkerDied
from ...spec import Target
from ..worker.jobs import Probe, Probed
from .pool import Pool, Worker

PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class ProbedBackend(Probed):
    """What the probe of one backend told, in one of its environments, whose interpreter is `python`."""

    name: str
    environment: str = ""
    python: str = sys.executable

    @property
    def target(self) -> Target:
        return Target(backend=self.name, environment=self.environment)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the backends said, and the workers of those that can run here: their runtime is imported already."""

    backends: Sequence[ProbedBackend]
    workers: dict[Target, Worker]

    def dismiss(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            worker.dismiss()


def survey(places: Mapping[Target, str], logs: Path, pool: Pool) -> Survey:
    """What each target of `places` says of itself in the interpreter that it has there, all asked at the same time.

    A probe that dies is an unavailable backend.
    """
    with ExitStack() as stack:
        workers: dict[Target, Worker] = {}
        for target, python in places.items():
            workers[target] = pool.start(logs / f"{target}.log", python, network=backends.network(target.backend))
            stack.callback(workers[target].dismiss)
            with suppress(WorkerDied):  # said again, and with more certainty, to who waits for the answer
                workers[target].send(Probe(backend=target.backend))
        probed = [_answer(target, places[target], worker) for target, worker in workers.items()]
        stack.pop_all()
    usable = {item.target for item in probed if item.available}
    for target in workers.keys() - usable:
        workers.pop(target).dismiss()
    return Survey(backends=probed, workers=workers)


def _answer(target: Target, python: str, worker: Worker) -> ProbedBackend:
    """A reason says in which interpreter, where it is not this one: what to do about it is to be done there."""
    where: dict[str, Any] = {"name": target.backend, "environment": target.environment, "python": python}
    inside = "" if python == sys.executable else f"{python}: "
    try:
        answer = worker.receive(Probe(backend=target.backend), PROBE_TIMEOUT_S)
        reason = answer.reason and f"{inside}{answer.reason}"
        return probed_backend(replace(answer, reason=reason), **where)
    except BenchError as error:
        return ProbedBackend(**where, available=False, device_kind="", reason=f"{inside}{error}")


def probed_backend(answer: Probed, **where: Any) -> ProbedBackend:
    """What a probe's answer says, and `where` it was asked: the name, the environment, the interpreter."""
    return ProbedBackend(**{part.name: getattr(answer, part.name) for part in fields(answer)}, **where)
