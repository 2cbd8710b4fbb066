"""The sizes of all dimensions for one cell, from the file, the batch, and the sizes that the user gave. Pure, standard library
only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import BadInput, quantity
from ..spec import Shapes, TensorSpec, nearest
from .batch import BatchRule as BatchRule
from .batch import batch_rule as batch_rule
from .symbols import Dims, is_batch_name, label, names_in, symbols_of
from .symbols import size_of as size_of

EXAMPLE = 16  # size of a dimension in a hint
NAMED_AT_MOST = 8  # open dimensions in one sentence


def check_shapes(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims]) -> None:
    """Raise `BadInput` if `shapes`, from the user, name an unknown input, or contradict the file or each other.

    A symbol may have several sizes, because runtimes do not compare them. The batch has one size.
    """
    specs = {spec.name: spec for spec in inputs}
    for name, shape in shapes.items():
        if name not in specs:
            raise BadInput(f"the model has no input {name!r}", nearest(name, specs))
        dims = specs[name].shape
        if not specs[name].ranked:
            continue
        if len(shape) != len(dims) or any(isinstance(dim, int) and dim != size for dim, size in zip(dims, shape)):
            problem = f"input {name!r} is {show(dims)} in the file, but {show(shape)} in --shape"
            raise BadInput(problem, f"write a shape that fits {show(dims)}")
    _check_agree(label(inputs, shapes), shapes, batch_rule(inputs, shapes))


def _check_agree(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims], rule: BatchRule) -> None:
    """Raise `BadInput` if the batch has two sizes or none, or if a size contradicts an expression of other sizes."""
    pairs = _pairs(inputs, shapes)
    batches = [size for dim, size in pairs if dim in rule.symbols]
    for size in batches:
        _check_equal(min(rule.symbols), batches[0], size)
    if rule.by_user and not rule.fixed:
        raise BadInput("the shapes in --shape make a batch of 0 items", "write a batch of 1 or more")
    sizes = _settled(pairs)
    for dim, size in pairs:
        if dim in sizes:
            _check_equal(dim, size_of(dim, {name: other for name, other in sizes.items() if name != dim}), size)


def _check_equal(dim: str, first: int | None, second: int) -> None:
    if first not in (None, second):
        hint = f"write shapes in which {dim!r} has one size"
        raise BadInput(f"the shapes in --shape make dimension {dim!r} both {first} and {second}", hint)


def _pairs(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims]) -> list[tuple[str, int]]:
    """Names of dimensions with the sizes that `shapes` give them. Other inputs share these names."""
    pairs = [pair for spec in inputs if spec.name in shapes for pair in zip(spec.shape, shapes[spec.name])]
    return [(dim, size) for dim, size in pairs if isinstance(dim, str) and isinstance(size, int)]


def _settled(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The sizes of names that have one size. An input without a shape cannot follow a name that has several."""
    sizes: dict[str, set[int]] = {}
    for dim, size in pairs:
        sizes.setdefault(dim, set()).add(size)
    return {dim: min(each) for dim, each in sizes.items() if len(each) == 1}


def dimension_names(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims]) -> dict[str, tuple[str, ...]]:
    """Every open dimension by its name, with its places as `INPUT axis N`. `shapes`: those that the user gave."""
    labelled = label(inputs, shapes)
    places: dict[str, list[str]] = {}
    for spec in labelled:
        for axis, dim in enumerate(spec.shape):
            for name in sorted(names_in(dim, symbols_of(labelled))):
                places.setdefault(name, []).append(f"{spec.name} axis {axis}")
    return {name: tuple(each) for name, each in places.items()}


def check_dims(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims], dims: Mapping[str, int], rule: BatchRule) -> None:
    """Raise `BadInput` if a size in `dims` is of no open dimension, is the batch, or contradicts `shapes`."""
    open_dims = dimension_names(inputs, shapes)
    for name, size in dims.items():
        if name not in open_dims:
            raise unknown_dim(name, open_dims)
        if name in rule.symbols or is_batch_name(name):
            raise BadInput(f"dimension {name!r} is the batch", f"write --batch {size}")
    for spec in label(inputs, shapes):
        _check_dims_fit(spec, shapes.get(spec.name, ()), dims)


