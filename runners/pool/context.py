"""Surroundings of every step that asks a worker for one answer. Loads no framework."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..worker.clock import Clock
from .isolate import Worker
from .progress import Progress

RUNS_CODE = ("export",)  # jobs that call a MODULE:FACTORY, which may fetch its weights; the others read files


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where preparation works: a folder for logs, a clock, somebody to tell, and the limit for each answer."""

    logs: Path
    clock: Clock
    progress: Progress
    timeout_s: float

    def ask(self, job: str, **request: Any) -> dict[str, Any]:
        """The answer of a fresh worker to one job."""
        with Worker(self.logs / "prepare.log", self.clock, network=job not in RUNS_CODE) as worker:
            return worker.ask(job, self.timeout_s, **request)
