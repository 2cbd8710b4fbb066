"""Surroundings of every step that asks a worker for one answer. Loads no framework."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import WorkerDied, one_line
from ...untrusted import WRONG
from ..worker.clock import Clock
from ..worker.serve import JOBS
from .isolate import Worker
from .progress import Progress


@contextmanager
def answered(what: str, python: str) -> Iterator[None]:
    """Inside, answers about `what` are taken apart; one of another interpreter that is malformed is `WorkerDied`.

    From this interpreter it would be a defect of this package, which is not taken for a cell's failure.
    """
    try:
        yield
    except WRONG as error:
        if python == sys.executable:
            raise
        raise WorkerDied(
            f"the answer about {what} is not of the protocol ({type(error).__name__}: {one_line(error, 80)})",
            f"{python} may be no interpreter that runs this package",
        ) from error


@dataclass(frozen=True, kw_only=True)
class Context:
    """Surroundings of a step: a folder for logs, a clock, somebody to tell, and the limit for each answer.

    `networks`: the network that the workers had, by job.
    """

    logs: Path
    clock: Clock
    progress: Progress
    timeout_s: float
    networks: dict[str, str] = field(default_factory=dict)

    def ask(self, job: str, **request: Any) -> dict[str, Any]:
        """The answer of a fresh worker to one job."""
        with Worker(self.logs / "prepare.log", self.clock, network=JOBS[job].network) as worker:
            try:
                return worker.ask(job, self.timeout_s, **request)
            finally:
                self.networks[job] = worker.network
