"""Request for exported files, and the files that a request or a sweep needs. Loads no framework."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...exporters.schemes import BEST, PORTABLE
from ...models.symbols import Dims
from ...spec import Artifact, Conversion, Precision, Sweep, TensorSpec

EVERY_FILE = ("fp32", "fp16", "int8")
DEFAULT_CONVERSION = Conversion(scheme=PORTABLE, method="minmax")
INT8 = "int8"

File = tuple[str, str]
"""Precision of a file, and its INT8 scheme; an empty scheme stands for any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """Request to export a model into `folder`; None for the user's cache. `model` and `inputs` are the user's values.

    `precisions`: those that the user named; empty for every possible one of EVERY_FILE. `exactly`: every named precision must
    be possible, and replaces the folder's file. Without `exactly` the folder's files stay; a file of another version of this
    tool is made again with its own options. `conversion`: the INT8 scheme, its method and the excluded nodes. `schemes`: the
    INT8 schemes, each with a file of its own; empty for that of `conversion`, or without `exactly` for any file that is there.
    `calibration`: an .npz file. `dims`: sizes of open dimensions, of which random inputs have the first. `batches`: those of a
    sweep, which calibrate a file that cannot run larger ones. `random_weights`: of a library's model. `without`: precisions
    that are not converted. `opset`: that of the written files; None for the exporter's.
    """

    model: str
    dataset: str | None
    folder: Path | None
    inputs: tuple[TensorSpec, ...] = ()
    precisions: tuple[str, ...] = ()
    exactly: bool = True
    conversion: Conversion = DEFAULT_CONVERSION
    schemes: tuple[str, ...] = ()
    calibration: str | None = None
    dims: tuple[tuple[str, tuple[int, ...]], ...] = ()
    seed: int = 0
    batches: tuple[int, ...] = ()
    random_weights: bool = False
    without: tuple[str, ...] = ()
    opset: int | None = None


def files_of(precisions: Sequence[str]) -> tuple[str, ...]:
    """Precisions of the files that `precisions` run. Raises `BadInput` for an unknown precision."""
    return tuple(dict.fromkeys(Precision.parse(name).file for name in precisions))


def wanted_files(precisions: Sequence[str], schemes: Sequence[str]) -> tuple[File, ...]:
    """The files that `precisions` run, with one INT8 file for each of `schemes`. Raises `BadInput` for an unknown precision."""
    named = [scheme for scheme in schemes if scheme != BEST]
    files = [[(file, scheme) for scheme in named] if file == INT8 and named else [(file, "")] for file in files_of(precisions)]
    return tuple(file for group in files for file in group)


def precisions_with(schemes: Sequence[str], precisions: tuple[str, ...]) -> tuple[str, ...]:
    """`precisions`, and INT8 if the user named `schemes`."""
    return precisions if INT8 in files_of(precisions) or not schemes else (*precisions, INT8)


def is_file(artifact: Artifact, model: str, file: File) -> bool:
    """True if `artifact` is the `file` of `model`."""
    precision, scheme = file
    return (artifact.model, artifact.precision) == (model, precision) and scheme in ("", artifact.scheme)


def with_schemes(artifacts: Iterable[Artifact], sweep: Sweep) -> list[Artifact]:
    """`artifacts` without the INT8 files that `sweep` does not measure.

    Those are the files of other schemes than the user named. A model without a named scheme has its portable file, so that one
    table compares one file; without a portable file it has all of them. A file of the user has no scheme, and stays.
    """
    artifacts = list(artifacts)
    portable = {item.model for item in artifacts if item.scheme == PORTABLE}

    def is_measured(item: Artifact) -> bool:
        if sweep.schemes:
            return item.scheme in sweep.schemes
        return item.scheme == PORTABLE or item.model not in portable or not sweep.model

    return [item for item in artifacts if not item.scheme or is_measured(item)]


def first_sizes(dims: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[tuple[str, int], ...]:
    """The first size of each dimension, for calls that need one."""
    return tuple((name, sizes[0]) for name, sizes in dims)


def fixed_shapes(inputs: Sequence[TensorSpec]) -> tuple[tuple[str, Dims], ...]:
    """The shapes that the user gave to inputs; a name for a dimension that stays open."""
    return tuple((spec.name, spec.shape) for spec in inputs)
