"""The batch of a model: the dimensions that have as many items as one call. Pure, standard library only.

Evidence, the strongest first: the user's names, the file's names, the use of an input in the graph, and the ties between inputs
and outputs. A dimension is never the batch only because it stands first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..errors import BadInput
from ..spec import TensorSpec
from .symbols import LETTER_N, Dims, generated, is_batch_name, is_length_name, label, names_in, symbols_of

SEQUENCE = "sequence"  # role of an input whose second axis is the batch (spec.TensorSpec)
SEQUENCE_RANK = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRule:
    """Batch of a model: the `symbols` and the `axes` (input, axis) that have its size.

    `fixed`: size of a batch that cannot change. `by_user`: a shape from the user fixed it, and not the file.
    """

    symbols: frozenset[str] = frozenset()
    axes: frozenset[tuple[str, int]] = frozenset()
    fixed: int | None = None
    by_user: bool = False


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """Both ends of a graph. Every open dimension of `inputs` has a name; `own` are the names that the file or the user gave."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    own: frozenset[str]

    def names(self, dim: int | str | None) -> set[str]:
        """The symbols in a dimension."""
        return names_in(dim, symbols_of(self.inputs))

    def leading(self) -> list[tuple[TensorSpec, int | str | None]]:
        """Inputs that have dimensions, each with its first one."""
        return [(spec, spec.shape[0]) for spec in self.inputs if spec.shape]


def batch_rule(
    inputs: Sequence[TensorSpec],
    shapes: Mapping[str, Dims],
    outputs: Sequence[TensorSpec] = (),
    lengths: Collection[str] = (),
) -> BatchRule:
    """Find the batch of `inputs`. `shapes`: those that the user gave, by input name. `lengths`: dimensions that are no batch.

    A symbol called batch (or b, bs, n) is the batch. Without such a symbol, the batch is the open first axis of each input,
    unless its name, its use or its ties to `outputs` contradict. A number from the user in its place fixes the batch. A file
    without an open batch fixes it too. `BadInput` if the evidence fits a batch and a length alike.
    """
    ends = _ends(inputs, shapes, outputs)
    named = _named(ends, _asserted(inputs, shapes), lengths)
    symbols = named or {name for spec in ends.inputs for name in _plausible(ends, spec, lengths)}
    axes = {(spec.name, axis) for spec in ends.inputs for axis, dim in enumerate(spec.shape) if dim in symbols}
    axes |= {(spec.name, 0) for spec, dim in ends.leading() if named and dim not in lengths and _follows(ends, spec)}
    if not named:
        _check_clear(ends, axes)
    own = frozenset(symbols) & ends.own
    sizes = {place: size for place in axes if isinstance(size := dict(enumerate(shapes.get(place[0], ()))).get(place[1]), int)}
    if sizes:
        first = next(size for spec in inputs for place, size in sorted(sizes.items()) if place[0] == spec.name)
        return BatchRule(symbols=own, axes=frozenset(axes), fixed=first, by_user=True)
    if axes or own:
        return BatchRule(symbols=own, axes=frozenset(axes))
    return BatchRule(fixed=_fixed(ends, shapes))


def _ends(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims], outputs: Sequence[TensorSpec]) -> _Ends:
    labelled = label(inputs, shapes)
    unnamed = {generated(spec.name, axis) for spec in inputs for axis, dim in enumerate(spec.shape) if dim is None}
    symbols = symbols_of(labelled)
    own = {name for dim in symbols for name in names_in(dim, symbols)} - unnamed
    return _Ends(inputs=labelled, outputs=tuple(outputs), own=frozenset(own))


def _asserted(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims]) -> set[str]:
    """Symbols of the file in whose place the user wrote another name, one that means the batch."""
    pairs = [pair for spec in inputs for pair in zip(spec.shape, shapes.get(spec.name, ()))]
    return {
        dim
        for dim, name in pairs
        if isinstance(dim, str) and isinstance(name, str) and name != dim and (is_batch_name(name) or LETTER_N.match(name))
    }


