"""Formats of other tools' files, and parsers of numbers. Standard library, errors and spec only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...errors import cut
from ...spec import Options

LARGEST_COUNT = 10**9

Figure = str | int | float


@dataclass(frozen=True, kw_only=True)
class ImportedFigures:
    """Content of a file for one row; None for a value that the file does not contain.

    `tool`: name of the row's environment. `figures`: by column name, for columns with a similar enough definition.
    `notes`: differences of the definitions, without semicolons, which separate notes in the table.
    `queries_per_s`: becomes `throughput_per_s` times the batch. `guesses`: a batch and a device, for a value that is neither
    in the file nor in the options. `settings`: distinguish rows of the same cell. `threads`: 0 for an unknown number.
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
    """A format of files. `looks` returns True for a text of this format; `parse` reads the text.

    `parse` raises `ValueError`, with the defect, for a damaged text and for a run without figures.
    """

    name: str
    looks: Callable[[str], bool]
    parse: Callable[[str], ImportedFigures]


def number(value: object, what: str, least: float = 0.0) -> float:
    """Convert a number or its text to a float. `ValueError` with the name `what` unless finite and above `least`."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            parsed = float(value)
        except (ValueError, OverflowError):
            parsed = math.nan
        if math.isfinite(parsed) and parsed > least:
            return parsed
    raise ValueError(f"{what} is {_shown(value)}, not a number above {least:g}")


def whole(value: object, what: str) -> int:
    """Convert `value` to a whole number from 1 to LARGEST_COUNT. `ValueError` with the name `what` for other values."""
    parsed = number(value, what)
    if parsed != int(parsed) or parsed > LARGEST_COUNT:
        raise ValueError(f"{what} is {_shown(value)}, not a whole number from 1 to {LARGEST_COUNT}")
    return int(parsed)


def _shown(value: object, limit: int = 40) -> str:
    text = "missing" if value is None else repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return cut(text, limit)
