"""The worker's job that converts an FP32 file to FP16 or INT8, with its calibration data, into the cache.

Imports NumPy; onnx and ONNX Runtime's converters inside functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...backends.protocol import Array
from ...errors import BadInput, one_line
from ...evidence import Parity
from ...exporters.derive import DerivationTools, Feeds, derive
from ...models import datasets, generators, onnx_file
from ...models import inputs as random_inputs
from ...models.datasets import Dataset, Indices
from ...models.preprocessing import is_images
from ...models.shapes import batch_rule, cell_shapes, check_shapes
from ...spec import LABELLED, RANDOM, Artifact, TensorSpec, nearest
from . import verify
from .file_jobs import CacheEntry, Convert, Making, WriteSamples
from .jobs import Done, Reporter
from .prepare_jobs import cache_entry, dataset_of, run_once
from .reference import open_reference
from .serve import State

RANDOM_ITEMS, CALIBRATION_BATCH = 64, 16
SWEEP_BATCHES = (1, 8, 32)  # of an export, which has no sweep


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibration data: `feeds` are the arrays of each call by input name, all calls of equal shapes.

    `data` is the name of the source for a record, and `items` the number of distinct items. `labels`: those of each call;
    empty without any.
    """

    feeds: Feeds
    data: str
    items: int
    labels: tuple[Array, ...] = ()

    def part(self, first: int, last: int) -> Calibration:
        """The calls from `first` to `last`, without `last`."""
        feeds = self.feeds[first:last]
        items = self.items * len(feeds) // len(self.feeds)
        return Calibration(feeds=feeds, data=self.data, items=items, labels=self.labels[first:last])


def convert(state: State, report: Reporter, job: Convert) -> CacheEntry:
    """Cache entry of the FP32 file in another precision, made with a batch that the FP32 file runs."""
    first: BadInput | None = None
    for calibration in calibrations(job):
        try:
            return _convert(job, calibration)
        except BadInput as error:
            if runs(job.artifact, calibration):
                raise  # another batch would fail too
            first = first or error
    assert first is not None
    raise first


def _convert(job: Convert, calibration: Calibration) -> CacheEntry:
    source = job.artifact
    data = (("data", calibration.data), ("samples", str(calibration.items))) if job.how.scheme else ()
    tools = DerivationTools(
        feeds=calibration.feeds,
        fingerprint=_fingerprint(calibration.feeds),
        describe=partial(_checked, source),
        parity=partial(parity, source, calibration),
        file_hash=onnx_file.file_hash,
    )
    return cache_entry(derive(source, job.precision, (*job.how.options, *data), tools))


def calibrations(job: Making) -> Iterator[Calibration]:
    """Calibration data in calls of CALIBRATION_BATCH items, then in calls of each batch of the sweep, smallest first.

    A file may declare an open batch and have one size in it, for example in a Reshape.
    """
    yield calibration_of(job)
    if batch_rule(job.artifact.inputs, dict(job.shapes), job.artifact.outputs, dict(job.dims)).fixed is None:
        yield from (calibration_of(job, batch) for batch in sorted(job.batches or SWEEP_BATCHES))


def first_that_runs(job: Making) -> Calibration:
    """The first calibration data that the FP32 file runs on. Without any, the default data, on which the calibration fails."""
    default: Calibration | None = None
    for calibration in calibrations(job):
        if runs(job.artifact, calibration):
            return calibration
        default = default or calibration
    assert default is not None  # `calibrations` always yields the default first
    return default


def runs(source: Artifact, calibration: Calibration) -> bool:
    """True if the FP32 file runs on the first call of the calibration data."""
    arrays = calibration.feeds[0]
    try:
        session, _ = open_reference(source, tuple((spec.name, tuple(arrays[spec.name].shape)) for spec in source.inputs))
        with session:
            run_once(session, arrays)
    except Exception:  # whatever the runtime raises
        return False
    return True


