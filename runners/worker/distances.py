"""Distance of outputs from a reference, for each output and for each group of slices of one scale. NumPy only.

A pooled figure hides a small output beside a large one, and small slices beside large ones in one output.
docs/method-answers.md, "Parity", has the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Array
from ...errors import RuntimeFailed
from ...evidence import PartDistance
from ...models.shapes import show

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EXACT_DB = 200.0
MOST_SLICES = 4096
SCALES_APART = 100.0  # ratio of the RMS of two slices that have different scales
SPREADS_APART = 10.0
ENOUGH_VALUES = 8  # in a slice, for its spread to be a scale
ACTIVE_SHARE = 0.5  # least share of values other than 0: a channel after Relu may be small because it is rarely active
NEAR_ZERO_SHARE, SIGNIFICANCE = 0.05, 1e-3
SUM_TOLERANCE = 1e-3
ZERO_TOLERANCE = 1e-6  # of the output's maximum
SHOWN_RANGES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleGroup:
    """Slices `indices` of `axis` whose values have one scale. `silent`: the reference contains only zeros there."""

    axis: int
    indices: NDArray[np.int64]
    silent: bool = False

    def of(self, array: Floats) -> Floats:
        """Slices of `array`, with the axis of slices first."""
        return np.moveaxis(array, self.axis, 0)[self.indices]

    @property
    def label(self) -> str:
        """Axis and indices, such as `axis 2: 4-83`."""
        starts = np.flatnonzero(np.diff(self.indices, prepend=-2) != 1)
        ends = [*(starts[1:] - 1), len(self.indices) - 1]
        spans = [(int(self.indices[start]), int(self.indices[end])) for start, end in zip(starts, ends)]
        texts = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:SHOWN_RANGES]]
        return f"axis {self.axis}: {','.join(texts)}{',...' if len(spans) > SHOWN_RANGES else ''}"


def measure_parts(outputs: Mapping[str, Array], expected: Mapping[str, Array], batch: int | None = None) -> list[PartDistance]:
    """Distance of each part of `outputs` from `expected`. An output of several scales has several parts.

    `batch`: length of a first axis that counts items; None if every first axis does. `RuntimeFailed` for an output that
    is missing, or has a type without numbers.
    """
    parts: list[PartDistance] = []
    for name, target in expected.items():
        if name not in outputs:
            raise RuntimeFailed(f"output {name!r} is missing")
        if outputs[name].shape != target.shape:
            shape = f"{show(outputs[name].shape)} instead of {show(target.shape)}"
            parts.append(PartDistance(output=name, sqnr_db=-EXACT_DB, shape=shape))
        else:
            parts += _of_output(name, *as_numbers(outputs[name], target), batch)
    return parts


def as_numbers(output: Array, target: Array) -> tuple[Floats, Floats]:
    """Both arrays as float64. For texts: 1.0 where both are equal, with an array of ones beside it."""
    if output.dtype.kind in "OU" and target.dtype.kind in "OU":
        return (output.astype(str) == target.astype(str)).astype(np.float64), np.ones(target.shape)
    for array in (output, target):
        if array.dtype.kind not in "fiub":
            raise RuntimeFailed(f"outputs of type {array.dtype} cannot be compared")
    return output.astype(np.float64), target.astype(np.float64)


def errors_of(output: Floats, target: Floats) -> Floats:
    """Absolute differences. A value that is not finite must be equal on both sides; otherwise its error is infinite."""
    same = (output == target) | (np.isnan(output) & np.isnan(target))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(output - target))
    return np.where(np.isfinite(error), error, np.inf)


def finite(array: Floats) -> Floats:
    """The array with 0 in place of values that are not finite."""
    return np.where(np.isfinite(array), array, 0.0)


def _of_output(name: str, output: Floats, target: Floats, batch: int | None) -> Iterator[PartDistance]:
    error, signal = errors_of(output, target), finite(target)
    groups = scale_groups(signal, batch)
    if not groups:
        sqnr_db = decibel(float(np.sum(signal**2)), float(np.sum(error**2)))
        yield PartDistance(output=name, sqnr_db=sqnr_db, dead=_is_constant(output) and not _is_constant(target))
    for group in groups:
        yield PartDistance(
            output=name,
            slices=group.label,
            sqnr_db=_of_group(group.of(signal), group.of(error), float(np.abs(signal).max()) if group.silent else 0.0),
            dead=_is_dead(group.of(output), group.of(target)),
        )


def _of_group(signal: Floats, error: Floats, largest: float) -> float:
    """SQNR of a group of slices. For slices without a signal: the output's maximum `largest` over the largest error."""
    if not largest:
        return decibel(float(np.sum(signal**2)), float(np.sum(error**2)))
    worst = float(error.max(initial=0.0))
    return EXACT_DB if worst <= ZERO_TOLERANCE * largest else decibel(largest**2, worst**2)


def decibel(signal: float, noise: float) -> float:
    """SQNR in dB, within +-EXACT_DB."""
    if not noise:
        return EXACT_DB
    if not signal or not np.isfinite(noise):
        return -EXACT_DB
    return float(np.clip(10 * np.log10(signal / noise), -EXACT_DB, EXACT_DB))


