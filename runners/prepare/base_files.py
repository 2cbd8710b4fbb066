"""Base files of models, from which others derive: a user's file, or the export of a module. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ...errors import BadInput, Unsupported
from ...models import MODELS, kind_of, name_in_rows
from ...models.preprocessing import absolute_name
from ..pool.context import Context
from ..worker.file_jobs import Adopt, CacheEntry, Export
from ..worker.jobs import Data, Here
from . import checkpoints, train
from .library_models import library_entry
from .request import ExportRequest

BATCH = "batch"


def name_of(model: str) -> str:
    """Name of the model in rows. A file loses its ending, unless a model of this package has that name."""
    path = Path(model)
    if kind_of(model) == "library":
        return name_in_rows(model)
    return model if kind_of(model) != "file" else path.name if path.stem in MODELS else path.stem


def _file_entry(request: ExportRequest, context: Context) -> CacheEntry:
    file = Here(path=str(Path(request.model).absolute()))
    return context.ask(Adopt(file=file, model=name_of(request.model), data=data_of(request.dataset)))


def data_of(dataset: str | None) -> Data | None:
    """The dataset that the user named, for a worker."""
    return Data.named(absolute_name(dataset)) if dataset else None


def _factory_entry(request: ExportRequest, context: Context) -> CacheEntry:
    check_inputs(request)
    inputs = tuple(replace(spec, shape=batched(spec.shape)) for spec in request.inputs)
    return context.ask(Export(model=request.model, factory=request.model, inputs=inputs, data=data_of(request.dataset)))


def check_inputs(request: ExportRequest) -> None:
    """Raise `BadInput` for a module whose inputs have no shapes from the user."""
    if not request.inputs:
        hint = "write --shape NAME=1x3x224x224[:int64] for each input, in order"
        raise BadInput(f"{request.model} needs the shapes of its inputs", hint)


def _named_entry(request: ExportRequest, context: Context) -> CacheEntry:
    named, path = MODELS[request.model], _checkpoint(request, context)
    job = Export(
        model=named.name,
        factory=named.factory,
        weights=Here(path=str(path)),
        inputs=named.inputs,
        outputs=named.outputs,
        data=Data.of(checkpoints.read_record(path)["dataset"]),
    )
    return context.ask(job)


ENTRIES: Mapping[str, Callable[[ExportRequest, Context], CacheEntry]] = {
    "file": _file_entry,
    "factory": _factory_entry,
    "named": _named_entry,
    "library": library_entry,
}


def _checkpoint(request: ExportRequest, context: Context) -> Path:
    """Weights of a named model. Trains the model first, after a note, where it has none.

    Raises KeyboardInterrupt for Ctrl-C, and `Unsupported` where the training fails.
    """
    path = checkpoints.find_checkpoint(request.model, request.dataset)
    if path:
        return path
    dataset = request.dataset or MODELS[request.model].dataset
    context.progress.note(f"{request.model} has no checkpoint for {dataset} yet: training it first")
    training = train.Training(model=request.model, dataset=dataset, threads=context.pool.threads())
    (result,), interrupted = train.run_training(training, context.logs, context.pool, context.progress)
    if interrupted:
        raise KeyboardInterrupt
    if result.status != "ok":
        raise Unsupported(f"{request.model} cannot be trained: {result.reason}")
    return checkpoints.checkpoint_path(request.model, dataset)


def batched(shape: tuple[int | str | None, ...]) -> tuple[int | str | None, ...]:
    """`shape` with an open batch as its first dimension."""
    return (BATCH, *shape[1:]) if shape else ()