def _named(ends: _Ends, asserted: set[str], lengths: Collection[str]) -> set[str]:
    """Symbols that their names call the batch."""
    places = [(spec, axis, name) for spec in ends.inputs for axis, dim in enumerate(spec.shape) for name in ends.names(dim)]
    strong = {name for _, _, name in places if is_batch_name(name) and name in ends.own} - set(lengths)
    weak = {name for spec, axis, name in places if LETTER_N.match(name) and _leads(ends, spec, axis)} - set(lengths)
    return asserted or strong or weak


def _leads(ends: _Ends, spec: TensorSpec, axis: int) -> bool:
    """True if `axis` is the first axis, or the second one behind a length."""
    return axis == 0 or (axis == 1 and any(map(is_length_name, ends.names(spec.shape[0]))))


def _plausible(ends: _Ends, spec: TensorSpec, lengths: Collection[str]) -> set[str]:
    """Symbols of the first axis of `spec` (of the second axis of a sequence), if nothing shows that they are no batch."""
    axis = int(spec.role == SEQUENCE)
    names = ends.names(spec.shape[axis]) if len(spec.shape) > axis else set()
    tied = {name for other in ends.inputs for place, dim in enumerate(other.shape) if place != axis for name in ends.names(dim)}
    # An input that sets an operator, such as the axes of a sum, has no items: its length may be 0.
    if spec.setting or _is_indexed(ends, spec, axis):
        return set()
    return {name for name in names if not (name in tied or name in lengths or _is_length(ends, name, axis))}


def _is_length(ends: _Ends, name: str, axis: int) -> bool:
    """True if `name` means a length, or is found in the outputs, and there on other axes only."""
    if name not in ends.own:
        return False
    places = {place for spec in ends.outputs for place, dim in enumerate(spec.shape) if name in names_in(dim, ends.own)}
    return is_length_name(name) or (bool(places) and axis not in places)


def _follows(ends: _Ends, spec: TensorSpec) -> bool:
    """True if the first axis of `spec` is open and has no name: it then follows a batch that has one."""
    has_items = not spec.setting and spec.role != SEQUENCE
    return has_items and spec.shape[0] == generated(spec.name, 0) and not _is_indexed(ends, spec, 0)


def _is_indexed(ends: _Ends, spec: TensorSpec, axis: int) -> bool:
    """True if another input has indices into this axis, which counts the rows of a table then."""
    return any(other.of == (spec.name, axis) and other.role != "length" for other in ends.inputs)


def _check_clear(ends: _Ends, axes: Collection[tuple[str, int]]) -> None:
    """Raise `BadInput` for [?, 1, 80] with an output [?, 1, 40]: a batch of one-step items, or one sequence."""
    alike = any(len(spec.shape) == SEQUENCE_RANK and spec.shape[1] == 1 and _is_open(spec.shape[0]) for spec in ends.outputs)
    for spec, dim in ends.leading():
        if alike and (spec.name, 0) in axes and len(spec.shape) == SEQUENCE_RANK and spec.shape[1] == 1:
            raise BadInput(
                f"dimension {dim!r} (input {spec.name!r}, axis 0) may be the batch or the length of one sequence",
                f"write --shape {spec.name}=Nx1x{spec.shape[2]} for a batch, or --dim {dim}=16 for a length",
            )


def _is_open(dim: int | str | None) -> bool:
    return not isinstance(dim, int)


def _fixed(ends: _Ends, shapes: Mapping[str, Dims]) -> int:
    """Number of items in a call of a model without an open batch; 1 where no size counts items."""
    for spec in ends.inputs:
        axis = _item_axis(ends, spec)
        if len(spec.shape) > axis:
            size = spec.shape[axis]
            return size if isinstance(size, int) and size and _is_tied(ends, size, axis) else 1
    return 1


def _item_axis(ends: _Ends, spec: TensorSpec) -> int:
    """The second axis of a sequence, else the first."""
    behind = len(spec.shape) >= SEQUENCE_RANK and any(map(is_length_name, ends.names(spec.shape[0])))
    return int(spec.role == SEQUENCE or behind)


def _is_tied(ends: _Ends, size: int, axis: int) -> bool:
    """True if an output has `size`, or an open dimension, at `axis`, or if no output shows its dimensions."""
    ranked = [spec for spec in ends.outputs if spec.ranked and len(spec.shape) > axis]
    return not ranked or any(spec.shape[axis] == size or _is_open(spec.shape[axis]) for spec in ranked)
