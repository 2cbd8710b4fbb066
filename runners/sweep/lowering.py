"""Files of a lower opset or of fixed shapes, for backends whose runtime does not take the planned file. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import BenchError, StorageFailed
from ...evidence import UNSUPPORTED, Lowered
from ...models.shapes import show
from ...spec import Artifact, Conversion, Shapes, Sweep
from ..pool.context import Context
from ..worker.file_jobs import CacheEntry, Convert, Export, Lower, ReadSizeUse
from ..worker.jobs import Data, Here
from .plan import PlannedCell

SCRIPTED = ("fp32", "fp16")  # precisions that are made without calibration data


@dataclass(frozen=True, kw_only=True, slots=True)
class LoweredFile:
    """A lowered file with the facts for its rows, or the status and reason of its failure."""

    artifact: Artifact | None = None
    lowered: Lowered | None = None
    refused: tuple[str, str] | None = None


def is_too_new(row: PlannedCell) -> bool:
    """True if the file of `row` has a higher opset than its backend takes."""
    return not row.refused and not row.program and 0 < row.opset < row.artifact.opset


def lower_rows(rows: Sequence[PlannedCell], sweep: Sweep, context: Context) -> list[PlannedCell]:
    """`rows`, each with a file that its backend takes. A row whose file cannot be lowered is refused, with the reason.

    Each file is made once for all of its rows. Raises `StorageFailed`.
    """
    fixed = _files_to_fix(rows, context)
    files: dict[tuple[str, int, Shapes], LoweredFile] = {}

    def made(row: PlannedCell) -> PlannedCell:
        shapes = row.cell.shapes if _may_need_shapes(row) and row.artifact.sha256 in fixed else ()
        if not shapes and not is_too_new(row):
            return row
        key = row.artifact.sha256, row.opset, shapes
        if key not in files:
            files[key] = _fix(row, shapes, sweep, context) if shapes else _note_and_lower(row, sweep, context)
        return _with_file(row, files[key])

    return [made(row) for row in rows]


def _may_need_shapes(row: PlannedCell) -> bool:
    """True if the backend of `row` does not compute all sizes that a file may compute."""
    return row.fixes_shapes and not row.refused and not row.program


def _files_to_fix(rows: Sequence[PlannedCell], context: Context) -> set[str]:
    """Hashes of the files that need the shapes of their rows."""
    files = {row.artifact.sha256: row.artifact for row in rows if _may_need_shapes(row)}
    return {sha256 for sha256, file in files.items() if _needs_shapes(file, context)}


def _needs_shapes(file: Artifact, context: Context) -> bool:
    try:
        return context.ask(ReadSizeUse(artifact=file)).needs_shapes
    except StorageFailed:
        raise
    except BenchError:  # of a file that onnx does not read: the row fails or runs as it did before
        return False


def _fix(row: PlannedCell, shapes: Shapes, sweep: Sweep, context: Context) -> LoweredFile:
    """The file of `row` with `shapes`. Where that fails: the file with open dimensions, lowered if its opset is too high."""
    text = " ".join(f"{name}={show(shape)}" for name, shape in shapes)
    context.progress.note(f"writing {row.artifact.model} {row.artifact.precision} for the shapes {text} of {row.cell.target}")
    try:
        file = _made(row, context.ask(_job(row, sweep, shapes)))
        return replace(file, lowered=file.lowered and replace(file.lowered, shapes=text))
    except StorageFailed:
        raise
    except BenchError as error:
        context.progress.note(f"{error}; the file keeps its open dimensions")
        return _note_and_lower(row, sweep, context) if is_too_new(row) else LoweredFile()


def _note_and_lower(row: PlannedCell, sweep: Sweep, context: Context) -> LoweredFile:
    context.progress.note(describe(row))
    return _lower(row, sweep, context)


def describe(row: PlannedCell, verb: str = "lowering") -> str:
    """Sentence about the lowering of the file of `row`."""
    file = f"{row.artifact.model} {row.artifact.precision}"
    return f"{verb} {file} from opset {row.artifact.opset} to opset {row.opset}, the highest that {row.cell.target} takes"


def lowerings(rows: Sequence[PlannedCell]) -> list[str]:
    """Sentences about the files that a run would lower first."""
    return list(dict.fromkeys(describe(row, "a run would lower") for row in filter(is_too_new, rows)))


def _with_file(row: PlannedCell, file: LoweredFile) -> PlannedCell:
    if file.artifact is None:
        return replace(row, refused=file.refused) if file.refused else row
    # The answers are still compared with those of the FP32 file that the user gave.
    return replace(
        row, artifact=file.artifact, lowered_from=row.artifact, origin=row.origin or row.artifact, lowered=file.lowered
    )


def _lower(row: PlannedCell, sweep: Sweep, context: Context) -> LoweredFile:
    try:
        return _made(row, context.ask(_job(row, sweep)))
    except StorageFailed:
        raise
    except BenchError as error:
        return _export_again(row, context, error)


def _job(row: PlannedCell, sweep: Sweep, fixed: Shapes = ()) -> Lower:
    """The request for a file that the backend of `row` takes."""
    source = row.artifact
    names = {spec.name for spec in source.inputs}
    return Lower(
        artifact=source,
        precision=source.precision,
        how=Conversion(),
        shapes=tuple((spec.name, spec.shape) for spec in sweep.signature if spec.name in names),
        dims=tuple((name, sizes[0]) for name, sizes in sweep.dims),
        seed=sweep.seed,
        batches=sweep.batches,
        opset=row.opset if is_too_new(row) else source.opset,
        fixed=fixed,
    )


def _made(row: PlannedCell, entry: CacheEntry, exporter: str = "") -> LoweredFile:
    """The file of `entry` for `row`, with the facts about it."""
    parity = entry.made.parity
    facts = Lowered(
        source=row.artifact.opset,
        opset=entry.artifact.opset,
        sqnr_db=parity.sqnr_db if parity else None,
        exporter=exporter,
    )
    return LoweredFile(artifact=_placed(entry, row.artifact), lowered=facts)


def _placed(entry: CacheEntry, source: Artifact) -> Artifact:
    """The artifact of `entry` with its path, and with the PyTorch source of `source`."""
    return replace(entry.artifact, path=str(Path(entry.folder.path) / entry.artifact.path), source=source.source)


def _export_again(row: PlannedCell, context: Context, failure: BenchError) -> LoweredFile:
    """The file of `row` from its PyTorch module, by torch's TorchScript exporter; a refusal where there is none."""
    source = row.artifact
    reason = f"{row.cell.target} takes opset {row.opset} at most, and the file has opset {source.opset}: {failure}"
    if source.source is None or source.precision not in SCRIPTED:
        return LoweredFile(refused=(UNSUPPORTED, reason))
    context.progress.note(f"{failure}; exporting {source.model} at opset {row.opset} with torch's TorchScript exporter")
    weights = source.source.weights
    export = Export(
        model=source.model,
        factory=source.source.factory,
        weights=Here(path=weights) if weights else None,
        inputs=row.reference.inputs,
        outputs=tuple(spec.name for spec in source.outputs),
        data=Data.of(source.dataset),
        opset=row.opset,
    )
    try:
        entry = context.ask(export)
        if source.precision != "fp32":
            base = _placed(entry, source)
            entry = context.ask(Convert(artifact=base, precision=source.precision, how=Conversion(), data=export.data))
    except StorageFailed:
        raise
    except BenchError as error:
        return LoweredFile(refused=(UNSUPPORTED, f"{reason}; {error}"))
    return _made(row, entry, exporter="torchscript")
