"""What a run's rows mean for the exit code. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...spec import Sweep
from .record import UNDETERMINED, CellRecord, Run

DONE, FOUND_WANTING, NOT_AS_NAMED = 0, 1, 3
BROKEN = ("failed", "timeout")
UNPROVEN = ("mismatch", UNDETERMINED)


def exit_code(run: Run, sweep: Sweep) -> int:
    """0, or 3 if a cell or a later step of one failed, or if something that `sweep` named got no `ok` row."""
    if any(record.status in BROKEN or record.failed_steps for record in run.cells):
        return NOT_AS_NAMED
    fine = [record for record in run.cells if record.status == "ok"]
    return DONE if all(_has(fine, axis, name) for axis, name in _named(sweep)) else NOT_AS_NAMED


def check_exit_code(run: Run, sweep: Sweep, broken: Sequence[str]) -> int:
    """0; 3 as in `exit_code`, but UNPROVEN rows are answers too; 1 for one of these or where a condition is `broken`."""
    if any(record.status in BROKEN for record in run.cells):
        return NOT_AS_NAMED
    answered = [record for record in run.cells if record.status in ("ok", *UNPROVEN)]
    if not all(_has(answered, axis, name) for axis, name in _named(sweep)):
        return NOT_AS_NAMED
    return FOUND_WANTING if broken or any(record.status in UNPROVEN for record in answered) else DONE


def _named(sweep: Sweep) -> list[tuple[str, str]]:
    """What the user named, as (axis, value)."""
    targets = [("target", name) for name in sweep.named]
    precisions = [("precision", name) for name in sweep.precisions]
    return [*targets, *precisions, *([("device", sweep.device)] if sweep.device else [])]


def _has(records: list[CellRecord], axis: str, name: str) -> bool:
    return any(str(getattr(record.cell, axis)) == name for record in records)
