"""Files of each model that a sweep names: find them, check them, and make the missing files. Loads no framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import BadInput, BenchError, StorageFailed, nearest
from ...exporters.schemes import BEST
from ...models import kind_of
from ...spec import Artifact, Sweep
from ..pool.context import Context
from . import exports, library_models

ORDER = ("file", "factory", "library", "named")  # of preparation: a named model may need a training, which takes longest


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """Files of one model, or of all models in the folder of artifacts.

    - `sweep`: the sweep of this model alone, with the shapes and arrays of its own inputs.
    - `artifacts`: the files that the sweep measures; before `make_files` also files that do not exist yet.
    - `existing`: the files that exist. `first`: a sentence that names the files to make before measuring.
    - `name`: name of the model in rows, where the files' own name is that of another model too.
    - `failure`: status and reason of a model whose files could not be made.
    """

    sweep: Sweep
    artifacts: tuple[Artifact, ...]
    existing: tuple[Artifact, ...]
    first: str = ""
    name: str | None = None
    failure: tuple[str, str] | None = None


def sweeps_of(sweep: Sweep) -> tuple[Sweep, ...]:
    """A sweep for each of several models; `sweep` alone where the user named one model or none. `BadInput` for a bad name."""
    for model in sweep.models:
        kind_of(model)
    return tuple(replace(sweep, model=model, models=()) for model in sweep.models) or (sweep,)


def find_files(sweep: Sweep, context: Context) -> list[ModelFiles]:
    """Files of each model of `sweep`. Makes nothing. Raises `BadInput` for a model, a shape or an array that cannot be used."""
    models = [_find(one, context) for one in sweeps_of(sweep)]
    if len(models) == 1:
        return models
    _check_names(sweep, models)
    return [_with_name(_with_own_inputs(item), name) for item, name in zip(models, _names(models))]


def find_early(sweep: Sweep, context: Context, models: list[Sequence[ModelFiles]]) -> None:
    """Add the files of `sweep` to empty `models`, unless the probed backends choose the schemes. Raises like `find_files`."""
    if not models and BEST not in sweep.schemes:
        models.append(find_files(sweep, context))


def _find(sweep: Sweep, context: Context) -> ModelFiles:
    is_library = sweep.model is not None and kind_of(sweep.model) == "library"
    described = library_models.describe(str(sweep.model), random=sweep.random_weights, context=context) if is_library else None
    sweep = library_models.with_preprocessing(sweep, context)
    existing = exports.existing_artifacts(sweep, context)
    artifacts, first = exports.expected_artifacts(sweep, existing, described)
    return ModelFiles(sweep=sweep, artifacts=tuple(artifacts), existing=tuple(existing), first=first)


def _check_names(sweep: Sweep, models: Sequence[ModelFiles]) -> None:
    """Raise `BadInput` for a shape or an array of an input that no model has."""
    inputs = {name for item in models for name in _input_names(item)}
    for name in (*(spec.name for spec in sweep.signature), *(name for name, _ in sweep.inputs)):
        if name not in inputs:
            raise BadInput(f"none of the models has an input {name!r}", nearest(name, inputs))


def _input_names(item: ModelFiles) -> set[str]:
    return {spec.name for artifact in item.artifacts for spec in artifact.inputs}


def _with_own_inputs(item: ModelFiles) -> ModelFiles:
    names = _input_names(item)
    signature = tuple(spec for spec in item.sweep.signature if spec.name in names)
    inputs = tuple(pair for pair in item.sweep.inputs if pair[0] in names)
    return replace(item, sweep=replace(item.sweep, signature=signature, inputs=inputs))


def _names(models: Sequence[ModelFiles]) -> list[str]:
    """Name of each model; files of one name have the names of folders before it, as many as tell them apart."""
    names = [item.artifacts[0].model for item in models]
    places = [Path(str(item.sweep.model)).absolute().parent.parts[1:] for item in models]
    for depth in range(1, max(map(len, places)) + 1):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [
            "-".join((*place[-depth:], item.artifacts[0].model)) if counts[name] > 1 else name
            for name, place, item in zip(names, places, models)
        ]
    return names


def _with_name(item: ModelFiles, name: str) -> ModelFiles:
    """`item` called `name`. Under a new name the model also has its own folder for files that are made of it."""
    if name == item.artifacts[0].model:
        return item
    # One manifest has one model of a name: files of the second model would replace those of the first.
    folder = exports.folder_of(item.sweep)
    sweep = replace(item.sweep, artifacts=str(folder / name)) if folder else item.sweep
    return replace(item, sweep=sweep, artifacts=_renamed(item.artifacts, name), name=name)


def _renamed(artifacts: Sequence[Artifact], name: str) -> tuple[Artifact, ...]:
    return tuple(replace(artifact, model=name) for artifact in artifacts)


def make_files(models: Sequence[ModelFiles], context: Context) -> list[ModelFiles]:
    """`models` with all of their files, in the same order.

    Among several models, a model whose files cannot be made has a `failure`. Raises `BadInput` and `StorageFailed`, and for a
    single model every error.
    """
    made = {index: _make(models[index], context, alone=len(models) == 1) for index in _order(models)}
    return [made[index] for index in range(len(models))]


def _order(models: Sequence[ModelFiles]) -> list[int]:
    """Indices of `models` in the order of preparation: a bad file or module is found before a training."""
    if len(models) == 1:
        return [0]
    return sorted(range(len(models)), key=lambda index: ORDER.index(kind_of(str(models[index].sweep.model))))


def _make(item: ModelFiles, context: Context, *, alone: bool) -> ModelFiles:
    try:
        artifacts = exports.complete_artifacts(item.sweep, list(item.existing), context)
    except (BadInput, StorageFailed):
        raise
    except BenchError as error:
        if alone:
            raise
        return replace(item, failure=(error.status, str(error)))
    return replace(item, artifacts=_renamed(artifacts, item.name) if item.name else tuple(artifacts))
