"""Frozen dataclasses as JSON data, and back: how values of spec.py reach a worker process or a file. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

SHORT = 60  # characters of a value in a sentence
Decoded = TypeVar("Decoded")
Decoders = Sequence[tuple[str, Collection[type], Callable[[Any], Any]]]


def to_wire(value: Any) -> dict[str, Any]:
    """A dataclass of texts, numbers, dataclasses, and tuples and mappings of these, as JSON data."""
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
    if isinstance(data, dict):
        return {name: _encode(item, of) for name, item in data.items()}
    return of(data) if is_dataclass(data) else data


def from_wire(kind: type[Decoded], data: Mapping[str, Any]) -> Decoded:
    """The value that `to_wire` made `data` from. Unknown names are left out, so older code reads newer data.

    `TypeError`, with the field's name, for data of another type, and for numbers that are not finite.
    """
    if type(data) is not dict and not isinstance(data, Mapping):
        raise TypeError(f"{_short(data)} is no {kind.__name__}")
    decoders = _decoders(kind)  # type: ignore[arg-type]
    try:
        found = {
            name: value if type(value := data[name]) in plain else decode(value)
            for name, plain, decode in decoders
            if name in data
        }
        return kind(**found)
    except TypeError as error:
        raise _named(decoders, data) or error from None


def _named(decoders: Decoders, data: Mapping[str, Any]) -> TypeError | None:
    """The error of the first field of `data` that is of another type, with its name."""
    for name, _, decode in decoders:
        try:
            if name in data:
                decode(data[name])
        except TypeError as error:
            return TypeError(f"{name}: {error}")
    return None


@cache  # finding out the types takes longer than all else of reading a large run
def _decoders(kind: Any) -> Decoders:
    """Of each field the name, the types whose values are taken as they are, and what reads all others."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}
    return [(name, _plain_types(hint) - {float}, _decoder(hint)) for name, hint in hints.items()]


PLAIN: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (float, int),
    bool: (bool,),
    type(None): (type(None),),
}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _plain_types(kind: Any) -> frozenset[type]:
    """The types of JSON's texts, numbers, truth values and null that `kind` takes."""
    return frozenset(of for item in _alternatives(kind) if item in PLAIN for of in PLAIN[item])


def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of the type `kind` from JSON data, or raises `TypeError`."""
    origin, arguments, several = get_origin(kind), get_args(kind), _alternatives(kind)
    if all(item in PLAIN for item in several):
        return _plain(_plain_types(kind), " or ".join(map(_name, several)))
    if len(several) > 1:
        return _any_of([_decoder(item) for item in several], " or ".join(map(_name, several)))
    if origin is tuple and arguments[-1] is Ellipsis:
        of = _decoder(arguments[0])
        return lambda data: tuple(map(of, _sequence(data)))
    if origin is tuple:
        each = [_decoder(item) for item in arguments]
        return lambda data: tuple(of(value) for of, value in zip(each, _sequence(data, len(each))))
    if origin is abc.Mapping:
        of = _decoder(arguments[1])
        return lambda data: {str(name): of(value) for name, value in _mapping(data).items()}
    return partial(from_wire, kind) if is_dataclass(kind) else _same  # type: ignore[arg-type]


def _name(kind: Any) -> str:
    """A type's name in a sentence: null, int, Info, Mapping."""
    return "null" if kind is type(None) else str(getattr(get_origin(kind) or kind, "__name__", kind))


def _any_of(decoders: Sequence[Callable[[Any], Any]], kind: str) -> Callable[[Any], Any]:
    """Make a reader of one of several types. The error of an object is that of its own type, which names the field."""

    def decode(data: Any) -> Any:
        errors = []
        for of in decoders:
            try:
                return of(data)
            except TypeError as error:
                errors.append(error)
        raise errors[0] if isinstance(data, dict) else TypeError(f"{_short(data)} is no {kind}")

    return decode


def _plain(kinds: Collection[type], name: str) -> Callable[[Any], Any]:
    """Make a reader of texts or numbers of one of `kinds`. True and False are no numbers, and neither is NaN."""

    def decode(data: Any) -> Any:
        kind = type(data)
        if kind in kinds and (kind is not float or math.isfinite(data)):
            return data
        raise TypeError(f"{_short(data)} is no {name}")

    return decode


def _sequence(data: Any, count: int | None = None) -> Sequence[Any]:
    if not isinstance(data, list | tuple) or (count is not None and len(data) != count):
        raise TypeError(f"{_short(data)} is no list" + ("" if count is None else f" of {count}"))
    return data


def _mapping(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"{_short(data)} is no object")
    return data


def _same(data: Any) -> Any:
    return data


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def digest(data: Any) -> str:
    """SHA-256 of JSON data, the same for equal data whatever the order of its names."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
