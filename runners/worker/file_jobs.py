"""Jobs of a worker for files: read, export, convert, draw inputs, train. Standard library and the package's own."""

from __future__ import annotations

from dataclasses import dataclass

from ...evidence import Epoch, Explained
from ...exporters.manifest import Maker
from ...spec import Artifact, Conversion, Shape, Shapes, TensorSpec
from .jobs import Data, Done, Here, Job, There


@dataclass(frozen=True, kw_only=True)
class Describe(Job[Artifact]):
    """Read the ONNX file `file`, which is called `model` and evaluated on `data`, if it can be."""

    file: Here
    model: str
    data: Data | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """Number of a dataset's test images."""

    images: int


@dataclass(frozen=True, kw_only=True)
class CountImages(Job[Counted]):
    """Count the test images of a dataset."""

    data: Data


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEntry:
    """An entry of the worker's cache: its folder, whether it was there already, the artifact in it (paths relative to the
    folder), and how that was made."""

    folder: There
    cached: bool
    artifact: Artifact
    made: Maker


@dataclass(frozen=True, kw_only=True)
class Export(Job[CacheEntry]):
    """Make an ONNX file of a PyTorch module: the model's name, its factory and weights, its inputs, its outputs' names."""

    model: str
    factory: str
    weights: Here | None = None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()
    data: Data | None = None


@dataclass(frozen=True, kw_only=True)
class Adopt(Job[CacheEntry]):
    """Take the ONNX file `file` over, with the files that hold its weights."""

    file: Here
    model: str
    data: Data | None = None


@dataclass(frozen=True, kw_only=True)
class Making:
    """Recipe of a file of `precision` that is made from the FP32 file `artifact`.

    `calibration`: an .npz file of arrays by input name, which a record calls `calibrated_on`. `shapes`: sizes of open
    dimensions, for random inputs.
    """

    artifact: Artifact
    precision: str
    how: Conversion
    calibration: Here | None = None
    calibrated_on: str = ""
    data: Data | None = None
    shapes: tuple[tuple[str, Shape], ...] = ()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Convert(Making, Job[CacheEntry]):
    """Make the file."""


@dataclass(frozen=True, kw_only=True)
class Explain(Making, Job[Explained]):
    """Find out what each node of the INT8 file costs."""


@dataclass(frozen=True, kw_only=True)
class Draw(Job[Done]):
    """Write the arrays that every backend is given into `folder`: the `given` .npy files by input name, else real images of
    `data`, else random values."""

    artifact: Artifact
    shapes: Shapes
    seed: int
    given: tuple[tuple[str, Here], ...] = ()
    data: Data | None = None
    folder: There


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceCall:
    """The inputs of one call of the reference, and where its outputs go."""

    shapes: Shapes
    batch: int
    inputs: Here
    outputs: There


@dataclass(frozen=True, kw_only=True, slots=True)
class Referred:
    """The runtime that computed the reference."""

    runtime: str


@dataclass(frozen=True, kw_only=True)
class Refer(Job[Referred]):
    """Compute the FP32 reference's outputs for each of `calls`; where there are labels, the folder `samples` gets at most
    `images` images, their labels and the reference's predictions."""

    artifact: Artifact
    calls: tuple[ReferenceCall, ...]
    samples: There
    images: int
    data: Data | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A training's epochs, its peak memory in MB, and the version of PyTorch."""

    epochs: tuple[Epoch, ...]
    peak_memory_mb: float
    torch: str


@dataclass(frozen=True, kw_only=True)
class Train(Job[Trained]):
    """Train a named model on `data`, and write its checkpoint."""

    model: str
    data: Data
    device: str
    precision: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    threads: int
    checkpoint: There
