"""Encoding of frozen dataclasses as JSON data, for worker processes and files, and decoding. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, partial
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

SHORT = 60  # characters of a value that an error quotes
Decoded = TypeVar("Decoded")
Reader = Callable[[Any], Any]


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


READER = """
def read(data):
    try:
        get, value = data.get, new()
        {fields}
        value.__class__ = kind
        {check}
        return value
    except (AttributeError, KeyError, TypeError):
        pass
    return checked(data)
"""


@cache  # get_type_hints takes longer than all other work of reading a large run
def reader(kind: Any) -> Reader:
    """Make the function that decodes data as the dataclass `kind`. To read a large run is to call it millions of times.

    Its text has a statement for each field, as the text of __init__ that dataclasses makes.
    """
    hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}
    decoders = {name: _decoder(hint) for name, hint in hints.items()}
    scope = {"kind": kind, "new": _thawed(kind), "checked": partial(_checked, kind, decoders)}
    scope |= {"MISSING": MISSING, "isfinite": math.isfinite}
    statements = []
    for place, item in enumerate(fields(kind)):
        plain, (part, absent) = _plain_types(hints[item.name]), _absent(item, place)
        scope |= {f"plain{place}": plain - {float}, f"decode{place}": _direct(hints[item.name]) or decoders[item.name]}
        scope |= {f"default{place}": item.default, f"make{place}": item.default_factory}
        # A float is never taken unchecked, since it may be NaN or infinite.
        finite = " or type(part) is float and isfinite(part)" if float in plain else ""
        given = f"part if type(part) in plain{place}{finite} else decode{place}(part)" if plain else f"decode{place}(part)"
        statements += [f"part = {part}", f"value.{item.name} = {absent}{given}"]
    check = "value.__post_init__()" if hasattr(kind, "__post_init__") else ""
    exec(READER.format(fields="\n        ".join(statements), check=check), scope)
    read: Reader = scope["read"]
    return read


def _direct(kind: Any) -> Reader | None:
    """Reader of the dataclass in a field that is of one dataclass, or of one dataclass or null; None for any other field."""
    kinds = [item for item in _alternatives(kind) if item is not type(None)]
    return reader(kinds[0]) if len(kinds) == 1 and is_dataclass(kinds[0]) else None  # type: ignore[arg-type]  # hashable


def _absent(item: Field[Any], place: int) -> tuple[str, str]:
    """Expression of a field's data, and the beginning of that of its value, for a field that the data may lack."""
    if item.default is not MISSING:
        return f"get({item.name!r}, default{place})", f"part if part is default{place} else "
    if item.default_factory is not MISSING:
        return f"get({item.name!r}, MISSING)", f"make{place}() if part is MISSING else "
    return f"data[{item.name!r}]", ""


def _thawed(kind: Any) -> type[Any]:
    """Class with the slots of the dataclass `kind` that is not frozen. Python lets its instance become one of `kind`.

    A frozen dataclass sets each field by a call of object.__setattr__, which takes three times as long.
    """
    slots = {"__slots__": vars(kind)["__slots__"]} if "__slots__" in vars(kind) else {}
    return type(kind.__name__, kind.__bases__, {**slots, "__init__": object.__init__, "__setattr__": object.__setattr__})


def _checked(kind: Any, decoders: Mapping[str, Reader], data: Any) -> Any:
    """Decode `data` as `kind` in the plain way, which names the field that has the wrong type."""
    if not isinstance(data, Mapping):
        raise TypeError(f"{_short(data)} is no {kind.__name__}")
    decoded = {}
    for name in (name for name in decoders if name in data):
        try:
            decoded[name] = decoders[name](data[name])
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
    return kind(**decoded)


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
        return _mapping_of(arguments[1])
    return reader(kind) if is_dataclass(kind) else _same  # type: ignore[arg-type]  # a class is hashable


def _mapping_of(kind: Any) -> Reader:
    """Make a decoder for a mapping to values of the type `kind`."""
    kinds, decode, isfinite = _plain_types(kind), _decoder(kind), math.isfinite
    plain, is_number = kinds - {float}, float in kinds
    return lambda data: {
        str(name): item if type(item) in plain or (is_number and type(item) is float and isfinite(item)) else decode(item)
        for name, item in _mapping(data).items()
    }


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
