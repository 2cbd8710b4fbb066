"""Context of a step that sends one job to a fresh worker. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ...models.library import LibraryModel
from ...parity import ImageSet
from ..worker.clock import Clock
from ..worker.jobs import Data, Here, Job
from ..worker.tasks import task_of
from .decoding import Decoder
from .pool import Local, Pool
from .progress import Progress

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Context of a step: the pool of its workers, a folder for their logs, a clock, a listener, and the limit of an answer.

    `networks`: network of the workers so far (`isolated` or `open`), by the job's name. `decoder`: decodes image files, once
    for each dataset. `described`: models of libraries so far, by their names.
    """

    logs: Path
    progress: Progress
    timeout_s: float
    clock: Clock = field(default_factory=Clock)
    pool: Pool = field(default_factory=Local)
    networks: dict[str, str] = field(default_factory=dict)
    decoder: Decoder = field(default_factory=Decoder)
    described: dict[str, LibraryModel] = field(default_factory=dict)

    @property
    def images(self) -> dict[str, ImageSet]:
        """Facts of the decoded images so far, by the dataset's name."""
        return self.decoder.images

    def data_of(self, dataset: str | None) -> Data | None:
        """The dataset for a job, with its images decoded. `BadInput` if too many of them do not decode."""
        data = Data.of(dataset)
        return data and self.decoder.data_of(data, self.logs, self.pool, self.progress)

    def unlabelled_images(self, dataset: str) -> Here:
        """The place of decoded images whose classes do not matter. Raises like `data_of`."""
        return self.decoder.place_of(Data.named(dataset), self.logs, self.pool, self.progress, labelled=False)

    def ask(self, job: Job[Answer]) -> Answer:
        """Send `job` to a fresh worker and return its answer. Raises like `Worker.ask`, and `BadInput` for its images."""
        return self.ask_all([job])[0]

    def ask_all(self, jobs: Sequence[Job[Answer]]) -> list[Answer]:
        """Send `jobs` of one kind to a fresh worker, one after the other. Raises like `ask`."""
        if not jobs:
            return []
        task = task_of(type(jobs[0]))
        jobs = [self.decoder.with_arrays(job, self.logs, self.pool, self.progress) for job in jobs]
        with self.pool.start(self.logs / "prepare.log", network=task.network) as worker:
            try:
                return [worker.ask(job, self.timeout_s) for job in jobs]
            finally:
                self.networks[task.name] = worker.network
