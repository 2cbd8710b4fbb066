"""The worker's job for the INT8 doctor: which nodes cost the accuracy, and what leaving them in float brings. onnx and ONNX
Runtime, inside functions.

Each node is quantized alone, and its error is that of the output. Those that stand out are then left in float, one after
the other together, as long as that helps.
All of that is judged on calibration data; what is suggested is proven on data that was not used to find it.
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
from ...models import onnx_file, quantized
from ...spec import PRECISIONS, Artifact, Conversion
from . import verify
from .convert_jobs import Calibration, calibration_of, in_calls
from .file_jobs import Explain
from .jobs import ProgressReport, Reporter
from .prepare_jobs import dataset_of, run_once
from .reference import open_reference
from .serve import State

MOST_NODES = 100  # that are tried one at a time; beyond that layers alone are
JUDGED_CALLS, PROOF_ITEMS = 4, 512
MOST_EXCLUDED = 8
ENOUGH_SHARE = 0.9  # of the gain that most exclusions bring
ROUNDING_DB = PRECISIONS["fp32"].floor_db
LEAST_DB = 6.0  # twice the error: less is no gap between nodes, and no gain that is worth a layer in float

Answers = Sequence[Mapping[str, Array]]


@dataclass(kw_only=True)
class Trials:
    """One FP32 file, prepared once, that is quantized in many ways; answers are compared with its own."""

    source: Artifact
    how: Conversion
    feeds: Feeds
    folder: Path

    def __post_init__(self) -> None:
        path = Path(self.source.path)
        self.prepared, self.target = self.folder / "prepared.onnx", self.folder / "trial.onnx"
        with int8.guarded(path.name):
            int8.prepare(path, self.prepared)
            self.ranges = int8.calibrate(self.prepared, self.how, self.feeds)

    def nodes(self) -> list[str]:
        """What the recipe quantizes: every node, or the layers where there are too many."""
        self._make((), ())
        found = quantized.quantized_nodes(onnx_file.graph_of(self.target))
        chosen = found if len(found) <= MOST_NODES else [item for item in found if item[1]]
        return [name for name, _ in chosen]

    def distance(self, feeds: Feeds, expected: Answers, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> Distance:
        """How far the file that is quantized without `exclude`, or in `only`, is from `expected`."""
        self._make(exclude, only)
        return verify.distance(_joined(answers(replace(self.source, path=str(self.target)), feeds)), _joined(expected))

    def _make(self, exclude: Sequence[str], only: Sequence[str]) -> None:
        how = replace(self.how, exclude=(*self.how.exclude, *exclude))
        with int8.guarded(Path(self.source.path).name):
            int8.quantize(self.prepared, self.target, how, self.ranges, only)


def explain(state: State, report: Reporter, job: Explain) -> Explained:
    """Find the cost of each node of the INT8 recipe for the FP32 file, the worst first, and the nodes to exclude."""
    source, calibration = job.artifact, calibration_of(job)
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
    """How many of the worst nodes, whose errors alone are `sqnr_db` in rising order, stand apart from the others: those
    before the widest gap. Nodes whose error is FP32's own rounding do not count."""
    noisy = [value for value in sqnr_db if value < ROUNDING_DB]
    gaps = np.diff(noisy)[:MOST_EXCLUDED]
    return int(gaps.argmax()) + 1 if len(gaps) and gaps.max() >= LEAST_DB else 0


def fewest(gains_db: Sequence[float]) -> int:
    """How many exclusions bring nearly all that the most bring, when 1, 2, ... gain so many dB; 0 where none is worth it."""
    best = max(gains_db, default=0.0)
    if best < LEAST_DB:
        return 0
    return next(count for count, gain in enumerate(gains_db, 1) if gain >= ENOUGH_SHARE * best)


def _prove(trials: Trials, exclude: Sequence[str], held_out: Calibration) -> Proof:
    expected = answers(trials.source, held_out.feeds)
    before, after = (trials.distance(held_out.feeds, expected, nodes) for nodes in ((), exclude))
    return Proof(before=before, after=after, data=held_out.data, items=held_out.items)


def _held_out(job: Explain, calibration: Calibration) -> Calibration:
    """Data that nothing was chosen by: test images, or new random values; with neither, the calibration data, and so said."""
    source = job.artifact
    if job.data:
        data = dataset_of(job.data)
        images = data.batch(data.split["test"][:PROOF_ITEMS])[0]
        return in_calls({source.inputs[0].name: images}, source, f"test images of {job.data.name}")
    if job.calibration:
        return replace(calibration, data="items that it was calibrated on")
    new = calibration_of(replace(job, seed=job.seed + len(calibration.feeds)))
    return replace(new, data="new random inputs")


def answers(artifact: Artifact, feeds: Feeds) -> list[dict[str, Array]]:
    """What the file answers to each of `feeds`, which all have the same shapes."""
    shapes = tuple((spec.name, tuple(feeds[0][spec.name].shape)) for spec in artifact.inputs)
    session, _ = open_reference(artifact, shapes)
    with session:
        return [run_once(session, arrays) for arrays in feeds]


def _joined(found: Answers) -> dict[str, Array]:
    """The answers to several calls as one."""
    return {name: np.concatenate([np.atleast_1d(answer[name]) for answer in found]) for name in found[0]}
