"""Surroundings of every step that asks a worker for one answer. Loads no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..worker.clock import Clock
from ..worker.jobs import Job
from ..worker.tasks import JOBS
from .pool import Local, Pool
from .progress import Progress

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Surroundings of a step: who starts workers, a folder for logs, a clock, somebody to tell, and the limit for each answer.

    `networks`: the network that the workers had, by job.
    """

    logs: Path
    progress: Progress
    timeout_s: float
    clock: Clock = field(default_factory=Clock)
    pool: Pool = field(default_factory=Local)
    networks: dict[str, str] = field(default_factory=dict)

    def ask(self, job: Job[Answer]) -> Answer:
        """The answer of a fresh worker to one job."""
        task = JOBS[type(job)]
        with self.pool.start(self.logs / "prepare.log", network=task.network) as worker:
            try:
                return worker.ask(job, self.timeout_s)
            finally:
                self.networks[task.name] = worker.network
