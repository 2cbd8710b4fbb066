"""Frozen dataclasses as JSON data, and back: how values of spec.py reach a worker process or a file. Standard library only."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Value = TypeVar("Value")


def to_wire(value: Any) -> dict[str, Any]:
    """A dataclass of texts, numbers, dataclasses, and tuples of these, as JSON data."""
    return {name: _encode(getattr(value, name)) for name in _names(type(value))}  # type: ignore[arg-type]


def set_fields(value: Any) -> dict[str, Any]:
    """`to_wire` without the fields that are at their defaults: it stays the same when its type gets a field with a default."""
    given = {name: getattr(value, name) for name, default in _defaults(type(value)) if getattr(value, name) != default}  # type: ignore[arg-type]
    return {name: _encode(data, set_fields) for name, data in given.items()}


_names = cache(lambda kind: tuple(item.name for item in fields(kind)))


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Each field with its default, MISSING where it has none."""
    return tuple(
        (item.name, item.default if item.default_factory is MISSING else item.default_factory()) for item in fields(kind)
    )


def _encode(data: Any, of: Callable[[Any], dict[str, Any]] = to_wire) -> Any:
    if isinstance(data, tuple):
        return tuple(_encode(item, of) for item in data)
    return of(data) if is_dataclass(data) else data


def from_wire(kind: type[Value], data: Mapping[str, Any]) -> Value:
    """The value that `to_wire` made `data` from. Unknown names are left out, so older code reads newer data."""
    same, others = _decoders(kind)  # type: ignore[arg-type]
    found = {name: data[name] for name in same if name in data}
    found |= {name: decode(data[name]) for name, decode in others if name in data}
    return kind(**found)


@cache  # finding out the types takes longer than all else of reading a large run
def _decoders(kind: Any) -> tuple[list[str], list[tuple[str, Callable[[Any], Any]]]]:
    """The fields that JSON has as they are, and the others with what makes them from it."""
    every = [(name, _decoder(hint)) for name, hint in get_type_hints(kind).items()]
    return [name for name, decode in every if decode is _same], [item for item in every if item[1] is not _same]


def _decoder(kind: Any) -> Callable[[Any], Any]:
    arguments = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        of = next((_decoder(item) for item in arguments if is_dataclass(item)), _same)
        return lambda data: None if data is None else of(data)
    if get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        of = _decoder(arguments[0])
        return tuple if of is _same else lambda data: tuple(map(of, data))
    if get_origin(kind) is tuple:
        each = [_decoder(item) for item in arguments]
        return lambda data: tuple([of(value) for of, value in zip(each, data)])
    return partial(from_wire, kind) if is_dataclass(kind) else _same  # type: ignore[arg-type]


def _same(data: Any) -> Any:
    return data


def digest(data: Any) -> str:
    """SHA-256 of JSON data, the same for equal data whatever the order of its names."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
