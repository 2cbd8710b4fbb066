"""The worker's jobs before measuring: describe a file, export a module, draw inputs, compute the reference.

Imports onnx, torch and onnxruntime inside functions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.ort import find_load_error
from ...backends.protocol import Array, Session
from ...errors import BadInput, BenchError, StorageFailed, one_line
from ...evidence import Distance, Parity
from ...exporters import entries, torch_onnx
from ...exporters.manifest import Maker
from ...factories import set_fp32
from ...models import datasets, generators, onnx_file
from ...models import inputs as random_inputs
from ...models.shapes import show
from ...parity import LEAST_LIMIT_DB, figure_of, limit_db
from ...spec import PRECISIONS, RANDOM, Artifact, Shapes, Source, digest, to_wire
from . import floors, verify, walk
from .file_jobs import Adopt, CacheEntry, Counted, CountImages, Describe, Draw, Export, Refer, ReferenceCall, Referred, Refusal
from .jobs import Data, Done, Reporter, There
from .reference import open_file, open_reference, reference_runtime
from .serve import State

ENTRY_FORMAT = 4  # increase it when entries contain more
PARITY_IMAGES = 16
SAVED_AT_ONCE = 256


def describe(state: State, report: Reporter, job: Describe) -> Artifact:
    """Describe an ONNX file."""
    return _described(Path(job.file.path), job.model, job.data)


def count(state: State, report: Reporter, job: CountImages) -> Counted:
    """Count the test images of a dataset."""
    return Counted(images=len(dataset_of(job.data).split["test"]))


def dataset_of(data: Data) -> datasets.Dataset:
    """Dataset, loaded from the place of its files in this worker."""
    return datasets.load(data.name, Path(data.place.path) if data.place else None)


def _described(path: Path, model: str, data: Data | None) -> Artifact:
    """Description of a user's file. `BadInput` if it is damaged: refused by onnx.checker, and by ONNX Runtime too."""
    artifact = onnx_file.describe(path, model=model, strict=False)
    error = find_load_error(str(path)) if artifact.invalid else None
    if error:
        message = f"{path} fails onnx.checker ({artifact.invalid}), and ONNX Runtime cannot load it ({error})"
        raise BadInput(message, "export it again")
    if data:
        dataset_of(data).check_fits(artifact.inputs, artifact.outputs)
    return replace(artifact, dataset=data.name if data else None)


def adopt(state: State, report: Reporter, job: Adopt) -> CacheEntry:
    """Cache entry of an ONNX file."""
    path = Path(job.file.path)
    opened = ["opened"] if onnx_file.unsized(path) else []  # earlier versions kept a copy with its sizes of 0
    key = digest([onnx_file.file_hash(path), path.name, job.data and job.data.name, ENTRY_FORMAT, *opened])
    return cache_entry(entries.find_or_make_export(key, lambda scratch: _adopt(scratch, path, job), onnx_file.file_hash))


def cache_entry(entry: entries.CachedExport) -> CacheEntry:
    """Entry of this worker's cache as an answer to the parent."""
    folder = There(path=str(entry.folder))
    return CacheEntry(folder=folder, cached=entry.cached, artifact=entry.exported.artifact, made=entry.exported.made)


def export(state: State, report: Reporter, job: Export) -> CacheEntry:
    """Cache entry of a PyTorch module."""
    source = Source(factory=job.factory, weights=job.weights.path if job.weights else None)
    module = None if job.weights else torch_onnx.load_module(source)
    key = torch_onnx.content_key(module, job.inputs, job.outputs) if module else _checkpoint_key(job)

    def make(scratch: Path) -> None:
        _export(scratch, module or torch_onnx.load_module(source), job)

    key = digest([key, job.model, job.data and job.data.name, ENTRY_FORMAT, *([job.opset] if job.opset else [])])
    return cache_entry(entries.find_or_make_export(key, make, onnx_file.file_hash))


def _checkpoint_key(job: Export) -> str:
    """Cache key from files alone: a second export of a trained model then imports no framework."""
    name = job.factory.partition(":")[0]
    module = find_spec(name)
    if module is None or not module.origin or not job.weights:
        raise BadInput(f"cannot find the module {name!r}", "run bench in a folder or environment that can import it")
    contents = [onnx_file.digest_files([Path(file)]) for file in (job.weights.path, module.origin, torch_onnx.__file__)]
    wire = {**to_wire(replace(job, weights=None, data=None)), "data": job.data and job.data.name}
    return digest([contents, wire, torch_onnx.OPSET, torch_onnx.versions()])


def _export(folder: Path, module: Any, job: Export) -> None:
    stem = entries.stem_of(job.model)
    path = folder / f"{stem}.fp32.onnx"
    if job.opset:
        torch_onnx.export_script(module, path, job.inputs, job.outputs, job.opset)
    else:
        torch_onnx.export(module, path, job.inputs, job.outputs)
    torch_onnx.save_weights(module, folder / f"{stem}.safetensors")
    artifact = onnx_file.describe(path, model=job.model, full_check=True)
    exporter = "torch.onnx (TorchScript)" if job.opset else "torch.onnx (dynamo)"
    made = Maker(exporter=exporter, versions=torch_onnx.versions(), parity=measure_parity(module, artifact, job.data))
    source = Source(factory=job.factory, weights=f"{stem}.safetensors")
    entries.write_entry(folder, replace(artifact, source=source, dataset=job.data.name if job.data else None), made)


