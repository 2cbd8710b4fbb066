"""Formats of other tools' files, and parsers of numbers. Standard library, errors and spec only."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import cut
from ...spec import Options

LARGEST_COUNT = 10**9
COMMA = re.compile(r"\s*-?\d+,\d+\s*")
ENDINGS = r"\.(onnx|ort|xml|blob|pb|pt|pth|tflite|pdmodel|prototxt|uff|caffemodel|engine|trt|plan)$"

Figure = str | int | float


@dataclass(frozen=True, kw_only=True)
class ImportedFigures:
    """Content of a file for one row; None and empty for a value that the file does not contain.

    - `tool`: name of the row's environment. `version`: that of the runtime.
    - `precisions`: the precision of the file, then others that the file does not rule out.
    - `figures`: by column name, for columns with a similar enough definition.
    - `notes`: differences of the definitions, without semicolons, which separate notes in the table.
    - `items_per_s`: becomes `throughput_per_s`. `queries_per_s`: becomes it times the batch. `at_once`: number of queries
      that must overlap for this rate, over the number that can; above 1 the rate counts items already.
    - `guesses`: values for what is neither in the file nor in the options. In a backend `{device}` is the kind of device.
    - `settings`: distinguish rows of the same cell. `threads`: 0 for an unknown number.
    - `facts`: settings of the tool. `definition`: those that change the meaning of the figures.
    - `ran`: date and time of the run by the clock of its machine. `processor`, `accelerator`: names of what computed.
    """

    tool: str
    notes: tuple[str, ...] = ()
    version: str | None = None
    backend: str | None = None
    model: str | None = None
    batch: int | None = None
    device: str | None = None
    precisions: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    items_per_s: float | None = None
    queries_per_s: float | None = None
    at_once: float = 0.0
    guesses: Mapping[str, str | int] = field(default_factory=dict)
    settings: Options = ()
    facts: Options = ()
    definition: Options = ()
    threads: int = 0
    ran: str | None = None
    processor: str | None = None
    accelerator: str | None = None

    @property
    def precision(self) -> str | None:
        """Precision that the file contains."""
        return self.precisions[0] if self.precisions else None


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files. `looks` returns True for a text of this format; `parse` reads its rows.

    `parse` raises `ValueError`, with the defect, for a damaged text and for a run without figures; `Unusable` for a defect
    with a remedy of its own. `run`: command that writes such a file. `log`: the text may stand among other text.
    """

    name: str
    looks: Callable[[str], bool]
    parse: Callable[[str], Sequence[ImportedFigures]]
    run: str
    log: bool = False


class Unusable(ValueError):
    """A text without usable figures. `hint`: what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def number(value: object, what: str, least: float = 0.0) -> float:
    """Convert a number or its text to a float. `ValueError` with the name `what` unless finite and above `least`."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            parsed = float(value)
        except (ValueError, OverflowError):
            parsed = math.nan
        if math.isfinite(parsed) and parsed > least:
            return parsed
    if isinstance(value, str) and COMMA.fullmatch(value):
        raise Unusable(f"{what} is {_shown(value)}, with a decimal comma", "write a decimal point: run the tool with LC_ALL=C")
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


def inert(text: object, limit: int = 200) -> str:
    """Text of a file for a note: on one line, without semicolons and control characters."""
    return cut("".join(char if char.isprintable() else " " for char in str(text)).replace(";", ","), limit)


def stem(path: str) -> str | None:
    """Name of a model from the path of its file, on any system; None for an empty name."""
    return re.sub(ENDINGS, "", re.split(r"[/\\]", path.strip().strip("\"'"))[-1], flags=re.IGNORECASE) or None


def leading(shape: str) -> int | None:
    """First dimension of a shape such as `8x3x224x224`; None for an open dimension, and for no shape."""
    match = re.match(r"([1-9][0-9]{0,8})(x|$)", shape)
    return int(match[1]) if match else None


def pieces(lines: Sequence[str], begins: Callable[[str], bool]) -> list[list[str]]:
    """Parts of a log, each from a line that `begins` a run. Lines before the first such line belong to the first part."""
    parts: list[list[str]] = [[]]
    begun = False
    for line in lines:
        if begins(line):
            parts += [[]] if begun else []
            begun = True
        parts[-1].append(line)
    return parts
