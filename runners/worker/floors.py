"""The worker's jobs that measure the SQNR which a precision itself causes on a model. NumPy; onnx and the reference runtime
inside functions.

A row may be this far from the reference without a fault. docs/method-answers.md, "Parity", has the rule.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...backends.protocol import Array
from ...errors import BadInput, installed, one_line
from ...evidence import PartDistance
from ...exporters import cache
from ...spec import Artifact, Options, Shapes, digest, from_wire, to_wire
from ...untrusted import WRONG
from . import variants
from .distances import EXACT_DB, measure_parts
from .file_jobs import CompareFile, Floor, MeasureFloor
from .jobs import ProgressReport, Reporter
from .reference import open_file, reference_runtime
from .serve import State
from .verify import load_arrays
from .walk import answer_all, walk_names

if TYPE_CHECKING:
    import onnx

KIND, FORMAT, FILE = "floors", 4, "floor.json"  # increase FORMAT when a floor is measured otherwise
DRAWS, OPTIMIZED_DRAWS = 4, 2
SUMS_CREDIT_DB = 6.0  # sums in FP16 are another algorithm already: 4 of the 10 dB for other algorithms are left
QUANTIZED_DB = 40.0  # two runtimes that round one quantized file are as far from one another

Arrays = Mapping[str, Array]
Change = Callable[["onnx.ModelProto"], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """One run of a variant: the change of the graph, the inputs, and the use of graph optimizations.

    `credit_db`: added to its SQNR, where the variant is an algorithm of its own.
    """

    change: Change | None
    arrays: Arrays
    optimize: bool = False
    credit_db: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A file, its inputs, and the outputs of the reference without the random ones.

    `batch`: length of a first axis that counts items. `feedback`: outputs that are fed back in several steps.
    """

    artifact: Artifact
    shapes: Shapes
    arrays: Arrays
    expected: Arrays
    batch: int | None = None
    feedback: Options = ()

    @classmethod
    def of(cls, job: CompareFile | MeasureFloor) -> Case:
        """Case of a job, with the arrays in its folders."""
        arrays = load_arrays(Path(job.inputs.path), [spec.name for spec in job.artifact.inputs])
        feedback = dict(job.feedback)
        expected = load_arrays(Path(job.outputs.path), walk_names((spec.name for spec in job.artifact.outputs), feedback))
        random = walk_names(job.random, feedback)
        compared = {name: array for name, array in expected.items() if name not in random}
        ends = {"arrays": arrays, "expected": compared}
        return cls(artifact=job.artifact, shapes=job.shapes, batch=job.batch, feedback=job.feedback, **ends)


def compare_file(state: State, report: Reporter, job: CompareFile) -> Floor:
    """Distance of a converted file from the reference, run without graph optimizations."""
    case = Case.of(job)
    outputs = _run(case, Variation(change=None, arrays=case.arrays))
    return Floor(parts=tuple(measure_parts(outputs, case.expected, case.batch)))


def measure_floor(state: State, report: Reporter, job: MeasureFloor) -> Floor:
    """Floor of a precision on a model, from the cache or measured. `Unavailable` without onnx, which makes the variants."""
    with installed("onnx", "pip install onnx"):
        import onnx  # noqa: F401
    case = Case.of(job)
    values = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in case.arrays.values())).hexdigest()
    # With feedback, `expected` names the outputs of each step.
    what = [job.artifact.sha256, job.precision, job.shapes, job.batch, list(case.expected), *job.feedback]
    key = digest([FORMAT, reference_runtime(), what, values])

    def make(folder: Path) -> None:
        floor = Floor(parts=tuple(floor_of(case, job.precision, report)))
        (folder / FILE).write_text(json.dumps(to_wire(floor)))

    try:
        return _read(cache.find_or_make(KIND, key, make)[0])
    except (OSError, *WRONG):
        cache.drop(KIND, key)
        return _read(cache.find_or_make(KIND, key, make)[0])


def _read(folder: Path) -> Floor:
    return from_wire(Floor, json.loads((folder / FILE).read_text()))


