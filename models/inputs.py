"""Random inputs of plausible values, from a seed. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Unsupported
from ..spec import Shape, Shapes, TensorSpec

Array = NDArray[np.generic]
LEAST = 0.1  # of what is divided by


def draw(inputs: Sequence[TensorSpec], shapes: Shapes, seed: int) -> dict[str, Array]:
    """One array for each input: normal floats, integers within their table (else 0 to 9), fair booleans; masks are ones,
    lengths whole, and what is divided by is above 0.

    The same seed, names and shapes give the same arrays. `Unsupported` for a type that NumPy does not have, and for an input
    that sets what an operator does.
    """
    sizes = dict(shapes)
    generator = np.random.default_rng(seed)
    return {spec.name: _one(spec, sizes, generator) for spec in inputs}


def _one(spec: TensorSpec, shapes: Mapping[str, Shape], generator: np.random.Generator) -> Array:
    if spec.setting:
        hint = f"give --input {spec.name}=FILE.npy"
        raise Unsupported(f"input {spec.name!r} is the {spec.setting}, of which no value can be guessed", hint)
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as error:
        raise Unsupported(f"input {spec.name!r} is of type {spec.dtype}, which NumPy does not have") from error
    shape = shapes[spec.name]
    if dtype.kind == "f":
        return _floats(spec.role, shape, generator).astype(dtype)
    if dtype.kind in "iu":
        return np.asarray(generator.integers(*spec.integers(shapes), shape)).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(generator.integers(spec.role == "mask", 2, shape)).astype(dtype)
    raise Unsupported(f"input {spec.name!r} is of type {spec.dtype}, for which no values can be drawn", "give --input")


def _floats(role: str, shape: Shape, generator: np.random.Generator) -> Array:
    drawn = np.asarray(generator.standard_normal(shape))
    return np.ones_like(drawn) if role == "mask" else np.abs(drawn) + LEAST if role == "positive" else drawn
