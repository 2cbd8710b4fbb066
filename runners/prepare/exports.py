"""From what the user named to artifacts that can be measured: find, check, train, export. Loads no framework.

Every step that reads a model runs in a worker; this side only asks and tells.
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
from ...spec import RANDOM, Artifact, Conversion, Derived, Precision, Shape, Source, Sweep, TensorSpec
from ..pool.context import Context
from ..worker.file_jobs import Adopt, CacheEntry, Convert, Describe, Export
from ..worker.jobs import Data, Here
from . import checkpoints, train

DEFAULT_MODEL = "cnn"
EVERY_FILE = ("fp32", "fp16", "int8")
INT8 = Conversion(scheme="portable", method="minmax")
BATCH = "batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """What to export: a model as the user named it, its inputs as the user gave them, and where it goes.

    `precisions` are those that the user named; without any it is what can be made of EVERY_FILE. `exactly`: those that were
    named must be possible, and are made as told, in place of what the folder has; otherwise what it has is kept, or where
    another version made it in another way, made again as it was told. `how`: the INT8 scheme, its method and what it leaves
    out. `calibration`: an .npz file.
    """

    model: str
    dataset: str | None
    folder: Path
    inputs: tuple[TensorSpec, ...] = ()
    precisions: tuple[str, ...] = ()
    exactly: bool = True
    how: Conversion = INT8
    calibration: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A file that was exported, and whether it came from the cache."""

    exported: Exported
    cached: bool

    def told(self) -> str:
        """The file, what it is, how it was made and how near it is to what it was made from, on one line."""
        artifact, parity = self.exported.artifact, self.exported.made.parity
        how = "already exported, taken from the cache" if self.cached else "exported and checked"
        made = str(artifact.derived or "")
        of = "the FP32 file" if artifact.derived else "the module"
        near = f"SQNR {parity.sqnr_db:.0f} dB against {of} on {parity.runtime}, {parity.data}" if parity else ""
        size = f"{artifact.nbytes / 1e6:.1f} MB, opset {artifact.opset}"
        what = f"{artifact.path}: {artifact.model} {artifact.precision}, {size}"
        return "; ".join(filter(None, (f"{what}, {how}", made, near)))


def export(wanted: ExportRequest, context: Context) -> list[Made]:
    """The artifacts of `wanted` in its folder, the one that others are made from first. Trains first where it must.

    `BadInput` where a precision that was named cannot be made; the others are left out, and it is said why.
    """
    manifest.check_writable(wanted.folder)
    _check_calibration(wanted)
    base = _add(_ENTRIES[kind_of(wanted.model)](wanted, context), wanted.folder)
    return [base, *convert(base.exported.artifact, wanted, context)]


def convert(base: Artifact, wanted: ExportRequest, context: Context) -> list[Made]:
    """`base` in the other precisions of `wanted`, in its folder."""
    made: list[Made] = []
    if base.precision != "fp32" and not wanted.precisions:
        return made
    for precision in files_of(wanted.precisions or EVERY_FILE):
        if precision == base.precision:
            continue
        try:
            made.append(_made(base, precision, wanted, context))
        except StorageFailed:
            raise
        except BenchError as error:
            if wanted.exactly and (wanted.precisions or (precision == "int8" and _is_int8_requested(wanted))):
                raise
            context.progress.note(f"no {precision} of {base.model}: {error}")
    return made


def _is_int8_requested(wanted: ExportRequest) -> bool:
    """True if an option of INT8 was given, so that an export without INT8 is not what the user wants."""
    return wanted.how != INT8 or wanted.calibration is not None


def files_of(precisions: Sequence[str]) -> tuple[str, ...]:
    """The precisions of the files that `precisions` run. `BadInput` for one that there is not."""
    return tuple(dict.fromkeys(Precision.parse(name).file for name in precisions))


def _made(base: Artifact, precision: str, wanted: ExportRequest, context: Context) -> Made:
    """`base` in `precision`: what the folder has, however that was told to be made, or else what is made now."""
    for item in () if wanted.exactly else manifest.read_manifest(wanted.folder):
        found, of = item.artifact, item.artifact.derived
        if (found.model, found.precision) == (base.model, precision) and of and of.origin == base.sha256:
            again = _made_again(base, found, of, wanted, context) if other_maker(of) else None
            return again or _kept(item, context)
    return _converted(base, precision, wanted, context)


def _kept(item: Exported, context: Context) -> Made:
    _check_unchanged(item.artifact, context)
    return Made(exported=item, cached=True)


def _made_again(base: Artifact, old: Artifact, of: Derived, wanted: ExportRequest, context: Context) -> Made | None:
    """`old`, which another version made of `base`, made as it was told then and as this version does it.

    None, and it is said why, where it cannot be.
    """
    told = replace(wanted, how=Conversion.of(of.options), calibration=of.calibration(base.dataset))
    try:
        return _converted(base, old.precision, told, context)
    except StorageFailed:
        raise
    except BenchError as error:
        context.progress.note(f"{old.precision} of {base.model} is kept as onnxbench {of.tool} made it: {error}")
        return None


