"""Results of the census as values, and the file that keeps them between two calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxbench.results.store.record import CellRecord
from onnxbench.spec import from_wire, to_wire

OK, OWN_INPUTS, NO_PARITY = "ok", "ok with --input", "ok, no parity"
COMPARED = (OK, OWN_INPUTS, "mismatch", "undetermined")
NOT_COMPARED = "answers are not compared"  # in a note of the check


@dataclass(frozen=True, kw_only=True)
class Row:
    """Row of a case on a backend. `reason`: why `state` is not OK.

    `sqnr_db`, `limit_db`, `floor_db`: figures of the part that decides, where answers were compared. `bare`: for a mismatch,
    the SQNR of each bare runtime in dB, against the answers of `against`.
    """

    case: str
    kind: str
    backend: str
    state: str
    precision: str = ""
    reason: str = ""
    sqnr_db: float | None = None
    limit_db: float | None = None
    floor_db: float | None = None
    bare: tuple[tuple[str, float], ...] = ()
    against: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Rows of a case, and the outcome of plain ONNX Runtime with the case's own inputs.

    `plain`: its refusal, empty where it runs, and None for a case without inputs. `differs`: difference between its answers and
    those that ONNX's authors expect.
    """

    rows: tuple[Row, ...]
    plain: str | None = None
    differs: str = ""


def row_of(case: str, kind: str, item: CellRecord, notes: Sequence[str]) -> Row:
    """Row of a cell of a check, with the check's notes."""
    parity, reason, state = item.parity, item.reason or "", item.status
    if state == OK and parity is None:
        state, reason = NO_PARITY, next((text for text in notes if NOT_COMPARED in text), "")
    names = {"case": case, "kind": kind, "backend": item.cell.backend, "precision": item.cell.precision}
    figures = {} if parity is None else {"sqnr_db": parity.sqnr_db, "limit_db": parity.limit_db, "floor_db": parity.floor_db}
    return Row(**names, **figures, state=state, reason=reason)


def better(drawn: Sequence[Row], own: Sequence[Row]) -> list[Row]:
    """The better row of each pair: of a case with drawn inputs, and with its own."""
    pairs = {(row.backend, row.precision): row for row in drawn}
    refused = {row.backend: row for row in drawn if not row.precision}  # before the plan, a row has no precision
    return [_better(pairs.get((row.backend, row.precision)) or refused.get(row.backend) or row, row) for row in own]


def _better(drawn: Row, own: Row) -> Row:
    if drawn.state == OK or (own.state not in COMPARED and drawn.state in COMPARED):
        return drawn
    return replace(own, state=OWN_INPUTS, reason=drawn.reason) if own.state == OK else own


def read_results(file: Path) -> list[Result]:
    """Results in `file`, without an incomplete last line of a call that was killed."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [from_wire(Result, json.loads(line)) for line in lines if line.endswith("\n")]


def write_results(file: Path, results: Iterable[Result], mode: str = "a") -> None:
    """Write a line for each result."""
    with file.open(mode) as sink:
        sink.writelines(json.dumps(to_wire(result)) + "\n" for result in results)
