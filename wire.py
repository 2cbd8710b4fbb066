"""Encoding of frozen dataclasses as JSON data, for worker processes and files, and decoding. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

SHORT = 60  # characters of a value that an error quotes
OFTEN = 200  # values of a type after which a faster way to make them pays; to make one takes 0.5 ms
Decoded = TypeVar("Decoded")
Reader = Callable[[Any], Any]
Decoders = Mapping[str, tuple[Collection[type], Reader]]


def to_wire(value: Any) -> dict[str, Any]:
    """Encode a dataclass of texts, numbers, dataclasses, and tuples and mappings of these as JSON data."""
    return {name: _encode(getattr(value, name)) for name in _names(type(value))}  # type: ignore[arg-type]


def set_fields(value: Any) -> dict[str, Any]:
    """Encode a dataclass without the fields that have their default value.

    A new field with a default leaves the result unchanged, so keys of cells stay valid.
    """
    changed = {name: getattr(value, name) for name, default in _defaults(type(value)) if getattr(value, name) != default}  # type: ignore[arg-type]
    return {name: _encode(data, set_fields) for name, data in changed.items()}


_names = cache(lambda kind: tuple(item.name for item in fields(kind)))


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Name and default of each field; MISSING for a field without a default."""
    return tuple(
        (item.name, item.default if item.default_factory is MISSING else item.default_factory()) for item in fields(kind)
    )


def _encode(data: Any, encode: Callable[[Any], dict[str, Any]] = to_wire) -> Any:
    """Encode one field's value; `encode` encodes dataclasses in it."""
    if isinstance(data, tuple):
        return tuple(_encode(item, encode) for item in data)
    if isinstance(data, dict):
        return {name: _encode(item, encode) for name, item in data.items()}
    return encode(data) if is_dataclass(data) else data


def from_wire(kind: type[Decoded], data: Mapping[str, Any]) -> Decoded:
    """Decode `data`, the result of `to_wire`, as the dataclass `kind`.

    Unknown names are ignored: older code reads newer data. `TypeError`, with the field's name, for data of another type and
    for numbers that are not finite.
    """
    decoded: Decoded = reader(kind)(data)  # type: ignore[arg-type]  # a class is hashable
    return decoded


@cache  # get_type_hints takes longer than all other work of reading a large run
def reader(kind: Any) -> Reader:
    """Make the function that decodes data as the dataclass `kind`. To read a large run is to call it millions of times."""
    decoders, make, made = _decoders(kind), kind, 0

    def read(data: Any) -> Any:
        nonlocal make, made
        # Two checks, because isinstance on an abstract class is slow.
        if type(data) is not dict and not isinstance(data, Mapping):
            raise TypeError(f"{_short(data)} is no {kind.__name__}")
        decoded = {}
        try:
            for name, value in data.items():
                if name in decoders:
                    plain, decode = decoders[name]
                    decoded[name] = value if type(value) in plain else decode(value)
            made += 1
            make = _fast_maker(kind) if made == OFTEN else make
            return make(**decoded)
        except TypeError as error:
            # Only after a failure: names of fields cost time that correct data need not pay for.
            raise _error_of_field(decoders, data) or error from None

    return read


def _error_of_field(decoders: Decoders, data: Mapping[str, Any]) -> TypeError | None:
    """The error of the first field of `data` that has the wrong type, with the field's name."""
    for name, (_, decode) in decoders.items():
        try:
            if name in data:
                decode(data[name])
        except TypeError as error:
            return TypeError(f"{name}: {error}")
    return None


def _decoders(kind: Any) -> Decoders:
    """For each field: the types whose values need no decoding, and a decoder for all other values."""
    # A float is never taken unchecked, since it may be NaN or infinite.
    hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}
    return {name: (_plain_types(hint) - {float}, _decoder(hint)) for name, hint in hints.items()}


def _fast_maker(kind: Any) -> Callable[..., Any]:
    """A function with the parameters of the dataclass `kind` that makes the same value faster.

    A frozen dataclass sets each field by a call of object.__setattr__. A class with the same slots that is not frozen sets
    them three times as fast, and Python lets its instance become one of `kind`.
    """
    if kind.__base__ is not object or "__slots__" not in vars(kind) or hasattr(kind, "__post_init__"):
        return kind  # type: ignore[no-any-return]
    parts = [(item.name, item.type, field(default=item.default, default_factory=item.default_factory)) for item in fields(kind)]
    thawed = make_dataclass(kind.__name__, parts, slots=True, kw_only=True, repr=False, eq=False)

    def make(**values: Any) -> Any:
        value = thawed(**values)
        value.__class__ = kind
        return value

    return make


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
    """The types among JSON's texts, numbers, truth values and null that `kind` accepts."""
    return frozenset(of for item in _alternatives(kind) if item in PLAIN for of in PLAIN[item])


def _decoder(kind: Any) -> Reader:
    """Make a function that decodes JSON data as the type `kind`, or raises `TypeError`."""
    origin, arguments, alternatives = get_origin(kind), get_args(kind), _alternatives(kind)
    if all(item in PLAIN for item in alternatives):
        return _plain(_plain_types(kind), " or ".join(map(_name, alternatives)))
    if len(alternatives) > 1:
        return _any_of([_decoder(item) for item in alternatives], " or ".join(map(_name, alternatives)))
    if origin is tuple and arguments[-1] is Ellipsis:
        decode = _decoder(arguments[0])
        return lambda data: tuple(map(decode, _sequence(data)))
    if origin is tuple:
        decoders = [_decoder(item) for item in arguments]
        return lambda data: tuple(decode(item) for decode, item in zip(decoders, _sequence(data, len(decoders))))
    if origin is abc.Mapping:
        plain, decode = _plain_types(arguments[1]) - {float}, _decoder(arguments[1])
        return lambda data: {str(name): item if type(item) in plain else decode(item) for name, item in _mapping(data).items()}
    return reader(kind) if is_dataclass(kind) else _same  # type: ignore[arg-type]  # a class is hashable


def _name(kind: Any) -> str:
    """The name of a type for an error: null, int, Info, Mapping."""
    return "null" if kind is type(None) else str(getattr(get_origin(kind) or kind, "__name__", kind))


def _any_of(decoders: Sequence[Reader], kind: str) -> Reader:
    """Make a decoder for one of several types."""

    first, *others = decoders

    def decode(data: Any) -> Any:
        try:
            return first(data)
        except TypeError as error:
            errors = [error]
        for decoder in others:
            try:
                return decoder(data)
            except TypeError as error:
                errors.append(error)
        # For an object the first type is the dataclass, and its error names the field.
        raise errors[0] if isinstance(data, dict) else TypeError(f"{_short(data)} is no {kind}")

    return decode


def _plain(kinds: Collection[type], name: str) -> Reader:
    """Make a decoder for texts or numbers of one of `kinds`. It refuses True and False as numbers, and NaN."""

    def decode(data: Any) -> Any:
        kind = type(data)  # not isinstance: bool is a subclass of int
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
    """SHA-256 of JSON data in hexadecimal. The order of names does not change the digest."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
