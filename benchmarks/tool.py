"""One cell of onnxbench that stays open, so that a benchmark can visit it in turns with other instruments.

A visit runs the jobs that `bench infer` runs, in a worker process; only the schedule is the benchmark's own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from onnxbench.budgets import BUDGETS
from onnxbench.models.shapes import batch_rule, cell_shapes
from onnxbench.results.stats.intervals import Interval, log_interval
from onnxbench.results.stats.percentiles import nearest_rank
from onnxbench.runners.pool.isolate import Worker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.threads import usable_threads
from onnxbench.spec import Artifact, Cell, Concurrency, Settings, from_wire, to_wire

TIMEOUT_S = 120.0


class OpenCell:
    """`backend` on the ONNX file `file` at `batch`; a context manager. Times are nanoseconds, rates items a second."""

    def __init__(self, backend: str, file: str, batch: int) -> None:
        self.name, self._batch = backend, batch
        self._folder = Path(tempfile.mkdtemp())
        self._worker = Worker(self._folder / "log", Clock())
        artifact = from_wire(Artifact, self._ask("describe", path=str(Path(file).absolute()), model="m"))
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
        drawn = {"artifact": to_wire(artifact), "shapes": shapes, "seed": 0, "given": {}, "folder": str(self._folder)}
        self._ask("draw", **drawn)
        self._ask("open", cell=to_wire(self._cell), artifact=to_wire(artifact), inputs=str(self._folder))

    def warm(self, search: bool = False) -> str:
        """Warm up; with `search` find the settings with the most throughput, which are the answer."""
        budget = BUDGETS["normal"]
        given = None if search else asdict(Concurrency(threads=self._cell.settings.threads))
        how = {"least_ms": budget.warmup_ms, "limit_ms": budget.warmup_limit_ms, "passes": budget.passes, "concurrency": given}
        found = self._ask("warm", key=self._cell.key, **how)
        self.concurrency = found["concurrency"]
        return str(found["deploy"])

    def latency(self, seconds: float) -> dict[str, float]:
        """p50 of a visit, with transfers (`e2e`) and without."""
        place = self._folder / "samples.npz"
        self._ask("latency", key=self._cell.key, block_ms=seconds * 1e3, calls=1, samples=str(place))
        with np.load(place) as arrays:
            return {"p50_ns": nearest_rank(arrays["latency"], 50), "e2e_ns": nearest_rank(arrays["end_to_end"], 50)}

    def throughput(self, seconds: float) -> float:
        """Items a second with the settings that were found."""
        how = {"block_ms": seconds * 1e3, "concurrency": self.concurrency}
        rate = self._ask("throughput", key=self._cell.key, **how)["rate"]
        return float(self._batch * rate["calls"] / rate["took_ns"] * 1e9)

    def load(self, arriving: dict[str, Any], give_up_ms: float, concurrency: dict[str, Any]) -> dict[str, Any]:
        """What is known of items that arrive so."""
        how = {"waiting": {"wait_ms": 0.0, "give_up_ms": give_up_ms}, "concurrency": concurrency}
        return self._ask("load", key=self._cell.key, arriving=arriving, **how)

    def _ask(self, job: str, **request: Any) -> dict[str, Any]:
        return self._worker.ask(job, TIMEOUT_S, **request)

    def __enter__(self) -> OpenCell:
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
