"""Preparation of artifacts for a sweep: find, check, train and export them. Loads no framework.

Every step that reads a model runs in a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed
from ...exporters import cache, manifest
from ...exporters.derive import OPSET, other_maker
from ...exporters.manifest import Exported, relocate
from ...exporters.schemes import BEST
from ...models import MODELS, kind_of
from ...models.library import LibraryModel
from ...models.preprocessing import absolute_name, is_images
from ...spec import RANDOM, Artifact, Conversion, Derived, Source, Sweep
from ..pool import calibration_data
from ..pool.context import Context
from ..pool.environments import interpreters
from ..pool.survey import survey
from ..worker.file_jobs import CacheEntry, Convert
from ..worker.jobs import Data
from . import checkpoints, library_models, search_lines, user_file
from .base_files import ENTRIES, batched, check_inputs, data_of, name_of
from .lowering import lowered
from .request import (
    DEFAULT_CONVERSION,
    EVERY_FILE,
    INT8,
    ExportRequest,
    File,
    first_sizes,
    fixed_shapes,
    is_file,
    precisions_with,
    wanted_files,
    with_schemes,
)

DEFAULT_MODEL, ARTIFACTS = "cnn", "artifacts"
SHOWN_NODES = 5
ORIGINS = {OPSET: "the file before it was lowered"}


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
        origin = ORIGINS.get(artifact.derived.recipe, "the FP32 file") if artifact.derived else "the module"
        distance = f"SQNR {parity.sqnr_db:.0f} dB against {origin} on {parity.runtime}, {parity.data}" if parity else ""
        parts = parity.parts if parity else ()
        unlike = [f"{part.name} has another shape than in {origin} ({part.shape})" for part in parts if part.shape]
        size = f"{artifact.nbytes / 1e6:.1f} MB, opset {artifact.opset}"
        file = f"{artifact.path}: {artifact.model} {artifact.precision}, {size}"
        growth = str(self.exported.made.growth or "")
        beyond = in_float_line(self.exported.made.in_float)
        search = self.exported.made.search
        within = search_lines.result_line(search) if search else ""
        return "; ".join(filter(None, (f"{file}, {source}", recipe, growth, beyond, distance, *unlike, within)))


def in_float_line(names: Sequence[str]) -> str:
    """Words for the nodes that an FP16 file computes in FP32; empty without any."""
    if not names:
        return ""
    shown = ", ".join(names[:SHOWN_NODES]) + (", ..." if len(names) > SHOWN_NODES else "")
    nodes = f"{len(names)} nodes stay" if len(names) > 1 else "1 node stays"
    return f"{nodes} in FP32, because values are beyond FP16's range: {shown}"


def int8_schemes(named: tuple[str, ...], context: Context) -> tuple[str, ...]:
    """The INT8 schemes that the user `named`; for BEST, the portable one and what each backend of this machine chooses."""
    if named != (BEST,):
        return named
    surveyed = survey(interpreters(Sweep()), context.logs, context.pool)
    surveyed.dismiss()
    choices = [
        item.int8_scheme for item in surveyed.backends if item.available and INT8 in item.precisions and not item.instrument
    ]
    return tuple(dict.fromkeys((DEFAULT_CONVERSION.scheme, *filter(None, choices))))


def export_model(request: ExportRequest, context: Context) -> list[ExportResult]:
    """Export `request` into its folder. The first result is the file that the others derive from.

    Trains a named model that has no checkpoint. Raises `BadInput` where a named precision is not possible. Skips an unnamed one
    after a note.
    """
    if request.folder:
        manifest.check_writable(request.folder)
    calibration_data.check(request.calibration)
    request = library_models.prepared(request, context)
    entry = ENTRIES[kind_of(request.model)](request, context)
    entry, source = lowered(entry, request, context) if request.opset else (entry, None)
    base = add_file(entry, request, source, export="first")
    return [base, *convert_file(base.exported.artifact, request, context)]


def convert_file(base: Artifact, request: ExportRequest, context: Context) -> list[ExportResult]:
    """Convert `base` to the other precisions of `request`, in its folder. Raises like `export_model`."""
    results: list[ExportResult] = []
    if base.precision != "fp32" and not request.precisions:
        return results
    for file in wanted_files(request.precisions or EVERY_FILE, request.schemes):
        precision, scheme = file
        if precision in (base.precision, *request.without):
            continue
        how = replace(request.conversion, scheme=scheme or request.conversion.scheme)
        try:
            results.append(_file_in(base, file, replace(request, conversion=how), context))
        except StorageFailed:  # a full disk fails for every precision
            raise
        except BenchError as error:
            if request.exactly and (request.precisions or (precision == INT8 and _is_int8_requested(request))):
                raise
            context.progress.note(f"skipped {' '.join(filter(None, file))} of {base.model}: {error}")
    return results


def _is_int8_requested(request: ExportRequest) -> bool:
    """True if the user gave an option of INT8: an export without INT8 is then an error."""
    named = request.schemes not in ((), (DEFAULT_CONVERSION.scheme,))
    return named or request.conversion != DEFAULT_CONVERSION or request.calibration is not None


def _file_in(base: Artifact, kind: File, request: ExportRequest, context: Context) -> ExportResult:
    """File of `base` of that `kind`: the folder's file, unless the request is exact, or a new one."""
    for item in () if request.exactly or not request.folder else manifest.read_manifest(request.folder):
        file, derived = item.artifact, item.artifact.derived
        if is_file(file, base.model, kind) and derived and derived.origin == base.sha256:
            result = _remake(base, file, derived, request, context) if other_maker(derived) else None
            return result or _keep(item, context)
    return _convert_now(base, kind[0], request, context)


