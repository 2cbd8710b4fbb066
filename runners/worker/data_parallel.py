"""Trainer of a data parallel rank: a copy of the model, and a share of each batch. Imports torch inside functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import Unsupported
from ...spec import Device
from .process_group import ProcessGroup
from .rank_jobs import SHARED, JoinRanks
from .train_job import Trainer, trainer_parts

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class DataParallelTrainer(Trainer):
    """Trainer that computes a share of each step. The ranks average their gradients, so all of them make the same step."""

    group: ProcessGroup
    batch_norm: str | None = None

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """Every Nth row, from the rank's number on, for N ranks."""
        return rows[self.group.rank :: self.group.ranks]

    def loss(self, logits: torch.Tensor, target: torch.Tensor, images: int) -> torch.Tensor:
        """This rank's share of the mean over `images`, times the number of ranks, by which DDP divides the gradients.

        The last batch of an epoch may give the ranks unequal shares. The mean of their means would then be wrong.
        """
        import torch

        return torch.nn.functional.cross_entropy(logits, target, reduction="sum") * (self.group.ranks / images)

    def test(self, images: torch.Tensor, labels: torch.Tensor, on_batch: Callable[[], None]) -> tuple[float, float]:
        """Every rank tests its share with the statistics of rank 0, which the checkpoint has."""
        from torch import distributed

        for values in self.network.module.buffers():
            distributed.broadcast(values, 0)
        return super().test(self.share(images), self.share(labels), on_batch)

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of test images. DDP would exchange buffers for each batch, and ranks may have unequal numbers of batches."""
        scores: torch.Tensor = self.network.module(images)
        return scores

    def mean_score(self, loss: float, right: int, images: int) -> tuple[float, float]:
        loss, right_sum, images_sum = self.group.sums([loss, right, images])
        return loss / images_sum, 100 * right_sum / images_sum

    def all_losses(self) -> list[float]:
        """Losses of the first steps. A rank has its share times the number of ranks, so their mean is the whole loss."""
        return [total / self.group.ranks for total in self.group.sums([float(loss) for loss in self.losses])]

    def finish(self) -> None:
        super().finish()
        self.group.sums([0.0])

    def whole_network(self) -> Any:
        """The trained network, which every rank has."""
        return self.network.module


def make(torch: Any, job: JoinRanks, network: Any, group: ProcessGroup) -> DataParallelTrainer:
    """Copy `network` to the rank's device, with one gradient exchange for all ranks."""
    from torch.nn.parallel import DistributedDataParallel

    device = Device.parse(job.device)
    has_batch_norm = any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in network.modules())
    if job.ranks > 1 and has_batch_norm and job.batch_norm == SHARED:
        if device.kind == "cpu":
            raise Unsupported(
                "the model has BatchNorm, whose statistics PyTorch shares between processes on GPUs only;"
                " --batch-norm local does not share them"
            )
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    ids = [device.index] if device.kind == "cuda" else None
    copy = DistributedDataParallel(network.to(job.device), device_ids=ids)
    batch_norm = job.batch_norm if has_batch_norm else None
    return DataParallelTrainer(**trainer_parts(torch, job, copy), group=group, batch_norm=batch_norm)
