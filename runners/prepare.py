"""From what the user named to artifacts that can be measured: find, check, train, export. Loads no framework.

Every step that reads a model runs in a worker; this side only asks and tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BadInput, Unsupported
from ..exporters import cache, manifest
from ..exporters.manifest import Exported
from ..models import MODELS, kind_of
from ..spec import Artifact, Source, Sweep, TensorSpec, from_wire, to_wire
from . import checkpoints, host, train
from .clock import Clock
from .isolate import Worker
from .progress import Progress

DEFAULT_MODEL = "cnn"
BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where preparation works: a folder for logs, a clock, somebody to tell, and the limit for each answer."""

    logs: Path
    clock: Clock
    progress: Progress
    timeout_s: float

    def ask(self, job: str, **request: Any) -> dict[str, Any]:
        """The answer of a fresh worker to one job."""
        with Worker(self.logs / "prepare.log", self.clock) as worker:
            return worker.ask(job, self.timeout_s, **request)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to export: a model as the user named it, its inputs as the user gave them, and where it goes."""

    model: str
    dataset: str | None
    folder: Path
    inputs: tuple[TensorSpec, ...] = ()


def export(wanted: Wanted, context: Context) -> tuple[Exported, bool]:
    """The artifact of `wanted` in its folder, and whether it came from the cache. Trains first where it must."""
    manifest.check_writable(wanted.folder)
    answer = _ENTRIES[kind_of(wanted.model)](wanted, context)
    found = Exported(artifact=from_wire(Artifact, answer["artifact"]), made=answer["made"])
    cached = Path(answer["folder"])
    files = [file for file in sorted(cached.rglob("*")) if file.is_file() and file.name != cache.ENTRY]
    return manifest.add(wanted.folder, found, cached, files), bool(answer["cached"])


def _name(model: str) -> str:
    return Path(model).stem if kind_of(model) == "file" else model


def _file_entry(wanted: Wanted, context: Context) -> dict[str, Any]:
    return context.ask("adopt", model=_name(wanted.model), file=str(Path(wanted.model).absolute()))


def _factory_entry(wanted: Wanted, context: Context) -> dict[str, Any]:
    if not wanted.inputs:
        hint = "give each one in order, as --shape NAME=1x3x224x224[:int64]"
        raise BadInput(f"{wanted.model} does not say what its inputs are", hint)
    inputs = [replace(spec, shape=_batched(spec.shape)) for spec in wanted.inputs]
    source = to_wire(Source(factory=wanted.model))
    return context.ask("export", recipe={"model": wanted.model, "source": source, "inputs": [to_wire(spec) for spec in inputs]})


def _named_entry(wanted: Wanted, context: Context) -> dict[str, Any]:
    named, path = MODELS[wanted.model], _checkpoint(wanted, context)
    recipe = {
        "model": named.name,
        "source": to_wire(Source(factory=named.factory, weights=str(path))),
        "inputs": [to_wire(spec) for spec in named.inputs],
        "outputs": named.outputs,
        "dataset": checkpoints.record(path)["dataset"],
    }
    return context.ask("export", recipe=recipe)


_ENTRIES: Mapping[str, Callable[[Wanted, Context], dict[str, Any]]] = {
    "file": _file_entry,
    "factory": _factory_entry,
    "named": _named_entry,
}


def _checkpoint(wanted: Wanted, context: Context) -> Path:
    """The weights of a named model; trained now, and said so, where there are none."""
    found = checkpoints.find(wanted.model, wanted.dataset)
    if found:
        return found
    dataset = wanted.dataset or MODELS[wanted.model].dataset
    context.progress.note(f"{wanted.model} has no checkpoint for {dataset} yet, so it is trained first")
    training = train.Training(model=wanted.model, dataset=dataset, threads=host.usable_threads())
    result = train.train(training, context.logs, context.clock, context.progress)[0]
    if result["status"] != "ok":
        raise Unsupported(f"{wanted.model} cannot be trained: {result['reason']}")
    return checkpoints.path_of(wanted.model, dataset)


def artifacts(sweep: Sweep, context: Context) -> list[Artifact]:
    """What `sweep` measures. Exports what is missing, and says so."""
    found = held(sweep, context)
    if found:
        return found
    wanted = Wanted(model=_model(sweep), dataset=sweep.dataset, folder=Path(sweep.artifacts), inputs=sweep.signature)
    context.progress.note(f"exporting {wanted.model} to {wanted.folder}")
    return [export(wanted, context)[0].artifact]


def held(sweep: Sweep, context: Context) -> list[Artifact]:
    """What `sweep` measures and is there already; nothing where it must be exported first."""
    if sweep.model and kind_of(sweep.model) == "file":
        answer = context.ask("describe", path=str(Path(sweep.model).absolute()), model=_name(sweep.model))
        return [from_wire(Artifact, answer)]
    if sweep.model and kind_of(sweep.model) == "factory":
        return []  # its code may have changed: the cache knows
    chosen = [item.artifact for item in manifest.read(Path(sweep.artifacts)) if sweep.model in (None, item.artifact.model)]
    for item in chosen:
        _check_unchanged(item, context)
    other = sweep.dataset and any(item.dataset != checkpoints.absolute(sweep.dataset) for item in chosen)
    return [] if other else chosen


def expected(sweep: Sweep) -> tuple[list[Artifact], str]:
    """As far as it is known, what would be exported for `sweep`, and a sentence that says what is done before measuring."""
    model = _model(sweep)
    named = MODELS.get(model)
    inputs = named.inputs if named else tuple(replace(item, shape=_batched(item.shape)) for item in sweep.signature)
    train = f"{model} would be trained, then exported first" if named and not checkpoints.find(model, sweep.dataset) else ""
    source = Source(factory=named.factory if named else model)
    known: dict[str, Any] = {"path": "", "sha256": "", "nbytes": 0, "opset": 0, "outputs": ()}
    file = Artifact(model=model, precision="fp32", inputs=inputs, source=source, **known)
    return [file], train or f"{model} would be exported first"


def _model(sweep: Sweep) -> str:
    return sweep.model or DEFAULT_MODEL


def _batched(shape: tuple[int | str | None, ...]) -> tuple[int | str | None, ...]:
    return (BATCH, *shape[1:]) if shape else ()


def _check_unchanged(artifact: Artifact, context: Context) -> None:
    found = from_wire(Artifact, context.ask("describe", path=artifact.path, model=artifact.model))
    if found.sha256 != artifact.sha256:
        raise BadInput(f"{artifact.path} is not what was exported", "run bench export again, or measure it with --model")