def floor_of(case: Case, precision: str, report: Reporter) -> list[PartDistance]:
    """Least SQNR of each part over all variants of the precision. `BadInput` if no variant runs.

    A part is left out if its shape changes in each variant, or if the precision cannot represent its values.
    """
    runs: list[list[PartDistance | None]] = []
    failure = ""
    for variation in variations(case, precision):
        try:
            parts = _parts(case, _run(case, variation))
            runs.append([part and replace(part, sqnr_db=part.sqnr_db + variation.credit_db) for part in parts])
        except Exception as error:  # whatever onnx and the runtime raise for a graph that a variant makes invalid
            failure = one_line(error)
        report(ProgressReport())
    if not runs:
        raise BadInput(f"no variant of the {precision} model runs ({failure})", "")
    most = QUANTIZED_DB if precision == "int8" else EXACT_DB
    worst = [_worst(parts, most) for parts in zip(*runs)]
    return [part for part in worst if part is not None]


def variations(case: Case, precision: str) -> Iterator[Variation]:
    """Runs whose distances from the reference bound what the precision itself causes."""
    if precision == "fp32":
        for seed in range(DRAWS):
            arrays = {name: variants.perturb(array, seed + 1) for name, array in case.arrays.items()}
            yield Variation(change=partial(_perturb, case, seed), arrays=arrays, optimize=seed < OPTIMIZED_DRAWS)
    elif precision == "tf32":
        yield Variation(change=variants.round_operands, arrays=case.arrays)
    elif precision == "int8":
        yield Variation(change=None, arrays=case.arrays, optimize=True)
        yield Variation(change=partial(variants.step_activations, seed=1), arrays=case.arrays)
    else:
        kind = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision]
        yield Variation(change=partial(variants.round_outputs, kind=kind), arrays=case.arrays)
        if precision == "fp16":
            yield Variation(change=_sum_in_fp16, arrays=case.arrays, credit_db=SUMS_CREDIT_DB)


def _sum_in_fp16(model: onnx.ModelProto) -> None:
    variants.round_outputs(model, "FLOAT16")
    variants.round_sums(model, seed=0)


def _perturb(case: Case, seed: int, model: onnx.ModelProto) -> None:
    if variants.weight_bytes(model) > variants.MOST_WEIGHT_BYTES:
        variants.perturb_layers(model, seed)
    else:
        variants.perturb_weights(model, Path(case.artifact.path).parent, seed)
    if seed >= OPTIMIZED_DRAWS:
        variants.round_randomly(model, seed)


def _run(case: Case, variation: Variation) -> dict[str, Array]:
    """Outputs of one run."""
    source = Path(case.artifact.path)
    if variation.change is None:
        return _call(source, case, variation)
    model = variants.load(source)
    variation.change(model)
    with tempfile.TemporaryDirectory() as folder:
        return _call(variants.store(model, source, Path(folder)), case, variation)


def _call(path: Path, case: Case, variation: Variation) -> dict[str, Array]:
    artifact = replace(case.artifact, path=str(path))
    with open_file(artifact, case.shapes, optimize=variation.optimize) as session:
        return answer_all(session, variation.arrays, dict(case.feedback))


def _parts(case: Case, outputs: Arrays) -> list[PartDistance | None]:
    """Distance of each part; None for a part that shows nothing about rounding."""
    overflows = {name for name, array in case.expected.items() if _overflows(outputs[name], array)}
    parts = measure_parts(outputs, case.expected, case.batch)
    return [None if part.shape or part.output in overflows else part for part in parts]


def _overflows(output: Array, expected: Array) -> bool:
    """True if values are not finite that the reference can represent."""
    if output.dtype.kind != "f" or output.shape != expected.shape:
        return False
    return bool((~np.isfinite(output) & np.isfinite(expected)).any())


def _worst(parts: Sequence[PartDistance | None], most: float) -> PartDistance | None:
    worst = min((part for part in parts if part is not None), key=lambda part: part.sqnr_db, default=None)
    return worst and replace(worst, sqnr_db=min(worst.sqnr_db, most))
