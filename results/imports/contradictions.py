"""Options of an import against the content of its files. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BadInput
from .formats import ImportedFigures

FILLED = ("backend", "model", "batch", "device", "precision")  # options that replace a value that is missing in a file
VARIANT = re.compile(
    r"(?:[._-](?:fp32|fp16|bf16|tf32|int8|f32|f16|i8|sim|simplified|dynamic|quant\w*|q|b\d+|bs\d+|batch\d+|op(?:set)?\d+))+",
    re.IGNORECASE,
)

Contents = Mapping[Path, Sequence[ImportedFigures]]


def require_agreement(contents: Contents, options: Any) -> None:
    """`BadInput` for an option that contradicts a file and that no file needs.

    Also for an option that contradicts the guess for one of several files.
    """
    for name in FILLED:
        value = getattr(options, name)
        if value is not None:
            _require(contents, name, value)


def _require(contents: Contents, name: str, value: Any) -> None:
    rows = [(path, row) for path, rows in contents.items() for row in rows]
    other = next(((path, getattr(row, name)) for path, row in rows if not _agrees(row, name, value)), None)
    if other and all(getattr(row, name) is not None for _, row in rows):
        new_name = str(value).rpartition("=")[2]
        hint = f"leave --{name} out" + (f", or rename it with --model {other[1]}={new_name}" if name == "model" else "")
        raise BadInput(f"--{name} {value} contradicts {other[0]}, which has {other[1]}", hint)
    # A guess gives way to an option. With several files nobody can tell which of them the option is for.
    unsure = next(((path, row) for path, row in rows if _is_other_guess(row, name, value)), None)
    if unsure and len(contents) > 1:
        path, row = unsure
        raise BadInput(
            f"--{name} {value} may be wrong for {path}, which seems to have {row.guesses[name]}", "import that file alone"
        )


def _is_other_guess(row: ImportedFigures, name: str, value: Any) -> bool:
    guess = row.guesses.get(name, value)
    return getattr(row, name) is None and guess != value and "{device}" not in str(guess)


def _agrees(row: ImportedFigures, name: str, value: Any) -> bool:
    """True if the row has no such value, or the same, or one that allows `value`."""
    stated = getattr(row, name)
    if stated is None or bool(stated == value):
        return True
    if name == "precision":
        return value in row.precisions
    if name == "backend":
        return bool(str(value).partition("@")[0] == stated)
    return name == "model" and renamed(str(value), str(stated)) is not None and _is_same_model(str(value), str(stated))


def _is_same_model(value: str, stated: str) -> bool:
    """True for an explicit new name of the file's model, and for its name without the suffix of a variant."""
    old, separator, _ = value.rpartition("=")
    name = old if separator else value
    return name == stated or (stated.startswith(name) and VARIANT.fullmatch(stated[len(name) :]) is not None)


def renamed(value: str | None, stated: str | None) -> str | None:
    """Name of the row's model from the option `value`, `NAME` or `OLD=NAME`, and the name in the file."""
    if value is None:
        return stated
    _, separator, name = value.rpartition("=")
    if separator:
        return name if stated is not None and _is_same_model(value, stated) else stated
    return value
