"""Preparation of artifacts for a sweep: find, check, train and export them. Loads no framework.

Every step that reads a model runs in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed, Unsupported
from ...exporters import cache, manifest
from ...exporters.derive import other_maker
from ...exporters.manifest import Exported
from ...models import MODELS, kind_of
from ...models.symbols import Dims
from ...spec import LABELLED, RANDOM, Artifact, Conversion, Derived, Precision, Source, Sweep, TensorSpec, relocate
from ..pool.context import Context
from ..worker.file_jobs import Adopt, CacheEntry, Convert, Export
from ..worker.jobs import Data, Here
from . import checkpoints, train, user_file

DEFAULT_MODEL, ARTIFACTS = "cnn", "artifacts"
EVERY_FILE = ("fp32", "fp16", "int8")
DEFAULT_CONVERSION = Conversion(scheme="portable", method="minmax")
BATCH = "batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """Request to export a model into `folder`; None for the user's cache. `model` and `inputs` are the user's values.

    `precisions`: those that the user named; empty for every possible one of EVERY_FILE. `exactly`: every named precision must
    be possible, and replaces the folder's file. Without `exactly` the folder's files stay; a file of another version of this
    tool is made again with its own options. `conversion`: the INT8 scheme, its method and the excluded nodes. `calibration`:
    an .npz file. `dims`: sizes of open dimensions, of which random inputs have the first. `batches`: those of a sweep, which
    calibrate a file that cannot run larger ones.
    """

    model: str
    dataset: str | None
    folder: Path | None
    inputs: tuple[TensorSpec, ...] = ()
    precisions: tuple[str, ...] = ()
    exactly: bool = True
    conversion: Conversion = DEFAULT_CONVERSION
    calibration: str | None = None
    dims: tuple[tuple[str, tuple[int, ...]], ...] = ()
    seed: int = 0
    batches: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """An exported file. `cached`: it came from the cache or was in the folder."""

    exported: Exported
    cached: bool

    def describe(self) -> str:
        """One line with the file, its size and opset, its recipe, and its distance from the file or module of its origin."""
        artifact, parity = self.exported.artifact, self.exported.made.parity
        source = "already exported, taken from the cache" if self.cached else "exported and checked"
        recipe = str(artifact.derived or "")
        origin = "the FP32 file" if artifact.derived else "the module"
        distance = f"SQNR {parity.sqnr_db:.0f} dB against {origin} on {parity.runtime}, {parity.data}" if parity else ""
        parts = parity.parts if parity else ()
        unlike = [f"{part.name} has another shape than in {origin} ({part.shape})" for part in parts if part.shape]
        size = f"{artifact.nbytes / 1e6:.1f} MB, opset {artifact.opset}"
        file = f"{artifact.path}: {artifact.model} {artifact.precision}, {size}"
        growth = str(self.exported.made.growth or "")
        return "; ".join(filter(None, (f"{file}, {source}", recipe, growth, distance, *unlike)))


def export_model(request: ExportRequest, context: Context) -> list[ExportResult]:
    """Export `request` into its folder. The first result is the file that the others derive from.

    Trains a named model that has no checkpoint. Raises `BadInput` where a named precision is not possible. Skips an unnamed one
    after a note.
    """
    if request.folder:
        manifest.check_writable(request.folder)
    _check_calibration(request)
    base = _add(_ENTRIES[kind_of(request.model)](request, context), request, export="first")
    return [base, *convert_file(base.exported.artifact, request, context)]


def convert_file(base: Artifact, request: ExportRequest, context: Context) -> list[ExportResult]:
    """Convert `base` to the other precisions of `request`, in its folder. Raises like `export_model`."""
    results: list[ExportResult] = []
    if base.precision != "fp32" and not request.precisions:
        return results
    for precision in files_of(request.precisions or EVERY_FILE):
        if precision == base.precision:
            continue
        try:
            results.append(_file_in(base, precision, request, context))
        except StorageFailed:  # a full disk fails for every precision
            raise
        except BenchError as error:
            if request.exactly and (request.precisions or (precision == "int8" and _is_int8_requested(request))):
                raise
            context.progress.note(f"skipped {precision} of {base.model}: {error}")
    return results


def _is_int8_requested(request: ExportRequest) -> bool:
    """True if the user gave an option of INT8: an export without INT8 is then an error."""
    return request.conversion != DEFAULT_CONVERSION or request.calibration is not None


def files_of(precisions: Sequence[str]) -> tuple[str, ...]:
    """Precisions of the files that `precisions` run. Raises `BadInput` for an unknown precision."""
    return tuple(dict.fromkeys(Precision.parse(name).file for name in precisions))


def _file_in(base: Artifact, precision: str, request: ExportRequest, context: Context) -> ExportResult:
    """File of `base` in `precision`: the folder's file, unless the request is exact, or a new one."""
    for item in () if request.exactly or not request.folder else manifest.read_manifest(request.folder):
        file, derived = item.artifact, item.artifact.derived
        if (file.model, file.precision) == (base.model, precision) and derived and derived.origin == base.sha256:
            result = _remake(base, file, derived, request, context) if other_maker(derived) else None
            return result or _keep(item, context)
    return _convert_now(base, precision, request, context)