def _converted(base: Artifact, precision: str, wanted: ExportRequest, context: Context) -> Made:
    if base.precision != "fp32":
        raise BadInput(
            f"{Path(base.path).name} is {base.precision} already, and {precision} is made from FP32",
            "write --model with the FP32 file",
        )
    calibration = str(Path(wanted.calibration).absolute()) if wanted.calibration else ""
    job = Convert(
        artifact=base,
        precision=precision,
        how=wanted.how if precision == "int8" else Conversion(),
        calibration=Here(path=calibration) if calibration else None,
        calibrated_on=calibration,
        data=Data.of(base.dataset),
        shapes=fixed_shapes(wanted.inputs),
        seed=wanted.seed,
    )
    made = _add(context.ask(job), wanted.folder, base.source)
    derived = made.exported.artifact.derived
    if derived and derived.option("data") == RANDOM:
        context.progress.note(
            f"{base.model} {precision} was calibrated on random inputs: give --calibration FILE.npz for real ones"
        )
    return made


def fixed_shapes(inputs: Sequence[TensorSpec]) -> tuple[tuple[str, Shape], ...]:
    """The shapes that the user gave to inputs; 0 for a dimension without a size."""
    return tuple((spec.name, tuple(int(dim or 0) for dim in spec.shape)) for spec in inputs)


def _add(answer: CacheEntry, folder: Path, source: Source | None = None) -> Made:
    """Put a cache entry into the manifest of `folder`. `source`: where the same model exists in PyTorch, if not said there."""
    found = answer.artifact
    if source:
        weights = source.weights and Path(source.weights).name
        found = replace(found, source=replace(source, weights=weights))
    entry = Path(answer.folder.path)
    files = [file for file in sorted(entry.rglob("*")) if file.is_file() and file.name != cache.ENTRY]
    exported = manifest.add(folder, Exported(artifact=found, made=answer.made), entry, files)
    return Made(exported=exported, cached=answer.cached)


def _check_calibration(wanted: ExportRequest) -> None:
    if wanted.calibration and not Path(wanted.calibration).is_file():
        raise BadInput(
            f"there is no file {wanted.calibration}", "write --calibration with an .npz file that has an array for each input"
        )


def _name(model: str) -> str:
    """What rows call the model: a file's name, which keeps its ending where a model of our own is called so."""
    path = Path(model)
    return model if kind_of(model) != "file" else path.name if path.stem in MODELS else path.stem


def _file_entry(wanted: ExportRequest, context: Context) -> CacheEntry:
    file = Here(path=str(Path(wanted.model).absolute()))
    return context.ask(Adopt(file=file, model=_name(wanted.model), data=_data(wanted.dataset)))


def _data(dataset: str | None) -> Data | None:
    return Data.named(checkpoints.absolute(dataset)) if dataset else None


def _factory_entry(wanted: ExportRequest, context: Context) -> CacheEntry:
    if not wanted.inputs:
        hint = "write --shape NAME=1x3x224x224[:int64] for each input, in order"
        raise BadInput(f"{wanted.model} needs the shapes of its inputs", hint)
    inputs = tuple(replace(spec, shape=_batched(spec.shape)) for spec in wanted.inputs)
    return context.ask(Export(model=wanted.model, factory=wanted.model, inputs=inputs, data=_data(wanted.dataset)))


def _named_entry(wanted: ExportRequest, context: Context) -> CacheEntry:
    named, path = MODELS[wanted.model], _checkpoint(wanted, context)
    job = Export(
        model=named.name,
        factory=named.factory,
        weights=Here(path=str(path)),
        inputs=named.inputs,
        outputs=named.outputs,
        data=Data.of(checkpoints.record(path)["dataset"]),
    )
    return context.ask(job)


_ENTRIES: Mapping[str, Callable[[ExportRequest, Context], CacheEntry]] = {
    "file": _file_entry,
    "factory": _factory_entry,
    "named": _named_entry,
}


def _checkpoint(wanted: ExportRequest, context: Context) -> Path:
    """The weights of a named model; trained now, and said so, where there are none."""
    found = checkpoints.find(wanted.model, wanted.dataset)
    if found:
        return found
    dataset = wanted.dataset or MODELS[wanted.model].dataset
    context.progress.note(f"{wanted.model} has no checkpoint for {dataset} yet, so it is trained first")
    training = train.Training(model=wanted.model, dataset=dataset, threads=context.pool.threads())
    (result,), interrupted = train.train(training, context.logs, context.pool, context.progress)
    if interrupted:
        raise KeyboardInterrupt
    if result.status != "ok":
        raise Unsupported(f"{wanted.model} cannot be trained: {result.reason}")
    return checkpoints.path_of(wanted.model, dataset)