def unknown_dim(name: str, open_dims: Iterable[str]) -> BadInput:
    """The error for a dimension that the model does not have, with those that it has."""
    names = sorted(open_dims)
    problem = f"the model has no open dimension {name!r}"
    if not names:
        return BadInput(f"{problem}: all its dimensions are fixed", f"leave out --dim {name}")
    return BadInput(f"{problem}; it has {', '.join(map(repr, names[:NAMED_AT_MOST]))}", nearest(name, names))


def _check_dims_fit(spec: TensorSpec, shape: Dims, dims: Mapping[str, int]) -> None:
    """Raise `BadInput` if a number of the user's `shape` is not what `dims` make of that dimension."""
    for axis, (dim, size) in enumerate(zip(spec.shape, shape)):
        computed = size_of(dim, dims) if isinstance(dim, str) else None
        if computed is not None and isinstance(size, int) and computed != size:
            given = " ".join(f"--dim {name}={dims[name]}" for name in sorted(names_in(dim, dims)) if name in dims)
            raise BadInput(
                f"{given or f'--dim {dim}={computed}'} contradicts input {spec.name!r}, which --shape or --input makes"
                f" {show(shape)}",
                f"leave out one of them, or write a name in place of {size} in --shape (axis {axis})",
            )


def cell_shapes(
    inputs: Sequence[TensorSpec], batch: int, rule: BatchRule, shapes: Mapping[str, Dims], dims: Mapping[str, int] | None = None
) -> Shapes:
    """Shapes of all inputs for `batch` items a call. `dims`: sizes of dimensions by name.

    `BadInput`, with the names of all open dimensions, if a dimension has no size.
    """
    labelled = label(inputs, shapes)
    sizes = _settled(_pairs(labelled, shapes)) | dict(dims or {}) | dict.fromkeys(rule.symbols, batch)
    specs = {spec.name: spec for spec in labelled}
    sizes |= {str(specs[name].shape[axis]): batch for name, axis in rule.axes}
    rows = [(spec, _sized(spec, shapes.get(spec.name, ()), sizes)) for spec in labelled]
    missing = [(spec, axis) for spec, row in rows for axis, size in enumerate(row) if size is None]
    if missing:
        raise _open_dims(missing, symbols_of(labelled), sizes, rule)
    return tuple((spec.name, tuple(size for size in row if size is not None)) for spec, row in rows)


def _sized(spec: TensorSpec, shape: Dims, sizes: Mapping[str, int]) -> list[int | None]:
    """The size of each dimension of `spec`, None where it is open."""
    if not spec.ranked:
        hint = f"write --shape {spec.name}=NxN with a number for each N"
        raise BadInput(f"the file does not give the number of dimensions of input {spec.name!r}", hint)
    numbers = dict(enumerate(shape))
    return [
        number if isinstance(number := numbers.get(axis), int) else dim if isinstance(dim, int) else size_of(str(dim), sizes)
        for axis, dim in enumerate(spec.shape)
    ]


def _open_dims(
    missing: Sequence[tuple[TensorSpec, int]], symbols: set[str], sizes: Mapping[str, int], rule: BatchRule
) -> BadInput:
    """The error for dimensions without a size: all their names and places, and the options that set them."""
    places: dict[str, str] = {}
    for spec, axis in missing:
        for name in sorted(names_in(spec.shape[axis], symbols) - set(sizes)) or [str(spec.shape[axis])]:
            places.setdefault(name, f"{name!r} (input {spec.name!r}, axis {axis})")
    named = list(places.values())[:NAMED_AT_MOST] + ["more"] * (len(places) > NAMED_AT_MOST)
    hint = " ".join(f"--dim {name}={EXAMPLE}" for name in list(places)[:NAMED_AT_MOST])
    verb = "has" if len(places) == 1 else "have"
    problem = f"{quantity(len(places), 'dimension')} of the inputs {verb} no size: {', '.join(named)}"
    return BadInput(problem, f"write {hint}, or a shape such as --shape {_example(missing[0][0], rule)}")


def _example(spec: TensorSpec, rule: BatchRule) -> str:
    """A value of --shape that sets every dimension of `spec` and leaves the batch open."""
    dims = (
        "N" if (spec.name, axis) in rule.axes else dim if isinstance(dim, int) else EXAMPLE
        for axis, dim in enumerate(spec.shape)
    )
    return f"{spec.name}={show(tuple(dims))}"


def show(shape: Sequence[int | str | None]) -> str:
    """Format a shape: `1x3x48x48`, with `?` for a dimension without a name; `scalar` for no dimensions."""
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "scalar"
