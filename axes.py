"""Axes: the properties in which cells of a table differ. Standard library and spec only.

A new axis is a field of spec.Cell and an entry here. The readers of this list are baselines, the sets of cells that a round
visits together, the marks of the fastest row, the pairs of a comparison, and the columns of tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .spec import WARM, Cell

Scalar = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One property in which cells differ.

    - `name`: name of the axis, of its column and of its option.
    - `of`: function that gives the value of a cell, None where the axis does not apply.
    - `definition`: one sentence for readers of the table.
    - `question`: cells with different values answer different questions. No ratio between them is computed.
    - `always`: the column is shown even if all rows have one value. Other axes then stand once, above the table.
    - `number`: the values are numbers.
    - `partial`: the axis applies to some cells only, and None is no value of its own.
    """

    name: str
    of: Callable[[Cell], Scalar]
    definition: str
    question: bool = False
    always: bool = False
    number: bool = False
    partial: bool = False


AXES: Mapping[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(name="model", of=lambda cell: cell.model, question=True, definition="Name of the model."),
        Axis(name="backend", of=lambda cell: cell.backend, always=True, definition="Runtime that answered."),
        Axis(
            name="environment",
            of=lambda cell: cell.environment or None,
            definition="Name of the Python environment, or of the set of options, that the runtime ran with; tuned for options"
            " that were searched.",
        ),
        Axis(
            name="device",
            of=lambda cell: cell.device,
            definition="Device that computed: cpu, a GPU with its number, or several GPUs.",
        ),
        Axis(name="precision", of=lambda cell: cell.precision, definition="Arithmetic that was requested."),
        Axis(
            name="scheme",
            of=lambda cell: cell.scheme or None,
            partial=True,
            definition="Scheme by which an INT8 file was quantized.",
        ),
        Axis(
            name="dims",
            of=lambda cell: " ".join(f"{name}={size}" for name, size in cell.dims) or None,
            question=True,
            definition="Sizes of the dimensions that --dim names.",
        ),
        Axis(
            name="feedback",
            of=lambda cell: " ".join(f"{source}={target}" for source, target in cell.feedback) or None,
            question=True,
            definition="Outputs that each call hands to the next one, each with its input (--feedback).",
        ),
        Axis(
            name="inputs",
            of=lambda cell: cell.inputs if cell.inputs > 1 else None,
            question=True,
            number=True,
            definition="Number of different arrays that the calls get in turn (--inputs); empty for one array.",
        ),
        Axis(
            name="cache",
            of=lambda cell: cell.cache if cell.cache != WARM else None,
            question=True,
            definition="State of the caches before each call: cold if they were flushed (--cache); empty for warm.",
        ),
        Axis(
            name="batch",
            of=lambda cell: cell.batch,
            question=True,
            always=True,
            number=True,
            definition="Number of items in one call.",
        ),
        Axis(
            name="threads",
            of=lambda cell: cell.settings.threads or None,
            question=True,
            number=True,
            definition="Compute threads of one call that were requested; empty where the runtime decides.",
        ),
    )
}
QUESTION: tuple[str, ...] = tuple(axis.name for axis in AXES.values() if axis.question)


def shapes_of(cell: Cell) -> str | None:
    """Shapes of the inputs as a text, such as `ids=8x128 scale=scalar`; None for a cell without shapes."""
    return " ".join(f"{name}={'x'.join(map(str, shape)) or 'scalar'}" for name, shape in cell.shapes) or None


def question(cell: Cell) -> tuple[Scalar, ...]:
    """The values that all cells of one compared set share."""
    return tuple(AXES[name].of(cell) for name in QUESTION)


def values(cell: Cell) -> dict[str, Scalar]:
    """The value of every axis, by the name of the axis."""
    return {axis.name: axis.of(cell) for axis in AXES.values()}
