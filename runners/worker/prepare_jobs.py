"""The worker's jobs before measuring: describe a file, export a module, draw inputs, compute the FP32 reference.

onnx, and torch or onnxruntime where the job needs them, inside functions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.protocol import Array, Session
from ...errors import BadInput
from ...evidence import Parity
from ...exporters import entries, torch_onnx
from ...exporters.manifest import Maker
from ...models import datasets, onnx_file
from ...models import inputs as random_inputs
from ...models.shapes import show
from ...spec import PRECISIONS, RANDOM, Artifact, Source, digest, to_wire
from . import verify
from .file_jobs import Adopt, CacheEntry, Counted, CountImages, Describe, Draw, Export, Refer, Referred
from .jobs import Data, Done, Reporter, There
from .reference import open_reference
from .serve import State

ENTRY_FORMAT = 3  # changes when entries say more than they did
PARITY_IMAGES = 16


def describe(state: State, report: Reporter, job: Describe) -> Artifact:
    """Describe an ONNX file."""
    return _described(Path(job.file.path), job.model, job.data)


def count(state: State, report: Reporter, job: CountImages) -> Counted:
    """Count the test images of a dataset."""
    return Counted(images=len(dataset_of(job.data).split["test"]))


def dataset_of(data: Data) -> datasets.Dataset:
    """The dataset, from where this worker has its files."""
    return datasets.load(data.name, Path(data.place.path) if data.place else None)


def _described(path: Path, model: str, data: Data | None) -> Artifact:
    found = onnx_file.describe(path, model=model)
    if data:
        dataset_of(data).check_fits(found.inputs, found.outputs)
    return replace(found, dataset=data.name if data else None)


def adopt(state: State, report: Reporter, job: Adopt) -> CacheEntry:
    """A cache entry for an ONNX file."""
    path = Path(job.file.path)
    key = digest([onnx_file.file_hash(path), path.name, job.data and job.data.name, ENTRY_FORMAT])
    return answered(entries.find_or_make_export(key, lambda scratch: _adopt(scratch, path, job), onnx_file.file_hash))


def answered(found: entries.CachedExport) -> CacheEntry:
    """An entry of this worker's cache as the parent is told of it."""
    folder = There(path=str(found.folder))
    return CacheEntry(folder=folder, cached=found.cached, artifact=found.exported.artifact, made=found.exported.made)


def export(state: State, report: Reporter, job: Export) -> CacheEntry:
    """A cache entry for a module."""
    source = Source(factory=job.factory, weights=job.weights.path if job.weights else None)
    module = None if job.weights else torch_onnx.load_module(source)
    key = torch_onnx.content_key(module, job.inputs, job.outputs) if module else _checkpoint_key(job)

    def make(scratch: Path) -> None:
        _export(scratch, module or torch_onnx.load_module(source), job)

    key = digest([key, job.model, job.data and job.data.name, ENTRY_FORMAT])
    return answered(entries.find_or_make_export(key, make, onnx_file.file_hash))


def _checkpoint_key(job: Export) -> str:
    """A key from files alone, so that a second export of a trained model imports no framework."""
    name = job.factory.partition(":")[0]
    found = find_spec(name)
    if found is None or not found.origin or not job.weights:
        raise BadInput(f"cannot find the module {name!r}", "run where it can be imported")
    contents = [onnx_file.digest_files([Path(file)]) for file in (job.weights.path, found.origin, torch_onnx.__file__)]
    wire = {**to_wire(replace(job, weights=None, data=None)), "data": job.data and job.data.name}
    return digest([contents, wire, torch_onnx.OPSET, torch_onnx.versions()])


def _export(folder: Path, module: Any, job: Export) -> None:
    stem = entries.stem_of(job.model)
    path = folder / f"{stem}.fp32.onnx"
    torch_onnx.export(module, path, job.inputs, job.outputs)
    torch_onnx.save_weights(module, folder / f"{stem}.safetensors")
    found = onnx_file.describe(path, model=job.model, full_check=True)
    made = Maker(exporter="torch.onnx (dynamo)", versions=torch_onnx.versions(), parity=_parity(module, found, job.data))
    source = Source(factory=job.factory, weights=f"{stem}.safetensors")
    entries.write_entry(folder, replace(found, source=source, dataset=job.data.name if job.data else None), made)


