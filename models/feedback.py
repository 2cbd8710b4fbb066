"""Outputs that are fed back to inputs: their names, types and shapes. Pure; arrays have only their shape and type read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ..errors import BadInput, nearest
from ..spec import Artifact, Options, TensorSpec
from .symbols import Dims, is_length_name, names_in, size_of, symbols_of

PROBE = 8  # size of a dimension whose growth is tested
LENGTHS = "16,128"  # example of sizes in a hint


class Shaped(Protocol):
    """Array: its shape and type."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> object: ...


def feedback_of(artifact: Artifact, feedback: Options) -> Options:
    """The pairs of `feedback` whose output and input are both of `artifact`."""
    outputs, inputs = {spec.name for spec in artifact.outputs}, {spec.name for spec in artifact.inputs}
    return tuple((source, target) for source, target in feedback if source in outputs and target in inputs)


def check_names(feedback: Options, artifacts: Sequence[Artifact]) -> None:
    """Raise `BadInput` for a pair whose output or input no model has, and for an input that two outputs feed."""
    targets = [target for _, target in feedback]
    for source, target in feedback:
        _check_known("output", source, {spec.name for item in artifacts for spec in item.outputs})
        _check_known("input", target, {spec.name for item in artifacts for spec in item.inputs})
        if targets.count(target) > 1:
            raise BadInput(f"--feedback feeds input {target!r} twice", "keep one of its outputs")
        if not any(feedback_of(item, ((source, target),)) for item in artifacts):
            raise BadInput(f"no model has both output {source!r} and input {target!r}", "write one pair for each model")


def _check_known(end: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise BadInput(f"--feedback names {end} {name!r}, which the model does not have", nearest(name, names))


def check_specs(artifact: Artifact, feedback: Options) -> None:
    """Raise `BadInput` for a state whose output cannot have the type and the shape of its input."""
    outputs, inputs = ({spec.name: spec for spec in end} for end in (artifact.outputs, artifact.inputs))
    for source, target in feedback_of(artifact, feedback):
        output, state = outputs[source], inputs[target]
        if output.dtype != state.dtype:
            raise _unlike(f"output {source!r} is {output.dtype}, and input {target!r} is {state.dtype}")
        if output.ranked and state.ranked:
            _check_dims(output, state, symbols_of([*artifact.inputs]))


def _check_dims(output: TensorSpec, state: TensorSpec, symbols: set[str]) -> None:
    if len(output.shape) != len(state.shape):
        raise _unlike_shapes(output.name, output.shape, state.name, state.shape)
    for output_dim, input_dim in zip(output.shape, state.shape):
        if _grows(output_dim, input_dim, symbols):
            raise _growing(output.name, state.name, f"{input_dim}={LENGTHS}")
        if isinstance(output_dim, int) and isinstance(input_dim, int) and output_dim != input_dim:
            raise _unlike_shapes(output.name, output.shape, state.name, state.shape)


def _grows(output_dim: int | str | None, input_dim: int | str | None, symbols: set[str]) -> bool:
    """True if a dimension of the output `output_dim` is larger than the one that it would feed.

    By its expression (`past + 1`), or by the names that exporters of transformers use (`past_length`, `total_length`).
    """
    if not isinstance(output_dim, str) or not isinstance(input_dim, str) or output_dim == input_dim:
        return False
    size = size_of(output_dim, dict.fromkeys(names_in(output_dim, symbols) | {input_dim}, PROBE))
    if input_dim in names_in(output_dim, symbols) and size is not None:
        return size > PROBE
    return "past" in input_dim.lower() and "past" not in output_dim.lower() and is_length_name(input_dim)


def check_arrays(feedback: Mapping[str, str], inputs: Mapping[str, Shaped], outputs: Mapping[str, Shaped]) -> None:
    """Raise `BadInput` for a state whose output has another type or shape than its input."""
    for source, target in feedback.items():
        new, old = outputs[source], inputs[target]
        if new.dtype != old.dtype:
            raise _unlike(f"output {source!r} is {new.dtype}, and input {target!r} is {old.dtype}")
        if new.shape != old.shape:
            longer = [axis for axis, (size, least) in enumerate(zip(new.shape, old.shape)) if size != least]
            if len(new.shape) == len(old.shape) and len(longer) == 1 and new.shape[longer[0]] > old.shape[longer[0]]:
                raise _growing(source, target, f"and sizes of axis {longer[0]} of {target!r}")
            raise _unlike_shapes(source, new.shape, target, old.shape)


def _growing(source: str, target: str, sizes: str) -> BadInput:
    """Error for a cache that grows. `sizes`: what to write behind `--dim`."""
    return BadInput(
        f"output {source!r} is longer than input {target!r}, so the state grows in each step",
        f"give a static cache, or measure steps with --dim {sizes}",
    )


def _unlike_shapes(source: str, new: Dims, target: str, old: Dims) -> BadInput:
    shapes = ["x".join("?" if dim is None else str(dim) for dim in shape) or "scalar" for shape in (new, old)]
    return _unlike(f"output {source!r} is {shapes[0]}, and input {target!r} is {shapes[1]}")


def _unlike(problem: str) -> BadInput:
    return BadInput(f"{problem}, so one cannot feed the other", "write a pair of one shape and type to --feedback")
