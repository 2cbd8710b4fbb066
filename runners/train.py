"""`bench train`, the parent's side: one worker for each device and precision, one row for each. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, BenchError, StorageFailed
from ..models import MODELS, datasets
from . import checkpoints
from .clock import Clock
from .isolate import Worker
from .progress import Progress


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


def train(training: Training, logs: Path, clock: Clock, progress: Progress) -> list[dict[str, Any]]:
    """Train on every device in every precision, one after the other. The first that ends well leaves the checkpoint.

    Answers one dict for each: device, precision, status, reason, and what the job answered.
    """
    datasets.check(training.dataset)
    results: list[dict[str, Any]] = []
    for device, precision in _runs(training):
        kept = any(result["status"] == "ok" for result in results)
        target = logs / "unkept.safetensors" if kept else checkpoints.path_of(training.model, training.dataset)
        results.append(_one(training, device, precision, target, logs, clock, progress))
    (logs / "unkept.safetensors").unlink(missing_ok=True)
    return results


def _runs(training: Training) -> Sequence[tuple[str, str]]:
    return [(device, precision) for device in training.devices for precision in training.precisions]


def _one(
    training: Training, device: str, precision: str, target: Path, logs: Path, clock: Clock, progress: Progress
) -> dict[str, Any]:
    head = training.head()
    how = {name: head[name] for name in ("epochs", "batch_size", "lr", "seed", "threads")}
    name = f"{training.model} on {device} in {precision}"
    progress.note(f"training {name}: {training.dataset}, {training.epochs} epochs")
    try:
        with Worker(logs / f"train-{device.replace(':', '')}-{precision}.log", clock) as worker:
            answer = worker.ask(
                "train",
                training.timeout_s,
                lambda event: _tell(progress, name, event),
                model=training.model,
                dataset=checkpoints.absolute(training.dataset),
                how={**how, "device": device, "precision": precision},
                checkpoint=str(target),
            )
    except (BadInput, StorageFailed):
        raise
    except BenchError as error:
        return {"device": device, "precision": precision, "status": error.status, "reason": str(error)}
    return {"device": device, "precision": precision, "status": "ok", "reason": None, **answer}


def _tell(progress: Progress, name: str, event: dict[str, Any]) -> None:
    epoch, epochs = event["epoch"], event["epochs"]
    if "done" in event:
        done = event["done"]
        result = f"test loss {done['loss']:.4f}, accuracy {done['accuracy']:.2f} %"
        progress.note(f"  epoch {epoch}/{epochs}: {done['seconds']:.1f} s, {result}")
    else:
        progress.step(name, (epoch - 1) * event["steps"] + event["step"], epochs * event["steps"])
