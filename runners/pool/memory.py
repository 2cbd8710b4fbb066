"""How many crews may be open at the same time: as many as fit into the machine's memory, and into the GPU's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...spec import Device
from .pool import Worker

GPU_SPARE = 1.2  # a crew holds more while it computes than when it was opened


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`resident_mb` that all crews together may have resident, and who tells what is free on a GPU, in MB, by CUDA's index."""

    resident_mb: float
    gpu_free_mb: Callable[[int], float | None] = lambda _: None


class Room:
    """What is left for another crew, if it takes as much as the largest so far."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._largest_mb = self._largest_gpu_mb = 0.0
        self._gpu: int | None = None
        self._free_mb: float | None = None

    def begin(self, workers: Iterable[Worker], device: str) -> bool:
        """True if there is no room for a crew on `device` beside those of `workers`."""
        parsed = Device.parse(device)
        self._gpu = None if parsed.kind == "cpu" else parsed.index
        self._free_mb = self._gpu_free_mb()
        full = sum(worker.resident_mb() for worker in workers) + self._largest_mb > self._limits.resident_mb
        return full or (self._free_mb is not None and self._free_mb < self._largest_gpu_mb * GPU_SPARE)

    def end(self, worker: Worker | None) -> None:
        """The crew is open, in `worker` if that is left. On the GPU it took what is no longer free there, since not every
        driver tells it by process."""
        self._largest_mb = max(self._largest_mb, worker.resident_mb() if worker else 0.0)
        left_mb = self._gpu_free_mb()
        if self._free_mb is not None and left_mb is not None:
            self._largest_gpu_mb = max(self._largest_gpu_mb, self._free_mb - left_mb)

    def _gpu_free_mb(self) -> float | None:
        return None if self._gpu is None else self._limits.gpu_free_mb(self._gpu)