def _keep(item: Exported, context: Context) -> ExportResult:
    user_file.check_unchanged([item.artifact], context)
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
    check_fp32(base, precision)
    result = add_file(context.ask(conversion_job(base, precision, request, context)), request, base.source)
    note_calibration(result, request, context)
    return result


def check_fp32(base: Artifact, precision: str) -> None:
    """Raise `BadInput` unless the file `base`, from which `precision` is to be made, is FP32."""
    if base.precision != "fp32":
        raise BadInput(
            f"{Path(base.path).name} is {base.precision} already, and {precision} is made from FP32",
            "write --model with the FP32 file",
        )


def conversion_job(base: Artifact, precision: str, request: ExportRequest, context: Context) -> Convert:
    """The job that converts the FP32 file `base` to `precision`."""
    calibration, calibrated_on = calibration_data.locate(request.calibration, context)
    return Convert(
        artifact=base,
        precision=precision,
        how=request.conversion if precision == INT8 else Conversion(),  # keeps INT8 options out of the key of an FP16 file
        calibration=calibration,
        calibrated_on=calibrated_on,
        data=Data.of(base.dataset),
        shapes=fixed_shapes(request.inputs),
        dims=first_sizes(request.dims),
        seed=request.seed,
        batches=request.batches,
    )


def note_calibration(result: ExportResult, request: ExportRequest, context: Context) -> None:
    """Note a calibration on random inputs, or on so few samples that more would change it."""
    artifact = result.exported.artifact
    derived, name = artifact.derived, f"{artifact.model} {artifact.precision}"
    if derived and derived.option("data") == RANDOM:
        context.progress.note(f"{name} was calibrated on random inputs; give --calibration FILE.npz to calibrate on real ones")
    elif derived and (growth := result.exported.made.growth) and growth.is_large:
        remedy = _more_samples(derived, request)
        context.progress.note(f"{name}: more calibration samples would change it ({growth}); {remedy}")


def _more_samples(derived: Derived, request: ExportRequest) -> str:
    """Words to get more calibration samples. Without --calibration-images, all arrays of a file calibrate."""
    if request.calibration and not request.conversion.images and not is_images(request.calibration):
        return f"put more than {derived.option('samples')} items into {request.calibration}"
    return f"try --calibration-images {2 * int(derived.option('samples') or 0)}"


def add_file(answer: CacheEntry, request: ExportRequest, source: Source | None = None, export: str = "next") -> ExportResult:
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
    for base, files in missing:
        context.progress.note(f"exporting {base.model} in {_listed(files)} to {place}")
        for precision, scheme in files:
            one = replace(request, precisions=(precision,), schemes=(scheme,) if scheme else ())
            artifacts += [item.exported.artifact for item in convert_file(base, one, context)]
    return artifacts


def _listed(files: Sequence[File]) -> str:
    return ", ".join(" ".join(filter(None, file)) for file in files)


def _request_of(sweep: Sweep) -> ExportRequest:
    """Request for the missing artifacts of `sweep`: in every precision for models of this package, in FP32 for others."""
    model = sweep.model or DEFAULT_MODEL
    precisions = sweep.precisions or (() if kind_of(model) == "named" else precisions_with(sweep.schemes, ("fp32",)))
    return ExportRequest(
        model=model,
        dataset=sweep.dataset,
        folder=folder_of(sweep),
        inputs=sweep.signature,
        dims=sweep.dims,
        precisions=precisions,
        schemes=sweep.schemes,
        exactly=False,
        batches=sweep.batches,
        random_weights=sweep.random_weights,
    )


