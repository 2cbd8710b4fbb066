"""Arrays and shapes of inputs that the user gave. NumPy only: an array is mapped, and its data are read by workers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInput, one_line
from ...models import kind_of
from ...models.shapes import show
from ...models.symbols import Dims
from ...spec import CACHES, COLD, Artifact, Sweep
from ...untrusted import is_plain


def given_shapes(sweep: Sweep) -> dict[str, Dims]:
    """Shapes that the user gave with `--shape` or with arrays, by input. For a module, `--shape` fixes nothing.

    `BadInput` if an array contradicts the shape of its input.
    """
    by_shape = {} if sweep.model and kind_of(sweep.model) == "factory" else {s.name: s.shape for s in sweep.signature}
    arrays: dict[str, Dims] = {name: _shape(sweep, name, array) for name, array in _arrays(sweep).items()}
    for name, shape in arrays.items():
        dims = by_shape.get(name, shape)
        if len(dims) != len(shape) or any(isinstance(dim, int) and dim != size for dim, size in zip(dims, shape)):
            raise BadInput(
                f"input {name!r} is {show(dims)} in --shape, and its array in --input is {show(shape)}", "leave out one"
            )
    return by_shape | arrays


def _shape(sweep: Sweep, name: str, array: NDArray[Any]) -> Dims:
    """Shape of the array for one call. With `--inputs`, the first axis of a file counts its arrays."""
    count, path = sweep.input_count, dict(sweep.inputs)[name]
    if count == 1:
        return tuple(array.shape)
    arrays = len(array) if array.ndim else 1
    if arrays < count:
        message = f"--inputs {count} needs {count} arrays for input {name!r}, but the first axis of {path} has {arrays}"
        raise BadInput(message, "stack different arrays along a new first axis (numpy.stack), or leave out --inputs")
    return tuple(array.shape[1:])


def check_conditions(sweep: Sweep) -> None:
    """Raise `BadInput` for several arrays of a model with a state, and for cold caches where only latency is measured."""
    for name in sweep.caches:
        if name not in CACHES:
            raise BadInput(f"{name!r} is not a state of the caches", f"choose from: {', '.join(CACHES)}")
    if COLD in sweep.caches and sweep.load:
        message = "--cache cold cannot be used with --load, whose calls overlap and share the caches"
        raise BadInput(message, "measure the load with warm caches")
    if COLD in sweep.caches and sweep.metric == "throughput":
        raise BadInput("--metric throughput is not measured with --cache cold", "use --metric p50")
    if sweep.input_count > 1 and sweep.feedback:
        message = f"--inputs {sweep.input_count} cannot be used with --feedback, where each call has another state already"
        raise BadInput(message, "leave out --inputs")


def _arrays(sweep: Sweep) -> dict[str, NDArray[Any]]:
    """The user's arrays by input name, as memory maps."""
    return {name: _array(Path(path)) for name, path in sweep.inputs}


def _array(path: Path) -> NDArray[Any]:
    if not is_plain(path):
        raise BadInput(f"{path} does not exist, or is not a plain file", "give an .npy file of numbers to --input")
    try:
        # A pickle inside the file would run its code; the map reads no data before a worker needs it.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        # NumPy takes any other file for a pickle and proposes to load it unsafely: a proposal that must not be passed on.
        reason = "no .npy file of numbers" if "pickle" in str(error) else one_line(error)
        raise BadInput(f"cannot read {path} as an array ({reason})", "save the array again with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{path} holds several arrays", "give an .npy file, which holds one array, to --input")
    return array


def check_types(sweep: Sweep, artifacts: Sequence[Artifact]) -> None:
    """Raise `BadInput` if one of the user's arrays has another dtype than its input."""
    arrays = _arrays(sweep)
    for spec in (spec for artifact in artifacts for spec in artifact.inputs if spec.name in arrays):
        if arrays[spec.name].dtype.name != spec.dtype:
            dtype = arrays[spec.name].dtype
            raise BadInput(f"input {spec.name!r} needs {spec.dtype}, and its array is {dtype}", f"convert it to {spec.dtype}")