def artifacts(sweep: Sweep, context: Context) -> list[Artifact]:
    """What `sweep` measures. Exports what is missing, and says so."""
    found, wanted = held(sweep, context), _wanted(sweep)
    missing = missing_files(sweep, found)
    if not found or (missing and _is_file(sweep)):
        context.progress.note(f"exporting {wanted.model} to {wanted.folder}")
        return [item.exported.artifact for item in export(wanted, context)]
    for base, precisions in missing:
        context.progress.note(f"exporting {base.model} in {', '.join(precisions)} to {wanted.folder}")
        found += [item.exported.artifact for item in convert(base, replace(wanted, precisions=precisions), context)]
    return found


def _wanted(sweep: Sweep) -> ExportRequest:
    """What is exported for `sweep` where it is not there; in every precision only for models of our own."""
    model = sweep.model or DEFAULT_MODEL
    precisions = sweep.precisions or (() if kind_of(model) == "named" else ("fp32",))
    folder = Path(sweep.artifacts)
    what: dict[str, Any] = {"model": model, "dataset": sweep.dataset, "inputs": sweep.signature}
    return ExportRequest(**what, folder=folder, precisions=precisions, exactly=False)


def missing_files(sweep: Sweep, found: Sequence[Artifact]) -> list[tuple[Artifact, tuple[str, ...]]]:
    """FP32 files of `found`, with the precisions that `sweep` names and that are not there of the same model."""
    there = {(item.model, item.precision) for item in found}
    bases = [item for item in found if item.precision == "fp32"]
    files = files_of(sweep.precisions)
    pairs = [(base, tuple(file for file in files if (base.model, file) not in there)) for base in bases]
    return [(base, precisions) for base, precisions in pairs if precisions]


def _is_file(sweep: Sweep) -> bool:
    return bool(sweep.model) and kind_of(str(sweep.model)) == "file"


def held(sweep: Sweep, context: Context) -> list[Artifact]:
    """What `sweep` measures and is there already; nothing where it must be exported first."""
    if sweep.model and kind_of(sweep.model) == "file":
        path = str(Path(sweep.model).absolute())
        job = Describe(file=Here(path=path), model=_name(sweep.model), data=_data(sweep.dataset))
        return [replace(context.ask(job), path=path)]
    if sweep.model and kind_of(sweep.model) == "factory":
        return []  # its code may have changed: the cache knows
    chosen = [
        item.artifact for item in manifest.read_manifest(Path(sweep.artifacts)) if sweep.model in (None, item.artifact.model)
    ]
    for item in chosen:
        _check_unchanged(item, context)
    other = sweep.dataset and any(item.dataset != checkpoints.absolute(sweep.dataset) for item in chosen)
    return [] if other else chosen


def expected(sweep: Sweep, found: Sequence[Artifact]) -> tuple[list[Artifact], str]:
    """`found` and what would be exported beside it, as far as that is known; and a sentence that says what is done first."""
    if found:
        missing = missing_files(sweep, found)
        more = [replace(base, precision=precision) for base, precisions in missing for precision in precisions]
        first = [f"{base.model} would be exported in {', '.join(precisions)} first" for base, precisions in missing]
        return [*found, *more], "; ".join(first)
    wanted = _wanted(sweep)
    named = MODELS.get(wanted.model)
    inputs = named.inputs if named else tuple(replace(item, shape=_batched(item.shape)) for item in sweep.signature)
    untrained = named and not checkpoints.find(wanted.model, sweep.dataset)
    source = Source(factory=named.factory if named else wanted.model)
    known: dict[str, Any] = {"path": "", "sha256": "", "nbytes": 0, "opset": 0, "outputs": ()}
    files = [
        Artifact(model=wanted.model, precision=precision, inputs=inputs, source=source, **known)
        for precision in dict.fromkeys(("fp32", *files_of(wanted.precisions or EVERY_FILE)))
    ]
    return files, f"{wanted.model} would be {'trained, then ' if untrained else ''}exported first"


def _batched(shape: tuple[int | str | None, ...]) -> tuple[int | str | None, ...]:
    return (BATCH, *shape[1:]) if shape else ()


def _check_unchanged(artifact: Artifact, context: Context) -> None:
    found = context.ask(Describe(file=Here(path=artifact.path), model=artifact.model))
    if found.sha256 != artifact.sha256:
        raise BadInput(f"{artifact.path} is not what was exported", "run bench export again, or measure it with --model")
    if (found.precision, found.inputs, found.outputs) != (artifact.precision, artifact.inputs, artifact.outputs):
        told, has = (f"{item.precision} with inputs {[spec.name for spec in item.inputs]}" for item in (artifact, found))
        raise BadInput(f"the manifest calls {artifact.path} {told}, and it is {has}", "run bench export again")