def _keep(item: Exported, context: Context) -> ExportResult:
    user_file.check_unchanged(item.artifact, context)
    return ExportResult(exported=item, cached=True)


def _remake(base: Artifact, old: Artifact, derived: Derived, request: ExportRequest, context: Context) -> ExportResult | None:
    """Make `old`, a file of another version of this tool, again with its own options. None, after a note, where that fails."""
    same = replace(request, conversion=Conversion.of(derived.options), calibration=derived.calibration(base.dataset))
    try:
        return _convert_now(base, old.precision, same, context)
    except StorageFailed:
        raise
    except BenchError as error:
        context.progress.note(f"kept the {old.precision} file of {base.model} from onnxbench {derived.tool}: {error}")
        return None


def _convert_now(base: Artifact, precision: str, request: ExportRequest, context: Context) -> ExportResult:
    if base.precision != "fp32":
        raise BadInput(
            f"{Path(base.path).name} is {base.precision} already, and {precision} is made from FP32",
            "write --model with the FP32 file",
        )
    kind, place = _calibration_file(request.calibration or "")
    calibration = str(place.absolute()) if request.calibration else ""
    job = Convert(
        artifact=base,
        precision=precision,
        how=request.conversion if precision == "int8" else Conversion(),  # keeps INT8 options out of the key of an FP16 file
        calibration=Here(path=calibration) if calibration else None,
        calibrated_on=f"{kind}{calibration}",
        data=Data.of(base.dataset),
        shapes=fixed_shapes(request.inputs),
        dims=first_sizes(request.dims),
        seed=request.seed,
        batches=request.batches,
    )
    result = _add(context.ask(job), request, base.source)
    derived = result.exported.artifact.derived
    if derived and derived.option("data") == RANDOM:
        context.progress.note(
            f"{base.model} {precision} was calibrated on random inputs; give --calibration FILE.npz to calibrate on real ones"
        )
    elif derived and (growth := result.exported.made.growth) and growth.is_large:
        remedy = _more_samples(derived, request)
        context.progress.note(f"{base.model} {precision}: more calibration samples would change it ({growth}); {remedy}")
    return result


def _more_samples(derived: Derived, request: ExportRequest) -> str:
    """Words to get more calibration samples. Without --calibration-images, a file is calibrated on all its items."""
    if request.calibration and not request.conversion.images:
        return f"put more than {derived.option('samples')} items into {request.calibration}"
    return f"try --calibration-images {2 * int(derived.option('samples') or 0)}"