def _adopt(folder: Path, file: Path, job: Adopt) -> None:
    """Copy `file` and its weight files. A model with weight files gets a folder of its own."""
    weights = onnx_file.external_files(file)
    place = folder / file.stem if weights else folder
    for part in (file, *weights):
        target = place / part.relative_to(file.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A copy and not a second name: onnx refuses weights that have several hard links.
        shutil.copyfile(part, target)
    onnx_file.open_zeros(place / file.name)
    # The copy and not `file`: onnx and OpenVINO refuse weights behind links of the hub's cache.
    artifact = _described(place / file.name, job.model, job.data)
    entries.write_entry(folder, artifact, Maker(exporter="file"))


def measure_parity(module: Any, artifact: Artifact, data: Data | None) -> Parity:
    """Distance of the file from the module, on real samples or random ones; `BadInput` if it is too large."""
    import torch
    from torch.utils._pytree import tree_leaves

    set_fp32(torch, tf32=False)
    tensors = [torch.from_numpy(evaluation_images(data, PARITY_IMAGES))] if data else torch_onnx.sample_inputs(artifact.inputs)
    with torch.no_grad():
        results = [tensor.numpy() for tensor in tree_leaves(module(*tensors))]
    expected = dict(zip((spec.name for spec in artifact.outputs), results))
    arrays = {spec.name: tensor.numpy() for spec, tensor in zip(artifact.inputs, tensors)}
    shapes = tuple((name, tuple(array.shape)) for name, array in arrays.items())
    session, reference = open_reference(artifact, shapes)
    with session:
        outputs = run_once(session, arrays)
    random = generators.random_outputs(onnx_file.model_of(Path(artifact.path)))
    distance = verify.distance(outputs, expected, random=random)
    _check_near(distance, floors.Case(artifact=artifact, shapes=shapes, arrays=arrays, expected=outputs), reference)
    return Parity(**verify.figures_of(distance), runtime=reference, samples=len(tensors[0]), data=data.name if data else RANDOM)


def _check_near(distance: Distance, case: floors.Case, reference: str) -> None:
    """`BadInput` if the file is further from its module than rounding in FP32 explains."""
    class_db = PRECISIONS["fp32"].floor_db
    if distance.sqnr_db >= class_db or distance.undetermined:
        return
    try:
        measured = floors.floor_of(case, "fp32", lambda _: None)
    except BadInput:
        measured = []
    for part in distance.parts:
        least_db = limit_db(class_db, figure_of(part, measured))
        if part.shape or (part.sqnr_db < least_db and least_db >= LEAST_LIMIT_DB):
            far = f"shape {part.shape}" if part.shape else f"SQNR {part.sqnr_db:.0f} dB on {reference}, limit {least_db:.0f} dB"
            raise BadInput(
                f"the exported file differs from the module in {part.name} ({far})",
                "check that the module returns equal outputs for equal inputs",
            )


def run_once(session: Session, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of one call on `arrays`."""
    session.bind(arrays)
    session.start()
    session.wait()
    return session.fetch()


def evaluation_images(dataset: Data, count: int) -> Array:
    """First `count` test images, preprocessed, float32 [count, 3, 48, 48]; they repeat if there are fewer."""
    data = dataset_of(dataset)
    return data.batch(np.resize(data.split["test"], count))[0]


def draw(state: State, report: Reporter, job: Draw) -> Done:
    """Write the input arrays of all backends: the user's, else real images, else random values.

    `BadInput` if several different arrays are requested, and the dataset or the inputs have fewer.
    """
    given = {name: np.load(array.path, allow_pickle=False) for name, array in job.given}
    data = dataset_of(job.data) if job.data and not given else None
    if data and job.arrays > len(data.split["test"]):
        images = len(data.split["test"])
        message = f"--inputs {job.arrays} needs {job.arrays} different images, but {data.name} has {images} test images"
        raise BadInput(message, f"give at most --inputs {images}")
    drawn = [_draw_one(job, number, given, data) for number in range(job.arrays)]
    _check_different(job.artifact, drawn)
    for number, arrays in enumerate(drawn):
        folder = verify.array_folder(Path(job.folder.path), number)
        verify.save_arrays(folder, {spec.name: np.asarray(arrays[spec.name], order="C") for spec in job.artifact.inputs})
    return Done()


def _draw_one(job: Draw, number: int, given: Mapping[str, Array], data: datasets.Dataset | None) -> Mapping[str, Array]:
    """Inputs `number` of the requested ones."""
    if data:
        name, shape = job.shapes[0]
        test = data.split["test"]
        # Each begins at another image, and the images of two overlap only where the dataset has too few for all.
        first = number * max(1, min(shape[0], len(test) // job.arrays))
        images: Array = data.batch(np.resize(np.roll(test, -first), shape[0]))[0]
        _check_size(job.artifact, images.shape, shape)
        return {name: images}
    own = {name: np.asarray(array[number]) if job.arrays > 1 else array for name, array in given.items()}
    missing = [spec for spec in job.artifact.inputs if spec.name not in own]
    return random_inputs.draw(missing, job.shapes, job.seed + number, job.high) | own


def _check_different(artifact: Artifact, drawn: Sequence[Mapping[str, Array]]) -> None:
    """Raise `BadInput` if all of several inputs are equal, as masks are."""
    first, *others = drawn
    if others and all(np.array_equal(first[name], arrays[name]) for arrays in others for name in first):
        message = f"--inputs {len(drawn)} needs different arrays, but the values of each input of {artifact.model} are fixed"
        raise BadInput(message, "give arrays that differ with --input NAME=FILE.npy, or leave out --inputs")


def _check_size(artifact: Artifact, size: tuple[int, ...], request: tuple[int, ...]) -> None:
    if size != request:
        name = artifact.inputs[0].name
        message = f"--shape makes input {name!r} {show(request)}, but images of {artifact.dataset} are {show(size)}"
        raise BadInput(message, "leave out --shape or --dataset")


def reference(state: State, report: Reporter, job: Refer) -> Referred:
    """Write the FP32 reference's outputs for each call, and with labels also its predictions.

    A call that fails is a refusal of its own: the other batches keep their reference.
    """
    refused, runtime, sampled = [], "", False
    unlike: tuple[str, ...] = ()
    # the largest batch first, because it answers the samples fastest
    for number, call in sorted(enumerate(job.calls), key=lambda pair: pair[1].batch, reverse=True):
        loaded = False
        try:
            session, runtime = _open(job.artifact, call.shapes)
            loaded = True
            with session:
                unlike = unlike or _answer(session, call, job)
                if job.data and not sampled:
                    answer = partial(verify.predictions, session, job.artifact, batch=call.batch, report=report)
                    _save_samples(dataset_of(job.data), Path(job.samples.path), job.images, answer)
                    sampled = True
        except (StorageFailed, OSError):  # of the disk, and not of the model
            raise
        except Exception as error:  # each runtime has its own exception classes
            reason = str(error) if isinstance(error, BenchError) else one_line(error)
            refused.append(Refusal(call=number, reason=reason, running=loaded or _loads(job.artifact)))
    random = generators.random_outputs(onnx_file.model_of(Path(job.artifact.path)))
    if any(name in random for name, _ in job.feedback):  # from the second step on, all outputs depend on a random state
        random = tuple(spec.name for spec in job.artifact.outputs)
    return Referred(runtime=runtime, random=random, refused=tuple(refused), no_samples=not sampled, unlike=unlike)


def _loads(artifact: Artifact) -> bool:
    """True if the reference loads the file with all dimensions open: it is then their sizes that it refuses."""
    try:
        open_reference(artifact, ())[0].close()
    except Exception:  # each runtime has its own exception classes
        return False
    return True


def _answer(session: Session, call: ReferenceCall, job: Refer) -> tuple[str, ...]:
    """Write the outputs of one call. Returns the problem and the remedy of a state that cannot be fed back, instead."""
    names, feedback = [spec.name for spec in job.artifact.inputs], dict(job.feedback)
    order = walk.walk_names((spec.name for spec in job.artifact.outputs), feedback)
    for number in range(job.arrays):
        arrays = verify.load_arrays(verify.array_folder(Path(call.inputs.path), number), names)
        try:
            outputs = walk.answer_all(session, arrays, feedback)
        except BadInput as error:
            return error.message, error.hint
        folder = verify.array_folder(Path(call.outputs.path), number)
        verify.save_arrays(folder, {name: outputs[name] for name in order})
    return ()


def _open(file: Artifact, shapes: Shapes) -> tuple[Session, str]:
    """Session of the reference. A quantized file without its FP32 file is its own reference, without graph optimizations."""
    # Optimizations fuse Q/DQ pairs with layers, and the fused kernels round otherwise than the file says.
    if file.precision == "int8":
        return open_file(file, shapes, optimize=False), reference_runtime()
    return open_reference(file, shapes)


def _save_samples(
    data: datasets.Dataset, folder: Path, most: int, answer: Callable[[Array, Array], verify.Predictions]
) -> None:
    """Write at most `most` test images, their labels, and the reference's predictions."""
    selection = data.split["test"][:most]
    labels = data.labels[selection]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "images.npy").open("wb") as file:
        for begin in range(0, len(selection), SAVED_AT_ONCE):  # all images of a large dataset do not fit into the memory
            images = data.batch(selection[begin : begin + SAVED_AT_ONCE])[0]
            if not begin:
                shape = (len(selection), *images.shape[1:])
                descr = np.lib.format.dtype_to_descr(images.dtype)
                np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
            file.write(images.tobytes())
    answers = answer(np.load(folder / "images.npy", mmap_mode="r"), labels)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "reference.npy", answers.first)
    if answers.within5 is not None:
        np.save(folder / "reference5.npy", answers.within5)
