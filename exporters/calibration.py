"""Ranges of activations over calibration data: methods, by operator if the user says so, and their growth with more data.

Standard library; ONNX Runtime's calibrators inside functions, in a worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, nearest
from . import graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Feeds = Sequence[Mapping[str, NDArray[np.generic]]]
    Spans = Mapping[str, tuple[float, float]]

SAME_RANGE = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "MaxPool")
"""Operators whose output has the scale of their input. The quantizer uses the range of the input for both."""
FEEDS_AT_ONCE = 4  # feeds whose activations are in memory at the same time
GROWN = 0.1  # of its width: a range that grows by more with twice the data is still growing
MANY = 0.5  # share of the ranges that may still grow without a warning
"""Magika's layers have 25.5 dB with 8 samples and 36.1 dB with 16: 57 % of the ranges grew. From 16 to 256 samples they
have 36.1 to 37.6 dB, and up to 28 % of the ranges grew. With the CNN on the digits at most 29 % grew by over 5 %, and nothing
changed (docs/quantization.md)."""
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "minmax": ("MinMax", {}),
    "entropy": ("Entropy", {"num_bins": 2048, "num_quantized_bins": 128}),
    "percentile": ("Percentile", {}),
}
"""Calibration methods in the calibrator's terms, with its defaults except for the bins of entropy. With as many bins as
quantized bins there would be no threshold to choose. 2048 and 128: Migacz, 8-bit Inference with TensorRT, GTC 2017."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeGrowth:
    """Change of the ranges from `half` of the calibration samples to all.

    `ranges`: number of values with a range. `growing`: those whose range grew by more than GROWN. `largest`: growth of the
    range that grew most, over its width, and `value` its name.
    """

    half: int
    ranges: int
    growing: int
    largest: float
    value: str

    @property
    def is_large(self) -> bool:
        """True if more data would change many ranges."""
        return self.growing > MANY * self.ranges

    def __str__(self) -> str:
        least = f"{self.growing} of {self.ranges} ranges grew by over {GROWN:.0%} from {self.half} samples to all"
        return f"{least}, {self.value} by {self.largest:.0%}" if self.growing else least


def parse_method(text: str) -> tuple[str, dict[str, str]]:
    """The method of all values, and that of inputs of an operator: `minmax,LayerNormalization=percentile`.

    `BadInput` for an unknown method, and for a second method without an operator.
    """
    default, by_operator = "", {}
    for part in text.split(","):
        operator, equals, method = part.rpartition("=")
        if method not in METHODS:
            raise BadInput(f"--calibration-method has {method!r}, which is not a method", nearest(method, METHODS))
        if (equals and not operator) or (not equals and default) or operator in by_operator:
            hint = "write one method, then OPERATOR=METHOD for others: minmax,MatMul=percentile"
            raise BadInput(f"--calibration-method {text!r} has {part!r} where it does not fit", hint)
        if equals:
            by_operator[operator] = method
        else:
            default = method
    return default or "minmax", by_operator


def calibrate(prepared: Path, method: str, feeds: Feeds) -> tuple[Any, RangeGrowth | None]:
    """Ranges of all values over `feeds`, in a file that the quantizer prepared, and their growth with the last half.

    `method`: see `parse_method`. The growth is None where `_half` gives no half, as for a single feed.
    """
    default, by_operator = parse_method(method)
    method_of = _methods_by_value(prepared, by_operator)
    made = {name: _ranges(prepared, name, feeds) for name in dict.fromkeys((default, *by_operator.values()))}
    whole, halves = made[default][0], dict(made[default][1])
    for value, by in method_of.items():
        ranges, spans = made[by]
        if value in ranges and value in whole:
            whole[value] = ranges[value]
            halves.pop(value, None)
            halves |= {value: spans[value]} if value in spans else {}
    return whole, _growth(halves, _spans(whole), sum(map(_items, feeds[: _half(default, len(feeds))])))


def _methods_by_value(prepared: Path, by_operator: Mapping[str, str]) -> dict[str, str]:
    """Method of each value that one of the operators reads, also behind nodes of SAME_RANGE.

    The first operator decides about a value that several operators read.

    `BadInput` for an operator that the model does not have.
    """
    nodes = graph.load(prepared).graph.node if by_operator else ()
    operators = {node.op_type for node in nodes}
    for operator in by_operator:
        if operator not in operators:
            raise BadInput(f"--calibration-method: the model has no operator {operator!r}", nearest(operator, operators))
    maker = {name: node for node in nodes for name in node.output}
    methods: dict[str, str] = {}
    for operator, method in by_operator.items():
        inputs = [name for node in nodes if node.op_type == operator for name in node.input]
        while inputs:
            methods = dict.fromkeys(inputs, method) | methods
            before = [maker[name] for name in inputs if name in maker]
            inputs = [node.input[0] for node in before if node.op_type in SAME_RANGE]
    return methods


def _ranges(prepared: Path, method: str, feeds: Feeds) -> tuple[Any, Spans]:
    """The calibrator's ranges over all feeds, and the bounds of each range over the first half of them."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    name, options = METHODS[method]
    half = _half(method, len(feeds))
    spans: Spans = {}
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            prepared,
            operators(),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=getattr(CalibrationMethod, name),
            use_external_data_format=graph.is_external(prepared),
            extra_options=dict(options),
        )
        for begin, end in _parts(half, len(feeds)):
            calibrator.collect_data(_Reader(feeds[begin:end]))
            if end == half:
                spans = _spans(calibrator.compute_data())
        return calibrator.compute_data(), spans


def _half(method: str, count: int) -> int:
    """Number of the first feeds that are half of all; 0 if the ranges of half are not computed.

    A histogram depends on the parts in which data arrives, thus the half must not make other parts.
    """
    return count // 2 if method == "minmax" else count // 2 // FEEDS_AT_ONCE * FEEDS_AT_ONCE


def _parts(half: int, count: int) -> Iterator[tuple[int, int]]:
    """Bounds of the parts in which feeds are collected. One part ends at `half`."""
    for first, last in ((0, half), (half, count)):
        for begin in range(first, last, FEEDS_AT_ONCE):
            yield begin, min(begin + FEEDS_AT_ONCE, last)


class _Reader:
    """A reader that gives the calibrator one feed after the other."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[np.generic]] | None:
        return next(self._feeds, None)


def operators() -> list[str]:
    """Every operator that the quantizer supports. They are sorted, because their order changes the result."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _spans(ranges: Any) -> Spans:
    """The least and the largest value of each range."""
    bounds = {name: data.range_value for name, data in ranges.items()}
    return {name: (float(low.min()), float(high.max())) for name, (low, high) in bounds.items()}


def _items(feed: Mapping[str, Any]) -> int:
    return max((len(array) for array in feed.values() if getattr(array, "ndim", 0)), default=1)


def _growth(half: Spans, whole: Spans, items: int) -> RangeGrowth | None:
    """Growth of each range over its width in the whole data; None without ranges of the half."""
    shares = {}
    for name, (low, high) in half.items():
        least, most = whole[name]
        if most > least:
            shares[name] = max(0.0, most - high, low - least) / (most - least)
    if not shares:
        return None
    value = max(shares, key=lambda name: shares[name])
    growing = sum(share > GROWN for share in shares.values())
    return RangeGrowth(half=items, ranges=len(shares), growing=growing, largest=shares[value], value=value)