def first_sizes(dims: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[tuple[str, int], ...]:
    """The first size of each dimension, for calls that need one."""
    return tuple((name, sizes[0]) for name, sizes in dims)


def fixed_shapes(inputs: Sequence[TensorSpec]) -> tuple[tuple[str, Dims], ...]:
    """The shapes that the user gave to inputs; a name for a dimension that stays open."""
    return tuple((spec.name, spec.shape) for spec in inputs)


def _add(answer: CacheEntry, request: ExportRequest, source: Source | None = None, export: str = "next") -> ExportResult:
    """Add a cached export to the folder of `request`. Without a folder the file stays in the cache.

    `source`: the PyTorch source of the FP32 file, for a file of it. `export`: see manifest.add.
    """
    artifact, entry = answer.artifact, Path(answer.folder.path)
    if source:
        weights = source.weights and Path(source.weights).name
        artifact = replace(artifact, source=replace(source, weights=weights))
    exported = Exported(artifact=artifact, made=answer.made)
    if not request.folder:
        return ExportResult(exported=replace(exported, artifact=relocate(artifact, str(entry))), cached=answer.cached)
    # The cache's own entry stays there: the manifest of the folder describes the same file.
    files = [file for file in sorted(entry.rglob("*")) if file.is_file() and file.name != cache.ENTRY]
    exported = manifest.add(request.folder, exported, entry, files, export if request.exactly else "")
    return ExportResult(exported=exported, cached=answer.cached)


def _calibration_file(calibration: str) -> tuple[str, Path]:
    """The prefix of a dataset's file with labels, if any, and the path."""
    kind = LABELLED if calibration.startswith(LABELLED) else ""
    return kind, Path(calibration[len(kind) :])


def _check_calibration(request: ExportRequest) -> None:
    place = _calibration_file(request.calibration or "")[1]
    if request.calibration and not place.is_file():
        raise BadInput(f"there is no file {place}", "write --calibration with an .npz file that has an array for each input")


def _name(model: str) -> str:
    """Name of the model in rows. A file loses its ending, unless a model of this package has that name."""
    path = Path(model)
    return model if kind_of(model) != "file" else path.name if path.stem in MODELS else path.stem


def _file_entry(request: ExportRequest, context: Context) -> CacheEntry:
    file = Here(path=str(Path(request.model).absolute()))
    return context.ask(Adopt(file=file, model=_name(request.model), data=_data(request.dataset)))


def _data(dataset: str | None) -> Data | None:
    return Data.named(checkpoints.absolute_dataset(dataset)) if dataset else None


def _factory_entry(request: ExportRequest, context: Context) -> CacheEntry:
    _check_inputs(request)
    inputs = tuple(replace(spec, shape=_batched(spec.shape)) for spec in request.inputs)
    return context.ask(Export(model=request.model, factory=request.model, inputs=inputs, data=_data(request.dataset)))


def _check_inputs(request: ExportRequest) -> None:
    """Raise `BadInput` for a module whose inputs have no shapes from the user."""
    if not request.inputs:
        hint = "write --shape NAME=1x3x224x224[:int64] for each input, in order"
        raise BadInput(f"{request.model} needs the shapes of its inputs", hint)


def _named_entry(request: ExportRequest, context: Context) -> CacheEntry:
    named, path = MODELS[request.model], _checkpoint(request, context)
    job = Export(
        model=named.name,
        factory=named.factory,
        weights=Here(path=str(path)),
        inputs=named.inputs,
        outputs=named.outputs,
        data=Data.of(checkpoints.read_record(path)["dataset"]),
    )
    return context.ask(job)


_ENTRIES: Mapping[str, Callable[[ExportRequest, Context], CacheEntry]] = {
    "file": _file_entry,
    "factory": _factory_entry,
    "named": _named_entry,
}


def _checkpoint(request: ExportRequest, context: Context) -> Path:
    """Weights of a named model. Trains the model first, after a note, where it has none.

    Raises KeyboardInterrupt for Ctrl-C, and `Unsupported` where the training fails.
    """
    path = checkpoints.find_checkpoint(request.model, request.dataset)
    if path:
        return path
    dataset = request.dataset or MODELS[request.model].dataset
    context.progress.note(f"{request.model} has no checkpoint for {dataset} yet: training it first")
    training = train.Training(model=request.model, dataset=dataset, threads=context.pool.threads())
    (result,), interrupted = train.run_training(training, context.logs, context.pool, context.progress)
    if interrupted:
        raise KeyboardInterrupt
    if result.status != "ok":
        raise Unsupported(f"{request.model} cannot be trained: {result.reason}")
    return checkpoints.checkpoint_path(request.model, dataset)


def prepare_artifacts(sweep: Sweep, context: Context) -> list[Artifact]:
    """Artifacts that `sweep` measures. Exports missing ones, after a note."""
    return complete_artifacts(sweep, existing_artifacts(sweep, context), context)


def complete_artifacts(sweep: Sweep, artifacts: list[Artifact], context: Context) -> list[Artifact]:
    """Artifacts that `sweep` measures: `artifacts`, which exist, and the missing ones, exported after a note."""
    request = _request_of(sweep)
    missing = missing_files(sweep, artifacts)
    place = request.folder or "the cache"
    if not artifacts or (missing and request.folder and _is_file(sweep)):
        context.progress.note(f"exporting {request.model} to {place}")
        return [item.exported.artifact for item in export_model(request, context)]
    for base, precisions in missing:
        context.progress.note(f"exporting {base.model} in {', '.join(precisions)} to {place}")
        results = convert_file(base, replace(request, precisions=precisions), context)
        artifacts += [item.exported.artifact for item in results]
    return artifacts


def _request_of(sweep: Sweep) -> ExportRequest:
    """Request for the missing artifacts of `sweep`: in every precision for models of this package, in FP32 for others."""
    model = sweep.model or DEFAULT_MODEL
    precisions = sweep.precisions or (() if kind_of(model) == "named" else ("fp32",))
    return ExportRequest(
        model=model,
        dataset=sweep.dataset,
        folder=folder_of(sweep),
        inputs=sweep.signature,
        dims=sweep.dims,
        precisions=precisions,
        exactly=False,
        batches=sweep.batches,
    )


def folder_of(sweep: Sweep) -> Path | None:
    """Folder of the sweep's artifacts. None for a user's file without --artifacts: its conversions stay in the cache."""
    if sweep.artifacts:
        return Path(sweep.artifacts)
    return None if _is_file(sweep) else Path(ARTIFACTS)


def missing_files(sweep: Sweep, artifacts: Sequence[Artifact]) -> list[tuple[Artifact, tuple[str, ...]]]:
    """FP32 files of `artifacts`, each with the precisions that `sweep` names and that its model lacks."""
    existing = {(item.model, item.precision) for item in artifacts}
    bases = [item for item in artifacts if item.precision == "fp32"]
    files = files_of(sweep.precisions)
    pairs = [(base, tuple(file for file in files if (base.model, file) not in existing)) for base in bases]
    return [(base, precisions) for base, precisions in pairs if precisions]


def _is_file(sweep: Sweep) -> bool:
    return bool(sweep.model) and kind_of(str(sweep.model)) == "file"


def existing_artifacts(sweep: Sweep, context: Context) -> list[Artifact]:
    """Artifacts of `sweep` that exist; empty where the model must be exported first.

    Raises `BadInput` for a file of the folder that changed since its export.
    """
    if sweep.model and kind_of(sweep.model) == "file":
        base = user_file.file_artifact(sweep.model, _name(sweep.model), _data(sweep.dataset), context)
        # With --artifacts, the export of this sweep finds them itself.
        return [base, *([] if folder_of(sweep) else user_file.exported_from(base, Path(ARTIFACTS), context))]
    if sweep.model and kind_of(sweep.model) == "factory":
        return []  # its code may have changed since its export; the key of the cache has the code in it
    folder = folder_of(sweep) or Path(ARTIFACTS)
    items = manifest.read_manifest(folder) if sweep.model else manifest.read_last_export(folder)
    artifacts = [item.artifact for item in items if sweep.model in (None, item.artifact.model)]
    for item in artifacts:
        user_file.check_unchanged(item, context)
    other = sweep.dataset and any(item.dataset != checkpoints.absolute_dataset(sweep.dataset) for item in artifacts)
    return [] if other else artifacts


def expected_artifacts(sweep: Sweep, artifacts: Sequence[Artifact]) -> tuple[list[Artifact], str]:
    """`artifacts` with those that an export would add, and a sentence about that export.

    An artifact that does not exist yet has no path, hash or size.
    """
    if artifacts:
        missing = missing_files(sweep, artifacts)
        more = [replace(base, precision=precision) for base, precisions in missing for precision in precisions]
        first = [f"{base.model} would be exported in {', '.join(precisions)} first" for base, precisions in missing]
        return [*artifacts, *more], "; ".join(first)
    request = _request_of(sweep)
    named = MODELS.get(request.model)
    if not named:
        _check_inputs(request)
    inputs = named.inputs if named else tuple(replace(item, shape=_batched(item.shape)) for item in sweep.signature)
    untrained = named and not checkpoints.find_checkpoint(request.model, sweep.dataset)
    source = Source(factory=named.factory if named else request.model)
    absent: dict[str, Any] = {"path": "", "sha256": "", "nbytes": 0, "opset": 0, "outputs": ()}
    files = [
        Artifact(model=request.model, precision=precision, inputs=inputs, source=source, **absent)
        for precision in dict.fromkeys(("fp32", *files_of(request.precisions or EVERY_FILE)))
    ]
    return files, f"{request.model} would be {'trained, then ' if untrained else ''}exported first"


def _batched(shape: tuple[int | str | None, ...]) -> tuple[int | str | None, ...]:
    return (BATCH, *shape[1:]) if shape else ()
