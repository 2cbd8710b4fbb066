"""Figures of cells whose search for options found nothing faster: those of the cell beside. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import CellRecord


def with_defaults(records: Sequence[CellRecord]) -> tuple[CellRecord, ...]:
    """`records`, where each cell with the default options after a search has the figures of the cell beside it.

    Both cells have the same options. Measured apart, they would differ by noise alone.
    """
    by_key = {record.key: record for record in records}

    def of(record: CellRecord) -> CellRecord:
        tuned = record.tuned
        beside = by_key.get(tuned.beside) if tuned and tuned.is_default else None
        return replace(beside, cell=record.cell, key=record.key, tuned=tuned) if beside and not beside.tuned else record

    return tuple(map(of, records))