def _adopt(folder: Path, file: Path, job: Adopt) -> None:
    """Copy `file`, and the files that hold its weights, which get a folder of their own beside those of other models."""
    found, weights = _described(file, job.model, job.data), onnx_file.external_files(file)
    place = folder / file.stem if weights else folder
    for part in (file, *weights):
        target = place / part.relative_to(file.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, target)
    found = replace(found, path=str(place / file.name))
    entries.write_entry(folder, found, Maker(exporter="file"))


def _parity(module: Any, artifact: Artifact, data: Data | None) -> Parity:
    """The file's distance from the module on real samples (random ones where there is no dataset); `BadInput` if far."""
    import torch
    from torch.utils._pytree import tree_leaves

    tensors = [torch.from_numpy(evaluation_images(data, PARITY_IMAGES))] if data else torch_onnx.sample_inputs(artifact.inputs)
    with torch.no_grad():
        results = [tensor.numpy() for tensor in tree_leaves(module(*tensors))]
    expected = dict(zip((spec.name for spec in artifact.outputs), results))
    session, reference = open_reference(artifact, tuple((s.name, tuple(t.shape)) for s, t in zip(artifact.inputs, tensors)))
    with session:
        found = verify.distance(run_once(session, {s.name: t.numpy() for s, t in zip(artifact.inputs, tensors)}), expected)
    if found.sqnr_db < PRECISIONS["fp32"].floor_db:
        raise BadInput(
            f"the exported file differs from the module (SQNR {found.sqnr_db:.0f} dB on {reference})",
            "check that the module computes the same on every call",
        )
    return Parity(**asdict(found), runtime=reference, samples=len(tensors[0]), data=data.name if data else RANDOM)


def run_once(session: Session, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The answer to one call."""
    session.bind(arrays)
    session.start()
    session.wait()
    return session.fetch()


def evaluation_images(dataset: Data, count: int) -> Array:
    """The first `count` preprocessed test images, float32 [count, 3, 48, 48]; again from the first where there are fewer."""
    data = dataset_of(dataset)
    return data.batch(np.resize(data.split["test"], count))[0]


def draw(state: State, report: Reporter, job: Draw) -> Done:
    """Write the arrays that every backend is given: the user's, else real images, else random values."""
    file, given = job.artifact, {name: np.load(array.path, allow_pickle=False) for name, array in job.given}
    if job.data and not given:
        name, shape = job.shapes[0]
        arrays: dict[str, Array] = {name: evaluation_images(job.data, shape[0])}
        _check_size(file, arrays[name].shape, shape)
    else:
        unknown = [spec for spec in file.inputs if spec.name not in given]
        arrays = random_inputs.draw(unknown, job.shapes, job.seed) | given
    verify.save_arrays(Path(job.folder.path), {spec.name: np.asarray(arrays[spec.name], order="C") for spec in file.inputs})
    return Done()


def _check_size(artifact: Artifact, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        what = f"input {artifact.inputs[0].name!r} is to be {show(wanted)}, and {artifact.dataset} gives {show(found)}"
        raise BadInput(what, "leave --shape out, or --dataset")


def reference(state: State, report: Reporter, job: Refer) -> Referred:
    """Write the FP32 reference's outputs for each call, and where there are labels its predictions."""
    file = job.artifact
    names = [spec.name for spec in file.inputs]
    largest = max(job.calls, key=lambda call: call.batch)
    for call in job.calls:
        session, runtime = open_reference(file, call.shapes)
        with session:
            found = run_once(session, verify.load_arrays(Path(call.inputs.path), names))
            verify.save_arrays(Path(call.outputs.path), {spec.name: found[spec.name] for spec in file.outputs})
            if job.data and call is largest:
                answer = partial(verify.predictions, session, file, batch=call.batch, report=report)
                _save_samples(dataset_of(job.data), Path(job.samples.path), job.images, answer)
    return Referred(runtime=runtime)


def _save_samples(data: datasets.Dataset, folder: Path, most: int, answer: Callable[[Array], Array]) -> None:
    """Write at most `most` test images, their labels, and what the reference answers to them."""
    images, labels = data.batch(data.split["test"][:most])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "reference.npy", answer(images))
