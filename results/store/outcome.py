"""Exit codes of a run, from its rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...spec import Device, Sweep, gpu_count
from .record import CellRecord, Run
from .verdict import MISMATCH, UNDETERMINED

DONE, UNPROVEN_ROWS, INCOMPLETE = 0, 1, 3
BROKEN = ("failed", "timeout")
UNPROVEN = (MISMATCH, UNDETERMINED)


def exit_code(run: Run, sweep: Sweep) -> int:
    """Exit code of `infer`: 3 if a cell or a later step of a cell failed, or if a named value has no `ok` row; else 0."""
    if any(record.status in BROKEN or record.failed_steps for record in run.cells):
        return INCOMPLETE
    passed = [record for record in run.cells if record.status == "ok"]
    return DONE if all(_has(passed, axis, name) for axis, name in _named(sweep, run)) else INCOMPLETE


def check_exit_code(run: Run, sweep: Sweep, broken: Sequence[str]) -> int:
    """Exit code of `check`: 3 as in `exit_code`, where an UNPROVEN row is enough for a named value; 1 for an UNPROVEN row or
    a `broken` condition; else 0."""
    if any(record.status in BROKEN for record in run.cells):
        return INCOMPLETE
    # A row that differs from the reference is an answer of check, not a failure to measure.
    answered = [record for record in run.cells if record.status in ("ok", *UNPROVEN)]
    if not all(_has(answered, axis, name) for axis, name in _named(sweep, run)):
        return INCOMPLETE
    return UNPROVEN_ROWS if broken or any(record.status in UNPROVEN for record in answered) else DONE


def _named(sweep: Sweep, run: Run) -> list[tuple[str, str]]:
    """Values that the user named, as (axis, value)."""
    targets = [("target", name) for name in sweep.named]
    precisions = [("precision", name) for name in sweep.precisions]
    # A row has the model's name and not the user's text, such as a path. Every model has a row.
    models = [("model", name) for name in dict.fromkeys(record.cell.model for record in run.cells)] if sweep.models else []
    # Several GPUs have the number that the machine has, and a row of their own where there is more than one.
    several = [name for name in dict.fromkeys(record.cell.device for record in run.cells) if (gpu_count(name) or 1) > 1]
    named = sweep.device and (several if Device.parse(sweep.device).several else [sweep.device])
    devices = [("device", name) for name in named or ()]
    return [*targets, *precisions, *models, *devices]


def _has(records: list[CellRecord], axis: str, name: str) -> bool:
    return any(str(getattr(record.cell, axis)) == name for record in records)
