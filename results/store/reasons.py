"""Reasons in words for a wrong answer, and for one that proves nothing. Pure."""

from __future__ import annotations

from ...evidence import Answered, Verified
from ...spec import PRECISIONS
from .verdict import CONVERSION, SHAPE, UNDETERMINED, Verdict


def timed_reason(precision: str, answered: Answered, verdict: Verdict) -> str:
    """Reason in words for a mismatch of answers that were right before the measurement."""
    where = f"lane {answered.lane} of the last {answered.part} block"
    if verdict.cause == SHAPE:
        return f"{verdict.part.name} has shape {verdict.part.shape} in a timed call ({where})"
    figures = f"SQNR {verdict.sqnr_db:.1f} dB against the FP32 reference in {verdict.part.name}"
    return f"{figures} in a timed call ({where}); {precision} needs {verdict.limit_db:.3g} dB"


def parity_reason(precision: str, parity: Verified, verdict: Verdict | None) -> str:
    """Reason in words for a mismatch, or for a parity that is not determined."""
    if parity.undetermined:
        hint = "" if parity.random else "; give other inputs with --input or --dataset"
        return f"the comparison proves nothing: {parity.undetermined}{hint}"
    if verdict is None:
        floor = PRECISIONS[precision].floor_db
        return f"SQNR {parity.sqnr_db:.1f} dB against the FP32 reference; {precision} needs {floor:g} dB"
    part, limit = verdict.part, f"{verdict.limit_db:.3g} dB"
    if verdict.status == UNDETERMINED:
        return f"rounding in {precision} changes {part.name} to {part.floor_db:.1f} dB by itself, and would hide a wrong answer"
    if verdict.cause == SHAPE:
        return f"{part.name} has shape {part.shape}"
    if verdict.cause == CONVERSION:
        return f"the {precision} file itself has SQNR {verdict.sqnr_db:.1f} dB against FP32 in {part.name}; it needs {limit}"
    return f"SQNR {verdict.sqnr_db:.1f} dB against the FP32 reference in {part.name}; {precision} needs {limit}"
