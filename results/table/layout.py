"""Layout of a table on a screen: columns that fit, aligned rows, wrapped lines and colours."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...axes import Scalar
from .column import Field

LEAST_WIDTH = 40
LONGEST_TEXT = 26  # names of processors and folders may have 60 characters
GAP, NARROW_GAP = 3, 2
INDENT = "  "
COMBINING = "\u0300"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RED, GREEN, YELLOW, DIM = "31", "1;32", "33", "2"

Style = Callable[[Scalar], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """Screen of a table. `width`: in characters, None for a pipe or a file, which get every column.

    `colour`: the terminal shows colours, and the user did not refuse them (NO_COLOR).
    """

    width: int | None = None
    colour: bool = False

    def styled(self, text: str, style: str) -> str:
        """Colour `text` by `style`, an ANSI code; a screen without colours returns it unchanged."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and style and text.strip() else text

    def wrapped(self, text: str, indent: str = "") -> list[str]:
        """Wrap `text` into lines that fit. Lines after the first are indented further."""
        if self.width is None:
            return [indent + text]
        width = max(LEAST_WIDTH, self.width)
        return textwrap.wrap(
            text, width, initial_indent=indent, subsequent_indent=indent + INDENT * 2, break_on_hyphens=False
        ) or [""]


PIPE = Screen()

STATUS: Mapping[Scalar, str] = {"ok": "", "planned": "", "undetermined": YELLOW}
VERDICT_STYLES = {"faster": GREEN, "better": GREEN, "slower": RED, "worse": RED, "ambiguous": YELLOW}
STYLES: Mapping[str, Style] = {
    "status": lambda value: STATUS.get(value, RED),
    "grade": lambda value: {"A": GREEN, "C": YELLOW}.get(str(value), ""),
    "verdict": lambda value: VERDICT_STYLES.get(str(value), ""),
}
"""Colour of a value, by column. The text has the same information without colours."""


def fitting(fields: Sequence[Field], widths: Sequence[int], width: int | None) -> list[int]:
    """Indices of the columns that fit into `width`, in their order. Columns with low priority numbers get their place first."""
    if width is None:
        return list(range(len(fields)))
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(fields)), key=lambda index: fields[index].priority):
        groups.setdefault(fields[index].priority, []).append(index)
    shown: list[int] = []
    # columns of one priority belong together, such as both ends of an interval: all of them fit or none is shown; the first
    # group is always shown, since a table without columns helps nobody
    for group in groups.values():
        if not shown or _total([widths[index] for index in (*shown, *group)]) <= width:
            shown += group
    return sorted(shown)


def _total(widths: Sequence[int]) -> int:
    return 1 + sum(widths) + NARROW_GAP * (len(widths) - 1)


def shortened(text: str) -> str:
    """Shorten `text` to LONGEST_TEXT characters by leaving out its middle."""
    if len(text) <= LONGEST_TEXT:
        return text
    head = (LONGEST_TEXT - 1) // 2
    return f"{text[:head]}…{text[head + 1 - LONGEST_TEXT :]}"


def rows_of(titles: Sequence[str], rows: Sequence[Sequence[str]], fields: Sequence[Field], screen: Screen) -> list[str]:
    """Lay out titles, a rule and `rows`, one line each, with texts at the left and numbers at the right."""
    gap = " " * (GAP if screen.width is None else NARROW_GAP)
    columns = [_aligned(column, right=field.number) for column, field in zip(zip(titles, *rows), fields)]
    head, *body = [f" {gap.join(cells)}".rstrip() for cells in zip(*columns)]
    return [head, " " + "─" * (width_of(head) - 1), *body]


def _aligned(texts: Sequence[str], *, right: bool) -> list[str]:
    """Fill `texts` with spaces to the width of the widest."""
    widths = list(map(width_of, texts))
    widest = max(widths)
    spaces = [" " * (widest - width) for width in widths]
    return [space + text if right else text + space for text, space in zip(texts, spaces)]


def width_of(text: str) -> int:
    """Width of `text` in the characters of a terminal. Its colours have none."""
    # wcswidth looks at each letter, and a large table has hundreds of thousands of texts. All printable letters below the first
    # combining one, such as µ and ±, are one character wide.
    if text.isprintable() and (text.isascii() or max(text) < COMBINING):
        return len(text)
    from wcwidth import wcswidth

    return int(wcswidth(COLOUR.sub("", text)))


def widths_of(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[int]:
    """Width of each column in the characters of a terminal."""
    return [max(map(width_of, column)) for column in zip(titles, *rows)]
