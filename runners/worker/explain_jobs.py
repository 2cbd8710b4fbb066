"""The worker's job of the INT8 doctor: find the nodes that cost accuracy, and the gain of excluding them.

Each node is quantized alone, and its error is measured at the output. The nodes that stand out are then left
in float, one more at a time, as long as the error falls. Calibration data decides the choice; data that took
no part in the choice proves it. Imports onnx and ONNX Runtime inside functions.
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
from ...exporters.calibration import calibrate
from ...exporters.derive import Feeds
from ...models import onnx_file, quantized
from ...spec import PRECISIONS, Artifact, Conversion
from . import verify
from .convert_jobs import Calibration, calibration_of, calibrations, in_calls, runs
from .file_jobs import Explain
from .jobs import ProgressReport, Reporter
from .prepare_jobs import dataset_of, run_once
from .reference import open_reference
from .serve import State

MOST_NODES = 100  # tried one at a time; in a larger graph only the layers are
JUDGED_CALLS, PROOF_ITEMS = 4, 512
MOST_EXCLUDED = 8
ENOUGH_SHARE = 0.9  # of the best gain
ROUNDING_DB = PRECISIONS["fp32"].floor_db
LEAST_DB = 6.0  # half the error; a smaller gap or gain is not worth a layer in float

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
            self.ranges, _ = calibrate(self.prepared, self.how.method, self.feeds)

    def nodes(self) -> list[str]:
        """Names of the nodes that the recipe quantizes; layers only, if there are more than MOST_NODES."""
        self._make((), ())
        nodes = quantized.quantized_nodes(onnx_file.graph_of(self.target))
        return [name for name, is_layer in nodes if is_layer or len(nodes) <= MOST_NODES]

    def distance(self, feeds: Feeds, expected: Answers, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> Distance:
        """Distance from `expected` of the file quantized without `exclude`, or in `only` alone."""
        self._make(exclude, only)
        return verify.distance(_joined(answers(replace(self.source, path=str(self.target)), feeds)), _joined(expected))

    def _make(self, exclude: Sequence[str], only: Sequence[str]) -> None:
        how = replace(self.how, exclude=(*self.how.exclude, *exclude))
        with int8.guarded(Path(self.source.path).name):
            int8.quantize(self.prepared, self.target, how, self.ranges, only)


def explain(state: State, report: Reporter, job: Explain) -> Explained:
    """Find the error of each node of the INT8 recipe, the worst first, and the nodes to exclude."""
    source, default = job.artifact, calibration_of(job)
    calibration = next((data for data in calibrations(job) if runs(source, data)), default)
    feeds = calibration.feeds
    judged = feeds[:JUDGED_CALLS]
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(source=source, how=job.how, feeds=feeds, folder=Path(folder))
        expected = answers(source, judged)
        before = trials.distance(judged, expected).sqnr_db
        alone: dict[str, float] = {}
        for node in trials.nodes():
            alone[node] = trials.distance(judged, expected, only=[node]).sqnr_db
            report(ProgressReport())
        worst = sorted(alone, key=lambda node: alone[node])
        gains: list[float] = []
        for number in range(standing_out([alone[node] for node in worst])):
            gains.append(trials.distance(judged, expected, worst[: number + 1]).sqnr_db - before)
            report(ProgressReport())
        exclude = worst[: fewest(gains)]
        proof = _prove(trials, exclude, _held_out(job, calibration)) if exclude else None
    costly = tuple((node, alone[node]) for node in worst if alone[node] < ROUNDING_DB)
    return Explained(nodes=costly, sqnr_db=before, data=calibration.data, exclude=tuple(exclude), proof=proof)


def standing_out(sqnr_db: Sequence[float]) -> int:
    """Number of nodes before the widest gap in `sqnr_db`, the errors of single nodes in rising order (dB).

    Nodes whose error is as small as FP32's own rounding do not count. 0 if no gap reaches LEAST_DB.
    """
    noisy = [value for value in sqnr_db if value < ROUNDING_DB]
    gaps = np.diff(noisy)[:MOST_EXCLUDED]
    return int(gaps.argmax()) + 1 if len(gaps) and gaps.max() >= LEAST_DB else 0


def fewest(gains_db: Sequence[float]) -> int:
    """Smallest number of exclusions with ENOUGH_SHARE of the best gain; `gains_db` are the gains of 1, 2, ...

    0 if no gain reaches LEAST_DB.
    """
    best = max(gains_db, default=0.0)
    if best < LEAST_DB:
        return 0
    return next(count for count, gain in enumerate(gains_db, 1) if gain >= ENOUGH_SHARE * best)


def _prove(trials: Trials, exclude: Sequence[str], held_out: Calibration) -> Proof:
    """Distances before and after the exclusion, on held-out data."""
    expected = answers(trials.source, held_out.feeds)
    before, after = (trials.distance(held_out.feeds, expected, nodes) for nodes in ((), exclude))
    return Proof(before=before, after=after, data=held_out.data, items=held_out.items)


def _held_out(job: Explain, calibration: Calibration) -> Calibration:
    """Data that took no part in the choice: test images, or new random values.

    Without either, the calibration data, and its name says that.
    """
    source = job.artifact
    if job.data:
        data = dataset_of(job.data)
        images = data.batch(data.split["test"][:PROOF_ITEMS])[0]
        return in_calls({source.inputs[0].name: images}, source, f"test images of {job.data.name}")
    if job.calibration:
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


def _joined(outputs: Answers) -> dict[str, Array]:
    """Outputs of several calls, concatenated along the first axis."""
    return {name: np.concatenate([np.atleast_1d(answer[name]) for answer in outputs]) for name in outputs[0]}
