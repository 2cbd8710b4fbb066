"""The worker's job that lowers a file to an earlier opset, and proves that both files give the same answers.

Imports NumPy; onnx and the reference runtime inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...backends.protocol import Array
from ...errors import BadInput, Unsupported, one_line
from ...evidence import Distance, Parity
from ...exporters.derive import OPSET, SHAPES, DerivationTools, derive, option_of
from ...exporters.lowering_fixed import needs_shapes
from ...models import generators, onnx_file
from ...parity import LEAST_LIMIT_DB, figure_of, limit_db
from ...spec import PRECISIONS, Artifact, Conversion, Shapes
from . import floors, verify
from .convert_jobs import SWEEP_BATCHES, Calibration, calibration_of
from .file_jobs import CacheEntry, Lower, ReadSizeUse, SizeUse
from .jobs import Reporter
from .prepare_jobs import cache_entry, run_once
from .reference import open_evaluator, open_file, reference_runtime
from .serve import State

FIRST_BATCH = 2  # of the comparison: a batch of 1 hides a shape that was fixed by mistake


def lower(state: State, report: Reporter, job: Lower) -> CacheEntry:
    """Cache entry of a file in an earlier opset. `Unsupported` where that is not possible, or changes the answers."""
    tools = DerivationTools(
        feeds=(),
        fingerprint="",  # the file does not depend on data
        describe=partial(_described, job.artifact),
        parity=partial(_proof, job),
        file_hash=onnx_file.file_hash,
    )
    fixed = ((SHAPES, option_of(job.fixed)),) if job.fixed else ()
    return cache_entry(derive(job.artifact, OPSET, ((OPSET, str(job.opset)), *fixed), tools))


def read_size_use(state: State, report: Reporter, job: ReadSizeUse) -> SizeUse:
    """Use that the nodes of a file make of its sizes."""
    import onnx

    path = Path(job.artifact.path)
    return SizeUse(needs_shapes=needs_shapes(onnx.load(str(path), load_external_data=False), path.parent))


def _described(source: Artifact, made: Path) -> Artifact:
    """Description of the lowered file. `Unsupported` if onnx.checker refuses it and accepts its source."""
    try:
        return onnx_file.describe(made, model=source.model, strict=source.invalid is None)
    except BadInput as error:
        message = error.message.replace(str(made), made.name)
        raise Unsupported(f"the lowered file would be invalid ({message})", "report this operator") from error


def _calls(job: Lower) -> Iterator[Calibration]:
    """Random inputs for one call, of the fixed shapes; else of FIRST_BATCH items and then of the sweep's batches."""
    random = replace(job, data=None, calibration=None, shapes=job.fixed or job.shapes)
    if job.fixed:
        yield calibration_of(replace(random, how=Conversion(images=1)), 1)
        return
    for batch in dict.fromkeys((FIRST_BATCH, *sorted(job.batches or SWEEP_BATCHES))):
        yield calibration_of(replace(random, how=Conversion(images=batch)), batch)


def _proof(job: Lower, made: Artifact) -> Parity:
    """Distance of the lowered file from its source, on the first call that the source answers."""
    failure = ""
    for call in _calls(job):
        arrays = dict(call.feeds[0])
        shapes = tuple((spec.name, tuple(arrays[spec.name].shape)) for spec in job.artifact.inputs)
        try:
            expected = _answer(job.artifact, shapes, arrays, spare=True)
        except Exception as error:  # whatever the runtime raises
            failure = failure or one_line(error)
            continue
        return _compared(floors.Case(artifact=job.artifact, shapes=shapes, arrays=arrays, expected=expected), made, call)
    raise Unsupported(f"the lowered file is not proven: the reference runs no call of {job.artifact.model} ({failure})")


def _answer(artifact: Artifact, shapes: Shapes, arrays: dict[str, Array], *, spare: bool = False) -> dict[str, Array]:
    """Outputs of a file without graph optimizations, which would change the operators that are compared.

    `spare`: use onnx's own evaluator where the reference does not take the opset of the file.
    """
    try:
        session = open_file(artifact, shapes, optimize=False)
    except Exception:
        if not spare:
            raise
        session = open_evaluator(artifact)
    with session:
        return run_once(session, arrays)


def _compared(case: floors.Case, made: Artifact, call: Calibration) -> Parity:
    """Distance of the file `made` from that of `case`. `Unsupported` if it is larger than rounding explains."""
    try:
        answers = _answer(made, case.shapes, dict(case.arrays))
    except Exception as error:  # whatever the runtime raises
        raise Unsupported(f"the reference cannot run the lowered file ({one_line(error)})") from error
    outputs = dict(zip(case.expected, answers.values()))  # by position: two files may name a doubled output otherwise
    random = generators.random_outputs(onnx_file.model_of(Path(case.artifact.path)))
    distance = verify.distance(outputs, case.expected, random=random)
    _check_near(distance, case)
    return Parity(**verify.figures_of(distance), runtime=reference_runtime(), data=call.data, samples=call.items)


def _check_near(distance: Distance, case: floors.Case) -> None:
    """`Unsupported` if a part is further from the source than its precision allows, and than rounding alone leads."""
    least_db, precision = PRECISIONS[case.artifact.precision].floor_db, case.artifact.precision
    if distance.undetermined or all(part.sqnr_db >= least_db and not part.shape for part in distance.parts):
        return
    try:
        measured = floors.floor_of(case, precision, lambda _: None)
    except BadInput:
        measured = []
    for part in distance.parts:
        limit = limit_db(least_db, figure_of(part, measured))
        if part.shape or part.sqnr_db < max(limit, LEAST_LIMIT_DB):
            far = f"shape {part.shape}" if part.shape else f"SQNR {part.sqnr_db:.0f} dB, limit {limit:.0f} dB"
            raise Unsupported(f"the lowered file answers otherwise than its source in {part.name} ({far})")
