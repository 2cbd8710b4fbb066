"""Parity with the FP32 reference and labelled accuracy, computed from arrays. NumPy only.

results/store/record derives the status of a row from these figures.
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
NO_SIGNAL = "the reference contains only 0 or NaN"


def save_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Write each array to `folder`. Files are numbered in the mapping's order, because names may contain
    slashes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays.values()):
        np.save(
            folder / f"{number}.npy", array.astype(str) if array.dtype.kind == "O" else array
        )  # text as a fixed-width type: objects would need pickle


def load_arrays(folder: Path, names: Iterable[str]) -> dict[str, Array]:
    """Arrays that `save_arrays` wrote, for the same names in the same order."""
    return {name: np.load(folder / f"{number}.npy", allow_pickle=False) for number, name in enumerate(names)}


def distance(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> Distance:
    """Distance of `outputs` from `expected`, over all outputs together.

    `sqnr_db` = 10 log10(sum expected^2 / sum (outputs - expected)^2), at most EXACT_DB, which means equality.
    `rel_err` = max_abs_err / max

    expected

    . A value that is not finite must be equal on both sides. `agreement` is the per cent of items with the
    same argmax of the first output; None unless its shape is [n, >1]. `undetermined` explains a comparison
    without information: a runtime that computes nothing also equals a reference of 0 or NaN.

    `RuntimeFailed` for an output that is missing, or has another shape or a type without numbers.
    """
    signal = noise = worst = largest = 0.0
    for name, target in expected.items():
        if name not in outputs or outputs[name].shape != target.shape:
            shape = outputs[name].shape if name in outputs else None
            raise RuntimeFailed(f"output {name!r} has shape {shape}, but the reference has {target.shape}")
        a, b = _pair(outputs[name], target)
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
        agreement=_agreement(outputs, expected),
        undetermined=None if signal or noise else NO_SIGNAL,
    )


def _pair(outputs: Array, target: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as float64. For texts: 1.0 where both are equal, with an array of ones beside it."""
    if outputs.dtype.kind in "OU" and target.dtype.kind in "OU":
        return (outputs.astype(str) == target.astype(str)).astype(np.float64), np.ones(target.shape)
    return _numbers(outputs), _numbers(target)


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


def _agreement(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float | None:
    """Per cent of items with equal argmax of the first output; None unless it is float [n, >1]."""
    name = next(iter(expected))
    target = expected[name]
    if target.ndim != 2 or target.shape[1] < 2 or target.dtype.kind != "f" or not len(target):
        return None
    return float(np.mean(outputs[name].argmax(1) == target.argmax(1)) * 100)


def predictions(session: Session, artifact: Artifact, images: Array, batch: int, report: Reporter) -> NDArray[np.int64]:
    """Index of the largest output for each of `images`, int64 [n], with `batch` images a call.

    The last call is filled up with copies of its own images. Every call sends a progress report, because the
    parent's time limit starts anew with each.
    """
    source, target = artifact.inputs[0].name, artifact.outputs[0].name
    indices: list[NDArray[np.int64]] = []
    for begin in range(0, len(images), batch):
        part = images[begin : begin + batch]
        session.bind({source: np.ascontiguousarray(np.resize(part, (batch, *part.shape[1:])))})
        session.start()
        session.wait()
        indices.append(session.fetch()[target][: len(part)].argmax(1))
        report(ProgressReport())
    return np.concatenate(indices)


def accuracy(session: Session, artifact: Artifact, folder: Path, batch: int, report: Reporter) -> Accuracy:
    """Accuracy against the labels and the reference's predictions in `folder`, on the same images.

    `top1` and `agreement` are per cent, `top1_drop` percentage points. `lost` counts the images that only the
    reference gets right, and `gained` those that only this cell gets right.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    labels, expected = np.load(folder / "labels.npy"), np.load(folder / "reference.npy")
    answers = predictions(session, artifact, images, batch, report)
    right, reference = answers == labels, expected == labels
    lost, gained = int(np.sum(reference & ~right)), int(np.sum(right & ~reference))
    return Accuracy(
        top1=float(np.mean(right) * 100),
        top1_drop=100 * (lost - gained) / len(labels),
        agreement=float(np.mean(answers == expected) * 100),
        images=len(labels),
        lost=lost,
        gained=gained,
        accuracy_batch=batch,
    )
