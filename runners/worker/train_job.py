"""The worker's job `train`: the article's loop, timed by the package's clock. Imports torch inside functions.

SGD with momentum 0.9 and cross-entropy on shuffled batches. Loss and accuracy on the test split follow each
epoch.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Unavailable, Unsupported, installed
from ...evidence import Epoch
from ...factories import resolve, set_fp32
from ...files import replace_file
from ...models import MODELS, datasets
from ...spec import Device, to_wire
from .file_jobs import Train, Trained, TrainingSettings
from .jobs import ProgressReport, Reporter
from .prepare_jobs import dataset_of
from .procfs import peak_rss_mb
from .serve import State

if TYPE_CHECKING:
    import torch

Parts = Mapping[str, Any]
MOMENTUM = 0.9
EVALUATION_BATCH = 256
JOB_FIELDS = ("device", "precision", "epochs", "batch_size", "lr", "seed", "threads")  # stored in the checkpoint
REPORTS_AN_EPOCH = 20  # a report takes time inside the measured epoch
REPORT_S = 1.0  # between two reports of a slow epoch
LOSSES = 50  # steps whose training loss is kept
AMP = {"bf16": "bfloat16", "fp16": "float16"}
PRECISIONS_OF = {"cpu": ("fp32", "bf16", "fp16"), "cuda": ("fp32", "tf32", "bf16", "fp16")}


@dataclass(kw_only=True)
class Trainer:
    """Network, optimizer and random generator on one device, in one precision."""

    network: Any
    optimizer: Any
    scaler: Any
    device: str
    precision: str
    batch_size: int
    generator: torch.Generator
    losses: list[torch.Tensor] = field(default_factory=list)

    def steps(self, images: torch.Tensor, labels: torch.Tensor) -> Iterator[int]:
        """Train one epoch over shuffled batches; yield the number of each finished step."""
        import torch

        order = torch.randperm(len(images), generator=self.generator)
        self.network.train()
        for number, rows in enumerate(order.split(self.batch_size), 1):
            loss = self.step(images, labels, rows)
            if len(self.losses) < LOSSES:
                self.losses.append(loss.detach())
            yield number

    def step(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Train one step on the images at `rows`, and return its loss."""
        own = self.share(rows)
        x, y = copied(images, own, self.device), copied(labels, own, self.device)
        self.optimizer.zero_grad()
        with self.arithmetic():
            loss = self.loss(self.network(x), y, len(rows))
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """Part of `rows` on which this process computes: all of them."""
        return rows

    def check_fits(self, model: str, data: datasets.Dataset, images: torch.Tensor) -> None:
        """Raise `BadInput` unless the network takes the samples, such as `images`, and has all classes."""
        import torch

        if model in MODELS:
            data.check_inputs(MODELS[model].inputs)
        self.network.eval()
        with torch.inference_mode():
            scores = self.network(images.to(self.device))
        if scores.ndim == 2:
            data.check_classes(scores.shape[1])

    def loss(self, logits: torch.Tensor, target: torch.Tensor, images: int) -> torch.Tensor:
        """Mean cross-entropy of a step of `images` images."""
        import torch

        return torch.nn.functional.cross_entropy(logits, target)

    def test(self, images: torch.Tensor, labels: torch.Tensor, on_batch: Callable[[], None]) -> tuple[float, float]:
        """Mean cross-entropy, and accuracy in per cent. Calls `on_batch` after each batch."""
        import torch

        loss, right = 0.0, 0
        self.network.eval()
        with torch.inference_mode(), self.arithmetic():
            for x, y in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH)):
                batch_loss, batch_right = score(self.scores(x.to(self.device)), y.to(self.device))
                loss, right = loss + batch_loss, right + batch_right
                on_batch()
        return self.mean_score(loss, right, len(images))

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of test images."""
        scores: torch.Tensor = self.network(images)
        return scores

    def mean_score(self, loss: float, right: int, images: int) -> tuple[float, float]:
        """Mean cross-entropy, and accuracy in per cent, from sums over test images."""
        return loss / images, 100 * right / images

    def all_losses(self) -> list[float]:
        """Training losses of the first steps."""
        return [float(loss) for loss in self.losses]

    def arithmetic(self) -> Any:
        """Context in which the network computes in the precision."""
        return arithmetic(self.device, self.precision)

    def finish(self) -> None:
        """Wait until the device is idle."""
        wait_for(self.device)


def arithmetic(device: str, precision: str) -> Any:
    """Context in which a network on `device` computes in `precision`."""
    import torch

    dtype = getattr(torch, AMP.get(precision, "bfloat16"))
    return torch.autocast(Device.parse(device).kind, dtype, enabled=precision in AMP)


def copied(values: torch.Tensor, rows: torch.Tensor, device: str) -> torch.Tensor:
    """Copy of `values` at `rows` on `device`. A GPU takes it from pinned memory, and the host does not wait for the copy.

    PyTorch's allocator gives that memory to another step only after the copy has ended.
    """
    import torch

    if Device.parse(device).kind == "cpu":
        return values[rows]
    pinned = torch.empty((len(rows), *values.shape[1:]), dtype=values.dtype, pin_memory=True)
    return torch.index_select(values, 0, rows, out=pinned).to(device, non_blocking=True)


def wait_for(device: str) -> None:
    """Wait until `device` is idle."""
    import torch

    if Device.parse(device).kind == "cuda":
        torch.cuda.synchronize(device)


def score(logits: torch.Tensor, target: torch.Tensor) -> tuple[float, int]:
    """Sum of the cross-entropy, and number of right answers."""
    import torch

    loss = torch.nn.functional.cross_entropy(logits.float(), target, reduction="sum")
    return float(loss), int((logits.argmax(1) == target).sum())


def train(state: State, report: Reporter, job: Train) -> Trained:
    """Train a model, report progress, and write a checkpoint that contains the job and the split."""
    torch = import_torch(job)
    data = dataset_of(job.data)
    trainer = Trainer(**trainer_parts(torch, job, resolve(job.factory)().to(job.device)))
    parts = parts_of(torch, data)
    trainer.check_fits(job.model, data, parts["test"][0][:1])
    trained = run_epochs(state, report, trainer, parts, job.epochs)
    save(trainer.network, Path(job.checkpoint.path), record_of(torch, job, data, trained.epochs))
    return trained


def parts_of(torch: Any, data: datasets.Dataset) -> Parts:
    """Training images and test images, with their labels."""
    return {part: tuple(map(torch.from_numpy, data.batch(data.split[part]))) for part in ("train", "test")}


def record_of(torch: Any, job: TrainingSettings, data: datasets.Dataset, epochs: tuple[Epoch, ...]) -> dict[str, Any]:
    """Record of a training, for the checkpoint's metadata."""
    import numpy as np

    return {
        "model": job.model,
        **data.record(),
        **{name: getattr(job, name) for name in JOB_FIELDS},
        "epochs_done": [to_wire(epoch) for epoch in epochs],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def run_epochs(state: State, report: Reporter, trainer: Trainer, parts: Parts, epochs: int) -> Trained:
    """Train and test for so many epochs."""
    import torch

    _forget_peak(torch, trainer.device)
    done = tuple(_epoch(state, report, trainer, parts, number, epochs) for number in range(1, epochs + 1))
    return Trained(
        epochs=done,
        peak_memory_mb=_peak_mb(torch, trainer.device),
        torch=torch.__version__,
        losses=tuple(loss if math.isfinite(loss) else None for loss in trainer.all_losses()),
    )


def _epoch(state: State, report: Reporter, trainer: Trainer, parts: Parts, number: int, of: int) -> Epoch:
    """Time one epoch and one test. The device is idle at every reading of the clock."""
    clock, steps = state.clock, -(-len(parts["train"][0]) // trainer.batch_size)
    trainer.finish()
    begin = reported = clock.now_ns()
    for step in trainer.steps(*parts["train"]):
        if step % max(1, steps // REPORTS_AN_EPOCH) == 0 or clock.since_s(reported) > REPORT_S:
            report(ProgressReport(epoch=number, epochs=of, step=step, steps=steps))
            reported = clock.now_ns()
    trainer.finish()
    seconds = clock.since_s(begin)
    begin = clock.now_ns()
    images, labels = parts["test"]
    tested = ProgressReport(epoch=number, epochs=of, step=steps, steps=steps)
    loss, accuracy = trainer.test(images, labels, lambda: report(tested))
    trainer.finish()
    test_s = clock.since_s(begin)
    done = Epoch(
        seconds=seconds,
        train_per_s=len(parts["train"][0]) / seconds,
        test_per_s=len(images) / test_s,
        loss=loss if math.isfinite(loss) else None,
        accuracy=accuracy,
    )
    report(ProgressReport(epoch=number, epochs=of, done=done))
    return done


def import_torch(job: TrainingSettings) -> Any:
    """Import torch and set its process-wide settings.

    `Unavailable` or `Unsupported` if it lacks the requested device or precision.
    """
    with installed("PyTorch", "pip install 'onnxbench[torch]'"):
        import torch
    device = Device.parse(job.device)
    if device.kind == "cuda" and device.index >= torch.cuda.device_count():
        count = torch.cuda.device_count() or "no"
        raise Unavailable(f"PyTorch {torch.__version__} finds {count} CUDA device(s), so {device} is not available")
    if job.precision not in PRECISIONS_OF[device.kind]:
        raise Unsupported(
            f"training on {device} does not support {job.precision}; it supports {', '.join(PRECISIONS_OF[device.kind])}"
        )
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    return torch


def trainer_parts(torch: Any, job: TrainingSettings, network: Any) -> dict[str, Any]:
    """Fields of a Trainer of `network`, whose code may have set another arithmetic than the job's."""
    set_fp32(torch, job.precision == "tf32")
    return {
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=job.lr, momentum=MOMENTUM),
        "scaler": torch.amp.GradScaler(Device.parse(job.device).kind, enabled=job.precision == "fp16"),
        "device": job.device,
        "precision": job.precision,
        "batch_size": job.batch_size,
        "generator": torch.Generator().manual_seed(job.seed),
    }


def save(network: Any, path: Path, record: Mapping[str, Any]) -> None:
    """Write weights and record as safetensors, which contain data only and no pickle."""
    from safetensors.torch import save_model

    network = network.cpu().float()
    replace_file(path, lambda scratch: save_model(network, str(scratch), metadata={"onnxbench": json.dumps(record)}))


def _forget_peak(torch: Any, device: str) -> None:
    """Let the peak begin at what is allocated now: this worker may have trained before."""
    if Device.parse(device).kind == "cuda":
        gc.collect()  # a data parallel model is part of a cycle, which keeps its memory
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mb(torch: Any, device: str) -> float:
    """Peak memory in MB: of the device's allocator on CUDA, else resident memory of this process."""
    if Device.parse(device).kind == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    return peak_rss_mb()
