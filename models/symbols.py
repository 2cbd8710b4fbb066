"""Names of dimensions: symbols, expressions of symbols, and what a name says about a dimension. Pure, standard library only."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..spec import TensorSpec

Dims = tuple[int | str | None, ...]
"""A shape in which a dimension may be open: a name, or None."""

OPERATORS: Mapping[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,  # exporters write `/` for a division without remainder
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
FUNCTIONS: Mapping[str, Any] = {"max": max, "min": min}

BATCH = re.compile(r"^(b|bs)$|batch", re.IGNORECASE)
LETTER_N = re.compile(r"^n$", re.IGNORECASE)  # a batch in [N, C, H, W], and a number of points in [B, N, 3]
LENGTH = re.compile(
    r"^[tlshwdv]$|time|seq|len($|s$|_|gth)|frame|step|token|height|width|depth|point|node|edge|boxes|\brois?\b|rays?$|atom"
    r"|channel|feature|word|char|patch|past|cache|context",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"_dynamic_axes_\d+$")  # torch's own name: the name of the input, which says nothing about the axis


def is_batch_name(name: str) -> bool:
    """True if `name` can only mean the batch: `batch`, `batch_size`, `B`, `bs`."""
    return bool(BATCH.search(name))


def is_length_name(name: str) -> bool:
    """True if `name` means a length or another count inside one item: `T`, `seq_len`, `num_nodes`."""
    return not NUMBERED.search(name) and bool(LENGTH.search(name))


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


def symbols_of(tensors: Sequence[TensorSpec]) -> set[str]:
    """All texts that are dimensions of `tensors`: symbols and expressions."""
    return {dim for spec in tensors for dim in spec.shape if isinstance(dim, str)}


def names_in(dim: int | str | None, symbols: Collection[str]) -> set[str]:
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


def label(inputs: Sequence[TensorSpec], shapes: Mapping[str, Dims]) -> tuple[TensorSpec, ...]:
    """`inputs` with a name for every open dimension.

    The file's own names stay. A dimension without a name gets the name that `shapes`, from the user, has in its place, else
    `INPUT.AXIS`. An input whose rank the file does not give has the user's shape.
    """
    return tuple(_labelled(spec, shapes.get(spec.name, ())) for spec in inputs)


def generated(name: str, axis: int) -> str:
    """Name of a dimension that has none in the file."""
    return f"{name}.{axis}"


def _labelled(spec: TensorSpec, shape: Dims) -> TensorSpec:
    if not spec.ranked and shape:
        return replace(spec, shape=shape, ranked=True)
    names = dict(enumerate(dim if isinstance(dim, str) else None for dim in shape))
    dims = (names.get(axis) or generated(spec.name, axis) if dim is None else dim for axis, dim in enumerate(spec.shape))
    return replace(spec, shape=tuple(dims))
