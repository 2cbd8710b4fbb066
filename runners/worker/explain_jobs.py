"""The worker's job of the INT8 doctor: find the nodes that cost accuracy, and the gain of excluding them.

Each node is quantized alone, and its error is measured at each output. The worst nodes are then left in float
together, and exclusion.py judges what that brings. Calibration data decides the choice; data that took no part
in the choice proves it. Imports onnx and ONNX Runtime inside functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...backends.protocol import Array
from ...evidence import Distance, Explained, Proof
from ...exporters import int8
from ...exporters.derive import Feeds
from ...exporters.schemes import SCHEMES
from ...models import onnx_file, quantized
from ...parity import OutputCost
from ...spec import PRECISIONS, Artifact, Conversion
from . import verify
from .convert_jobs import Calibration, calibration_of, first_that_runs, in_calls
from .exclusion import LEAST_DB, Exclusion, Figures, choose
from .file_jobs import Explain
from .jobs import ProgressReport, Reporter
from .prepare_jobs import dataset_of, run_once
from .reference import open_reference
from .serve import State

MOST_NODES = 100  # tried one at a time; in a larger graph only the layers are
JUDGED_CALLS, PROOF_ITEMS = 4, 512
ROUNDING_DB = PRECISIONS["fp32"].floor_db
CONFIRMED_DB = LEAST_DB / 2  # least gain on other data

Answers = Sequence[Mapping[str, Array]]


@dataclass(kw_only=True)
class Trials:
    """One FP32 file, prepared once and quantized many times. Its own answers are the reference."""

    source: Artifact
    how: Conversion
    feeds: Feeds
    folder: Path

    def __post_init__(self) -> None:
        path = Path(self.source.path)
        self.prepared, self.target = self.folder / "prepared.onnx", self.folder / "trial.onnx"
        with int8.guarded(path.name):
            int8.prepare(path, self.prepared)
            self.ranges, _ = int8.find_ranges(self.prepared, self.how, self.feeds)

    def nodes(self) -> dict[str, bool]:
        """Nodes that the recipe quantizes, True for layers; layers only, if there are more than MOST_NODES."""
        scheme = SCHEMES[self.how.scheme]
        if scheme.dynamic:  # its operators have other names than the nodes that they replace
            own = {node.name for node in onnx_file.graph_of(self.prepared).node if node.op_type in scheme.operators}
            return dict.fromkeys(sorted(own - set(self.how.exclude)), True)
        self.make(())
        nodes = quantized.quantized_nodes(onnx_file.graph_of(self.target))
        return {name: is_layer for name, is_layer in nodes if is_layer or len(nodes) <= MOST_NODES}

    def judge(
        self, data: Calibration, expected: Answers, exclude: Sequence[str] = (), only: Sequence[str] = ()
    ) -> tuple[Distance, float | None]:
        """Distance from `expected` of the file quantized without `exclude`, or in `only` alone, and its top-1."""
        self.make(exclude, only)
        made = answers(replace(self.source, path=str(self.target)), data.feeds)
        return verify.distance(_joined(made), _joined(expected)), _top1(made, data.labels)

    def make(self, exclude: Sequence[str], only: Sequence[str] = ()) -> bool:
        """Write the file `target`. Return False if no node could be quantized."""
        how = replace(self.how, exclude=(*self.how.exclude, *exclude))
        with int8.guarded(Path(self.source.path).name):
            return int8.quantize(self.prepared, self.target, how, self.ranges, only)


def explain(state: State, report: Reporter, job: Explain) -> Explained:
    """Find the error of each node of the INT8 recipe, the worst first, and the nodes to exclude."""
    source, calibration = job.artifact, first_that_runs(job)
    judged, held_out = _judged(job, calibration), _held_out(job, calibration)
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(source=source, how=job.how, feeds=calibration.feeds, folder=Path(folder))
        judge = Judge(trials=trials, data=judged, expected=answers(source, judged.feeds), report=report)
        is_layer = trials.nodes()
        alone = {node: judge(only=[node]) for node in is_layer}
        worst = sorted(alone, key=lambda node: alone[node].worst_db)
        noisy = [node for node in worst if alone[node].worst_db < ROUNDING_DB]
        choice = choose(noisy, judge, most=_most(noisy, is_layer))
        proof = _prove(trials, choice.exclude, held_out) if choice.exclude else None
    return Explained(
        nodes=tuple((node, alone[node].worst_db) for node in noisy),
        sqnr_db=choice.before.worst_db,
        after_db=choice.after.worst_db if choice.exclude else None,
        data=calibration.data,
        exclude=choice.exclude if proof and is_confirmed(proof) else (),
        proof=proof,
        outputs=_outputs(alone, choice),
        tried=tuple((size, judgement.worst_db) for size, judgement in choice.tried.items()),
    )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Figures of the file without some nodes, or with some nodes alone, on data that chooses the nodes."""

    trials: Trials
    data: Calibration
    expected: Answers
    report: Reporter

    def __call__(self, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> Figures:
        distance, top1 = self.trials.judge(self.data, self.expected, exclude, only)
        self.report(ProgressReport())
        outputs = dict.fromkeys(part.output for part in distance.parts)
        sqnr_db = {name: min(part.sqnr_db for part in distance.parts if part.output == name) for name in outputs}
        return Figures(sqnr_db=sqnr_db, top1=top1)


def _most(worst: Sequence[str], is_layer: Mapping[str, bool]) -> int:
    """Number of the worst nodes that may stay in float: at most half of the nodes, and half of the layers."""
    most = min(len(worst), len(is_layer) // 2)
    while most and 2 * sum(is_layer[node] for node in worst[:most]) > sum(is_layer.values()):
        most -= 1
    return most


def _outputs(alone: Mapping[str, Figures], choice: Exclusion) -> tuple[OutputCost, ...]:
    """The most costly node of each output, if there are several outputs."""
    before, after = choice.before.sqnr_db, choice.after.sqnr_db
    if len(before) < 2 or not alone:
        return ()
    costs = {name: [(judgement.sqnr_db[name], node) for node, judgement in alone.items()] for name in before}
    worst = {name: min(pairs, key=lambda pair: pair[0]) for name, pairs in costs.items()}
    return tuple(
        OutputCost(output=name, sqnr_db=before[name], node=node, node_db=node_db, after_db=after[name])
        for name, (node_db, node) in worst.items()
    )


def _judged(job: Explain, calibration: Calibration) -> Calibration:
    """The first calls, which choose the nodes. Of the user's arrays, half of the calls are left for the proof."""
    count = len(calibration.feeds)
    return calibration.part(0, min(JUDGED_CALLS, max(1, count // 2)) if _is_own(job) else JUDGED_CALLS)


def _is_own(job: Explain) -> bool:
    """True if nothing but the user's calibration arrays can prove the choice."""
    return job.calibration is not None and job.data is None


def _prove(trials: Trials, exclude: Sequence[str], held_out: Calibration) -> Proof:
    """Distances before and after the exclusion, and top-1 with labels, on held-out data."""
    expected = answers(trials.source, held_out.feeds)
    (before, top1_before), (after, top1_after) = (trials.judge(held_out, expected, nodes) for nodes in ((), exclude))
    return Proof(
        before=before,
        after=after,
        data=held_out.data,
        items=held_out.items,
        top1_before=top1_before,
        top1_after=top1_after,
        top1_fp32=_top1(expected, held_out.labels),
    )


def is_confirmed(proof: Proof) -> bool:
    """True if data that did not choose the nodes shows a gain of an output, or of top-1."""
    before = {part.name: part.sqnr_db for part in proof.before.parts}
    gains = (part.sqnr_db - before.get(part.name, part.sqnr_db) for part in proof.after.parts)
    points = (proof.top1_after or 0.0) - (proof.top1_before or 0.0)
    return max(gains, default=0.0) >= CONFIRMED_DB or points > 0


def _held_out(job: Explain, calibration: Calibration) -> Calibration:
    """Data that took no part in the choice: test images, the user's other arrays, or new random values.

    Without any, the calibration data, and its name says that.
    """
    source = job.artifact
    if job.data:
        data = dataset_of(job.data)
        images, labels = data.batch(data.split["test"][:PROOF_ITEMS])
        return in_calls({source.inputs[0].name: images}, source, f"test images of {job.data.name}", labels=labels)
    if _is_own(job):
        judged = len(_judged(job, calibration).feeds)
        rest = calibration.part(judged, len(calibration.feeds))
        if rest.feeds:
            return replace(rest, data="calibration items that did not choose the nodes")
        return replace(calibration, data="items that it was calibrated on")
    batch = calibration.items // len(calibration.feeds)
    new = calibration_of(replace(job, seed=job.seed + len(calibration.feeds)), batch)
    return replace(new, data="new random inputs")


def answers(artifact: Artifact, feeds: Feeds) -> list[dict[str, Array]]:
    """Outputs of the file for each of `feeds`, which all have equal shapes."""
    shapes = tuple((spec.name, tuple(feeds[0][spec.name].shape)) for spec in artifact.inputs)
    session, _ = open_reference(artifact, shapes)
    with session:
        return [run_once(session, arrays) for arrays in feeds]


def _top1(outputs: Answers, labels: Sequence[Array]) -> float | None:
    """Per cent of items whose largest value of the first output is at their label; None without labels."""
    if not labels:
        return None
    right = [next(iter(answer.values())).argmax(1) == expected for answer, expected in zip(outputs, labels)]
    return float(np.mean(np.concatenate(right)) * 100)


def _joined(outputs: Answers) -> dict[str, Array]:
    """Outputs of several calls, concatenated along the first axis."""
    return {name: np.concatenate([np.atleast_1d(answer[name]) for answer in outputs]) for name in outputs[0]}
