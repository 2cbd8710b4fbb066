"""Verdict on a row's parity: the limit of each part of its outputs, and the part that decides. Standard library only; pure.

The limit of a part is the smaller of two: the class floor of the precision, and 10 dB less than the measured floor, which is
the SQNR that the precision itself causes on the model. Under 10 dB nothing can be proven. An INT8 row has two tests, of the
file and of the runtime. docs/method-answers.md, "Parity", has the rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...evidence import PartDistance, Verified
from ...parity import LEAST_LIMIT_DB, SLACK_DB, limit_db
from ...spec import PRECISIONS, Precision

OK, UNDETERMINED, MISMATCH = "ok", "undetermined", "mismatch"
CONVERSION, RUNTIME, SHAPE = "conversion", "runtime", "other_shape"
RANKS = (OK, UNDETERMINED, MISMATCH)
AGREEMENT_FLOOR, AGREEMENT_IMAGES = 97.0, 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Verdict on a part, or on all parts by the one that decides.

    - `status`: OK, UNDETERMINED (rounding errors of the precision hide a fault) or MISMATCH.
    - `cause`: CONVERSION if the file is far from FP32, RUNTIME if the row is far from its file, SHAPE; empty if unknown.
    - `sqnr_db`: the compared figure; that of the file for CONVERSION. `limit_db`: its limit.
    """

    status: str
    part: PartDistance
    sqnr_db: float
    limit_db: float
    cause: str = ""


def judge(precision: str, parity: Verified) -> Verdict | None:
    """Verdict by the worst part; None for a row of version 0.1, which has no parts."""
    verdicts = [_of_part(PRECISIONS[precision], part, _agrees(parity)) for part in parity.parts]
    return max(verdicts, key=_rank, default=None)


def with_verdict(precision: str, parity: Verified) -> Verified:
    """The parity with the figures of the part that decides: its SQNR, its limit and its measured floor."""
    verdict = judge(precision, parity)
    if verdict is None:
        return parity
    part = verdict.part
    return replace(parity, sqnr_db=part.sqnr_db, output=part.name, limit_db=verdict.limit_db, floor_db=part.floor_db)


def badness(precision: str, parity: Verified) -> tuple[int, float]:
    """Sort key of parities: larger for a worse verdict, and for a larger distance below the limit."""
    verdict = judge(precision, parity)
    return (0, -parity.sqnr_db) if verdict is None else _rank(verdict)


def _rank(verdict: Verdict) -> tuple[int, float]:
    return RANKS.index(verdict.status), verdict.limit_db - verdict.sqnr_db


def enough_agreement(agreement: float | None, images: int | None) -> bool:
    """True if enough labelled samples have the same answer as in FP32."""
    return (agreement or 0) >= AGREEMENT_FLOOR and (images or 0) >= AGREEMENT_IMAGES


def _agrees(parity: Verified) -> bool:
    """True if labels prove a converted file. They never prove a dead part, since the labels may be about another part."""
    return enough_agreement(parity.agreement, parity.images) and not any(part.dead for part in parity.parts)


def _of_part(precision: Precision, part: PartDistance, agrees: bool) -> Verdict:
    relaxed_db = limit_db(precision.floor_db, part.floor_db)
    if part.shape:
        return Verdict(status=MISMATCH, part=part, sqnr_db=part.sqnr_db, limit_db=relaxed_db, cause=SHAPE)
    if precision.arithmetic == "int8" and part.file_db is not None:
        return _of_quantized(precision, part, part.file_db, agrees)
    if part.sqnr_db >= precision.floor_db:
        return Verdict(status=OK, part=part, sqnr_db=part.sqnr_db, limit_db=precision.floor_db)
    if relaxed_db < LEAST_LIMIT_DB:
        return Verdict(status=UNDETERMINED, part=part, sqnr_db=part.sqnr_db, limit_db=relaxed_db)
    is_proven = agrees and precision.file != "fp32" and part.sqnr_db >= (part.file_db or 0.0) - SLACK_DB
    status = OK if part.sqnr_db >= relaxed_db or is_proven else MISMATCH
    cause = _cause(precision, part, relaxed_db)
    return Verdict(status=status, part=part, sqnr_db=part.sqnr_db, limit_db=relaxed_db, cause=cause)


def _cause(precision: Precision, part: PartDistance, needed_db: float) -> str:
    if precision.file == "fp32" or (part.file_db is not None and part.file_db >= needed_db):
        return RUNTIME
    return "" if part.file_db is None else CONVERSION


def _of_quantized(precision: Precision, part: PartDistance, file_db: float, agrees: bool) -> Verdict:
    """Verdict by two tests: of the file, and of the runtime.

    The file is measured in the reference runtime, where an output without quantization is exact. What the rest of the graph
    computes in bounds what another runtime can reach there.
    """
    needed_db = limit_db(precision.floor_db, part.floor_db)
    if needed_db < LEAST_LIMIT_DB and part.sqnr_db < precision.floor_db:
        return Verdict(status=UNDETERMINED, part=part, sqnr_db=part.sqnr_db, limit_db=needed_db)
    if file_db < needed_db and not agrees:
        return Verdict(status=MISMATCH, part=part, sqnr_db=file_db, limit_db=needed_db, cause=CONVERSION)
    near_db = min(file_db - SLACK_DB, limit_db(PRECISIONS[precision.rest].floor_db, part.floor_db))
    status = OK if part.sqnr_db >= near_db else MISMATCH
    return Verdict(status=status, part=part, sqnr_db=part.sqnr_db, limit_db=near_db, cause=RUNTIME)


def needs_floor(precision: str, parts: Iterable[PartDistance]) -> bool:
    """True if a part misses the limit that holds without a measured floor, which may relax it."""
    verdicts = (_of_part(PRECISIONS[precision], part, agrees=False) for part in parts)
    return any(verdict.status == MISMATCH and verdict.cause != SHAPE for verdict in verdicts)
