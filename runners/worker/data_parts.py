"""The disjoint parts of the data of a search for an INT8 file: calibration, search and proof. NumPy only.

Of a dataset, the calibration part calibrates, other items outside the test part search, and the test part proves. Of the user's
arrays, the first half calibrates, and each of two quarters searches or proves. Random inputs have a seed for each part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...backends.protocol import Array
from ...errors import BadInput
from ...exporters.searched import DataParts
from ...models import datasets
from ...models import inputs as random_inputs
from ...models.datasets import Dataset, Indices
from ...models.preprocessing import is_images
from ...models.shapes import batch_rule, cell_shapes
from ...spec import LABELLED, RANDOM
from .convert_jobs import (
    CALIBRATION_BATCH,
    RANDOM_ITEMS,
    Calibration,
    arrays_of,
    calibration_of,
    calibration_part,
    per_item_of,
    runs,
)
from .file_jobs import Making
from .jobs import Reporter
from .prepare_jobs import dataset_of
from .search_jobs import MOST_PROOF, MOST_SEARCH, CountParts
from .serve import State

MOST_UNLABELLED = 512  # items of each part without labels: distances need fewer than counts of answers
BATCHES = (CALIBRATION_BATCH, 8, 1)  # tried where the batch is open: a file may run one of them alone
LEAST_ITEMS = 4  # of the user's arrays: two calibrate, one searches, one proves

Drawn = tuple[Mapping[str, Array], Array | None]
Drawing = Callable[[Indices], Drawn]


@dataclass(frozen=True, kw_only=True)
class PartCall:
    """Arrays of one call by input name. The first `count` rows are items of the part, the others repeat some of them."""

    arrays: Mapping[str, Array]
    labels: Array | None
    count: int


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """`items` of one part, as calls of `batch` rows. `draw`: the arrays and labels of the rows with these numbers."""

    data: str
    items: int
    batch: int
    draw: Drawing

    def calls(self) -> Iterator[PartCall]:
        """All items, one call after the other."""
        for first in range(0, self.items, self.batch):
            arrays, labels = self.draw(np.arange(first, first + self.batch) % self.items)
            count = min(self.batch, self.items - first)
            yield PartCall(arrays=arrays, labels=labels, count=count)


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Items for the search and for the proof, by number among all items of `name`. `images`: see DataParts."""

    name: str
    search: Indices
    proof: Indices
    draw: Drawing
    labelled: bool = False
    images: int = 0


def count_parts(state: State, report: Reporter, job: CountParts) -> DataParts:
    """Sizes of the parts. `BadInput` if a part would be empty."""
    source, calibration = job.artifact, calibration_of(job)
    halves = _halves(job)
    if halves is None:
        search, proof = (part_of(job, proof=proof).items for proof in (False, True))
        sizes = DataParts(calibration=calibration.items, search=search, proof=proof)
        return replace(sizes, calibration_data=RANDOM, search_data=RANDOM, proof_data=RANDOM)
    own = halves.images or calibration.items
    return DataParts(
        calibration=own,
        search=len(halves.search),
        proof=len(halves.proof),
        calibration_data=calibration.data,
        search_data=halves.name,
        proof_data=halves.name,
        images=halves.images,
        labelled=halves.labelled and len(source.outputs[0].shape) == 2,
    )


def part_of(job: Making, *, proof: bool) -> DataPart:
    """The part that searches, or that proves, in calls that the FP32 file runs."""
    halves = _halves(job)
    if halves is None:
        return _random_part(job, 2 if proof else 1)
    numbers = halves.proof if proof else halves.search
    fixed = batch_rule(job.artifact.inputs, {}).fixed

    def draw(rows: Indices) -> Drawn:
        return halves.draw(numbers[rows])

    for batch in (fixed,) if fixed else BATCHES:
        part = DataPart(data=halves.name, items=len(numbers), batch=batch, draw=draw)
        if runs(job.artifact, Calibration(feeds=[next(part.calls()).arrays], data=part.data, items=part.items)):
            break
    return part


def _halves(job: Making) -> Halves | None:
    """Items outside the calibration data; None for random inputs."""
    if job.data:
        return _of_dataset(job, dataset_of(job.data), labelled=True)
    if job.calibration and is_images(job.calibrated_on):
        return _of_dataset(job, datasets.load(job.calibrated_on, Path(job.calibration.path)), labelled=False)
    return _of_arrays(job) if job.calibration else None


def _of_dataset(job: Making, data: Dataset, *, labelled: bool) -> Halves:
    """Items of a dataset outside its calibration part, and its test part."""
    own = job.calibration is None or not labelled
    used = max(len(data.split["calibration"]), len(calibration_part(data, job.how.images)) if own else 0)
    rest = np.concatenate([data.split["calibration"], data.split["train"]])[used:]
    if not len(rest):
        problem = f"{data.name} has no items left for the search: all outside its test part are for calibration"
        raise BadInput(problem, "write a smaller --calibration-images")
    most_search, most_proof = (MOST_SEARCH, MOST_PROOF) if labelled else (MOST_UNLABELLED, MOST_UNLABELLED)
    name = job.artifact.inputs[0].name

    def draw(numbers: Indices) -> Drawn:
        samples, labels = data.batch(numbers)
        return {name: samples}, labels if labelled else None

    return Halves(
        name=data.name, search=rest[:most_search], proof=data.split["test"][:most_proof], draw=draw, labelled=labelled
    )


def _of_arrays(job: Making) -> Halves:
    """Items of the user's arrays behind those that calibrate."""
    assert job.calibration is not None
    arrays = arrays_of(job.artifact, Path(job.calibration.path), job.calibrated_on.startswith(LABELLED))
    per_item = per_item_of(job.artifact)
    items = min((len(arrays[name]) for name in per_item), default=0)
    images = job.how.images or items // 2
    rest = np.arange(images, items)
    if len(rest) < 2 or items < LEAST_ITEMS:
        problem = (
            f"{job.calibrated_on} has {items} items, and {images} of them calibrate: too few are left for search and proof"
        )
        raise BadInput(problem, f"give at least {LEAST_ITEMS} items, and a smaller --calibration-images")
    middle = len(rest) // 2

    def draw(numbers: Indices) -> Drawn:
        return {name: array[numbers] if name in per_item else array for name, array in arrays.items()}, None

    search, proof = (numbers[:MOST_UNLABELLED] for numbers in (rest[:middle], rest[middle:]))
    return Halves(name=job.calibrated_on, search=search, proof=proof, draw=draw, images=images)


def _random_part(job: Making, number: int) -> DataPart:
    """Random inputs of a seed that no other part has. `number`: 1 for the search, 2 for the proof; 0 calibrates."""
    source, dims = job.artifact, dict(job.dims)
    rule = batch_rule(source.inputs, dict(job.shapes), source.outputs, dims)
    batch = rule.fixed or CALIBRATION_BATCH
    sizes = cell_shapes(source.inputs, batch, rule, dict(job.shapes), dims)
    calls = max(1, (job.how.images or RANDOM_ITEMS) // batch)
    seed = job.seed + number * calls

    def draw(rows: Indices) -> Drawn:
        return random_inputs.draw(source.inputs, sizes, seed + int(rows[0]) // batch), None

    return DataPart(data=RANDOM, items=batch * calls, batch=batch, draw=draw)
