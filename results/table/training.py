"""Table of `bench train`: one row for each device and precision. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ...axes import Scalar
from ...evidence import Epoch
from ..store.head import SCHEMA
from .column import Field
from .findings import grouped, of_status
from .table import Table

FIELDS = (
    Field(name="device", number=False, priority=0),
    Field(name="precision", number=False, priority=0),
    Field(name="status", number=False, priority=1),
    Field(name="first_epoch_s", title="first epoch", unit="s", priority=6),
    Field(name="epoch_s", title="epoch", unit="s", priority=2),
    Field(name="train_per_s", title="training images", unit="/s", priority=3),
    Field(name="test_per_s", title="test images", unit="/s", priority=8),
    Field(name="loss", title="test loss", priority=7),
    Field(name="accuracy", unit="%", priority=5),
    Field(name="peak_memory_mb", title="peak memory", unit="MB", priority=9),
    Field(name="speedup", title="speed-up", unit="x", priority=4),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a training on one device in one precision. A failed training has the epochs before the failure."""

    device: str
    precision: str
    status: str
    reason: str | None = None
    epochs: tuple[Epoch, ...] = ()
    peak_memory_mb: float | None = None
    torch: str | None = None


def build(results: Sequence[Result], head: Mapping[str, Any]) -> Table:
    """Build the table of the `results` of one training. A failed one has the figures of its epochs, and no speed-up."""
    rows = [_row(result) for result in results]
    # speed-ups are against the first row; after a single epoch they rest on the first, which includes set-up on both sides
    for row in rows:
        base, own = rows[0]["epoch_s"] or rows[0]["first_epoch_s"], row["epoch_s"] or row["first_epoch_s"]
        row["speedup"] = float(base) / float(own) if base and own and row["status"] == "ok" else None
    findings = grouped([(f"{row['device']} {row['precision']}", status) for row in rows for status in of_status(row)])
    facts = " · ".join(f"{name} {head[name]}" for name in ("model", "dataset", "epochs", "batch_size", "lr", "seed", "threads"))
    return Table(
        names=(*(field.name for field in FIELDS), "reason"),
        rows=tuple(rows),
        fields=FIELDS,
        facts=(facts, "memory is the process's on cpu and the allocator's on cuda"),
        findings=tuple(findings),
        head={"schema": SCHEMA, **head},
    )


def _row(result: Result) -> dict[str, Scalar]:
    epochs = result.epochs
    # the first epoch also pays for set-up: memory, kernels, the data in caches
    steady = epochs[1:] or epochs
    return {
        "device": result.device,
        "precision": result.precision,
        "status": result.status,
        "reason": result.reason,
        "first_epoch_s": epochs[0].seconds if epochs else None,
        "epoch_s": median(epoch.seconds for epoch in epochs[1:]) if epochs[1:] else None,
        "train_per_s": median(epoch.train_per_s for epoch in steady) if epochs else None,
        "test_per_s": median(epoch.test_per_s for epoch in steady) if epochs else None,
        "loss": epochs[-1].loss if epochs else None,
        "accuracy": epochs[-1].accuracy if epochs else None,
        "peak_memory_mb": result.peak_memory_mb,
    }
