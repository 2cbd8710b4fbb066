"""Files of a sweep for the nodes: models, exported files, arrays and datasets, each under its absolute path. NumPy.

A node puts the files below one folder, under the paths that they have here. Paths in the sweep get that folder before them.
Models are trained and exported here, once: every node measures the same files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...errors import BadInput, one_line
from ...exporters import cache, manifest
from ...exporters.schemes import BEST
from ...models import kind_of
from ...models.preprocessing import absolute_name, split_name
from ...spec import Artifact, Sweep
from ..pool.context import Context
from ..prepare import exports, model_files
from ..prepare.base_files import data_of
from ..prepare.model_files import ModelFiles
from ..worker.file_jobs import Adopt
from ..worker.jobs import Here
from .cluster import FILES, FOLDER, Parcel

MOST_BYTES = 4 << 30
FILE = "file"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A `parcel`, the `sweep` with the nodes' paths, and the names of its `models` in rows."""

    parcel: Parcel
    sweep: Sweep
    models: tuple[str, ...]


@dataclass(kw_only=True)
class _Packing:
    """Files so far: where each is here, by the path that it gets. `texts`: files that are written anew."""

    files: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path, source: Path | None = None) -> None:
        """Add the file at `path`, or the files below the folder. `source`: where its content is."""
        source = source or path
        parts = sorted(part for part in source.rglob("*") if part.is_file()) if source.is_dir() else [source]
        for part in parts:
            self.files[os.path.normpath(path / part.relative_to(source))] = part

    def parcel(self) -> Parcel:
        """Read the files. `BadInput` for more than MOST_BYTES, and for a file that cannot be read."""
        try:
            nbytes = sum(path.stat().st_size for path in self.files.values())
            if nbytes > MOST_BYTES:
                problem = f"the model and its data have {nbytes / 1e9:.1f} GB, and {MOST_BYTES / 1e9:.1f} GB travel at most"
                raise BadInput(problem, "give a smaller --dataset")
            files = {path: np.fromfile(source, np.uint8) for path, source in self.files.items()}
        except OSError as error:
            raise BadInput(
                f"a file for the nodes cannot be read ({one_line(error)})", "check the paths of the options"
            ) from error
        return Parcel(files=files, texts=self.texts)


def pack(sweep: Sweep, context: Context) -> Packed:
    """Pack the files of `sweep`, after training and exporting what is missing.

    Raises the errors of `find_files` and `make_files`, and `BadInput` for what cannot travel.
    """
    # Backends choose the scheme `best`, and those of the nodes are not known here: each node makes that file.
    local = replace(sweep, schemes=()) if BEST in sweep.schemes else sweep
    models = model_files.find_files(local, context)
    _check_kinds(models)
    others = [item for item in models if not _is_file(item)]
    made = model_files.make_files(others, context) if others else []
    for item in made:
        if item.failure:
            raise BadInput(f"{item.sweep.model}: {item.failure[1]}", "leave this model out, or export it first")
    packing = _Packing()
    for item in models:
        if _is_file(item):
            _add_file(item, packing, context)
    _add_folders(models, made, packing)
    datasets = _datasets([item.sweep.dataset for item in models], [*models, *made])
    for name in datasets:
        _add_dataset(name, packing)
    for _, path in sweep.inputs:
        packing.add(Path(path).absolute())
    packing.texts = {path: _with_datasets(text, datasets) for path, text in packing.texts.items()}
    names = tuple(dict.fromkeys(item.artifacts[0].model for item in models))
    return Packed(parcel=packing.parcel(), sweep=_of_nodes(sweep, models), models=names)


def _is_file(item: ModelFiles) -> bool:
    return _kind(item.sweep) == FILE


def _kind(sweep: Sweep) -> str:
    """Kind of the model; empty where the user named none."""
    return kind_of(sweep.model) if sweep.model else ""


def _check_kinds(models: Sequence[ModelFiles]) -> None:
    """Raise `BadInput` for a model among several that is neither a file nor a named model."""
    for item in models if len(models) > 1 else ():
        if _kind(item.sweep) not in (FILE, "named"):
            problem = f"{item.sweep.model} cannot be one of several models on a cluster"
            raise BadInput(problem, "measure it alone, or export it and give its file as --model")


