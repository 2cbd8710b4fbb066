"""Findings on the parity of a row: the cause of a mismatch, parts that are dead or not compared, and a relaxed limit. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...evidence import Answered, Verified
from ...spec import PRECISIONS
from ..store.record import CellRecord
from ..store.verdict import CONVERSION, MISMATCH, OK, RUNTIME, Verdict
from .findings import Finding


def of_parity(record: CellRecord) -> Iterator[Finding]:
    """Findings on the parity; none for a row without parity, and for a row of version 0.1."""
    parity, verdict = record.parity, record.verdict
    if parity and parity.diverged:
        yield Finding.of("diverged", output=parity.diverged, steps=parity.diverged_step)
    if parity is None or verdict is None:
        return
    if verdict.status == MISMATCH:
        yield from _cause(record.cell.precision, verdict)
    yield from (Finding.of("dead", part=part.name) for part in parity.parts if part.dead)
    if record.answered and record.timed_verdict and record.wrong_when_timed:
        yield _timed(record.answered, verdict, record.timed_verdict)
    if parity.random:
        yield Finding.of("random_outputs", outputs=", ".join(parity.random))
    if record.status == OK:
        yield from _relaxed(record.cell.precision, parity)


def _timed(answered: Answered, untimed: Verdict, timed: Verdict) -> Finding:
    place = f"lane {answered.lane} of the last {answered.part} block"
    output, sqnr_db = timed.part.name, untimed.sqnr_db
    return Finding.of("timed_answer", sqnr_db=sqnr_db, place=place, timed_db=timed.sqnr_db, output=output)


def _cause(precision: str, verdict: Verdict) -> Iterator[Finding]:
    part = verdict.part
    if verdict.cause == CONVERSION and part.file_db is not None:
        yield Finding.of(CONVERSION, precision=precision, part=part.name, file_db=part.file_db, limit_db=verdict.limit_db)
    elif verdict.cause == RUNTIME:
        own_db, own = (
            (part.file_db, "the file itself") if part.file_db is not None else (part.floor_db, f"{precision} rounding")
        )
        if own_db is not None:
            yield Finding.of(RUNTIME, own=own, part=part.name, own_db=own_db, sqnr_db=part.sqnr_db, limit_db=verdict.limit_db)


def _relaxed(precision: str, parity: Verified) -> Iterator[Finding]:
    class_db = PRECISIONS[precision].floor_db
    if parity.limit_db is not None and parity.floor_db is not None and parity.limit_db < class_db:
        values = {"limit_db": parity.limit_db, "class_db": class_db, "floor_db": parity.floor_db}
        yield Finding.of("relaxed", precision=precision, part=parity.output, **values)
