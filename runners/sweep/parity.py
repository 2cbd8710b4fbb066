"""Limits of parity: the reference's answers to the smallest call, and what is measured with them. Loads no framework.

A floor is measured only where a row misses the least SQNR of its precision, so that most runs pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING

from ...errors import BenchError, StorageFailed
from ...evidence import PartDistance, Verified
from ...parity import figure_of
from ...results.store.verdict import needs_floor, with_verdict
from ...spec import PRECISIONS, Artifact
from ..pool.context import Context
from ..pool.pool import Worker
from ..worker.file_jobs import CompareFile, Floor, MeasureFloor, ReferenceCall, Referred
from ..worker.jobs import Here

if TYPE_CHECKING:
    from .cells import ActiveCell


@dataclass(kw_only=True)
class Reference:
    """Answers of a reference file to its smallest call.

    `random`: outputs that are not compared. `files`: distances of converted files by sha256, and `floors` by precision, as far
    as they are measured; empty where they cannot be measured.
    """

    artifact: Artifact
    call: ReferenceCall
    random: tuple[str, ...] = ()
    files: dict[str, Floor] = field(default_factory=dict)
    floors: dict[str, Floor] = field(default_factory=dict)

    @classmethod
    def of(cls, artifact: Artifact, calls: Sequence[ReferenceCall], referred: Referred | None) -> Reference | None:
        """Reference at the smallest of `calls`, which it answered; None if there is none."""
        if referred is None or not calls:
            return None
        return cls(artifact=artifact, call=min(calls, key=_size), random=referred.random)

    def compare(self, file: Artifact) -> CompareFile:
        """Job that compares a converted file with the reference."""
        return CompareFile(
            artifact=file,
            shapes=self.call.shapes,
            batch=self.call.batch,
            inputs=self.call.inputs,
            outputs=Here(path=self.call.outputs.path),
            random=self.random,
        )

    def measure(self, precision: str) -> MeasureFloor:
        """Job that measures the floor of a precision."""
        return MeasureFloor(
            artifact=self.artifact,
            precision=precision,
            shapes=self.call.shapes,
            batch=self.call.batch,
            inputs=self.call.inputs,
            outputs=Here(path=self.call.outputs.path),
            random=self.random,
        )


def _size(call: ReferenceCall) -> tuple[int, int]:
    """Batch and number of input values."""
    return call.batch, sum(prod(shape) for _, shape in call.shapes)


def compare_files(reference: Reference, worker: Worker, files: Iterable[Artifact], context: Context) -> None:
    """Compare converted INT8 files with the reference: each INT8 row has a test against its file."""
    for file in files:
        if file.precision == "int8" and file.sha256 not in (reference.artifact.sha256, *reference.files):
            try:
                reference.files[file.sha256] = worker.ask(reference.compare(file), context.timeout_s)
            except StorageFailed:
                raise
            except BenchError as error:
                reference.files[file.sha256] = Floor()
                context.progress.note(f"{file.model}: its {file.precision} file is not compared by itself ({error})")


def settle(active: ActiveCell, parity: Verified, context: Context) -> Verified:
    """The parity of a row with the measured floors that it needs, and with the figures of the part that decides."""
    precision, reference = active.planned.cell.precision, active.compared
    if reference is None:
        return with_verdict(precision, parity)
    file = active.planned.artifact
    parts = with_files(parity.parts, reference.files.get(file.sha256, Floor()))
    if needs_floor(precision, parts):
        floor = _measured(reference, _floor_precision(precision, active), context)
        parts = with_floors(parts, floor)
        if needs_floor(precision, parts) and file.sha256 != reference.artifact.sha256:
            parts = with_files(parts, _compared(reference, file, context))
    return with_verdict(precision, replace(parity, parts=tuple(parts)))


def _floor_precision(precision: str, active: ActiveCell) -> str:
    """Precision whose floor bounds a row. In an INT8 file with an FP32 original, it is that of the rest of the graph."""
    row = PRECISIONS[precision]
    return row.rest if row.arithmetic == "int8" and active.planned.origin else row.arithmetic


def _measured(reference: Reference, precision: str, context: Context) -> Floor:
    """Floor of a precision, from the record of this run or from a worker. Empty, after a note, where it cannot be measured."""
    if precision not in reference.floors:
        model = reference.artifact.model
        context.progress.note(f"{model}: a row is far from its reference; measuring how far {precision} rounding alone leads")
        reference.floors[precision] = Floor()
        try:
            reference.floors[precision] = context.ask(reference.measure(precision))
        except StorageFailed:
            raise
        except BenchError as error:
            context.progress.note(f"{model}: the limit of parity is not relaxed, because no floor was measured ({error})")
    return reference.floors[precision]


def _compared(reference: Reference, file: Artifact, context: Context) -> Floor:
    """Distance of a converted file, from the record of this run or from a worker. Empty where the file cannot run."""
    if file.sha256 not in reference.files:
        reference.files[file.sha256] = Floor()
        try:
            reference.files[file.sha256] = context.ask(reference.compare(file))
        except StorageFailed:
            raise
        except BenchError as error:
            context.progress.note(f"{file.model}: its {file.precision} file is not compared by itself ({error})")
    return reference.files[file.sha256]


def with_floors(parts: Sequence[PartDistance], floor: Floor) -> list[PartDistance]:
    """The parts with their measured floors."""
    return [replace(part, floor_db=figure_of(part, floor.parts)) for part in parts]


def with_files(parts: Sequence[PartDistance], file: Floor) -> list[PartDistance]:
    """The parts with the distances of the converted file, as far as they are known."""
    return [replace(part, file_db=figure_of(part, file.parts)) for part in parts]
