"""Distances from a reference, as evidence about a file or a cell, the limit of a distance, and the images of an accuracy.

Standard library only. evidence.py has all other evidence, and its rules for stored fields hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Number = float | None
SLACK_DB = 10.0  # between the errors of two runtimes that compute in one precision
LEAST_LIMIT_DB = 10.0  # an output of zeros is at 0 dB: a lower limit would prove nothing


def limit_db(class_floor_db: float, measured_floor_db: float | None) -> float:
    """Least SQNR of a row, in dB: the class floor of its precision, or less where the model's own rounding errors are larger.

    `measured_floor_db`: SQNR that the precision itself causes on the model. It only relaxes the limit, because runtimes with
    other algorithms are honestly 20 to 50 dB from one another on well-conditioned models.
    """
    return class_floor_db if measured_floor_db is None else min(class_floor_db, measured_floor_db - SLACK_DB)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartDistance:
    """Distance of one output, or of those slices of an output that have one scale (worker/distances).

    - `slices`: axis and indices of the slices (`axis 2: 4-83`); empty for the whole output.
    - `dead`: the values are constant, and those of the reference are not.
    - `shape`: both shapes, if they differ.
    - `floor_db`: distance that the precision itself causes on this model, measured in the reference runtime.
    - `file_db`: distance of the converted file, run in the reference runtime without graph optimizations.
    """

    output: str
    sqnr_db: float
    slices: str = ""
    dead: bool = False
    shape: str = ""
    floor_db: Number = None
    file_db: Number = None

    @property
    def name(self) -> str:
        """Output and slices, for a reader."""
        return f"{self.output} ({self.slices})" if self.slices else self.output


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """Distance from the reference's outputs (worker/verify.distance). `undetermined`: reason why it proves nothing.

    `sqnr_db` is that of the worst of `parts`. Version 0.1 had no parts, and pooled all outputs. `random`: outputs that are
    not compared, because they depend on a random generator.
    """

    sqnr_db: float
    max_abs_err: Number = None
    rel_err: Number = None
    agreement: Number = None
    undetermined: str | None = None
    parts: tuple[PartDistance, ...] = ()
    random: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity(Distance):
    """Distance of a derived file from its source, computed by `runtime` on a number of `samples` of `data`."""

    runtime: str
    data: str
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Accuracy in one precision (worker/verify.accuracy): rates in per cent, drops in points, counts of images.

    `top5`, `top5_drop`: None for a model of five classes or fewer.
    """

    top1: float
    top1_drop: float
    agreement: float
    images: int
    lost: int
    gained: int
    accuracy_batch: int
    top5: Number = None
    top5_drop: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified(Distance):
    """Parity with the reference, and accuracy if the dataset has labels.

    `output`, `limit_db`, `floor_db`: the part that decides, its least SQNR, and its measured floor (results/store/verdict).
    `diverged`: output whose fed-back state is not finite from the step `diverged_step` on.
    """

    output: str | None = None
    limit_db: Number = None
    floor_db: Number = None
    top1: Number = None
    top1_drop: Number = None
    images: int | None = None
    lost: int | None = None
    gained: int | None = None
    accuracy_batch: int | None = None
    diverged: str | None = None
    diverged_step: int | None = None
    top5: Number = None
    top5_drop: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """Parity before and after the exclusion of nodes, on `items` of `data` that did not serve to choose the nodes.

    `top1_before`, `top1_after`, `top1_fp32`: per cent, None without labels.
    """

    before: Distance
    after: Distance
    data: str
    items: int
    top1_before: Number = None
    top1_after: Number = None
    top1_fp32: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCost:
    """One output: its SQNR with all nodes in INT8, with the node alone that costs it most, and without excluded nodes."""

    output: str
    sqnr_db: float
    node: str
    node_db: float
    after_db: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """SQNR with each single node in INT8 (name and dB, lowest first), and nodes to exclude. `why_not`: reason for no search.

    - `sqnr_db`, `after_db`: SQNR with all nodes in INT8, and without those to exclude, on the `data` that served to choose.
    - `tried`: numbers of nodes in float that were tried, with their SQNR in dB.
    - `proof` without nodes to `exclude`: the gain on the data that served to choose is not confirmed on other data.
    - `command`: the export that leaves the nodes in float; without any, the one that searches for a file of enough SQNR.
    """

    nodes: tuple[tuple[str, float], ...] = ()
    sqnr_db: Number = None
    data: str = ""
    exclude: tuple[str, ...] = ()
    proof: Proof | None = None
    why_not: str | None = None
    after_db: Number = None
    outputs: tuple[OutputCost, ...] = ()
    tried: tuple[tuple[int, float], ...] = ()
    command: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Images of a dataset, and their split.

    - `images`: those that decode. `classes`: the classes that have images.
    - `unreadable`: image files that do not decode, with their first names and reasons in `examples`.
    - `duplicates`: images whose pixels are those of another image; both are in the same part.
    - `calibration`, `test`, `train`: sizes of the disjoint parts. `split_sha256`: digest of all parts' images.
    """

    images: int
    classes: int
    unreadable: int = 0
    examples: tuple[str, ...] = ()
    duplicates: int = 0
    calibration: int = 0
    test: int = 0
    train: int = 0
    split_sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Number of `answers` of timed calls that were compared with the reference, and the `worst` of them.

    Each lane of the last latency block and of the last throughput block has an answer, which was fetched after the clock had
    stopped. `part`, `lane` (from 1), `array` (from 0): the place of the worst answer, and the array that it belongs to.
    """

    answers: int
    worst: Verified
    part: str
    lane: int = 1
    array: int = 0


def figure_of(part: PartDistance, measured: Sequence[PartDistance]) -> float | None:
    """SQNR that was `measured` for a part. If another call has other slices, that of the worst part of its output."""
    of_output = [other for other in measured if other.output == part.output and not other.shape]
    same = [other.sqnr_db for other in of_output if other.slices == part.slices]
    return min(same or (other.sqnr_db for other in of_output), default=None)
