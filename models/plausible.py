"""Plausible values for the inputs of a graph, from their use in the graph: ids within their table, ones for masks.

This module reads messages of onnx and imports no library. It follows an input through operators that only move or convert the
values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from .batch import SEQUENCE

if TYPE_CHECKING:
    import onnx

    Bodies = Mapping[tuple[str, str], onnx.FunctionProto]

MOST_NODES, DEEPEST, MOST_NUMBERS = 1_000_000, 8, 1024

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "MatMul", "LayerNormalization")
"""Operators whose output has the axes of their first input, if the second one is a constant."""

PASSING = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Flatten")
PASSING_PARTS = ("Gather", "Split", "Slice", "Concat", "Tile", "Clip")
"""Operators whose outputs have some of the values of their first input."""

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

LOOKUPS: Mapping[str, Mapping[int, int]] = {
    "EmbedLayerNormalization": {0: 2, 1: 4, 8: 3},
    "GatherBlockQuantized": {1: 0},
    "RotaryEmbedding": {1: 2},
}
"""Inputs of fused operators that have indices, by position, each with the position of its table."""

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

    `sources`: for each value that is a moved or converted input, the name of the input. `shifts`: for each such value, the
    largest constant that was added to it. `tables`: shapes of constants. `numbers`: values of small constants. `same_axes`: for
    each value with the leading axes of an input, the name of the input. `constants`: names of constants.
    """

    by_name: dict[str, Use] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    shifts: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    same_axes: dict[str, str] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)

    def of(self, name: str) -> Use:
        return self.by_name.setdefault(name, Use())

    def limit(self, value: str, size: int) -> None:
        """Bound the input behind `value`, whose values are indices into a table of `size`."""
        use, high = self.of(self.sources[value]), max(1, size - self.shifts.get(value, 0))
        use.high = min(high, use.high or high)


def find_uses(graph: onnx.GraphProto, functions: Sequence[onnx.FunctionProto] = ()) -> dict[str, Use]:
    """Find the uses of inputs in `graph`, its branches, loops and `functions` included, by the name of the input.

    An input of which the graph shows no more than the type is left out.
    """
    uses = Uses()
    initial = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    uses.tables.update({name: dims for name, dims in initial.items() if dims})
    uses.tables.update({value.name: _sizes(value) for value in graph.input if all(_sizes(value))})
    uses.sources.update({value.name: value.name for value in graph.input if value.name not in initial})
    uses.same_axes.update(uses.sources)
    uses.constants.update(initial)
    uses.numbers.update({tensor.name: _integers(tensor) for tensor in graph.initializer})
    bodies = {(function.domain, function.name): function for function in functions}
    # A hostile file may call functions in functions, and have an endless number of nodes.
    for node in islice(_nodes(graph.node, bodies), MOST_NODES):
        _follow(uses, node)
        _shift(uses, node)
        _lookups(uses, node)
        _indices(uses, node)
        _settings(uses, node)
        _lengths(uses, node)
        _sequences(uses, node)
    return uses.by_name


def role_of(name: str, dtype: str) -> str:
    """The role that the name of an input suggests, if `dtype` fits the role; else an empty text."""
    kinds = {"mask": True, "length": dtype in INTEGER, "rate": dtype in INTEGER}
    return next((role for pattern, role in NAMED if kinds[role] and pattern.search(name)), "")


def _nodes(nodes: Iterable[onnx.NodeProto], bodies: Bodies, depth: int = 0) -> Iterator[onnx.NodeProto]:
    """`nodes`, those of their branches, and in place of calls of functions the nodes of `bodies`."""
    for node in nodes:
        body = bodies.get((node.domain, node.op_type))
        if body and depth < DEEPEST:
            yield from _nodes(_called(node, body, depth), bodies, depth + 1)
            continue
        yield node
        for attribute in node.attribute:
            # 5 and 10 are GRAPH and GRAPHS of onnx.AttributeProto, which this module does not import.
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) and depth < DEEPEST else ():
                yield from _nodes(inner.node, bodies, depth + 1)


def _called(call: onnx.NodeProto, body: onnx.FunctionProto, depth: int) -> Iterator[onnx.NodeProto]:
    """The nodes of the function `body`, with the names and attributes that `call` gives them."""
    names = {"": "", **dict(zip(body.input, call.input)), **dict(zip(body.output, call.output))}
    given = {attribute.name: attribute for attribute in (*body.attribute_proto, *call.attribute)}
    scope = f"{call.output[0] if call.output else ''}/{depth}/"
    for inner in body.node:
        node = type(inner)()
        node.CopyFrom(inner)
        del node.input[:], node.output[:], node.attribute[:]
        node.input.extend(names.get(name, scope + name) for name in inner.input)
        node.output.extend(names.get(name, scope + name) for name in inner.output)
        for attribute in inner.attribute:
            if not attribute.ref_attr_name or attribute.ref_attr_name in given:
                added = node.attribute.add()
                added.CopyFrom(given.get(attribute.ref_attr_name, attribute))
                added.name = attribute.name
        yield node


def _integers(tensor: onnx.TensorProto) -> tuple[int, ...]:
    """Values of a small constant of int32 or int64; none for another tensor."""
    # 6 and 7 are INT32 and INT64 of onnx.TensorProto.
    width = {6: 4, 7: 8}.get(tensor.data_type, 0)
    raw = tensor.raw_data
    if not width or len(raw) > MOST_NUMBERS * width:
        return ()
    stored = tensor.int32_data if width == 4 else tensor.int64_data
    parts = (raw[place : place + width] for place in range(0, len(raw), width))
    return tuple(stored[:MOST_NUMBERS]) or tuple(int.from_bytes(part, "little", signed=True) for part in parts)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Dimensions of an input; 0 for an open one."""
    return tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _follow(uses: Uses, node: onnx.NodeProto) -> None:
    if node.op_type in (*PASSING, *PASSING_PARTS) and node.input and node.input[0] in uses.sources:
        uses.sources.update(dict.fromkeys(node.output, uses.sources[node.input[0]]))
        uses.shifts.update(dict.fromkeys(node.output, uses.shifts.get(node.input[0], 0)))
    if node.op_type == "Constant":
        uses.tables.update((node.output[0], tuple(attribute.t.dims)) for attribute in node.attribute if attribute.t.dims)
        uses.numbers.update((node.output[0], _integers(attribute.t)) for attribute in node.attribute)
    if node.op_type == "DequantizeLinear" and node.input[0] in uses.tables:
        uses.tables[node.output[0]] = uses.tables[node.input[0]]


def _shift(uses: Uses, node: onnx.NodeProto) -> None:
    """Follow an input to which a constant is added, as models do that have several tables in one."""
    if node.op_type == "Add" and len(node.input) == 2:
        for value, constant in (node.input, reversed(node.input)):
            if value in uses.sources and uses.numbers.get(constant):
                uses.sources[node.output[0]] = uses.sources[value]
                uses.shifts[node.output[0]] = uses.shifts.get(value, 0) + max(uses.numbers[constant])


def _lookups(uses: Uses, node: onnx.NodeProto) -> None:
    """Bound the indices of fused operators by the number of rows of their tables."""
    for place, table in LOOKUPS.get(node.op_type, {}).items():
        rows = uses.tables.get(node.input[table], ()) if max(place, table) < len(node.input) else ()
        if rows and node.input[place] in uses.sources:
            uses.limit(node.input[place], rows[0])


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
        uses.limit(node.input[1], min(shape) if node.op_type in EVERY_AXIS else shape[axis])
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
