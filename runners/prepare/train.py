"""`bench train`, the parent's side: one worker for each device and precision, one row for each. Loads no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed
from ...evidence import Epoch
from ...models import MODELS, datasets
from ...results.table.training import Result
from ...spec import Device
from ..pool.pool import Pool, Worker
from ..pool.progress import Progress
from ..worker.file_jobs import Train, Trained
from ..worker.jobs import Data, ProgressReport, There
from ..worker.tasks import JOBS
from . import checkpoints

INTERRUPTED = "the training was interrupted before this one ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What to train, and how; the article's learning rate is 0.001, with which the digits need more epochs."""

    model: str = "cnn"
    dataset: str = "digits"
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32",)
    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.01
    seed: int = 0
    threads: int = 1
    timeout_s: float = 600.0

    def head(self) -> dict[str, Any]:
        """The settings that all rows share."""
        names = ("model", "dataset", "epochs", "batch_size", "lr", "seed", "threads")
        return {name: getattr(self, name) for name in names}


def default_dataset(model: str) -> str:
    """What a named model is trained on when nobody says."""
    return MODELS[model].dataset


def train(training: Training, logs: Path, pool: Pool, progress: Progress) -> tuple[list[Result], bool]:
    """Train on every device in every precision, one after the other. The first that ends well leaves the checkpoint.

    Answers one result for each, and whether Ctrl-C ended it.
    """
    datasets.check(training.dataset)
    pairs = [(device, precision) for device in training.devices for precision in training.precisions]
    rows = [TrainingRow(training=training, device=device, precision=precision) for device, precision in pairs]
    unkept = logs / "unkept.safetensors"
    try:
        for row in rows:
            kept = any(other.status == "ok" for other in rows)
            target = unkept if kept else checkpoints.place(training.model, training.dataset)
            log = logs / f"train-{row.device.replace(':', '')}-{row.precision}.log"
            with pool.start(log, network=_network(row.device)) as worker:
                _one(row, target, worker, progress)
    except KeyboardInterrupt:
        return [row.result() for row in rows], True
    finally:
        unkept.unlink(missing_ok=True)
    return [row.result() for row in rows], False


@dataclass(kw_only=True)
class TrainingRow:
    """A training on one device in one precision, and how far it is."""

    training: Training
    device: str
    precision: str
    status: str = "failed"
    reason: str | None = INTERRUPTED
    epochs: list[Epoch] = field(default_factory=list)
    trained: Trained | None = None

    @property
    def name(self) -> str:
        return f"{self.training.model} on {self.device} in {self.precision}"

    def job(self, target: Path) -> Train:
        """The worker's job; its checkpoint goes to `target`."""
        return Train(
            model=self.training.model,
            data=Data.named(checkpoints.absolute(self.training.dataset)),
            device=self.device,
            precision=self.precision,
            epochs=self.training.epochs,
            batch_size=self.training.batch_size,
            lr=self.training.lr,
            seed=self.training.seed,
            threads=self.training.threads,
            checkpoint=There(path=str(target)),
        )

    def result(self) -> Result:
        """The result as far as the training is now."""
        return Result(
            device=self.device,
            precision=self.precision,
            status=self.status,
            reason=self.reason,
            epochs=tuple(self.epochs),
            peak_memory_mb=self.trained.peak_memory_mb if self.trained else None,
            torch=self.trained.torch if self.trained else None,
        )


def _network(device: str) -> bool:
    """True if the worker keeps the network: on a GPU it does, because the namespace was not tried there."""
    return JOBS[Train].network or Device.parse(device).kind != "cpu"


def _one(row: TrainingRow, target: Path, worker: Worker, progress: Progress) -> None:
    """Train as `row` says, which knows its epochs as they are done, and then how it ended."""
    progress.note(f"training {row.name}: {row.training.dataset}, {row.training.epochs} epochs")

    def on_report(report: ProgressReport) -> None:
        if report.done:
            row.epochs.append(report.done)
        _show(progress, row.name, report)

    try:
        row.trained = worker.ask(row.job(target), row.training.timeout_s, on_report)
        row.status, row.reason = "ok", None
    except (BadInput, StorageFailed):
        raise
    except BenchError as error:
        row.status, row.reason = error.status, str(error)


def _show(progress: Progress, name: str, report: ProgressReport) -> None:
    if report.done is None:
        progress.step(name, (report.epoch - 1) * report.steps + report.step, report.epochs * report.steps)
        return
    loss = "diverged" if report.done.loss is None else f"{report.done.loss:.4f}"
    result = f"test loss {loss}, accuracy {report.done.accuracy:.2f} %"
    progress.note(f"  epoch {report.epoch}/{report.epochs}: {report.done.seconds:.1f} s, {result}")
