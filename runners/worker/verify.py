"""Parity with the FP32 reference and labelled accuracy: the figures, from arrays. NumPy only.

What the figures mean for a row's status is derived when it is shown (results/store/record).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Array, Session
from ...errors import RuntimeFailed
from ...evidence import Accuracy, Distance
from ...spec import Artifact
from .jobs import ProgressReport, Reporter

EXACT_DB = 200.0
NOTHING = "the reference has no value but 0 or NaN"


def save_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Write each array to `folder`; names may hold slashes, so files are numbered in the mapping's order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays.values()):
        np.save(folder / f"{number}.npy", array.astype(str) if array.dtype.kind == "O" else array)  # texts, without pickle


def load_arrays(folder: Path, names: Iterable[str]) -> dict[str, Array]:
    """The arrays that `save_arrays` wrote, for the same names in the same order."""
    return {name: np.load(folder / f"{number}.npy", allow_pickle=False) for number, name in enumerate(names)}


def distance(found: Mapping[str, Array], expected: Mapping[str, Array]) -> Distance:
    """How far `found` is from `expected`, over all outputs together.

    `sqnr_db` = 10 log10(sum expected^2 / sum (found - expected)^2), at most EXACT_DB, which stands for equality;
    `max_abs_err`, and `rel_err` = max_abs_err / max |expected|. Values that are not finite must be the same ones.
    `agreement`: per cent of items with the same largest value of the first output, None unless that is [n, >1].
    `undetermined`: why equality tells nothing, where it does not: a reference without any value but 0 (or NaN) is what a
    runtime that computes nothing gives too.
    """
    signal = noise = worst = largest = 0.0
    for name, want in expected.items():
        if name not in found or found[name].shape != want.shape:
            shape = found[name].shape if name in found else None
            raise RuntimeFailed(f"output {name!r} has shape {shape} and the reference {want.shape}")
        a, b = _pair(found[name], want)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            error = np.where(same, 0.0, np.abs(a - b))
        error = np.where(np.isfinite(error), error, np.inf)
        finite = b[np.isfinite(b)]
        signal += float(np.sum(finite**2))
        noise += float(np.sum(error**2))
        worst = max(worst, float(error.max(initial=0.0)))
        largest = max(largest, float(np.abs(finite).max(initial=0.0)))
    return Distance(
        sqnr_db=_decibel(signal, noise),
        max_abs_err=_finite(worst),
        rel_err=_finite(worst / largest) if largest else None,
        agreement=_agreement(found, expected),
        undetermined=None if signal or noise else NOTHING,
    )


def _pair(found: Array, want: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as numbers that can be subtracted; of texts, whether each is the one that is wanted."""
    if found.dtype.kind in "OU" and want.dtype.kind in "OU":
        return (found.astype(str) == want.astype(str)).astype(np.float64), np.ones(want.shape)
    return _numbers(found), _numbers(want)


def _numbers(array: Array) -> NDArray[np.float64]:
    if array.dtype.kind not in "fiub":
        raise RuntimeFailed(f"outputs of type {array.dtype} cannot be compared")
    return array.astype(np.float64)


def _decibel(signal: float, noise: float) -> float:
    """SQNR in dB, within +-EXACT_DB."""
    if not noise:
        return EXACT_DB
    if not signal or not np.isfinite(noise):
        return -EXACT_DB
    return float(np.clip(10 * np.log10(signal / noise), -EXACT_DB, EXACT_DB))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _agreement(found: Mapping[str, Array], expected: Mapping[str, Array]) -> float | None:
    name = next(iter(expected))
    want = expected[name]
    if want.ndim != 2 or want.shape[1] < 2 or want.dtype.kind != "f":
        return None
    return float(np.mean(found[name].argmax(1) == want.argmax(1)) * 100)


def predictions(session: Session, artifact: Artifact, images: Array, batch: int, report: Reporter) -> NDArray[np.int64]:
    """The largest output's index for each of `images`, `batch` a call; the last call is filled up with the first images.

    Every call is reported, because the parent ends a worker that stays silent for the time limit.
    """
    source, target = artifact.inputs[0].name, artifact.outputs[0].name
    found: list[NDArray[np.int64]] = []
    for begin in range(0, len(images), batch):
        part = images[begin : begin + batch]
        session.bind({source: np.ascontiguousarray(np.resize(part, (batch, *part.shape[1:])))})
        session.start()
        session.wait()
        found.append(session.fetch()[target][: len(part)].argmax(1))
        report(ProgressReport())
    return np.concatenate(found)


def accuracy(session: Session, artifact: Artifact, folder: Path, batch: int, report: Reporter) -> Accuracy:
    """Against labels and the reference's predictions, both in `folder`, on the same images.

    `top1` and `agreement` in per cent, `top1_drop` in percentage points; of `images`, `lost` are those that the reference
    alone gets right, and `gained` those that it alone gets wrong.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    labels, expected = np.load(folder / "labels.npy"), np.load(folder / "reference.npy")
    found = predictions(session, artifact, images, batch, report)
    right, reference = found == labels, expected == labels
    lost, gained = int(np.sum(reference & ~right)), int(np.sum(right & ~reference))
    return Accuracy(
        top1=float(np.mean(right) * 100),
        top1_drop=100 * (lost - gained) / len(labels),
        agreement=float(np.mean(found == expected) * 100),
        images=len(labels),
        lost=lost,
        gained=gained,
        accuracy_batch=batch,
    )
