"""Jobs of a worker for files: read, export, convert, draw inputs, train.

Standard library and the package only.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...evidence import Converted, Epoch, Explained, Number, PartDistance
from ...exporters.manifest import Maker
from ...models.library import LibraryModel
from ...parity import ImageSet
from ...spec import Artifact, Cell, Conversion, Options, Shapes, TensorSpec
from ...work import GraphWork
from .jobs import Data, Done, Here, Job, There


@dataclass(frozen=True, kw_only=True)
class Describe(Job[Artifact]):
    """Read the ONNX file `file` of the model `model`, and check it against the dataset `data`."""

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
class Decoded:
    """Folder of the worker's cache with decoded images, and facts about them."""

    folder: There
    images: ImageSet


@dataclass(frozen=True, kw_only=True)
class DecodeImages(Job[Decoded]):
    """Decode the image files of `data` into the cache. `skip`: numbers of files that ended an earlier worker.

    `labelled` False: folders are no classes.
    """

    data: Data
    skip: tuple[int, ...] = ()
    labelled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEntry:
    """Entry of the worker's cache: its folder, the artifact in it, and the record of its making.

    `cached` is True if the entry existed before the job. Paths in `artifact` are relative to the folder.
    """

    folder: There
    cached: bool
    artifact: Artifact
    made: Maker


@dataclass(frozen=True, kw_only=True)
class Export(Job[CacheEntry]):
    """Export a PyTorch module to ONNX: model name, factory, weights, inputs and output names.

    `opset`: an opset for torch's TorchScript exporter; 0 for its present exporter, at its own opset.
    """

    model: str
    factory: str
    weights: Here | None = None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()
    data: Data | None = None
    opset: int = 0


@dataclass(frozen=True, kw_only=True)
class DescribeLibrary(Job[LibraryModel]):
    """Describe a model of a library. `random`: its weights are not needed. `NotFetched` where a file is missing here."""

    model: str
    random: bool = False


@dataclass(frozen=True, kw_only=True)
class FetchLibrary(Job[Done]):
    """Download what the model of a library needs into the library's own cache."""

    model: str
    random: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportLibrary(Job[CacheEntry]):
    """Export a model of a library to ONNX, as `name` in rows. `NotFetched` where its weights are missing here."""

    model: str
    name: str
    random: bool = False
    data: Data | None = None


@dataclass(frozen=True, kw_only=True)
class Adopt(Job[CacheEntry]):
    """Copy the ONNX file `file`, and the files that contain its weights, into the cache."""

    file: Here
    model: str
    data: Data | None = None


@dataclass(frozen=True, kw_only=True)
class Making:
    """Recipe that makes a file of `precision` from the FP32 file `artifact`.

    `calibration` is an .npz file of arrays by input name, and `calibrated_on` its name in a record. `shapes`
    are those that the user gave, for random inputs; a name is an open dimension, and `dims` are sizes by name.
    `batches` are those of the sweep: calls of these sizes calibrate a file that cannot run a larger one.
    """

    artifact: Artifact
    precision: str
    how: Conversion
    calibration: Here | None = None
    calibrated_on: str = ""
    data: Data | None = None
    shapes: tuple[tuple[str, tuple[int | str | None, ...]], ...] = ()
    dims: tuple[tuple[str, int], ...] = ()
    seed: int = 0
    batches: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Convert(Making, Job[CacheEntry]):
    """Convert the file."""


@dataclass(frozen=True, kw_only=True)
class Lower(Making, Job[CacheEntry]):
    """Lower the file, of any precision, to `opset`. `fixed`: shapes in place of open dimensions; none leaves them open."""

    opset: int
    fixed: Shapes = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeFile:
    """Folder of the worker's cache with a file in the format of a runtime, and facts about it.

    Both are None for a runtime that reads ONNX files.
    """

    folder: There | None = None
    converted: Converted | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertFormat(Job[RuntimeFile]):
    """Convert `artifact` to the format of the cell's runtime. `scratch`: empty folder for what the converter writes.

    `origin`: the FP32 file from which `artifact` derives. Some converters make the cell's precision from it by themselves.
    `samples`: the answer of `WriteSamples`, for a converter that quantizes.
    """

    cell: Cell
    artifact: Artifact
    scratch: There
    origin: Artifact | None = None
    samples: Here | None = None


