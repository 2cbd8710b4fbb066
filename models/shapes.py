"""The batch dimension of inputs, and the sizes of all dimensions for one cell. Pure, standard library only."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from ..spec import Shape, Shapes, TensorSpec, nearest

OPERATORS: Mapping[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,  # exporters write `/` for a division without remainder
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
FUNCTIONS: Mapping[str, Any] = {"max": max, "min": min}
BATCH_NAME = re.compile(r"^(n|b|bs|.*batch.*)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRule:
    """Batch of a model: the `symbols` and the `axes` (input, axis) that have its size.

    `fixed`: size of a batch that cannot change. `by_user`: a shape from the user fixed it, and not the file.
    """

    symbols: frozenset[str] = frozenset()
    axes: frozenset[tuple[str, int]] = frozenset()
    fixed: int | None = None
    by_user: bool = False


def batch_rule(inputs: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> BatchRule:
    """Find the batch of `inputs`. `shapes`: those that the user gave, by input name.

    A symbol called batch (or n, b, bs) is the batch on every axis. Without such a symbol, the batch is the first axis of
    each input, if that axis is open. A shape from the user fixes the batch. A file without an open batch fixes it too: then
    the first axis of the first input with dimensions counts the items.
    """
    plain = _symbols(inputs)
    named = {name for spec in inputs for dim in spec.shape for name in _names(dim, plain) if BATCH_NAME.match(name)}
    symbols = named or {name for spec in inputs for name in _names(spec.shape[0] if spec.shape else None, plain)}
    places = [(spec.name, axis, dim) for spec in inputs for axis, dim in enumerate(spec.shape)]
    open_axes = {(name, axis) for name, axis, dim in places if _is_batch(dim, axis, symbols)}
    for spec in inputs:
        for axis in range(len(spec.shape)):
            if (spec.name, axis) in open_axes and spec.name in shapes:
                return BatchRule(
                    symbols=frozenset(symbols), axes=frozenset(open_axes), fixed=shapes[spec.name][axis], by_user=True
                )
    if open_axes or (symbols and not shapes):
        return BatchRule(symbols=frozenset(symbols), axes=frozenset(open_axes))
    final = [shapes.get(spec.name, spec.shape) for spec in inputs]
    return BatchRule(fixed=next((int(shape[0] or 1) for shape in final if shape), 1))


def size_of(dim: str, sizes: Mapping[str, int]) -> int | None:
    """Size of a symbol or of an expression of symbols (`2*T`, `past + 1`), from `sizes` of symbols; None if unknown."""
    if dim in sizes:
        return sizes[dim]
    tree = _parsed(dim)
    return None if tree is None else _value(tree, sizes)


def _parsed(dim: str) -> ast.expr | None:
    try:
        return ast.parse(dim.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _value(tree: ast.expr, sizes: Mapping[str, int]) -> int | None:
    """Evaluate an expression. The file may be hostile: only the operators and functions above, and no `eval`."""
    if isinstance(tree, ast.Constant):
        return tree.value if type(tree.value) is int else None
    if isinstance(tree, ast.Name):
        return sizes.get(tree.id)
    if isinstance(tree, ast.BinOp) and type(tree.op) in OPERATORS:
        return _computed(OPERATORS[type(tree.op)], (tree.left, tree.right), sizes)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id.lower() in FUNCTIONS:
        return _computed(FUNCTIONS[tree.func.id.lower()], tree.args, sizes)
    return None


def _computed(function: Any, parts: Sequence[ast.expr], sizes: Mapping[str, int]) -> int | None:
    values = [_value(part, sizes) for part in parts]
    try:
        return None if None in values else int(function(*values))
    except (ArithmeticError, TypeError):
        return None


def _symbols(inputs: Sequence[TensorSpec]) -> set[str]:
    return {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}


def _names(dim: int | str | None, symbols: Collection[str]) -> set[str]:
    """The symbols in a dimension: the names in an expression, else the dimension itself.

    An expression has a number or another symbol in it. A text such as `past-length` without either is one symbol.
    """
    tree = _parsed(dim) if isinstance(dim, str) else None
    parts = list(ast.walk(tree)) if isinstance(tree, ast.BinOp | ast.Call) else []
    called = {part.func.id for part in parts if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)}
    names = {part.id for part in parts if isinstance(part, ast.Name)} - called
    if names & set(symbols) or any(isinstance(part, ast.Constant) for part in parts):
        return names
    return {dim} if isinstance(dim, str) else set()


def _is_batch(dim: int | str | None, axis: int, symbols: set[str]) -> bool:
    return dim in symbols if isinstance(dim, str) else dim is None and axis == 0


def check_shapes(inputs: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> None:
    """Raise `BadInput` if `shapes`, from the user, name an unknown input or contradict the file or each other."""
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
    _check_agree(inputs, shapes)


def _check_agree(inputs: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> None:
    """Raise `BadInput` if a dimension would have two sizes, also where one of the sizes is computed."""
    sizes: dict[str, int] = {}
    for dim, size in _pairs(inputs, shapes):
        _check_equal(dim, sizes.setdefault(dim, size), size)
    for dim, size in sizes.items():
        _check_equal(dim, size_of(dim, {name: other for name, other in sizes.items() if name != dim}), size)


def _check_equal(dim: str, first: int | None, second: int) -> None:
    if first not in (None, second):
        hint = f"write shapes in which {dim!r} has one size"
        raise BadInput(f"the shapes in --shape make dimension {dim!r} both {first} and {second}", hint)


def cell_shapes(inputs: Sequence[TensorSpec], batch: int, rule: BatchRule, shapes: Mapping[str, Shape]) -> Shapes:
    """Shapes of all inputs for `batch` items a call. `BadInput` for the first dimension that stays open."""
    sizes = dict(_pairs(inputs, shapes)) | dict.fromkeys(rule.symbols, batch)
    return tuple((spec.name, shapes.get(spec.name) or _sized(spec, batch, rule, sizes)) for spec in inputs)


def _pairs(inputs: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> list[tuple[str, int]]:
    """Symbols with the sizes that `shapes` give them. Other inputs share these symbols."""
    pairs = [pair for spec in inputs if spec.name in shapes for pair in zip(spec.shape, shapes[spec.name])]
    return [(dim, size) for dim, size in pairs if isinstance(dim, str)]


def _sized(spec: TensorSpec, batch: int, rule: BatchRule, known_sizes: Mapping[str, int]) -> Shape:
    if not spec.ranked:
        hint = f"write --shape {spec.name}=NxN with a number for each N"
        raise BadInput(f"the file does not give the number of dimensions of input {spec.name!r}", hint)
    sizes: list[int] = []
    for axis, dim in enumerate(spec.shape):
        size = size_of(dim, known_sizes) if isinstance(dim, str) else dim
        if size is None and (spec.name, axis) in rule.axes:
            size = batch
        if size is None:
            example = show(tuple("N" if isinstance(d, str) or d is None else d for d in spec.shape))
            name = f"dimension {dim!r}" if dim else f"dimension {axis}"
            raise BadInput(
                f"input {spec.name!r} has an open {name}", f"write --shape {spec.name}={example} with a number for each N"
            )
        sizes.append(size)
    return tuple(sizes)


def show(shape: Sequence[int | str | None]) -> str:
    """Format a shape: `1x3x48x48`, with `?` for a dimension without a name; `scalar` for no dimensions."""
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "scalar"
