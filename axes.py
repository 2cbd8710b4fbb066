"""Axes: what the cells of a table may differ in. Standard library and spec only.

A new axis is a field of spec.Cell and an entry here. Baselines, the sets of cells that a round visits together, what is marked
as fastest, the pairs of a comparison, and the columns of tables all read this list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .spec import Cell

Scalar = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One way in which cells differ.

    `name` is that of its column and its option, and `of` its value, None where it does not apply. `question`: cells that differ
    in it answer different questions, so no ratio is taken between them. `always`: its column stands in a table even where all
    rows have the same value; otherwise that is said once above the table. `number`: its values are numbers. `partial`: None is
    no value of its own, since the axis does not apply to every cell.
    """

    name: str
    of: Callable[[Cell], Scalar]
    question: bool = False
    always: bool = False
    number: bool = False
    partial: bool = False


AXES: Mapping[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(name="model", of=lambda cell: cell.model, question=True),
        Axis(name="backend", of=lambda cell: cell.backend, always=True),
        Axis(name="environment", of=lambda cell: cell.environment or None),
        Axis(name="device", of=lambda cell: cell.device),
        Axis(name="precision", of=lambda cell: cell.precision),
        Axis(name="scheme", of=lambda cell: cell.scheme or None, partial=True),
        Axis(name="batch", of=lambda cell: cell.batch, question=True, always=True, number=True),
        Axis(name="threads", of=lambda cell: cell.settings.threads or None, question=True, number=True),
    )
}
QUESTION: tuple[str, ...] = tuple(axis.name for axis in AXES.values() if axis.question)


def question(cell: Cell) -> tuple[Scalar, ...]:
    """The values that cells of one compared set have in common."""
    return tuple(AXES[name].of(cell) for name in QUESTION)


def values(cell: Cell) -> dict[str, Scalar]:
    """The value of every axis, by its name."""
    return {axis.name: axis.of(cell) for axis in AXES.values()}
