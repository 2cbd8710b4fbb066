"""Parity with the FP32 reference and labelled accuracy, computed from arrays. NumPy only.

results/store/record derives the status of a row from these figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Array, Session
from ...evidence import Accuracy, Distance, PartDistance
from ...spec import Artifact
from .distances import EXACT_DB, as_numbers, errors_of, finite, measure_parts
from .jobs import ProgressReport, Reporter

TOP = 5
NO_SIGNAL = "the reference contains only 0 or NaN"
ALL_RANDOM = "every output depends on a random generator in the graph"


def save_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Write each array to `folder`. Files are numbered in the mapping's order, because names may contain
    slashes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays.values()):
        np.save(
            folder / f"{number}.npy", array.astype(str) if array.dtype.kind == "O" else array
        )  # text as a fixed-width type: objects would need pickle


def array_folder(folder: Path, number: int) -> Path:
    """Folder of the inputs `number` (from 0) of several, or of the answers to them, below the folder of the first."""
    return folder / f"array-{number}" if number else folder


def load_arrays(folder: Path, names: Iterable[str]) -> dict[str, Array]:
    """Arrays that `save_arrays` wrote, for the same names in the same order."""
    return {name: np.load(folder / f"{number}.npy", allow_pickle=False) for number, name in enumerate(names)}


def distance(
    outputs: Mapping[str, Array], expected: Mapping[str, Array], batch: int | None = None, random: Sequence[str] = ()
) -> Distance:
    """Distance of `outputs` from `expected`: the SQNR of the worst part, and the largest errors of all outputs.

    - `batch`: length of a first axis that counts items; None if every first axis does.
    - `random`: outputs that depend on a random generator. They are not compared, unless there are no others.
    - `rel_err`: largest error of an output over the largest absolute value of its reference.
    - `agreement`: per cent of items with the same argmax of the first output; None unless its shape is [n, >1].
    - `undetermined`: reason why the comparison proves nothing.
    """
    compared = {name: array for name, array in expected.items() if name not in random}
    parts = measure_parts(outputs, compared or expected, batch)
    names = dict.fromkeys(part.output for part in parts if not part.shape)
    errors = [_largest_errors(outputs[name], expected[name]) for name in names]
    relative = [error / largest for error, largest in errors if largest]
    return Distance(
        sqnr_db=min((part.sqnr_db for part in parts), default=EXACT_DB),
        max_abs_err=_number(max((error for error, _ in errors), default=np.inf)),
        rel_err=_number(max(relative, default=np.inf)),
        agreement=_agreement(outputs, compared or expected),
        undetermined=_undetermined(parts, errors, compared),
        parts=tuple(parts),
        random=tuple(name for name in expected if name in random),
    )


def figures_of(parity: Distance) -> dict[str, Any]:
    """Fields of a distance by name, for a class that adds more."""
    return {item.name: getattr(parity, item.name) for item in fields(parity)}


def _largest_errors(output: Array, target: Array) -> tuple[float, float]:
    """Largest absolute error of an output, and largest absolute value of its reference."""
    values, reference = as_numbers(output, target)
    return float(errors_of(values, reference).max(initial=0.0)), float(np.abs(finite(reference)).max(initial=0.0))


def _undetermined(
    parts: Sequence[PartDistance], errors: Iterable[tuple[float, float]], compared: Mapping[str, Array]
) -> str | None:
    """Reason why a comparison proves nothing: a runtime that computes nothing also equals a reference of 0 or NaN."""
    if not compared:
        return ALL_RANDOM
    is_empty = not any(error or largest for error, largest in errors) and not any(part.shape for part in parts)
    return NO_SIGNAL if is_empty else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _agreement(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float | None:
    """Per cent of items with equal argmax of the first output; None unless it is float [n, >1]."""
    name = next(iter(expected))
    target = expected[name]
    is_classes = target.ndim == 2 and target.shape[1] > 1 and target.dtype.kind == "f"
    if not is_classes or not len(target) or outputs[name].shape != target.shape:
        return None
    return float(np.mean(outputs[name].argmax(1) == target.argmax(1)) * 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Answers of a classifier: the index of the largest output, int64 [n], and True where the label is among the five largest.

    `within5`: None for a model of five classes or fewer.
    """

    first: NDArray[np.int64]
    within5: NDArray[np.bool_] | None = None


def predictions(
    session: Session, artifact: Artifact, images: Array, labels: Array, *, batch: int, report: Reporter
) -> Predictions:
    """Answers of `session` to `images` with `labels`, with `batch` images a call.

    The last call is filled up with copies of its own images. Every call sends a progress report, because the
    parent's time limit starts anew with each.
    """
    source, target = artifact.inputs[0].name, artifact.outputs[0].name
    first: list[NDArray[np.int64]] = []
    within5: list[NDArray[np.bool_]] = []
    for begin in range(0, len(images), batch):
        part = images[begin : begin + batch]
        session.bind({source: np.ascontiguousarray(np.resize(part, (batch, *part.shape[1:])))})
        session.start()
        session.wait()
        scores = session.fetch()[target][: len(part)]
        first.append(scores.argmax(1))
        within5.append(_rank(scores, labels[begin : begin + batch]) < TOP)
        report(ProgressReport())
    return Predictions(first=np.concatenate(first), within5=np.concatenate(within5) if scores.shape[1] > TOP else None)


def _rank(scores: Any, labels: Any) -> NDArray[np.int64]:
    """Number of classes before each item's label. Of equal scores the lower index is first, as argmax has it.

    A label without a score, or with one that is not a number, is last.
    """
    count = scores.shape[1]
    scored = labels < count
    own = np.take_along_axis(scores, np.where(scored, labels, 0)[:, None], axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(count) < labels[:, None]))
    ranks: NDArray[np.int64] = np.where(scored & ~np.isnan(own[:, 0]), before.sum(1), count)
    return ranks


def accuracy(session: Session, artifact: Artifact, folder: Path, batch: int, report: Reporter) -> Accuracy:
    """Accuracy against the labels and the reference's predictions in `folder`, on the same images.

    `top1` and `agreement` are per cent, `top1_drop` percentage points. `lost` counts the images that only the
    reference gets right, and `gained` those that only this cell gets right.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    labels, expected = np.load(folder / "labels.npy"), np.load(folder / "reference.npy")
    answers = predictions(session, artifact, images, labels, batch=batch, report=report)
    right, reference = answers.first == labels, expected == labels
    lost, gained = int(np.sum(reference & ~right)), int(np.sum(right & ~reference))
    return Accuracy(
        top1=float(np.mean(right) * 100),
        top1_drop=100 * (lost - gained) / len(labels),
        agreement=float(np.mean(answers.first == expected) * 100),
        images=len(labels),
        lost=lost,
        gained=gained,
        accuracy_batch=batch,
        **_top5(answers.within5, folder / "reference5.npy"),
    )


def _top5(within: NDArray[np.bool_] | None, reference: Path) -> dict[str, float]:
    """Figures of the five best answers; empty without the reference's."""
    if within is None or not reference.exists():
        return {}
    top5 = float(np.mean(within) * 100)
    return {"top5": top5, "top5_drop": float(np.mean(np.load(reference)) * 100) - top5}
