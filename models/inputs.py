"""Random inputs with plausible values, from a seed. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Unsupported
from ..spec import Shape, Shapes, TensorSpec

Array = NDArray[np.generic]
LEAST = 0.1  # smallest divisor: quotients by much smaller ones could overflow FP16


def draw(inputs: Sequence[TensorSpec], shapes: Shapes, seed: int, high: int | None = None) -> dict[str, Array]:
    """Draw one array for each input. The same seed, names and shapes give the same arrays.

    Floats are normal, booleans are fair. Integers are indices within their table (else 0 to 9, bytes 0 to 255). `high`: they
    are below it too, for a graph that refuses larger ones. Masks are ones, lengths are full, and divisors are above 0.
    `Unsupported` for a type that NumPy does not have, and for an input that sets a parameter of an operator.
    """
    sizes = dict(shapes)
    generator = np.random.default_rng(seed)
    return {spec.name: _one(spec, sizes, generator, high) for spec in inputs}


def _one(spec: TensorSpec, shapes: Mapping[str, Shape], generator: np.random.Generator, high: int | None) -> Array:
    if spec.setting:
        hint = f"write --input {spec.name}=FILE.npy"
        raise Unsupported(f"input {spec.name!r} sets the {spec.setting}, so random values are wrong", hint)
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as error:
        raise Unsupported(f"input {spec.name!r} is of type {spec.dtype}, which NumPy does not have") from error
    shape = shapes[spec.name]
    if dtype.kind == "f":
        return _floats(spec.role, shape, generator).astype(dtype)
    if dtype.kind in "iu":
        low, above = spec.integers(shapes)
        bound = above if high is None or spec.role else min(above, high)
        return np.asarray(generator.integers(low, bound, shape)).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(generator.integers(spec.role == "mask", 2, shape)).astype(dtype)
    raise Unsupported(
        f"input {spec.name!r} is of type {spec.dtype}, for which bench has no random values",
        f"write --input {spec.name}=FILE.npy",
    )


def _floats(role: str, shape: Shape, generator: np.random.Generator) -> Array:
    # Draws for a mask too: the arrays of the inputs after it stay the same, whatever the graph shows about this one.
    normal = np.asarray(generator.standard_normal(shape))
    return np.ones_like(normal) if role == "mask" else np.abs(normal) + LEAST if role == "positive" else normal
