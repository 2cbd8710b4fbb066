"""One cell of onnxbench that stays open, so that a benchmark can visit it in turns with other instruments.

A visit runs the jobs that `bench infer` runs, in a worker process; only the schedule is the benchmark's own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import LoadPoint
from onnxbench.models.shapes import batch_rule, cell_shapes
from onnxbench.results.stats.intervals import Interval, log_interval
from onnxbench.results.stats.percentiles import nearest_rank
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.worker.file_jobs import Describe, Draw
from onnxbench.runners.worker.jobs import ApplyLoad, Here, Job, Open, There, TimeLatency, TimeThroughput, WarmUp
from onnxbench.runners.worker.threads import usable_threads
from onnxbench.spec import Cell, Concurrency, Settings

TIMEOUT_S = 120.0
Answer = TypeVar("Answer")


class BenchmarkCell:
    """`backend` on the ONNX file `file` at `batch`; a context manager. Times are nanoseconds, rates items a second."""

    def __init__(self, backend: str, file: str, batch: int) -> None:
        self.name, self._batch = backend, batch
        self._folder = Path(tempfile.mkdtemp())
        self._worker = Local().start(self._folder / "log", network=True)
        artifact = self._ask(Describe(file=Here(path=str(Path(file).absolute())), model="m"))
        rule = batch_rule(artifact.inputs, {})
        shapes = cell_shapes(artifact.inputs, batch, rule, {})
        self._cell = Cell(
            model="m",
            sha256=artifact.sha256,
            backend=backend,
            device="cpu",
            precision=artifact.precision,
            batch=batch,
            shapes=shapes,
            settings=Settings(threads=usable_threads()),
        )
        self._ask(Draw(artifact=artifact, shapes=shapes, seed=0, folder=There(path=str(self._folder))))
        self._ask(Open(cell=self._cell, artifact=artifact, inputs=Here(path=str(self._folder))))

    def warm(self, search: bool = False) -> str:
        """Warm up; with `search` find the settings with the most throughput, which are the answer."""
        budget = BUDGETS["normal"]
        job = WarmUp(
            key=self._cell.key,
            least_ms=budget.warmup_ms,
            limit_ms=budget.warmup_limit_ms,
            passes=budget.passes,
            concurrency=None if search else Concurrency(threads=self._cell.settings.threads),
        )
        found = self._ask(job)
        self.concurrency = found.concurrency or Concurrency()
        return found.deploy

    def latency(self, seconds: float) -> dict[str, float]:
        """p50 of a visit, with transfers (`e2e`) and without."""
        place = self._folder / "samples.npz"
        self._ask(TimeLatency(key=self._cell.key, block_ms=seconds * 1e3, calls=1, samples=There(path=str(place))))
        with np.load(place) as arrays:
            return {"p50_ns": nearest_rank(arrays["latency"], 50), "e2e_ns": nearest_rank(arrays["end_to_end"], 50)}

    def throughput(self, seconds: float) -> float:
        """Items a second with the settings that were found."""
        job = TimeThroughput(key=self._cell.key, block_ms=seconds * 1e3, concurrency=self.concurrency)
        return self._batch * self._ask(job).rate.calls_per_s

    def load(self, rate_per_s: float, items: int, seed: int, give_up_ms: float) -> LoadPoint:
        """Figures of items that arrive at this rate."""
        job = ApplyLoad(
            key=self._cell.key,
            rate_per_s=rate_per_s,
            items=items,
            seed=seed,
            wait_ms=0.0,
            give_up_ms=give_up_ms,
            concurrency=self.concurrency,
        )
        return self._ask(job)

    def _ask(self, job: Job[Answer]) -> Answer:
        return self._worker.ask(job, TIMEOUT_S)

    def __enter__(self) -> BenchmarkCell:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.dismiss()
        shutil.rmtree(self._folder)


def ratio(new: Sequence[float], base: Sequence[float]) -> Interval:
    """`new` over `base`, paired by round."""
    found = log_interval([one / other for one, other in zip(new, base, strict=True)])
    assert found is not None, "at least ten rounds"
    return found


def told(interval: Interval) -> str:
    return f"{interval.middle:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