def write_samples(state: State, report: Reporter, job: WriteSamples) -> Done:
    """Write the samples on which `convert` calibrates the same file. Inputs without a batch get one sample for each call."""
    calibration, per_item = first_that_runs(job), per_item_of(job.artifact)
    arrays = {
        name: np.concatenate([feed[name] if name in per_item else feed[name][None] for feed in calibration.feeds])
        for name in calibration.feeds[0]
    }
    Path(job.file.path).parent.mkdir(parents=True, exist_ok=True)
    with Path(job.file.path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # names of inputs, and not options of savez
    return Done()


def _fingerprint(feeds: Feeds) -> str:
    """SHA-256 of the names, types, shapes and values of all arrays."""
    total = hashlib.sha256()
    for name, array in (item for arrays in feeds for item in arrays.items()):
        total.update(f"{name}{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _checked(source: Artifact, made: Path) -> Artifact:
    """Description of the converted file. `BadInput` if onnx.checker refuses it.

    Strict shape inference is part of the check if the FP32 file passes it.
    """
    try:
        onnx_file.describe(Path(source.path), model=source.model, full_check=True)
        strictly = True
    except BadInput:
        strictly = False
    try:
        return onnx_file.describe(made, model=source.model, full_check=strictly)
    except BadInput as error:
        message = error.message.replace(str(made), made.name)
        raise BadInput(f"the converted file would be invalid ({message})", "use --precision fp32") from error


def parity(source: Artifact, calibration: Calibration, made: Artifact) -> Parity:
    """Distance of the converted file from the FP32 file `source`, on the arrays of one call.

    `BadInput` if either file cannot run.
    """
    arrays = calibration.feeds[0]
    shapes = tuple((spec.name, tuple(arrays[spec.name].shape)) for spec in source.inputs)
    answers = []
    for artifact in (source, made):
        try:
            session, runtime = open_reference(artifact, shapes)
            with session:
                answers.append(run_once(session, arrays))
        except BadInput:
            raise
        except Exception as error:  # whatever the runtime raises
            raise BadInput(
                f"the {artifact.precision} file cannot be run ({one_line(error)})", "use --precision fp32"
            ) from error
    # By position: a conversion renames an output that is an input too.
    by_position = dict(zip(answers[0], answers[1].values()))
    random = generators.random_outputs(onnx_file.model_of(Path(source.path)))
    distance, samples = verify.distance(by_position, answers[0], random=random), calibration.items // len(calibration.feeds)
    return Parity(**verify.figures_of(distance), runtime=runtime, data=calibration.data, samples=samples)


def calibration_of(job: Making, batch: int = 0) -> Calibration:
    """Calibration data of the job's file, in calls of `batch` items; 0 for the default.

    `BadInput` if the user's data does not fit the model.
    """
    source, shapes, most = job.artifact, dict(job.shapes), job.how.images
    check_shapes(source.inputs, shapes)
    if job.calibration and is_images(job.calibrated_on):
        data = datasets.load(job.calibrated_on, Path(job.calibration.path))
        data.check_inputs(source.inputs)
        samples, _ = data.batch(calibration_part(data, most))
        return in_calls({source.inputs[0].name: samples}, source, job.calibrated_on, batch)
    if job.calibration:
        labelled = job.calibrated_on.startswith(LABELLED)
        arrays = _first(arrays_of(source, Path(job.calibration.path), labelled), per_item_of(source), most, job.calibrated_on)
        return in_calls(arrays, source, job.calibrated_on, batch)
    if job.data:
        data = dataset_of(job.data)
        samples, labels = data.batch(calibration_part(data, most))
        return in_calls({source.inputs[0].name: samples}, source, job.data.name, batch, labels)
    dims = dict(job.dims)
    rule = batch_rule(source.inputs, shapes, source.outputs, dims)
    batch = rule.fixed or batch or CALIBRATION_BATCH
    sizes = cell_shapes(source.inputs, batch, rule, shapes, dims)
    calls = range(max(1, (most or RANDOM_ITEMS) // batch))
    feeds = [random_inputs.draw(source.inputs, sizes, job.seed + call) for call in calls]
    return Calibration(feeds=feeds, data=RANDOM, items=batch * len(feeds))


def calibration_part(data: Dataset, most: int) -> Indices:
    """Indices of `most` samples outside the test part; 0 for the calibration part. `BadInput` if there are fewer."""
    if not most:
        return data.split["calibration"]
    rest = np.concatenate([data.split["calibration"], data.split["train"]])
    _check_enough(len(rest), most, f"{data.name} has {len(rest)} samples outside its test part")
    return rest[:most]


def _first(arrays: Mapping[str, Array], per_item: set[str], most: int, name: str) -> dict[str, Array]:
    """The first `most` items of arrays whose first axis counts items; 0 for all. `BadInput` if there are fewer."""
    for array in (arrays[item] for item in per_item):
        _check_enough(len(array), most, f"{name} has {len(array)} items")
    return {item: array[: most or None] if item in per_item else array for item, array in arrays.items()}


def _check_enough(count: int, most: int, problem: str) -> None:
    if count < most:
        raise BadInput(f"{problem}, and --calibration-images asks for {most}", f"write --calibration-images {count} or fewer")


def in_calls(
    arrays: Mapping[str, Array], source: Artifact, data: str, batch: int = 0, labels: Array | None = None
) -> Calibration:
    """`arrays`, whose first axis counts items, split into calls of `batch` items; 0 for a size that suits their number.

    `labels`: one for each item, split in the same way. Items repeat from the first if there are fewer than one call needs.
    """
    per_item = per_item_of(source)
    items = min((len(arrays[name]) for name in per_item), default=1)
    batch = batch_rule(source.inputs, {}).fixed or batch
    # Without a fixed batch: the largest divisor of the items, and no item repeats.
    batch = batch or next(size for size in range(min(items, CALIBRATION_BATCH), 0, -1) if items % size == 0)
    count = max(1, items // batch)
    calls = [np.arange(call * batch, (call + 1) * batch) % items for call in range(count)]
    feeds = [{name: x[rows] if name in per_item else x for name, x in arrays.items()} for rows in calls]
    given = () if labels is None else tuple(labels[rows] for rows in calls)
    return Calibration(feeds=feeds, data=data, items=min(items, batch * count), labels=given)


def per_item_of(source: Artifact) -> set[str]:
    """Names of the inputs whose first axis counts items.

    The first axis counts items if it is the batch, or has the size at which the file fixes the batch.
    """
    rule = batch_rule(source.inputs, {})
    if rule.axes:
        return {name for name, axis in rule.axes if axis == 0}
    return {spec.name for spec in source.inputs if spec.shape and spec.shape[0] == rule.fixed}


def arrays_of(source: Artifact, path: Path, labelled: bool = False) -> dict[str, Array]:
    """The user's arrays, each with a first axis of items, if they are what the model takes.

    `labelled`: labels `y` are no input, and `x` is the only input of the model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # NumPy's reader raises nearly any type for a damaged file
        raise BadInput(
            f"cannot read {path} ({one_line(error)})", "--calibration needs an .npz file with one array for each input"
        ) from error
    specs = {spec.name: spec for spec in source.inputs}
    if labelled:
        only = source.inputs[0].name if len(specs) == 1 and not specs.keys() & arrays.keys() else "x"
        arrays = {only if name == "x" else name: array for name, array in arrays.items() if name != "y" or name in specs}
    for name in arrays:
        if name not in specs:
            raise BadInput(f"{path} has an array {name!r}, and the model has no such input", nearest(name, specs))
    for name, spec in specs.items():
        if name not in arrays:
            raise BadInput(f"{path} has no array for the input {name!r}", "give one array for each input, by its name")
        _check_array(path, spec, arrays[name], name in per_item_of(source))
    if len({len(arrays[name]) for name in per_item_of(source)}) > 1:
        raise BadInput(f"the arrays in {path} have different numbers of items", "write the same number of items to each array")
    return arrays


def _check_array(path: Path, spec: TensorSpec, array: Array, per_item: bool) -> None:
    """Raise `BadInput` unless `array` has the type and shape of the input `spec`."""
    sizes = list(zip(spec.shape, array.shape))[1 if per_item else 0 :]
    fits = len(array.shape) == len(spec.shape) and all(not isinstance(dim, int) or dim == size for dim, size in sizes)
    if not fits or array.dtype.name != spec.dtype or 0 in array.shape:
        raise BadInput(
            f"{path} has {array.dtype} {list(array.shape)} for {spec.name!r}, but the input is {spec.dtype} {list(spec.shape)}",
            "use the input's type and shape, with a first axis of items",
        )
