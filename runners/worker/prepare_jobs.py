"""The worker's jobs before measuring: describe a file, export a module, draw inputs, compute the FP32 reference.

onnx, and torch or onnxruntime where the job needs them, inside functions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.protocol import Array, Session
from ...errors import BadInput
from ...exporters import entries, torch_onnx
from ...models import datasets, onnx_file
from ...models import inputs as random_inputs
from ...models.shapes import show
from ...spec import PRECISIONS, Artifact, Shapes, Source, TensorSpec, digest, from_wire, to_wire
from . import verify
from .reference import open_reference
from .serve import Reply, State, Tell

ENTRY_FORMAT = 3  # changes when entries say more than they did
PARITY_IMAGES = 16


def describe(state: State, tell: Tell, *, path: str, model: str, dataset: str | None = None) -> Reply:
    """What the ONNX file at `path` is, as an Artifact; `dataset` is what it is evaluated on, if it can be."""
    return to_wire(_described(Path(path), model, dataset))


def count(state: State, tell: Tell, *, dataset: str) -> Reply:
    """How many test images `dataset` has."""
    return {"images": len(datasets.load(dataset).split["test"])}


def _described(path: Path, model: str, dataset: str | None) -> Artifact:
    found = onnx_file.describe(path, model=model)
    if dataset:
        datasets.load(dataset).check_fits(found.inputs, found.outputs)
    return replace(found, dataset=dataset)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a module becomes an artifact: the model's name, its factory, its inputs, its outputs' names, its dataset."""

    model: str
    source: Source
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()
    dataset: str | None = None


def adopt(state: State, tell: Tell, *, model: str, file: str, dataset: str | None = None) -> Reply:
    """A cache entry for the ONNX file `file`. Answers with the folder, and whether it was there."""
    path = Path(file)
    key = digest([onnx_file.file_hash(path), path.name, dataset, ENTRY_FORMAT])
    return entries.entry(key, lambda scratch: _adopt(scratch, path, model, dataset), onnx_file.file_hash)


def export(state: State, tell: Tell, *, recipe: dict[str, Any]) -> Reply:
    """A cache entry for a module. Answers with the folder, and whether it was there."""
    wanted = from_wire(Recipe, recipe)
    module = None if wanted.source.weights else torch_onnx.load_module(wanted.source)
    key = torch_onnx.content_key(module, wanted.inputs, wanted.outputs) if module else _checkpoint_key(wanted)

    def make(scratch: Path) -> None:
        _export(scratch, module or torch_onnx.load_module(wanted.source), wanted)

    return entries.entry(digest([key, wanted.model, wanted.dataset, ENTRY_FORMAT]), make, onnx_file.file_hash)


def _checkpoint_key(recipe: Recipe) -> str:
    """A key from files alone, so that a second export of a trained model imports no framework."""
    name = recipe.source.factory.partition(":")[0]
    found = find_spec(name)
    if found is None or not found.origin or not recipe.source.weights:
        raise BadInput(f"cannot find the module {name!r}", "run where it can be imported")
    contents = [onnx_file.digest_files([Path(file)]) for file in (recipe.source.weights, found.origin, torch_onnx.__file__)]
    wire = {**to_wire(recipe), "source": recipe.source.factory}
    return digest([contents, wire, torch_onnx.OPSET, torch_onnx.versions()])


def _export(folder: Path, module: Any, recipe: Recipe) -> None:
    stem = entries.stem_of(recipe.model)
    path = folder / f"{stem}.fp32.onnx"
    torch_onnx.export(module, path, recipe.inputs, recipe.outputs)
    torch_onnx.save_weights(module, folder / f"{stem}.safetensors")
    found = onnx_file.describe(path, model=recipe.model, full_check=True)
    parity = _parity(module, found, recipe.dataset)
    made = {"exporter": "torch.onnx (dynamo)", "versions": torch_onnx.versions(), "parity": parity}
    source = Source(factory=recipe.source.factory, weights=f"{stem}.safetensors")
    entries.write(folder, replace(found, source=source, dataset=recipe.dataset), made)


def _adopt(folder: Path, file: Path, model: str, dataset: str | None) -> None:
    """Copy `file`, and the files that hold its weights, which get a folder of their own beside those of other models."""
    found, weights = _described(file, model, dataset), onnx_file.external_files(file)
    place = folder / file.stem if weights else folder
    for part in (file, *weights):
        target = place / part.relative_to(file.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, target)
    found = replace(found, path=str(place / file.name))
    entries.write(folder, found, {"exporter": "file", "versions": {}, "parity": None})


