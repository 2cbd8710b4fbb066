"""Limit of open crews: as many as fit into the machine's memory, and into the GPU's. A crew is the cells of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...spec import Device
from .pool import Worker

GPU_SPARE = 1.2  # a crew uses more memory while it computes than after it opens


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Memory limits: `resident_mb` for all crews together, and a function for the free MB of a GPU by CUDA's index."""

    resident_mb: float
    gpu_free_mb: Callable[[int], float | None] = lambda _: None


class Room:
    """Estimate of the room for another crew, which is assumed as large as the largest so far."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._largest_mb = self._largest_gpu_mb = 0.0
        self._gpus: tuple[int, ...] = ()
        self._free_mb: float | None = None

    def begin(self, workers: Iterable[Worker], device: str) -> bool:
        """Record the memory before a crew opens. True if a crew on `device` has no room beside the crews of `workers`."""
        parsed = Device.parse(device)
        self._gpus = tuple(each.index for each in parsed.each) if parsed.kind == "cuda" else ()
        self._free_mb = self._gpu_free_mb()
        full = sum(worker.resident_mb() for worker in workers) + self._largest_mb > self._limits.resident_mb
        return full or (self._free_mb is not None and self._free_mb < self._largest_gpu_mb * GPU_SPARE)

    def end(self, worker: Worker | None) -> None:
        """Record the memory of the crew that just opened in `worker`, None for a lost worker."""
        self._largest_mb = max(self._largest_mb, worker.resident_mb() if worker else 0.0)
        left_mb = self._gpu_free_mb()  # the drop in free memory, since some drivers do not report memory per process
        if self._free_mb is not None and left_mb is not None:
            self._largest_gpu_mb = max(self._largest_gpu_mb, self._free_mb - left_mb)

    def _gpu_free_mb(self) -> float | None:
        """Free memory of the GPU of a crew that has the least; None without a GPU, or if no driver reports it."""
        free = [self._limits.gpu_free_mb(index) for index in self._gpus]
        return min((mb for mb in free if mb is not None), default=None)
