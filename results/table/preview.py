"""Table of `bench infer --dry-run`: one row for each cell, planned or refused with a reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...axes import AXES, shapes_of, values
from ...spec import Cell
from ..store.head import SCHEMA
from .column import LAST, Field
from .columns import BY_NAME
from .table import RowValues, Table, order

RARE = ("environment", "scheme", "dims", "feedback", "inputs", "cache")
FIELDS = (
    *(BY_NAME[name] for name in AXES),
    *(Field(name=name, number=False, priority=LAST if name == "reason" else 2) for name in ("status", "reason")),
    BY_NAME["shapes"],
)


def build(rows: Sequence[tuple[Cell, tuple[str, str] | None]], facts: Sequence[str]) -> Table:
    """Build the table of `rows`: cells, each with status and reason if it is refused. `facts`: lines above the table."""
    cells = sorted((_row(cell, refused) for cell, refused in rows), key=order)
    return Table(
        names=tuple(field.name for field in FIELDS),
        rows=tuple(cells),
        # most plans have neither an environment nor a scheme
        fields=tuple(field for field in FIELDS if field.name not in RARE or any(row[field.name] for row in cells)),
        facts=tuple(filter(None, facts)),
        head={"schema": SCHEMA, "plan": [fact for fact in facts if fact]},
    )


def _row(cell: Cell, refused: tuple[str, str] | None) -> RowValues:
    status, reason = refused or ("planned", None)
    return {**values(cell), "status": status, "reason": reason, "shapes": shapes_of(cell)}