def _is_constant(array: Floats) -> bool:
    return array.size == 0 or bool((array == array.flat[0]).all())


def _is_dead(slices: Floats, expected: Floats) -> bool:
    """True if each slice is constant, and not all of them are constant in the reference."""
    if slices[0].size < 2:
        return _is_constant(slices) and not _is_constant(expected)
    return all(map(_is_constant, slices)) and not all(map(_is_constant, expected))


def scale_groups(target: Floats, batch: int | None = None) -> list[ScaleGroup]:
    """Groups of slices of `target` by decade of their RMS; empty if all slices have one scale.

    The slices are those of the axis with the largest ratio of the RMS of two slices. Slices of zeros are a group.
    """
    first = 1 if target.ndim and batch in (None, target.shape[0]) else 0
    axes = [axis for axis in range(first, target.ndim) if 2 <= target.shape[axis] <= MOST_SLICES]
    if target.ndim < 2 or not target.size:
        return []
    best: tuple[float, list[ScaleGroup]] = (0.0, [])
    squares = target**2
    for axis in axes:
        ratio, levels = _scales(target, squares, axis)
        if ratio > best[0] and levels is not None:
            best = ratio, _grouped(axis, levels)
    return best[1]


def _grouped(axis: int, levels: NDArray[np.int64]) -> list[ScaleGroup]:
    return [
        ScaleGroup(axis=axis, indices=np.flatnonzero(levels == level), silent=bool(level < 0))
        for level in sorted(set(levels.tolist()))
    ]


def _scales(target: Floats, squares: Floats, axis: int) -> tuple[float, Any]:
    """Ratio of the largest and the least RMS of the slices, and the level of each slice; -1 for slices of zeros.

    The levels are None if the slices have one scale, or are parts of a distribution.
    """
    others = tuple(index for index in range(target.ndim) if index != axis)
    power, mean = np.mean(squares, axis=others), np.mean(target, axis=others)
    signal = power > 0
    if np.count_nonzero(signal) < 2:
        return 0.0, None
    below = np.sqrt(power.max() / power[signal])
    ratio = float(below.max())
    if ratio < SCALES_APART or _is_distribution(target, axis):
        return ratio, None
    spread = np.sqrt(np.maximum(power - mean**2, 0.0))[signal]
    levels = np.full(len(power), -1)
    values = target.size // len(power)
    active = np.count_nonzero(target, axis=others)[signal] >= ACTIVE_SHARE * values
    by_scale = _levels(below) if values >= ENOUGH_VALUES else _distant_levels(below)
    levels[signal] = np.where(_have_scale(below, spread, values) & active, by_scale, 0)
    return ratio, levels if (levels > 0).any() else None


def _levels(below: Floats) -> NDArray[np.int64]:
    """Level of each slice: 0 for an RMS within a decade of the largest one, 1 within a decade of the next one, and so on."""
    levels = np.zeros(len(below), np.int64)
    # A level begins at its largest slice: at fixed limits, slices of one scale on both sides of a limit would be split.
    while (rest := below >= 10 * below[levels == levels.max()].min()).any():
        levels[rest] += 1
    return levels


def _distant_levels(below: Floats) -> NDArray[np.int64]:
    """Level of each slice of few values: a level ends where the next smaller slice is a decade below.

    The values of one scale may fill many decades, as the states of an LSTM do, and slices of one value show no spread.
    """
    order = np.argsort(below, kind="stable")
    ratios = below[order]
    levels = np.zeros(len(below), np.int64)
    levels[order[1:]] = np.cumsum(ratios[1:] >= 10 * ratios[:-1])
    return levels


def _have_scale(below: Floats, spread: Floats, values: int) -> Bools:
    """True for each slice with a small RMS that is not small by accident.

    A logit may be near 0 in all items of a batch, which is no scale of its own. Slices have one if their values vary less
    than those of the largest slices, or if there are more small slices than values near 0 explain.
    """
    small = int(np.count_nonzero(below >= SCALES_APART))
    if _tail(small, len(below)) < SIGNIFICANCE:
        return np.ones(len(below), np.bool_)
    if values < ENOUGH_VALUES:
        return np.zeros(len(below), np.bool_)
    varies_less: Bools = spread * SPREADS_APART <= np.median(spread[below < 10])
    return varies_less


def _tail(count: int, of: int) -> float:
    """Probability that at least `count` `of` independent values are near 0 (binomial)."""
    # Each term from the one before: binomial coefficients of thousands of slices do not fit into a float.
    term = fewer = (1 - NEAR_ZERO_SHARE) ** of
    for n in range(1, count):
        term *= (of - n + 1) / n * NEAR_ZERO_SHARE / (1 - NEAR_ZERO_SHARE)
        fewer += term
    return 1 - fewer if count else 1.0


def _is_distribution(target: Floats, axis: int) -> bool:
    return bool(target.min() >= 0) and bool(np.all(np.abs(target.sum(axis=axis) - 1) <= SUM_TOLERANCE))


def worst_of(parts: Sequence[PartDistance]) -> PartDistance:
    """The part with the least SQNR."""
    return min(parts, key=lambda part: part.sqnr_db)
