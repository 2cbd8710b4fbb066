"""Plausible values for the inputs of a graph, from their use in the graph: ids within their table, ones for masks.

This module reads messages of onnx and imports no library. It follows an input through operators that only move or convert the
values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .batch import SEQUENCE

if TYPE_CHECKING:
    import onnx

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "MatMul", "LayerNormalization")
"""Operators whose output has the axes of their first input, if the second one is a constant."""

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
"""Inputs, by position, that are parameters of an operator: the graph accepts few of their values, and no type shows which."""

POSITIVE: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (4,),
    "Div": (1,),
    "Mod": (1,),
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6),
}
"""Inputs, by position, that are divisors or variances: they must be above 0."""

INDICES: Mapping[str, int] = {
    "ArrayFeatureExtractor": -1,
    "Gather": 0,
    "GatherElements": 0,
    "NegativeLogLikelihoodLoss": 1,
    "Scatter": 0,
    "ScatterElements": 0,
    "SoftmaxCrossEntropyLoss": 1,
}
"""Default axis of the table, the first input, into which the second input has indices."""

EVERY_AXIS = ("GatherND", "ScatterND")
RECURRENT = ("LSTM", "GRU", "RNN")
LENGTHS = 4  # position of the sequence lengths among the inputs of recurrent operators
MASK = re.compile(r"mask", re.IGNORECASE)
LENGTH = re.compile(r"(^|[_./])(len|lens|length|lengths)$|seq(uence)?_?len(gth)?s?$", re.IGNORECASE)
RATE = re.compile(r"^(sr|sample_rate|sampling_rate)$", re.IGNORECASE)
NAMED = ((MASK, "mask"), (LENGTH, "length"), (RATE, "rate"))
INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(kw_only=True)
class Use:
    """Use of an input in its graph. The fields are those of spec.TensorSpec with the same names."""

    role: str = ""
    high: int | None = None
    of: tuple[str, int] | None = None
    setting: str = ""


@dataclass(kw_only=True)
class Uses:
    """Uses of all inputs, `by_name`, while the graph is read.

    `sources`: for each value that is a moved or converted input, the name of the input. `tables`: shapes of constants.
    `same_axes`: for each value with the leading axes of an input, the name of the input. `constants`: names of constants.
    """

    by_name: dict[str, Use] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    same_axes: dict[str, str] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)

    def of(self, name: str) -> Use:
        return self.by_name.setdefault(name, Use())


def find_uses(graph: onnx.GraphProto) -> dict[str, Use]:
    """Find the uses of inputs in `graph`, its branches and loops included, by the name of the input.

    An input of which the graph shows no more than the type is left out.
    """
    uses = Uses()
    initial = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    uses.tables.update({name: dims for name, dims in initial.items() if dims})
    uses.tables.update({value.name: _sizes(value) for value in graph.input if all(_sizes(value))})
    uses.sources.update({value.name: value.name for value in graph.input if value.name not in initial})
    uses.same_axes.update(uses.sources)
    uses.constants.update(initial)
    for node in _nodes(graph):
        _follow(uses, node)
        _indices(uses, node)
        _settings(uses, node)
        _lengths(uses, node)
        _sequences(uses, node)
    return uses.by_name


def role_of(name: str, dtype: str) -> str:
    """The role that the name of an input suggests, if `dtype` fits the role; else an empty text."""
    kinds = {"mask": True, "length": dtype in INTEGER, "rate": dtype in INTEGER}
    return next((role for pattern, role in NAMED if kinds[role] and pattern.search(name)), "")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            # 5 and 10 are GRAPH and GRAPHS of onnx.AttributeProto, which this module does not import.
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                yield from _nodes(inner)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Dimensions of an input; 0 for an open one."""
    return tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _follow(uses: Uses, node: onnx.NodeProto) -> None:
    if node.op_type in PASSING and node.input and node.input[0] in uses.sources:
        uses.sources[node.output[0]] = uses.sources[node.input[0]]
    if node.op_type == "Constant":
        uses.tables.update((node.output[0], tuple(attribute.t.dims)) for attribute in node.attribute if attribute.t.dims)
    if node.op_type == "DequantizeLinear" and node.input[0] in uses.tables:
        uses.tables[node.output[0]] = uses.tables[node.input[0]]


def _input(uses: Uses, node: onnx.NodeProto, place: int) -> str | None:
    """Name of the graph's input that is the node's input at `place`; None if there is none."""
    return uses.sources.get(node.input[place]) if place < len(node.input) else None


def _indices(uses: Uses, node: onnx.NodeProto) -> None:
    """Bound indices by the length of the smallest table that they index. The table may be an input itself."""
    name = _input(uses, node, 1) if node.op_type in (*INDICES, *EVERY_AXIS) else None
    if name is None:
        return
    axis, table, use = _attribute(node, "axis", INDICES.get(node.op_type, 0)), node.input[0], uses.of(name)
    shape = uses.tables.get(table, ())
    if -len(shape) <= axis < len(shape):
        size = min(shape) if node.op_type in EVERY_AXIS else shape[axis]
        use.high = min(size, use.high or size)
    elif table in uses.sources and uses.sources[table] == table:
        use.of = use.of or (table, axis)


def _settings(uses: Uses, node: onnx.NodeProto) -> None:
    for place, word in SETTINGS.get(node.op_type, {}).items():
        name = _input(uses, node, place)
        if name is not None:
            uses.of(name).setting = f"{word} of {node.op_type}"
    for place in POSITIVE.get(node.op_type, ()):
        name = _input(uses, node, place)
        if name is not None:
            uses.of(name).role = "positive"


def _lengths(uses: Uses, node: onnx.NodeProto) -> None:
    name = _input(uses, node, LENGTHS) if node.op_type in RECURRENT else None
    if name is not None:
        use, data = uses.of(name), _input(uses, node, 0)
        use.role = "length"
        use.of = (data, _attribute(node, "layout", 0)) if data else None


def _sequences(uses: Uses, node: onnx.NodeProto) -> None:
    """Mark inputs that a recurrent operator reads as [time, batch, values], and states as [directions, batch, values]."""
    if node.op_type == "Constant":
        uses.constants.add(node.output[0])
    data = uses.same_axes.get(node.input[0]) if node.input else None
    constant = all(name in uses.constants for name in node.input[1:])
    if data and (node.op_type in ("Identity", "Cast", "Relu") or (node.op_type in ELEMENTWISE and constant)):
        uses.same_axes[node.output[0]] = data
    if node.op_type in RECURRENT and not _attribute(node, "layout", 0):
        for place in (0, 5, 6):
            name = uses.same_axes.get(node.input[place]) if place < len(node.input) else None
            if name and not uses.of(name).role:
                uses.of(name).role = SEQUENCE


def tensor_fields(use: Use | None, name: str, dtype: str) -> dict[str, Any]:
    """Fields of a TensorSpec for `use`. Where the graph shows no role, the name of the input suggests one."""
    use = use or Use()
    return {"role": use.role or role_of(name, dtype), "high": use.high, "of": use.of, "setting": use.setting}
