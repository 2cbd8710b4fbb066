"""Random inputs of plausible values, from a seed. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Unsupported
from ..spec import Shapes, TensorSpec

INTEGER_HIGH = 10


def draw(inputs: Sequence[TensorSpec], shapes: Shapes, seed: int) -> dict[str, NDArray[np.generic]]:
    """One array for each input: normal floats, integers from 0 to under its table's length (else 10), fair booleans.

    The same seed, names and shapes give the same arrays. `Unsupported` for a type that NumPy does not have.
    """
    sizes = dict(shapes)
    generator = np.random.default_rng(seed)
    return {spec.name: _one(spec, sizes[spec.name], generator) for spec in inputs}


def _one(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.generic]:
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as error:
        raise Unsupported(f"input {spec.name!r} is of type {spec.dtype}, which NumPy does not have") from error
    if dtype.kind == "f":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    if dtype.kind in "iu":
        return np.asarray(generator.integers(0, spec.high or INTEGER_HIGH, shape)).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    raise Unsupported(f"input {spec.name!r} is of type {spec.dtype}, for which no values can be drawn", "give --input")
