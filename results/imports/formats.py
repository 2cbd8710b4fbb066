"""The finds of a parser in a file of another tool, and the reading of numbers. Standard library, errors and spec only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...errors import cut
from ...spec import Options

MOST = 10**9  # of what is counted

Figure = str | int | float


@dataclass(frozen=True, kw_only=True)
class ImportedFigures:
    """One row of another tool: what its file says, None for what it does not.

    `tool` is the name that the row's environment gets. `figures` are by column name, only where the column's definition is
    close enough, and `notes` (without a semicolon) say how theirs differs. `queries_per_s` becomes `throughput_per_s` once the
    batch is known. `guesses` are a batch and a device that are taken where neither the file nor the user says one. `settings`
    tell rows of the same cell apart; `threads` is 0 where it is not told.
    """

    tool: str
    notes: tuple[str, ...]
    version: str | None = None
    backend: str | None = None
    model: str | None = None
    batch: int | None = None
    device: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    queries_per_s: float | None = None
    guesses: Mapping[str, str | int] = field(default_factory=dict)
    settings: Options = ()
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file that can be taken: `name` for people, `looks` whether a text is meant to be one, and how it is read.

    `parse` raises `ValueError` with what is wrong, for text that is damaged or of a run without figures.
    """

    name: str
    looks: Callable[[str], bool]
    parse: Callable[[str], ImportedFigures]


def number(value: object, what: str, least: float = 0.0) -> float:
    """`value`, a number or the text of one, if it is finite and above `least`; `ValueError` that names `what` otherwise."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = math.nan
        if math.isfinite(found) and found > least:
            return found
    raise ValueError(f"{what} is {_shown(value)}, which is no number above {least:g}")


def whole(value: object, what: str) -> int:
    """`value` as a whole number from 1 to MOST; `ValueError` that names `what` otherwise."""
    found = number(value, what)
    if found != int(found) or found > MOST:
        raise ValueError(f"{what} is {_shown(value)}, which is no count")
    return int(found)


def _shown(value: object, limit: int = 40) -> str:
    text = "missing" if value is None else repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return cut(text, limit)
