"""Limits of parity: the reference's answers, and what is measured with them. Loads no framework.

A floor is measured only where a row misses the least SQNR of its precision, so that most runs pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BenchError, StorageFailed
from ...evidence import PartDistance, Verified
from ...parity import figure_of
from ...results.store.verdict import needs_floor, with_verdict
from ...spec import PRECISIONS, Artifact, Options
from ..pool.context import Context
from ..pool.pool import Worker
from ..worker.file_jobs import CompareFile, Floor, MeasureFloor, ReferenceCall, Referred
from ..worker.jobs import Here, There
from ..worker.verify import array_folder

if TYPE_CHECKING:
    from .cells import ActiveCell


@dataclass(kw_only=True)
class Reference:
    """Answers of a reference file to its calls, and what was measured with them in this run.

    `calls`: by the folder of their inputs, the smallest first. `random`: outputs that are not compared. `files`: distances of
    converted files, by sha256 and folder. `floors`: by precision and folder. Both are empty where a figure cannot be measured.
    """

    artifact: Artifact
    calls: Mapping[str, ReferenceCall]
    random: tuple[str, ...] = ()
    feedback: Options = ()
    files: dict[tuple[str, str], Floor] = field(default_factory=dict)
    floors: dict[tuple[str, str], Floor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, artifact: Artifact, calls: Sequence[ReferenceCall], referred: Referred | None, feedback: Options = ()
    ) -> Reference | None:
        """Reference with the `calls` that it answered; None if there are none."""
        if referred is None or not calls:
            return None
        by_folder = {call.inputs.path: call for call in sorted(calls, key=_size)}
        return cls(artifact=artifact, calls=by_folder, random=referred.random, feedback=feedback)

    @property
    def smallest(self) -> str:
        """Folder of the smallest call."""
        return next(iter(self.calls))

    def comparison(self, file: Artifact, folder: str) -> dict[str, Any]:
        """Fields of a job that compares `file` with the answers to one call."""
        call = self.calls[folder]
        arrays = {"inputs": call.inputs, "outputs": Here(path=call.outputs.path)}
        same = {"random": self.random, "feedback": self.feedback}
        return {"artifact": file, "shapes": call.shapes, "batch": call.batch, **same, **arrays}


def of_array(call: ReferenceCall, number: int) -> ReferenceCall:
    """The call with the inputs `number` (from 0), where a call has several inputs in turn."""
    inputs, outputs = (array_folder(Path(place.path), number) for place in (call.inputs, call.outputs))
    return replace(call, inputs=Here(path=str(inputs)), outputs=There(path=str(outputs)))


def _size(call: ReferenceCall) -> tuple[int, int]:
    """Batch and number of input values."""
    return call.batch, sum(prod(shape) for _, shape in call.shapes)


def compare_files(reference: Reference, worker: Worker, files: Iterable[Artifact], context: Context) -> None:
    """Compare converted INT8 files with the reference in the smallest call: each INT8 row has a test against its file."""
    for file in files:
        if file.precision == "int8" and file.sha256 != reference.artifact.sha256:
            _compare(reference, file, reference.smallest, context, lambda job: worker.ask(job, context.timeout_s))


def settle(active: ActiveCell, parity: Verified, context: Context) -> Verified:
    """The parity of a row with the measured floors that it needs, and with the figures of the part that decides."""
    precision, reference, file = active.planned.cell.precision, active.compared, active.planned.artifact
    if reference is None or parity.undetermined:
        return with_verdict(precision, parity)
    parts = with_files(parity.parts, reference.files.get((file.sha256, reference.smallest), Floor()))
    rounded = _floor_precision(precision, active)
    if needs_floor(precision, parts):
        parts = with_floors(parts, _measured(reference, rounded, reference.smallest, context))
    # The inputs of the smallest call may be easier to quantize, or to round, than those of this row.
    if needs_floor(precision, parts) and file.sha256 != reference.artifact.sha256:
        parts = with_files(parts, _compare(reference, file, active.inputs, context, context.ask))
    if needs_floor(precision, parts) and rounded == PRECISIONS[precision].arithmetic:
        parts = with_floors(parts, _measured(reference, rounded, active.inputs, context))
    return with_verdict(precision, replace(parity, parts=tuple(parts)))


def _floor_precision(precision: str, active: ActiveCell) -> str:
    """Precision whose floor bounds a row. In an INT8 file with an FP32 original, it is that of the rest of the graph."""
    row = PRECISIONS[precision]
    return row.rest if row.arithmetic == "int8" and active.planned.reference.precision == "fp32" else row.arithmetic


def _measured(reference: Reference, precision: str, folder: str, context: Context) -> Floor:
    """Floor of a precision in one call, from the record of this run or from a worker. Empty, after a note, if it cannot run."""
    key = precision, folder
    if key not in reference.floors:
        model = reference.artifact.model
        context.progress.note(f"{model}: a row is far from its reference; measuring how far {precision} rounding alone leads")
        reference.floors[key] = Floor()
        job = MeasureFloor(precision=precision, **reference.comparison(reference.artifact, folder))
        try:
            reference.floors[key] = context.ask(job)
        except StorageFailed:
            raise
        except BenchError as error:
            context.progress.note(f"{model}: the limit of parity is not relaxed, because no floor was measured ({error})")
    return reference.floors[key]


def _compare(reference: Reference, file: Artifact, folder: str, context: Context, ask: Callable[[CompareFile], Floor]) -> Floor:
    """Distance of a converted file, from the record of this run or from a worker. Empty, after a note, if it cannot run."""
    key = file.sha256, folder
    if key not in reference.files:
        reference.files[key] = Floor()
        try:
            reference.files[key] = ask(CompareFile(**reference.comparison(file, folder)))
        except StorageFailed:
            raise
        except BenchError as error:
            context.progress.note(f"{file.model}: its {file.precision} file is not compared by itself ({error})")
    return reference.files[key]


def with_floors(parts: Sequence[PartDistance], floor: Floor) -> list[PartDistance]:
    """The parts with their measured floors. A part that `floor` lacks keeps its earlier floor."""
    figures = ((part, figure_of(part, floor.parts)) for part in parts)
    return [part if figure is None else replace(part, floor_db=figure) for part, figure in figures]


def with_files(parts: Sequence[PartDistance], file: Floor) -> list[PartDistance]:
    """The parts with the distances of the converted file, as far as they are known."""
    return [replace(part, file_db=figure_of(part, file.parts)) for part in parts]
