"""Table of `ob.export`: one row for each exported file."""

from __future__ import annotations

from collections.abc import Sequence

from ...axes import Scalar
from ...results.store.head import SCHEMA
from ...results.table.column import Field
from ...results.table.table import Table
from .exports import ExportResult

FIELDS = (
    Field(name="model", number=False, priority=0),
    Field(name="precision", number=False, priority=0),
    Field(name="scheme", number=False, priority=3),
    Field(name="artifact_mb", title="file", unit="MB", priority=2),
    Field(name="opset", priority=4),
    Field(name="sqnr_db", title="SQNR", unit="dB", priority=2),
    Field(name="path", number=False, priority=1),
    Field(name="sha256", number=False, priority=9),
)
HIDDEN = ("sha256",)


def tabulate(made: Sequence[ExportResult]) -> Table:
    """Table of the files `made`, with their distance from the file or the module of their origin."""
    rows = [dict(zip((field.name for field in FIELDS), _row(item), strict=True)) for item in made]
    return Table(
        names=tuple(field.name for field in FIELDS),
        rows=tuple(rows),
        fields=tuple(field for field in FIELDS if field.name not in HIDDEN and any(row[field.name] for row in rows)),
        head={"schema": SCHEMA},
        grouped=False,
    )


def _row(item: ExportResult) -> tuple[Scalar, ...]:
    artifact, parity = item.exported.artifact, item.exported.made.parity
    return (
        *(artifact.model, artifact.precision, artifact.scheme or None, artifact.nbytes / 1e6, artifact.opset),
        *(parity.sqnr_db if parity else None, artifact.path, artifact.sha256),
    )
