"""Jobs of the search for an INT8 file within bounds: rank the nodes, and evaluate a candidate on one part of the data.

The parent decides what to try (runners/prepare/bound_walk.py). The file is made as an export makes it, and runs on the backend
that the user named; FP32 runs on the reference runtime. onnx and the runtimes, inside functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Array, Session
from ...errors import BenchError, OutOfMemory, StorageFailed, one_line
from ...evidence import Distance
from ...exporters import graph, int8
from ...exporters.schemes import PORTABLE
from ...exporters.searched import Evaluated, FirstLook, NodeError
from ...models import generators, onnx_file
from ...spec import Artifact, Cell, Settings
from . import measure, verify
from .convert_jobs import Calibration, first_that_runs
from .data_parts import DataPart, PartCall, part_of
from .engine_jobs import backend_for
from .explain_jobs import JUDGED_CALLS, Trials, answers
from .file_jobs import Making
from .jobs import ProgressReport, Reporter
from .prepare_jobs import run_once
from .reference import open_reference
from .search_jobs import EvaluateInt8, Evaluation, RankedNodes, RankNodes
from .serve import State
from .threads import usable_threads

DISTANCE_ITEMS = 512  # the first items of a part, whose outputs are kept for the distance; answers are counted on all
TURNS, TURN_NS, TURN_CALLS = 6, 15_000_000, 2


@dataclass(frozen=True, kw_only=True)
class PartAnswers:
    """Outputs of the first items of a part, and of all items the argmax of the first output; None unless it has classes."""

    outputs: Mapping[str, Array]
    classes: NDArray[np.int64] | None
    labels: Array | None


@dataclass(kw_only=True)
class SearchBench:
    """The FP32 file of one search, ready to be quantized, with the answers of FP32 on each part so far."""

    key: tuple[object, ...]
    folder: tempfile.TemporaryDirectory[str]
    trials: Trials
    calibration: Calibration
    random: tuple[str, ...]
    parts: dict[bool, tuple[DataPart, PartAnswers]] = field(default_factory=dict)
    plain: dict[str, Session] = field(default_factory=dict)

    def part(self, job: Making, report: Reporter, *, proof: bool) -> tuple[DataPart, PartAnswers]:
        """A part, and FP32's answers on it."""
        if proof not in self.parts:
            part = part_of(job, proof=proof)
            with open_reference(job.artifact, _shapes(job.artifact, next(part.calls())))[0] as session:
                self.parts[proof] = part, _answers(session, part, report)
        return self.parts[proof]


def rank_nodes(state: State, report: Reporter, job: RankNodes) -> RankedNodes:
    """SQNR of each node alone in INT8 on calibration data, the lowest first."""
    bench = _bench(state, job)
    bench.trials.how, data = job.how, bench.calibration.part(0, JUDGED_CALLS)
    expected = answers(job.artifact, data.feeds)
    nodes = []
    for name, is_layer in bench.trials.nodes().items():
        distance, _ = bench.trials.judge(data, expected, only=[name])
        nodes.append(NodeError(name=name, sqnr_db=distance.sqnr_db, layer=is_layer))
        report(ProgressReport())
    return RankedNodes(nodes=tuple(sorted(nodes, key=lambda node: node.sqnr_db)))


def evaluate(state: State, report: Reporter, job: EvaluateInt8) -> Evaluation:
    """Figures of a candidate, or the reason why it has none."""
    bench = _bench(state, job)
    part, expected = bench.part(job, report, proof=job.proof)
    try:
        return _evaluation(state, report, job, bench, part, expected)
    except (StorageFailed, OutOfMemory):  # of the machine, and not of the candidate
        raise
    except Exception as error:  # each runtime has its own exception classes
        return Evaluation(figures=Evaluated(failed=str(error) if isinstance(error, BenchError) else one_line(error)))


def _evaluation(
    state: State, report: Reporter, job: EvaluateInt8, bench: SearchBench, part: DataPart, expected: PartAnswers
) -> Evaluation:
    file = job.made or _candidate(bench.trials, job)
    first = next(part.calls())
    with _open(job, file, first, "int8") as session:
        session.enter()
        own = _answers(session, part, report)
        look = None if job.proof else _first_look(state, job, bench, session, first)
    distance = verify.distance(dict(zip(expected.outputs, own.outputs.values())), expected.outputs, random=bench.random)
    figures = replace(_figures(distance, own, expected), items=part.items)
    figures = replace(figures, quantized_layers=file.quantized_layers, float_layers=file.float_layers)
    return Evaluation(figures=figures, look=look)


