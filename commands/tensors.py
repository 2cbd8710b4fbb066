"""Types of the options about inputs: shapes and dimensions. click and spec only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from ..spec import TensorSpec

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic before click 8.5

OPEN = re.compile(r"[A-WYZ]|[A-WYZa-wyz_][A-WYZa-wyz0-9_.]+")  # a name in place of a size; `1xq` is a typing error


class Tensor(ParamType):
    """Shape of an input, such as `x=1x3x224x224`. No right side is a scalar; `:int64` is another type than float32.

    A name in place of a number leaves that dimension open: `ids=Nx128`. Names cannot have an x, which separates sizes.
    """

    name = "NAME=1x3x224x224"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # The last equals sign separates: the names of some inputs have one.
        name, equals, right = str(value).rpartition("=")
        if not equals or not name:
            self.fail(f"{value!r} has no name before an equals sign; write {self.name}", param, ctx)
        sizes, _, dtype = right.partition(":")
        parts = re.split("[xX]", sizes) if sizes else []
        shape = tuple(part if OPEN.fullmatch(part) else int(part) if part.isdecimal() else None for part in parts)
        if None in shape:
            examples = f"{name}=1x3x224x224, {name}=Nx3x224x224, or {name}= for a scalar"
            self.fail(f"{right!r} is not a shape; write for example {examples}", param, ctx)
        return TensorSpec(name=name, dtype=dtype or "float32", shape=shape)


class Sizes(ParamType):
    """Sizes of a named dimension, such as `seq=16,128,512`; each size once, in this order."""

    name = "NAME=N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        name, equals, right = str(value).rpartition("=")
        parts = [part.strip() for part in right.split(",")]
        if not equals or not name or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is not a name with sizes; write for example seq=16,128,512", param, ctx)
        return name, tuple(dict.fromkeys(map(int, parts)))
