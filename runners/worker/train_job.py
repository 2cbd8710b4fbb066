"""The worker's job `train`: the article's loop, timed by the package's clock. Imports torch inside functions.

SGD with momentum 0.9 and cross-entropy on shuffled batches. Loss and accuracy on the test split follow each
epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Unavailable, Unsupported, installed
from ...evidence import Epoch
from ...factories import resolve
from ...files import replace_file
from ...models import MODELS
from ...spec import Device, to_wire
from .file_jobs import Train, Trained
from .jobs import ProgressReport, Reporter
from .prepare_jobs import dataset_of
from .procfs import peak_rss_mb
from .serve import State

if TYPE_CHECKING:
    import torch

MOMENTUM = 0.9
EVALUATION_BATCH = 256
JOB_FIELDS = ("device", "precision", "epochs", "batch_size", "lr", "seed", "threads")  # stored in the checkpoint
REPORTS_AN_EPOCH = 20  # a report takes time inside the measured epoch
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

    def steps(self, images: torch.Tensor, labels: torch.Tensor) -> Iterator[int]:
        """Train one epoch over shuffled batches; yield the number of each finished step."""
        import torch

        order = torch.randperm(len(images), generator=self.generator)
        self.network.train()
        for number, rows in enumerate(order.split(self.batch_size), 1):
            x, y = images[rows].to(self.device), labels[rows].to(self.device)
            self.optimizer.zero_grad()
            with self._arithmetic():
                loss = torch.nn.functional.cross_entropy(self.network(x), y)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            yield number

    def test(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        """Mean cross-entropy, and accuracy in per cent."""
        import torch

        loss, right = 0.0, 0
        self.network.eval()
        with torch.inference_mode(), self._arithmetic():
            for x, y in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH)):
                logits = self.network(x.to(self.device)).float()
                target = y.to(self.device)
                loss += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
                right += int((logits.argmax(1) == target).sum())
        return loss / len(images), 100 * right / len(images)

    def _arithmetic(self) -> Any:
        import torch

        kind = Device.parse(self.device).kind
        return torch.autocast(kind, getattr(torch, AMP.get(self.precision, "bfloat16")), enabled=self.precision in AMP)

    def finish(self) -> None:
        """Wait until the device is idle."""
        import torch

        if Device.parse(self.device).kind == "cuda":
            torch.cuda.synchronize(self.device)


def train(state: State, report: Reporter, job: Train) -> Trained:
    """Train a model, report progress, and write a checkpoint that contains the job and the split."""
    import numpy as np

    torch = _import_torch(job)
    data = dataset_of(job.data)
    trainer = _trainer(torch, job)
    parts = {part: tuple(map(torch.from_numpy, data.batch(data.split[part]))) for part in ("train", "test")}
    epochs = tuple(_epoch(state, report, trainer, parts, number, job.epochs) for number in range(1, job.epochs + 1))
    record = {
        "model": job.model,
        **data.record(),
        **{name: getattr(job, name) for name in JOB_FIELDS},
        "epochs_done": [to_wire(epoch) for epoch in epochs],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    _save(trainer.network, Path(job.checkpoint.path), record)
    return Trained(epochs=epochs, peak_memory_mb=_peak_mb(torch, job.device), torch=torch.__version__)


def _epoch(state: State, report: Reporter, trainer: Trainer, parts: Mapping[str, Any], number: int, of: int) -> Epoch:
    """Time one epoch and one test. The device is idle at every reading of the clock."""
    clock, steps = state.clock, -(-len(parts["train"][0]) // trainer.batch_size)
    trainer.finish()
    begin = clock.now_ns()
    for step in trainer.steps(*parts["train"]):
        if step % max(1, steps // REPORTS_AN_EPOCH) == 0:
            report(ProgressReport(epoch=number, epochs=of, step=step, steps=steps))
    trainer.finish()
    seconds = clock.since_s(begin)
    begin = clock.now_ns()
    loss, accuracy = trainer.test(*parts["test"])
    trainer.finish()
    test_s = clock.since_s(begin)
    done = Epoch(
        seconds=seconds,
        train_per_s=len(parts["train"][0]) / seconds,
        test_per_s=len(parts["test"][0]) / test_s,
        loss=loss if math.isfinite(loss) else None,
        accuracy=accuracy,
    )
    report(ProgressReport(epoch=number, epochs=of, done=done))
    return done


def _import_torch(job: Train) -> Any:
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
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = job.precision == "tf32"
    return torch


def _trainer(torch: Any, job: Train) -> Trainer:
    network = resolve(MODELS[job.model].factory)().to(job.device)
    return Trainer(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=job.lr, momentum=MOMENTUM),
        scaler=torch.amp.GradScaler(Device.parse(job.device).kind, enabled=job.precision == "fp16"),
        device=job.device,
        precision=job.precision,
        batch_size=job.batch_size,
        generator=torch.Generator().manual_seed(job.seed),
    )


def _save(network: Any, path: Path, record: Mapping[str, Any]) -> None:
    """Write weights and record as safetensors, which contain data only and no pickle."""
    from safetensors.torch import save_model

    network = network.cpu().float()
    replace_file(path, lambda scratch: save_model(network, str(scratch), metadata={"onnxbench": json.dumps(record)}))


def _peak_mb(torch: Any, device: str) -> float:
    """Peak memory in MB: of the device's allocator on CUDA, else resident memory of this process."""
    if Device.parse(device).kind == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    return peak_rss_mb()
