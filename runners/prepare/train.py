"""Parent's side of `bench train`: one row for each device, precision and way to train. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed
from ...evidence import Epoch
from ...models import MODELS, datasets
from ...models.preprocessing import QUERY, absolute_name, split_name
from ...results.table.training import RankResult, Result
from ...spec import Device
from ..pool.decoding import Decoder
from ..pool.pool import Pool
from ..pool.progress import Progress
from ..worker.file_jobs import Train, Trained, TrainingSettings
from ..worker.jobs import Data, Here, ProgressReport, There
from ..worker.rank_jobs import RankTrained
from ..worker.tasks import task_of
from . import checkpoints
from . import parallel as ranks
from .parallel import Parallel, Place, Plan

TRAINING_INTERRUPTED = "interrupted before its training ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Settings of a training. The time limit holds for each report of the worker.

    `place`: path of the dataset's files, where it is another one than in its name.
    """

    model: str = "cnn"
    dataset: str = "digits"
    place: str = ""
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32",)
    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.01  # the article's 0.001 reaches .776 on the digits in 10 epochs, and 0.01 reaches .980
    seed: int = 0
    threads: int = 1
    timeout_s: float = 600.0
    parallel: Parallel = field(default_factory=Parallel)

    def head(self) -> dict[str, Any]:
        """Settings that all rows share."""
        names = ("model", "dataset", "epochs", "batch_size", "lr", "seed", "threads")
        return {**{name: getattr(self, name) for name in names}, "threads": self.threads or None}

    @property
    def source(self) -> str:
        """Name of the dataset with the path of its files."""
        kind, _, steps = split_name(self.dataset)
        return f"{kind}:{self.place}" + (f"{QUERY}{steps}" if steps else "") if self.place else self.dataset

    def data(self) -> Data:
        """The dataset for a worker. Its name stands in the checkpoint."""
        if self.place:
            return Data(name=self.dataset, place=Here(path=self.place))
        return Data.named(absolute_name(self.dataset))


def default_dataset(model: str) -> str:
    """Dataset of a named model where the user gives none."""
    return MODELS[model].dataset


def run_training(
    training: Training,
    logs: Path,
    pool: Pool,
    progress: Progress,
    on_results: Callable[[list[Result]], None] | None = None,
    checkpoint: Path | None = None,
) -> tuple[list[Result], bool]:
    """Train on every device in every precision, one after the other. The first success writes the checkpoint.

    Returns one result for each, and True if Ctrl-C ended the training. Raises `BadInput` and `StorageFailed`.
    `on_results`: takes the results so far, before each training. `checkpoint`: its path, by default that of this machine.
    """
    datasets.check(training.source)
    place = Place(pool=pool, log=logs / "train.log", timeout_s=training.timeout_s, peer_s=training.parallel.peer_s)
    ranks.check(training.parallel, training.devices, training.batch_size, place)
    data = Decoder().data_of(training.data(), logs, pool, progress)
    rows = [
        TrainingRow(training=training, device=device, precision=precision, plan=plan)
        for device in training.devices
        for precision in training.precisions
        for plan in ranks.plans(training.parallel, device, training.threads, training.batch_size)
    ]
    staged = max((row for row in rows if row.plan.is_pipeline), key=lambda row: row.plan.processes, default=None)
    if staged:
        ranks.check_stages(TrainingSettings(**staged.settings(data)), staged.plan, place)
    spare_checkpoint = logs / "unkept.safetensors"  # of every success after the first
    try:
        for row in rows:
            if on_results:
                on_results([item.result() for item in rows])
            has_checkpoint = any(other.status == "ok" for other in rows)
            target = checkpoint or checkpoints.prepare_path(training.model, training.dataset)
            target = spare_checkpoint if has_checkpoint else target
            place_of_row = replace(place, log=logs / f"train-{row.log_name}.log")
            _train_row(row, data, target, place_of_row, progress)
    except KeyboardInterrupt:
        return [row.result() for row in rows], True
    finally:
        spare_checkpoint.unlink(missing_ok=True)
    return [row.result() for row in rows], False


@dataclass(kw_only=True)
class TrainingRow:
    """Training on one device in one precision by one plan, with its progress."""

    training: Training
    device: str
    precision: str
    plan: Plan
    status: str = "failed"
    reason: str | None = TRAINING_INTERRUPTED
    epochs: list[Epoch] = field(default_factory=list)
    trained: Trained | None = None
    ranks: list[RankTrained] = field(default_factory=list)

    @property
    def name(self) -> str:
        way = f", {self.plan.name}" if self.training.parallel.counts else ""
        return f"{self.training.model} on {self.device} in {self.precision}{way}"

    @property
    def log_name(self) -> str:
        """Name of the log without characters that a path cannot have."""
        return f"{self.device.replace(':', '')}-{self.precision}-{self.plan.name.replace(' ', '-')}"

    def settings(self, data: Data) -> dict[str, Any]:
        """Fields of TrainingSettings."""
        training = self.training
        return {
            "model": training.model,
            "factory": MODELS[training.model].factory,
            "data": data,
            "device": self.device,
            "precision": self.precision,
            "epochs": training.epochs,
            "batch_size": self.plan.batch_size,
            "lr": training.lr,
            "seed": training.seed,
            "threads": self.plan.threads,
        }

    def job(self, data: Data, target: Path) -> Train:
        """Job for the worker of one process. The checkpoint goes to `target`."""
        return Train(**self.settings(data), checkpoint=There(path=str(target)))

    def result(self) -> Result:
        """Result of the training so far."""
        return Result(
            device=self.device,
            precision=self.precision,
            parallel=self.plan.parallel,
            processes=self.plan.processes,
            threads=self.plan.threads,
            batch_size=self.plan.batch_size,
            microbatches=self.plan.microbatches,
            rank_stages=self.plan.rank_stages,
            status=self.status,
            reason=self.reason,
            epochs=tuple(self.epochs),
            peak_memory_mb=self.trained.peak_memory_mb if self.trained else None,
            torch=self.trained.torch if self.trained else None,
            ranks=tuple(map(_rank_result, self.ranks)),
            losses=tuple(self.trained.losses) if self.trained else (),
        )


def _rank_result(rank: RankTrained) -> RankResult:
    profile = rank.profile
    return RankResult(
        peak_memory_mb=rank.trained.peak_memory_mb,
        steps=profile.steps,
        wall_s=profile.wall_s,
        communication_s=profile.communication_s,
        busy_s=profile.busy_s,
        output_error=rank.output_error,
        batch_norm=rank.batch_norm,
    )


def _network(device: str) -> bool:
    """True if the worker keeps the network. On a GPU it does, since a network namespace is not tested with CUDA."""
    return task_of(Train).network or Device.parse(device).kind != "cpu"


def _train_row(row: TrainingRow, data: Data, target: Path, place: Place, progress: Progress) -> None:
    """Train `row`, and record its epochs and its end. Raises `BadInput` and `StorageFailed`."""
    progress.note(f"training {row.name}: {row.training.dataset}, {row.training.epochs} epochs")

    def on_report(report: ProgressReport) -> None:
        if report.done:
            row.epochs.append(report.done)
        _show(progress, row.name, report)

    try:
        if row.plan.parallel:
            row.ranks = ranks.train(TrainingSettings(**row.settings(data)), row.plan, target, place, on_report)
            row.trained = row.ranks[0].trained
        else:
            with place.pool.start(place.log, network=_network(row.device)) as worker:
                row.trained = worker.ask(row.job(data, target), place.timeout_s, on_report)
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