def _add_file(item: ModelFiles, packing: _Packing, context: Context) -> None:
    """Add the user's file with its weights, and files that an export made of it."""
    path, base = Path(str(item.sweep.model)).absolute(), item.artifacts[0]
    entry = context.ask(Adopt(file=Here(path=str(path)), model=base.model, data=data_of(item.sweep.dataset)))
    folder = Path(entry.folder.path)
    place = (folder / entry.artifact.path).parent
    for part in sorted(place.rglob("*")):
        if part.is_file() and part.name != cache.ENTRY:
            packing.add(path.parent / part.relative_to(place), part)


def _add_folders(models: Sequence[ModelFiles], made: Sequence[ModelFiles], packing: _Packing) -> None:
    """Add the exported files that are measured, and a manifest of them for each folder."""
    exported = [(item, artifact) for item in made for artifact in item.artifacts]
    exported += [(item, artifact) for item in models if _is_file(item) for artifact in item.existing[1:]]
    by_folder: dict[Path, list[Artifact]] = {}
    for item, artifact in exported:
        folder = (exports.folder_of(item.sweep) or Path(exports.ARTIFACTS)).absolute()
        by_folder.setdefault(folder, []).append(artifact)
    for folder, artifacts in by_folder.items():
        packing.texts[str(folder / manifest.NAME)] = manifest.portion(folder, {artifact.path for artifact in artifacts})
        for artifact in artifacts:
            _add_artifact(folder, artifact, packing)


def _add_artifact(folder: Path, artifact: Artifact, packing: _Packing) -> None:
    path = Path(artifact.path)
    # A model with weights beside it has a folder of its own, or weights whose name begins with that of the file.
    files = path.parent.glob(f"{path.name}*") if path.parent == folder else [path.parent]
    weights = [Path(artifact.source.weights)] if artifact.source and artifact.source.weights else []
    for file in (*files, *weights):
        packing.add(file)


def _datasets(names: Iterable[str | None], models: Sequence[ModelFiles]) -> list[str]:
    """Datasets with files: those of the sweep, and those with which an export was made."""
    own = [name and absolute_name(name) for name in names]
    own += [artifact.dataset for item in models for artifact in item.artifacts]
    return [name for name in dict.fromkeys(own) if name and split_name(name)[1]]


def _add_dataset(name: str, packing: _Packing) -> None:
    """Add the files of the dataset `name`. `BadInput` for a list of images, whose paths mean this machine."""
    kind, place, _ = split_name(name)
    path = Path(place)
    if path.suffix.lower() == ".csv":
        raise BadInput(f"{kind}:{place} lists files of this machine", "give --dataset images:DIR, a folder of images by class")
    if not path.exists():
        raise BadInput(f"there is no {place}, the dataset of the exported files", "give --dataset, or export the model again")
    packing.add(path)


def data_parcel(name: str) -> Parcel:
    """Files of the dataset `name`, whose path is absolute; empty for one without files. Raises as `pack` does."""
    packing = _Packing()
    if split_name(name)[1]:
        _add_dataset(name, packing)
    return packing.parcel()


def data_there(name: str) -> str:
    """Path on a node of the files of the dataset `name`; empty for one without files."""
    place = split_name(name)[1]
    return _there(place) if place else ""


def _with_datasets(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = text.replace(json.dumps(name), json.dumps(_dataset_there(name)))
    return text


def _dataset_there(name: str) -> str:
    kind, place, steps = split_name(absolute_name(name))
    return f"{kind}:{_there(place)}" + (f"?{steps}" if steps else "") if place else name


def _there(path: str | Path) -> str:
    """Path on a node of the file at `path` here."""
    return f"{FOLDER}/{FILES}{os.path.normpath(Path(path).absolute())}"


def _of_nodes(sweep: Sweep, models: Sequence[ModelFiles]) -> Sweep:
    """`sweep` with the nodes' paths. A library's model or a module is there as files of the last export."""
    model = sweep.model if _kind(sweep) in (FILE, "named") else None
    only_files = all(map(_is_file, models))
    artifacts = sweep.artifacts if only_files else sweep.artifacts or exports.ARTIFACTS
    dataset = models[0].sweep.dataset if len(models) == 1 else sweep.dataset
    return replace(
        sweep,
        model=model and _model_there(model),
        models=tuple(map(_model_there, sweep.models)),
        artifacts=_there(artifacts) if artifacts else "",
        dataset=dataset and _dataset_there(dataset),
        inputs=tuple((name, _there(path)) for name, path in sweep.inputs),
    )


def _model_there(model: str) -> str:
    return _there(model) if kind_of(model) == FILE else model
