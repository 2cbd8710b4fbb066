"""`--int8` of `bench export` and of the commands that measure. click and the table of schemes only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..exporters.schemes import BEST, SCHEMES

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic before click 8.5

Function = TypeVar("Function", bound=Callable[..., Any])


class Schemes(ParamType):
    """List of INT8 schemes, or `best`."""

    name = "SCHEME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(str(value).split(",")))
        for name in names:
            if name not in (*SCHEMES, BEST):
                self.fail(f"{name!r} is no INT8 scheme; choose from: {', '.join((*SCHEMES, BEST))}", param, ctx)
        if BEST in names and len(names) > 1:
            self.fail(f"{BEST} stands alone, since each backend chooses its scheme", param, ctx)
        return names


def int8_option(default: str = "") -> Callable[[Function], Function]:
    """`--int8`: INT8 schemes, each with a file of its own. No `default` means the portable file, or what the folder has."""
    texts = "; ".join(f"{name}, {scheme.text}" for name, scheme in SCHEMES.items())
    return click.option(
        "--int8",
        "schemes",
        type=Schemes(),
        metavar=Schemes.name,
        default=default or (),
        help=f"Use INT8 files of these schemes: {texts}; or {BEST}, which each backend chooses. Default: portable; without a"
        " portable file, the INT8 files that infer and check find.",
    )
