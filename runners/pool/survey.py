"""Survey of the backends: a process for each probes if the backend can run here. Loads no framework."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ... import backends
from ...errors import BenchError, WorkerDied
from ...spec import Target
from ...tuning import Tunable
from ..worker.jobs import Probe, Probed
from .pool import Pool, Worker

PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class ProbedBackend(Probed):
    """Result of the probe of one backend in one environment. `python`: the environment's interpreter.

    `searched`: options to search for the rows of this target. `beside`: environment of the rows with the default options, for
    a target whose options are searched.
    """

    name: str
    environment: str = ""
    python: str = sys.executable
    searched: tuple[Tunable, ...] = ()
    beside: str | None = None

    @property
    def target(self) -> Target:
        return Target(backend=self.name, environment=self.environment)

    @property
    def home(self) -> Target:
        """The target that was probed: the one beside, for a target whose options are searched."""
        return Target(backend=self.name, environment=self.environment if self.beside is None else self.beside)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Probed backends, and the workers of those that can run here. Each worker has imported its runtime."""

    backends: Sequence[ProbedBackend]
    workers: dict[Target, Worker]

    def dismiss(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            worker.dismiss()


def survey(places: Mapping[Target, str], logs: Path, pool: Pool, meanwhile: Callable[[], object] = lambda: None) -> Survey:
    """Probe each target of `places` in its interpreter, all at the same time. A probe that dies makes its backend unavailable.

    `meanwhile` is called while the workers import their runtimes. Raises `StorageFailed` where a log cannot be written.
    """
    with ExitStack() as stack:
        # Send to all before the first answer: the imports of runtimes, seconds each, run at the same time.
        workers: dict[Target, Worker] = {}
        for target, python in places.items():
            workers[target] = pool.start(logs / f"{target}.log", python, network=backends.network(target.backend))
            stack.callback(workers[target].dismiss)
            with suppress(WorkerDied):  # `receive` raises it again, with the worker's exit code
                workers[target].send(Probe(backend=target.backend))
        meanwhile()
        probed = [_answer(target, places[target], worker) for target, worker in workers.items()]
        stack.pop_all()
    usable = {item.target for item in probed if item.available}
    for target in workers.keys() - usable:  # the others keep their runtime loaded for the sweep
        workers.pop(target).dismiss()
    return Survey(backends=probed, workers=workers)


def _answer(target: Target, python: str, worker: Worker) -> ProbedBackend:
    """Wait for the answer of one probe. A reason names another interpreter than this one, since the fix is to be made there."""
    where: dict[str, Any] = {"name": target.backend, "environment": target.environment, "python": python}
    inside = "" if python == sys.executable else f"{python}: "
    try:
        answer = worker.receive(Probe(backend=target.backend), PROBE_TIMEOUT_S)
        reason = answer.reason and f"{inside}{answer.reason}"
        return probed_backend(replace(answer, reason=reason), **where)
    except BenchError as error:
        return ProbedBackend(**where, available=False, device_kind="", reason=f"{inside}{error}")


def probed_backend(answer: Probed, **where: Any) -> ProbedBackend:
    """Combine a probe's answer with its place: `where` has the name, the environment and the interpreter."""
    return ProbedBackend(**{part.name: getattr(answer, part.name) for part in fields(answer)}, **where)
