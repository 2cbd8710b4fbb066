"""Which dimension of an input is the batch, and what all dimensions are for one cell. Pure, standard library only."""

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
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
FUNCTIONS: Mapping[str, Any] = {"max": max, "min": min}
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
    plain = _symbols(inputs)
    named = {name for spec in inputs for dim in spec.shape for name in _names(dim, plain) if BATCH_NAME.match(name)}
    symbols = named or {name for spec in inputs for name in _names(spec.shape[0] if spec.shape else None, plain)}
    places = [(spec.name, axis, dim) for spec in inputs for axis, dim in enumerate(spec.shape)]
    open_axes = {(name, axis) for name, axis, dim in places if _is_batch(dim, axis, symbols)}
    for spec in inputs:
        for axis in range(len(spec.shape)):
            if (spec.name, axis) in open_axes and spec.name in given:
                return BatchRule(
                    symbols=frozenset(symbols), axes=frozenset(open_axes), fixed=given[spec.name][axis], by_user=True
                )
    if open_axes or (symbols and not given):
        return BatchRule(symbols=frozenset(symbols), axes=frozenset(open_axes))
    sizes = [given.get(spec.name, spec.shape) for spec in inputs]
    return BatchRule(fixed=next((int(shape[0] or 1) for shape in sizes if shape), 1))


def size_of(dim: str, known: Mapping[str, int]) -> int | None:
    """A symbol's size, or what an expression of symbols (`2*T`, `past + 1`) comes to; None where that is not known."""
    if dim in known:
        return known[dim]
    tree = _parsed(dim)
    return None if tree is None else _value(tree, known)


def _parsed(dim: str) -> ast.expr | None:
    try:
        return ast.parse(dim.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _value(tree: ast.expr, known: Mapping[str, int]) -> int | None:
    if isinstance(tree, ast.Constant):
        return tree.value if type(tree.value) is int else None
    if isinstance(tree, ast.Name):
        return known.get(tree.id)
    if isinstance(tree, ast.BinOp) and type(tree.op) in OPERATORS:
        return _computed(OPERATORS[type(tree.op)], (tree.left, tree.right), known)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id.lower() in FUNCTIONS:
        return _computed(FUNCTIONS[tree.func.id.lower()], tree.args, known)
    return None


def _computed(function: Any, parts: Sequence[ast.expr], known: Mapping[str, int]) -> int | None:
    values = [_value(part, known) for part in parts]
    try:
        return None if None in values else int(function(*values))
    except (ArithmeticError, TypeError):
        return None


def _symbols(inputs: Sequence[TensorSpec]) -> set[str]:
    return {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}


def _names(dim: int | str | None, symbols: Collection[str]) -> set[str]:
    """The symbols that a dimension is made of: itself, but for an expression, which has a number or another symbol in it."""
    tree = _parsed(dim) if isinstance(dim, str) else None
    parts = list(ast.walk(tree)) if isinstance(tree, ast.BinOp | ast.Call) else []
    called = {part.func.id for part in parts if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)}
    names = {part.id for part in parts if isinstance(part, ast.Name)} - called
    if names & set(symbols) or any(isinstance(part, ast.Constant) for part in parts):
        return names
    return {dim} if isinstance(dim, str) else set()


def _is_batch(dim: int | str | None, axis: int, symbols: set[str]) -> bool:
    return dim in symbols if isinstance(dim, str) else dim is None and axis == 0


def check_given(inputs: Sequence[TensorSpec], given: Mapping[str, Shape]) -> None:
    """`BadInput` if `given` names an input that there is not, or a shape that the file does not allow."""
    known = {spec.name: spec for spec in inputs}
    for name, shape in given.items():
        if name not in known:
            raise BadInput(f"the model has no input {name!r}", nearest(name, known))
        want = known[name].shape
        if not known[name].ranked:
            continue
        if len(shape) != len(want) or any(isinstance(dim, int) and dim != size for dim, size in zip(want, shape)):
            raise BadInput(f"input {name!r} is {show(want)} in the file and {show(shape)} was given", "give a shape that fits")
    _check_agree(inputs, given)


def _check_agree(inputs: Sequence[TensorSpec], given: Mapping[str, Shape]) -> None:
    agreed: dict[str, int] = {}
    for dim, size in _pairs(inputs, given):
        first = agreed.setdefault(dim, size)
        if first != size:
            raise BadInput(f"the given shapes make dimension {dim!r} both {first} and {size}", "give shapes that agree")
    for dim, size in agreed.items():
        computed = size_of(dim, {name: known for name, known in agreed.items() if name != dim})
        if computed not in (None, size):
            raise BadInput(f"the given shapes make dimension {dim!r} both {computed} and {size}", "give shapes that agree")


def cell_shapes(inputs: Sequence[TensorSpec], batch: int, rule: BatchRule, given: Mapping[str, Shape]) -> Shapes:
    """Every input's shape at `batch` items a call; `BadInput` names the first dimension that stays open."""
    known = dict(_pairs(inputs, given)) | dict.fromkeys(rule.symbols, batch)
    return tuple((spec.name, given.get(spec.name) or _one(spec, batch, rule, known)) for spec in inputs)


def _pairs(inputs: Sequence[TensorSpec], given: Mapping[str, Shape]) -> list[tuple[str, int]]:
    """The symbols that the given shapes settle, for the other inputs that share them, with their sizes."""
    pairs = [pair for spec in inputs if spec.name in given for pair in zip(spec.shape, given[spec.name])]
    return [(dim, size) for dim, size in pairs if isinstance(dim, str)]


def _one(spec: TensorSpec, batch: int, rule: BatchRule, known: Mapping[str, int]) -> Shape:
    if not spec.ranked:
        hint = f"give --shape {spec.name}=NxN with a number for each N"
        raise BadInput(f"the file does not tell how many dimensions input {spec.name!r} has", hint)
    sizes: list[int] = []
    for axis, dim in enumerate(spec.shape):
        size = size_of(dim, known) if isinstance(dim, str) else dim
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