def _parity(module: Any, artifact: Artifact, dataset: str | None) -> dict[str, Any]:
    """The file's distance from the module on real samples (random ones where there is no dataset); `BadInput` if far."""
    import torch
    from torch.utils._pytree import tree_leaves

    tensors = (
        [torch.from_numpy(evaluation_images(dataset, PARITY_IMAGES))] if dataset else torch_onnx.sample_inputs(artifact.inputs)
    )
    with torch.no_grad():
        results = [tensor.numpy() for tensor in tree_leaves(module(*tensors))]
    expected = dict(zip((spec.name for spec in artifact.outputs), results))
    session, reference = open_reference(artifact, tuple((s.name, tuple(t.shape)) for s, t in zip(artifact.inputs, tensors)))
    with session:
        found = verify.distance(run_once(session, {s.name: t.numpy() for s, t in zip(artifact.inputs, tensors)}), expected)
    if found["sqnr_db"] < PRECISIONS["fp32"].floor_db:
        raise BadInput(
            f"the exported file differs from the module (SQNR {found['sqnr_db']:.0f} dB on {reference})",
            "check that the module computes the same on every call",
        )
    return {**found, "runtime": reference, "samples": len(tensors[0]), "data": dataset or "random"}


def run_once(session: Session, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The answer to one call."""
    session.bind(arrays)
    session.start()
    session.wait()
    return session.fetch()


def evaluation_images(dataset: str, count: int) -> Array:
    """The first `count` preprocessed test images, float32 [count, 3, 48, 48]; again from the first where there are fewer."""
    data = datasets.load(dataset)
    return data.batch(np.resize(data.split["test"], count))[0]


def draw(
    state: State, tell: Tell, *, artifact: dict[str, Any], shapes: list[Any], seed: int, given: dict[str, str], folder: str
) -> Reply:
    """Write the arrays that every backend is given into `folder`: the user's, else real images, else random values."""
    file = from_wire(Artifact, artifact)
    sizes: Shapes = tuple((name, tuple(shape)) for name, shape in shapes)
    unknown = [spec for spec in file.inputs if spec.name not in given]
    if file.dataset and not given:
        arrays: dict[str, Array] = {file.inputs[0].name: evaluation_images(file.dataset, sizes[0][1][0])}
        _check_size(file, arrays[file.inputs[0].name].shape, sizes[0][1])
    else:
        arrays = random_inputs.draw(unknown, sizes, seed) | {n: np.load(p, allow_pickle=False) for n, p in given.items()}
    verify.save_arrays(Path(folder), {spec.name: np.asarray(arrays[spec.name], order="C") for spec in file.inputs})
    return {"data": "given" if given else file.dataset or "random"}


def _check_size(artifact: Artifact, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        what = f"input {artifact.inputs[0].name!r} is to be {show(wanted)}, and {artifact.dataset} gives {show(found)}"
        raise BadInput(what, "leave --shape out, or --dataset")


def reference(
    state: State, tell: Tell, *, artifact: dict[str, Any], jobs: list[dict[str, Any]], samples: str, images: int
) -> Reply:
    """The FP32 reference's outputs for each of `jobs` (shapes, inputs folder, output folder), and its predictions.

    Where there are labels, the folder `samples` gets at most `images` images, their labels and the reference's predictions.
    """
    file = from_wire(Artifact, artifact)
    names = [spec.name for spec in file.inputs]
    largest = max(jobs, key=lambda job: int(job["batch"]))
    for job in jobs:
        shapes = tuple((name, tuple(shape)) for name, shape in job["shapes"])
        session, runtime = open_reference(file, shapes)
        with session:
            found = run_once(session, verify.load_arrays(Path(job["inputs"]), names))
            verify.save_arrays(Path(job["outputs"]), {spec.name: found[spec.name] for spec in file.outputs})
            if file.dataset and job is largest:
                answer = partial(verify.predictions, session, file, batch=job["batch"], tell=tell)
                _save_samples(file, Path(samples), images, answer)
    return {"runtime": runtime}


def _save_samples(artifact: Artifact, folder: Path, most: int, answer: Callable[[Array], Array]) -> None:
    """Write at most `most` test images, their labels, and what the reference answers to them."""
    data = datasets.load(str(artifact.dataset))
    images, labels = data.batch(data.split["test"][:most])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "reference.npy", answer(images))
