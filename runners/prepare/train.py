"""Parent's side of `bench train`: one worker and one row for each device and precision. Loads no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed
from ...evidence import Epoch
from ...models import MODELS, datasets
from ...results.table.training import Result
from ...spec import Device
from ..pool.decoding import Decoder
from ..pool.pool import Pool, Worker
from ..pool.progress import Progress
from ..worker.file_jobs import Train, Trained
from ..worker.jobs import Data, ProgressReport, There
from ..worker.tasks import JOBS
from . import checkpoints

TRAINING_INTERRUPTED = "interrupted before its training ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Settings of a training. The time limit holds for each report of the worker."""

    model: str = "cnn"
    dataset: str = "digits"
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32",)
    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.01  # the article's 0.001 reaches .776 on the digits in 10 epochs, and 0.01 reaches .980
    seed: int = 0
    threads: int = 1
    timeout_s: float = 600.0

    def head(self) -> dict[str, Any]:
        """Settings that all rows share."""
        names = ("model", "dataset", "epochs", "batch_size", "lr", "seed", "threads")
        return {name: getattr(self, name) for name in names}


def default_dataset(model: str) -> str:
    """Dataset of a named model where the user gives none."""
    return MODELS[model].dataset


def run_training(training: Training, logs: Path, pool: Pool, progress: Progress) -> tuple[list[Result], bool]:
    """Train on every device in every precision, one after the other. The first success writes the checkpoint.

    Returns one result for each, and True if Ctrl-C ended the training. Raises `BadInput` and `StorageFailed`.
    """
    datasets.check(training.dataset)
    data = Decoder().data_of(Data.named(checkpoints.absolute_dataset(training.dataset)), logs, pool, progress)
    pairs = [(device, precision) for device in training.devices for precision in training.precisions]
    rows = [TrainingRow(training=training, device=device, precision=precision) for device, precision in pairs]
    spare_checkpoint = logs / "unkept.safetensors"  # of every success after the first
    try:
        for row in rows:
            has_checkpoint = any(other.status == "ok" for other in rows)
            target = spare_checkpoint if has_checkpoint else checkpoints.prepare_path(training.model, training.dataset)
            log = logs / f"train-{row.device.replace(':', '')}-{row.precision}.log"
            with pool.start(log, network=_network(row.device)) as worker:
                _train_row(row, row.job(data, target), worker, progress)
    except KeyboardInterrupt:
        return [row.result() for row in rows], True
    finally:
        spare_checkpoint.unlink(missing_ok=True)
    return [row.result() for row in rows], False


@dataclass(kw_only=True)
class TrainingRow:
    """Training on one device in one precision, with its progress."""

    training: Training
    device: str
    precision: str
    status: str = "failed"
    reason: str | None = TRAINING_INTERRUPTED
    epochs: list[Epoch] = field(default_factory=list)
    trained: Trained | None = None

    @property
    def name(self) -> str:
        return f"{self.training.model} on {self.device} in {self.precision}"

    def job(self, data: Data, target: Path) -> Train:
        """Job for the worker. The checkpoint goes to `target`."""
        return Train(
            model=self.training.model,
            data=data,
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
        """Result of the training so far."""
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
    """True if the worker keeps the network. On a GPU it does, since a network namespace is not tested with CUDA."""
    return JOBS[Train].network or Device.parse(device).kind != "cpu"


def _train_row(row: TrainingRow, job: Train, worker: Worker, progress: Progress) -> None:
    """Train `row`, and record its epochs and its end. Raises `BadInput` and `StorageFailed`."""
    progress.note(f"training {row.name}: {row.training.dataset}, {row.training.epochs} epochs")

    def on_report(report: ProgressReport) -> None:
        if report.done:
            row.epochs.append(report.done)
        _show(progress, row.name, report)

    try:
        row.trained = worker.ask(job, row.training.timeout_s, on_report)
        row.status, row.reason = "ok", None
    except (BadInput, StorageFailed):
        raise
    except BenchError as error:
        row.status, row.reason = error.status, str(error)


def _show(progress: Progress, name: str, report: ProgressReport) -> None:
    """Show a report: the bar during an epoch, and a line at its end."""
    if report.done is None:
        progress.step(name, (report.epoch - 1) * report.steps + report.step, report.epochs * report.steps)
        return
    loss = "diverged" if report.done.loss is None else f"{report.done.loss:.4f}"
    result = f"test loss {loss}, accuracy {report.done.accuracy:.2f} %"
    progress.note(f"  epoch {report.epoch}/{report.epochs}: {report.done.seconds:.1f} s, {result}")