@dataclass(frozen=True, kw_only=True)
class WriteSamples(Making, Job[Done]):
    """Write the calibration samples of an INT8 file to `file`: an .npz of arrays by input name, one sample after the other."""

    file: There


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeUse:
    """True in `needs_shapes` if the file fills or gathers integers or booleans by open sizes, or takes a part of a shape."""

    needs_shapes: bool


@dataclass(frozen=True, kw_only=True)
class ReadSizeUse(Job[SizeUse]):
    """Find the use that the nodes of a file make of its sizes."""

    artifact: Artifact


@dataclass(frozen=True, kw_only=True)
class CountWork(Job[GraphWork]):
    """Count the operations and bytes of one call of `artifact` with `shapes` for its inputs."""

    artifact: Artifact
    shapes: Shapes


@dataclass(frozen=True, kw_only=True)
class MakeRoof(Job[CacheEntry]):
    """Write the ONNX file of a graph that measures the machine (models/roofs.RoofGraph)."""

    kind: str
    size: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Explain(Making, Job[Explained]):
    """Find the accuracy that each node of the INT8 file costs."""


@dataclass(frozen=True, kw_only=True)
class Draw(Job[Done]):
    """Write the input arrays of all backends into `folder`.

    The arrays are the `given` .npy files by input name, else real images of `data`, else random values. `high`: random
    integers are below it. `arrays`: number of different arrays of each input; those after the first are below the folder. The
    `given` files then have one more axis at the front, which counts the arrays.
    """

    artifact: Artifact
    shapes: Shapes
    seed: int
    given: tuple[tuple[str, Here], ...] = ()
    data: Data | None = None
    folder: There
    high: int | None = None
    arrays: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceCall:
    """Inputs of one call of the reference, and the folder for its outputs. `dims`: the sizes of `--dim` in `shapes`."""

    shapes: Shapes
    batch: int
    inputs: Here
    outputs: There
    dims: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Reason why the reference has no outputs for the call number `call` of the job.

    `running`: the model was loaded, and refused the inputs.
    """

    call: int
    reason: str
    running: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Referred:
    """Name and version of the runtime that computed the reference, and outputs that depend on a random generator.

    `refused`: calls without outputs. `no_samples`: no call could answer the labelled samples. `unlike`: problem and remedy of a
    state whose output cannot be its input; empty without one.
    """

    runtime: str
    random: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    no_samples: bool = False
    unlike: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refer(Job[Referred]):
    """Compute the FP32 reference's outputs for each of `calls`, and for several steps of a model with `feedback`.

    `arrays`: number of different inputs of each call, as in Draw.

    With labels, also write at most `images` images, their labels and the reference's predictions to
    `samples`.
    """

    artifact: Artifact
    calls: tuple[ReferenceCall, ...]
    samples: There
    images: int
    data: Data | None = None
    feedback: Options = ()
    arrays: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """SQNR of each part of the outputs, measured in the reference runtime. Parts without a figure are left out."""

    parts: tuple[PartDistance, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A file, the folders of its inputs and of the reference's outputs, and random outputs, which are not compared.

    `feedback`: outputs that are fed back. Each of both sides then makes several steps.
    """

    artifact: Artifact
    shapes: Shapes
    batch: int
    inputs: Here
    outputs: Here
    random: tuple[str, ...] = ()
    feedback: Options = ()


@dataclass(frozen=True, kw_only=True)
class CompareFile(Comparison, Job[Floor]):
    """Compare a converted file, run without graph optimizations, with the reference."""


@dataclass(frozen=True, kw_only=True)
class MeasureFloor(Comparison, Job[Floor]):
    """Measure the SQNR that the rounding of `precision` itself causes on the reference's file."""

    precision: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """Result of a training: its epochs, its peak memory in MB, and the version of PyTorch.

    `losses`: training loss of the first steps, None where it is not finite.
    """

    epochs: tuple[Epoch, ...]
    peak_memory_mb: float
    torch: str
    losses: tuple[Number, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of a training. `factory` makes the untrained module of `model`."""

    model: str
    factory: str
    data: Data
    device: str
    precision: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Train(TrainingSettings, Job[Trained]):
    """Train a model on `data`, and write its checkpoint."""

    checkpoint: There
