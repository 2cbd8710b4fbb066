"""What a graph does with its inputs, so that values can be drawn that it takes: ids within their table, ones for masks.

onnx's messages are read, nothing is imported. An input is followed through operators that only move or convert it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

PASSING = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Flatten")
REDUCING = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

SETTINGS: Mapping[str, Mapping[int, str]] = {
    **{f"Reduce{kind}": {1: "axes"} for kind in REDUCING},
    "AffineGrid": {1: "size"},
    "BlackmanWindow": {0: "size"},
    "CenterCropPad": {1: "shape"},
    "Col2Im": {1: "image_shape", 2: "block_shape"},
    "ConstantOfShape": {0: "shape"},
    "CumProd": {1: "axis"},
    "CumSum": {1: "axis"},
    "DFT": {1: "dft_length", 2: "axis"},
    "Dropout": {1: "ratio"},
    "Expand": {1: "shape"},
    "HammingWindow": {0: "size"},
    "HannWindow": {0: "size"},
    "MaxUnpool": {1: "indices", 2: "output_shape"},
    "MelWeightMatrix": dict(enumerate(("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"))),
    "NonMaxSuppression": {2: "max_output_boxes_per_class"},
    "OneHot": {1: "depth"},
    "Pad": {1: "pads", 3: "axes"},
    "Range": {0: "start", 1: "limit", 2: "delta"},
    "Reshape": {1: "shape"},
    "Resize": {1: "roi", 2: "scales", 3: "sizes"},
    "STFT": {1: "frame_step", 3: "frame_length"},
    "Slice": {1: "starts", 2: "ends", 3: "axes", 4: "steps"},
    "Split": {1: "split"},
    "SplitToSequence": {1: "split"},
    "Squeeze": {1: "axes"},
    "Tile": {1: "repeats"},
    "TopK": {1: "k"},
    "Trilu": {1: "k"},
    "Unsqueeze": {1: "axes"},
    "Upsample": {1: "scales"},
}
"""Inputs, by place, that say what an operator does: a graph takes few values of them, which no type tells."""

POSITIVE: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (4,),
    "Div": (1,),
    "Mod": (1,),
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6),
}
"""Inputs, by place, that are divided by, or of which a root is taken."""

INDICES: Mapping[str, int] = {
    "ArrayFeatureExtractor": -1,
    "Gather": 0,
    "GatherElements": 0,
    "NegativeLogLikelihoodLoss": 1,
    "Scatter": 0,
    "ScatterElements": 0,
    "SoftmaxCrossEntropyLoss": 1,
}
"""The axis by default of what is indexed by the input after it."""

EVERY_AXIS = ("GatherND", "ScatterND")
RECURRENT = ("LSTM", "GRU", "RNN")
LENGTHS = 4  # where recurrent operators take them
MASK = re.compile(r"mask", re.IGNORECASE)
LENGTH = re.compile(r"(^|[_./])(len|lens|length|lengths)$|seq(uence)?_?len(gth)?s?$", re.IGNORECASE)
RATE = re.compile(r"^(sr|sample_rate|sampling_rate)$", re.IGNORECASE)
NAMED = ((MASK, "mask"), (LENGTH, "length"), (RATE, "rate"))
INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(kw_only=True)
class Use:
    """What an input is to its graph. `role`: `mask` (ones), `length` (whole), `positive`, `rate` (of samples), or nothing.

    `high`: its values are under that. `of`: they are under (for a length: as much as) the size of this input's axis.
    `setting`: what it sets, in words; such a value cannot be guessed.
    """

    role: str = ""
    high: int | None = None
    of: tuple[str, int] | None = None
    setting: str = ""


@dataclass(kw_only=True)
class Uses:
    """What is `found` of every input. `sources`: which input a value is, moved or converted. `tables`: shapes in the file."""

    found: dict[str, Use] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, name: str) -> Use:
        return self.found.setdefault(name, Use())


def uses(graph: onnx.GraphProto) -> dict[str, Use]:
    """How the graph, its branches and loops included, uses its inputs, by name; nothing where no more is known than a type."""
    found = Uses()
    initial = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found.tables.update({name: dims for name, dims in initial.items() if dims})
    found.tables.update({value.name: _sizes(value) for value in graph.input if all(_sizes(value))})
    found.sources.update({value.name: value.name for value in graph.input if value.name not in initial})
    for node in _nodes(graph):
        _follow(found, node)
        _indices(found, node)
        _settings(found, node)
        _lengths(found, node)
    return found.found


def role_of(name: str, dtype: str) -> str:
    """What an input's name says that it is, for a type that fits."""
    kinds = {"mask": True, "length": dtype in INTEGER, "rate": dtype in INTEGER}
    return next((role for pattern, role in NAMED if kinds[role] and pattern.search(name)), "")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():  # GRAPH, GRAPHS
                yield from _nodes(inner)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """An input's dimensions, 0 for those that are open."""
    return tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _follow(found: Uses, node: onnx.NodeProto) -> None:
    if node.op_type in PASSING and node.input and node.input[0] in found.sources:
        found.sources[node.output[0]] = found.sources[node.input[0]]
    if node.op_type == "Constant":
        made = node.output[0]
        found.tables.update((made, tuple(attribute.t.dims)) for attribute in node.attribute if attribute.t.dims)
    if node.op_type == "DequantizeLinear" and node.input[0] in found.tables:
        found.tables[node.output[0]] = found.tables[node.input[0]]


def _input(found: Uses, node: onnx.NodeProto, place: int) -> str | None:
    """Which of the graph's inputs the node's input at `place` is."""
    return found.sources.get(node.input[place]) if place < len(node.input) else None


def _indices(found: Uses, node: onnx.NodeProto) -> None:
    """Indices stay under the length of the smallest table that they index, which may be an input itself."""
    name = _input(found, node, 1) if node.op_type in (*INDICES, *EVERY_AXIS) else None
    if name is None:
        return
    axis, table, use = _attribute(node, "axis", INDICES.get(node.op_type, 0)), node.input[0], found.of(name)
    shape = found.tables.get(table, ())
    if -len(shape) <= axis < len(shape):
        size = min(shape) if node.op_type in EVERY_AXIS else shape[axis]
        use.high = min(size, use.high or size)
    elif table in found.sources and found.sources[table] == table:
        use.of = use.of or (table, axis)


def _settings(found: Uses, node: onnx.NodeProto) -> None:
    for place, word in SETTINGS.get(node.op_type, {}).items():
        name = _input(found, node, place)
        if name is not None:
            found.of(name).setting = f"{word} of {node.op_type}"
    for place in POSITIVE.get(node.op_type, ()):
        name = _input(found, node, place)
        if name is not None:
            found.of(name).role = "positive"


def _lengths(found: Uses, node: onnx.NodeProto) -> None:
    name = _input(found, node, LENGTHS) if node.op_type in RECURRENT else None
    if name is not None:
        use, data = found.of(name), _input(found, node, 0)
        use.role = "length"
        use.of = (data, _attribute(node, "layout", 0)) if data else None


def about(use: Use | None, name: str, dtype: str) -> dict[str, Any]:
    """`use` as fields of a TensorSpec; what the name says counts where the graph says nothing."""
    known = use or Use()
    return {"role": known.role or role_of(name, dtype), "high": known.high, "of": known.of, "setting": known.setting}