def _bench(state: State, job: Making) -> SearchBench:
    """The bench of the job's search, made by its first job. `BadInput` for an excluded node that does not exist."""
    key = (job.artifact.sha256, job.how.method, job.how.images, job.seed)
    if state.search is None or state.search.key != key:
        folder = tempfile.TemporaryDirectory(prefix="onnxbench-search-")
        calibration = first_that_runs(job)
        # A static scheme, because only that calibrates the ranges which most schemes need.
        how = replace(job.how, scheme=PORTABLE)
        trials = Trials(source=job.artifact, how=how, feeds=calibration.feeds, folder=Path(folder.name))
        int8.check_excluded(graph.load(trials.prepared), job.how.exclude)
        random = generators.random_outputs(onnx_file.model_of(Path(job.artifact.path)))
        state.search = SearchBench(key=key, folder=folder, trials=trials, calibration=calibration, random=tuple(random))
    return state.search


def _candidate(trials: Trials, job: EvaluateInt8) -> Artifact:
    """The file of the job's scheme without its excluded nodes, as an artifact."""
    trials.how = job.how
    if not trials.make(()):
        raise BenchError("nothing is left to quantize")
    return replace(onnx_file.describe(trials.target, model=job.artifact.model), precision="int8", dataset=job.artifact.dataset)


def _open(job: EvaluateInt8, file: Artifact, call: PartCall, precision: str) -> Session:
    cell = Cell(
        model=file.model,
        sha256=file.sha256,
        backend=job.backend,
        device=job.device,
        precision=precision,
        batch=len(next(iter(call.arrays.values()))) if call.arrays else 1,
        shapes=_shapes(job.artifact, call),
        settings=Settings(threads=usable_threads()),
        scheme=job.how.scheme if precision == "int8" else "",
    )
    return backend_for(cell, file).open(file, cell)


def _shapes(artifact: Artifact, call: PartCall) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((spec.name, tuple(call.arrays[spec.name].shape)) for spec in artifact.inputs)


def _answers(session: Session, part: DataPart, report: Reporter) -> PartAnswers:
    outputs: list[Mapping[str, Array]] = []
    classes: list[NDArray[np.int64]] | None = []
    labels: list[Array] = []
    for number, call in enumerate(part.calls()):
        made = {name: _items(array, part.batch, call.count) for name, array in run_once(session, call.arrays).items()}
        first = next(iter(made.values()))
        if first.ndim != 2 or first.shape[1] < 2 or first.dtype.kind != "f":
            classes = None
        if classes is not None:
            classes.append(first.argmax(1))
        labels += [] if call.labels is None else [call.labels[: call.count]]
        if number * part.batch < DISTANCE_ITEMS:
            outputs.append(made)
        report(ProgressReport())
    return PartAnswers(
        outputs={name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]},
        classes=None if classes is None else np.concatenate(classes),
        labels=np.concatenate(labels) if labels else None,
    )


def _items(array: Array, batch: int, count: int) -> Array:
    """The first `count` rows of an output whose first axis counts the `batch` items of a call; other outputs as they are."""
    rows = np.atleast_1d(array)
    return rows[:count] if len(rows) == batch else rows


def _figures(distance: Distance, own: PartAnswers, expected: PartAnswers) -> Evaluated:
    """Distances, and counts of answers."""
    figures = Evaluated(sqnr_db=distance.sqnr_db, max_abs_err=distance.max_abs_err, rel_err=distance.rel_err)
    if own.classes is None or expected.classes is None or own.classes.shape != expected.classes.shape:
        return figures
    figures = replace(figures, agreed=int(np.sum(own.classes == expected.classes)))
    if expected.labels is None:
        return figures
    right, reference = own.classes == expected.labels, expected.classes == expected.labels
    lost, gained = int(np.sum(reference & ~right)), int(np.sum(right & ~reference))
    return replace(figures, right=int(np.sum(right)), lost=lost, gained=gained)


def _first_look(state: State, job: EvaluateInt8, bench: SearchBench, session: Session, call: PartCall) -> FirstLook | None:
    """Medians of calls of the candidate and of FP32 in turns; None where the backend does not run FP32.

    A turn begins when the threads of the other session are idle, which spin after a call, and its first call is not counted.
    """
    try:
        plain = bench.plain.get("fp32") or bench.plain.setdefault("fp32", _open(job, job.artifact, call, "fp32"))
    except BenchError:
        return None
    times: dict[Session, list[NDArray[np.int64]]] = {plain: [], session: []}
    for each in times:
        each.enter()
        run_once(each, call.arrays)
    look = partial(measure.latency, now=state.clock.now_ns, least_ns=TURN_NS, least_calls=TURN_CALLS)
    with measure.quiet():
        for _ in range(TURNS):
            for each, series in times.items():
                measure.settle(state.clock)
                run_once(each, call.arrays)
                series.append(look(each))
    fp32_ms, ms = (float(np.median(np.concatenate(series))) / 1e6 for series in times.values())
    calls = min(sum(map(len, series)) for series in times.values())
    return FirstLook(ms=ms, fp32_ms=fp32_ms, calls=calls, batch=len(next(iter(call.arrays.values()))))