def folder_of(sweep: Sweep) -> Path | None:
    """Folder of the sweep's artifacts. None for a user's file without --artifacts: its conversions stay in the cache."""
    if sweep.artifacts:
        return Path(sweep.artifacts)
    return None if _is_file(sweep) else Path(ARTIFACTS)


def missing_files(sweep: Sweep, artifacts: Sequence[Artifact]) -> list[tuple[Artifact, tuple[File, ...]]]:
    """FP32 files of `artifacts`, each with the files that `sweep` names and that its model lacks."""
    files = wanted_files(precisions_with(sweep.schemes, sweep.precisions), sweep.schemes)
    bases = [item for item in artifacts if item.precision == "fp32"]
    lacks = [
        (base, tuple(file for file in files if not any(is_file(item, base.model, file) for item in artifacts)))
        for base in bases
    ]
    return [(base, lacking) for base, lacking in lacks if lacking]


def _is_file(sweep: Sweep) -> bool:
    return bool(sweep.model) and kind_of(str(sweep.model)) == "file"


def existing_artifacts(sweep: Sweep, context: Context) -> list[Artifact]:
    """Artifacts of `sweep` that exist; empty where the model must be exported first.

    Raises `BadInput` for a file of the folder that changed since its export.
    """
    if sweep.model and kind_of(sweep.model) == "file":
        base = user_file.file_artifact(sweep.model, name_of(sweep.model), data_of(sweep.dataset), context)
        # With --artifacts, the export of this sweep finds them itself.
        made = [] if folder_of(sweep) else user_file.exported_from(base, Path(ARTIFACTS), context)
        return [base, *with_schemes(made, sweep)]
    if sweep.model and kind_of(sweep.model) in ("factory", "library"):
        return []  # its code may have changed since its export; the key of the cache has the code in it
    folder = folder_of(sweep) or Path(ARTIFACTS)
    items = manifest.read_manifest(folder) if sweep.model else manifest.read_last_export(folder)
    artifacts = with_schemes((item.artifact for item in items if sweep.model in (None, item.artifact.model)), sweep)
    user_file.check_unchanged(artifacts, context)
    other = sweep.dataset and any(item.dataset != absolute_name(sweep.dataset) for item in artifacts)
    return [] if other else artifacts


def expected_artifacts(
    sweep: Sweep, artifacts: Sequence[Artifact], described: LibraryModel | None = None
) -> tuple[list[Artifact], str]:
    """`artifacts` with those that an export would add, and a sentence about that export.

    An artifact that does not exist yet has no path, hash or size. `described`: the model, if it is a library's.
    """
    if artifacts:
        missing = missing_files(sweep, artifacts)
        more = [_expected(base, file) for base, files in missing for file in files]
        first = [f"{base.model} would be exported in {_listed(files)} first" for base, files in missing]
        return [*artifacts, *more], "; ".join(first)
    request = _request_of(sweep)
    named = MODELS.get(request.model)
    inputs = (named or described or _of_factory(request)).inputs
    untrained = named and not checkpoints.find_checkpoint(request.model, sweep.dataset)
    source = Source(factory=named.factory if named else request.model, random=request.random_weights)
    absent: dict[str, Any] = {"path": "", "sha256": "", "nbytes": 0, "opset": 0, "outputs": ()}
    files = [
        _expected(Artifact(model=name_of(request.model), precision="fp32", inputs=inputs, source=source, **absent), file)
        for file in dict.fromkeys((("fp32", ""), *wanted_files(request.precisions or EVERY_FILE, request.schemes)))
    ]
    return files, f"{request.model} would be {'trained, then ' if untrained else ''}exported first"


def _of_factory(request: ExportRequest) -> LibraryModel:
    """Inputs of the user's module. `BadInput` without shapes."""
    check_inputs(request)
    return LibraryModel(inputs=tuple(replace(item, shape=batched(item.shape)) for item in request.inputs))


def _expected(base: Artifact, file: File) -> Artifact:
    """The file of `base` before it is made. An INT8 file has no options yet but its scheme."""
    precision, scheme = file
    if not scheme:
        return replace(base, precision=precision)
    options = Conversion(scheme=scheme).options
    return replace(
        base, precision=precision, derived=Derived(origin=base.sha256, recipe=precision, revision=0, tool="", options=options)
    )
