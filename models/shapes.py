"""Which dimension of an input is the batch, and what all dimensions are for one cell. Pure, standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BadInput
from ..spec import Shape, Shapes, TensorSpec, nearest

BATCH_NAME = re.compile(r"^(n|b|bs|.*batch.*)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRule:
    """How a model takes its batch: `symbols` and `axes` (input, axis) that follow it; or its size, and who fixed it."""

    symbols: frozenset[str] = frozenset()
    axes: frozenset[tuple[str, int]] = frozenset()
    fixed: int | None = None
    by_user: bool = False


def batch_rule(inputs: Sequence[TensorSpec], given: Mapping[str, Shape]) -> BatchRule:
    """Find the batch of `inputs`, of which `given` (by name) have a shape from the user.

    A symbol that is called batch (or n, b, bs) is the batch wherever it stands; with no such symbol, the first axis
    where it is open. A batch that no open dimension leaves free is fixed: by a shape that the user gave, or
    by the file, in which case the first axis of the first input that has one counts the items.
    """
    named = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str) and BATCH_NAME.match(dim)}
    symbols = named or {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], str)}
    places = [(spec.name, axis, dim) for spec in inputs for axis, dim in enumerate(spec.shape)]
    open_axes = {(name, axis) for name, axis, dim in places if _is_batch(dim, axis, symbols)}
    for spec in inputs:
        for axis in range(len(spec.shape)):
            if (spec.name, axis) in open_axes and spec.name in given:
                return BatchRule(
                    symbols=frozenset(symbols), axes=frozenset(open_axes), fixed=given[spec.name][axis], by_user=True
                )
    if open_axes:
        return BatchRule(symbols=frozenset(symbols), axes=frozenset(open_axes))
    sizes = [given.get(spec.name, spec.shape) for spec in inputs]
    return BatchRule(fixed=next((int(shape[0] or 1) for shape in sizes if shape), 1))


def _is_batch(dim: int | str | None, axis: int, symbols: set[str]) -> bool:
    return dim in symbols if isinstance(dim, str) else dim is None and axis == 0


def check_given(inputs: Sequence[TensorSpec], given: Mapping[str, Shape]) -> None:
    """`BadInput` if `given` names an input that there is not, or a shape that the file does not allow."""
    known = {spec.name: spec for spec in inputs}
    for name, shape in given.items():
        if name not in known:
            raise BadInput(f"the model has no input {name!r}", nearest(name, known))
        want = known[name].shape
        if len(shape) != len(want) or any(isinstance(dim, int) and dim != size for dim, size in zip(want, shape)):
            raise BadInput(f"input {name!r} is {show(want)} in the file and {show(shape)} was given", "give a shape that fits")
    agreed: dict[str, int] = {}
    for dim, size in _pairs(inputs, given):
        if agreed.setdefault(dim, size) != size:
            raise BadInput(f"the given shapes make dimension {dim!r} both {agreed[dim]} and {size}", "give shapes that agree")


def cell_shapes(inputs: Sequence[TensorSpec], batch: int, rule: BatchRule, given: Mapping[str, Shape]) -> Shapes:
    """Every input's shape at `batch` items a call; `BadInput` names the first dimension that stays open."""
    known = dict(_pairs(inputs, given)) | dict.fromkeys(rule.symbols, batch)
    return tuple((spec.name, given.get(spec.name) or _one(spec, batch, rule, known)) for spec in inputs)


def _pairs(inputs: Sequence[TensorSpec], given: Mapping[str, Shape]) -> list[tuple[str, int]]:
    """The symbols that the given shapes settle, for the other inputs that share them, with their sizes."""
    pairs = [pair for spec in inputs if spec.name in given for pair in zip(spec.shape, given[spec.name])]
    return [(dim, size) for dim, size in pairs if isinstance(dim, str)]


def _one(spec: TensorSpec, batch: int, rule: BatchRule, known: Mapping[str, int]) -> Shape:
    sizes: list[int] = []
    for axis, dim in enumerate(spec.shape):
        size = known.get(dim) if isinstance(dim, str) else dim
        if size is None and (spec.name, axis) in rule.axes:
            size = batch
        if size is None:
            example = show(tuple("N" if isinstance(d, str) or d is None else d for d in spec.shape))
            what = f"dimension {dim!r}" if dim else f"dimension {axis}"
            raise BadInput(
                f"input {spec.name!r} leaves {what} open", f"give --shape {spec.name}={example} with a number for each N"
            )
        sizes.append(size)
    return tuple(sizes)


def show(shape: Sequence[int | str | None]) -> str:
    """`1x3x48x48`, with `?` for a dimension without a name; `scalar` for no dimensions."""
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "scalar"
