"""`bench train`, the parent's side: one worker for each device and precision, one row for each. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed
from ...models import MODELS, datasets
from ...spec import Device
from ..pool.isolate import Worker
from ..pool.progress import Progress
from ..worker.clock import Clock
from ..worker.serve import JOBS
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


def train(training: Training, logs: Path, clock: Clock, progress: Progress) -> tuple[list[dict[str, Any]], bool]:
    """Train on every device in every precision, one after the other. The first that ends well leaves the checkpoint.

    Answers one dict for each, and whether Ctrl-C ended it: device, precision, status, reason, the epochs that were done even
    where it failed, and what else the job answered.
    """
    datasets.check(training.dataset)
    runs = [(device, precision) for device in training.devices for precision in training.precisions]
    results: list[dict[str, Any]] = [
        {"device": device, "precision": precision, "status": "failed", "reason": INTERRUPTED, "epochs": []}
        for device, precision in runs
    ]
    unkept = logs / "unkept.safetensors"
    try:
        for result in results:
            kept = any(other["status"] == "ok" for other in results)
            target = unkept if kept else checkpoints.place(training.model, training.dataset)
            log = logs / f"train-{result['device'].replace(':', '')}-{result['precision']}.log"
            start = partial(Worker, log, clock, network=_network(result["device"]))
            result.update(_one(training, result, target, start, progress))
    except KeyboardInterrupt:
        return results, True
    finally:
        unkept.unlink(missing_ok=True)
    return results, False


def _network(device: str) -> bool:
    """True if the worker keeps the network: on a GPU it does, because the namespace was not tried there."""
    return JOBS["train"].network or Device.parse(device).kind != "cpu"


def _one(
    training: Training, result: dict[str, Any], target: Path, start: Callable[[], Worker], progress: Progress
) -> dict[str, Any]:
    """Train as `result` says, to which epochs are added as they are done; what else there is to say of it."""
    head, where = training.head(), {name: result[name] for name in ("device", "precision")}
    how = {name: head[name] for name in ("epochs", "batch_size", "lr", "seed", "threads")}
    name = f"{training.model} on {result['device']} in {result['precision']}"
    progress.note(f"training {name}: {training.dataset}, {training.epochs} epochs")

    def heard(event: dict[str, Any]) -> None:
        result["epochs"] += [event["done"]] if "done" in event else []
        _tell(progress, name, event)

    asked = {"model": training.model, "dataset": checkpoints.absolute(training.dataset), "checkpoint": str(target)}
    try:
        with start() as worker:
            answer = worker.ask("train", training.timeout_s, heard, how={**how, **where}, **asked)
    except (BadInput, StorageFailed):
        raise
    except BenchError as error:
        return {"status": error.status, "reason": str(error)}
    return {"status": "ok", "reason": None, **answer}


def _tell(progress: Progress, name: str, event: dict[str, Any]) -> None:
    epoch, epochs = event["epoch"], event["epochs"]
    if "done" in event:
        done = event["done"]
        result = f"test loss {done['loss']:.4f}, accuracy {done['accuracy']:.2f} %"
        progress.note(f"  epoch {epoch}/{epochs}: {done['seconds']:.1f} s, {result}")
    else:
        progress.step(name, (epoch - 1) * event["steps"] + event["step"], epochs * event["steps"])
