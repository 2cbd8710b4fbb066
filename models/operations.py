"""Rules that count the operations of one node from its shapes. Pure; reads messages of onnx and imports it nowhere.

Operations are nominal: 2 for each multiply-add of the operator's definition, whichever algorithm a runtime uses. A bias adds
none, since the sum begins with it. A function of one value, such as Exp or Gelu, is one operation. Comparisons, logic and moves
are none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..work import MOVES, Shape


class Uncounted(Exception):
    """Reason why the operations of a node cannot be counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedNode:
    """A node with the shapes that it has in one call. `inputs`, `outputs`: None for an absent one or an unknown shape."""

    operator: str
    attributes: Mapping[str, Any]
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]

    def input(self, index: int) -> Shape:
        """Shape of an input that the rule needs. `Uncounted` without it."""
        return _needed(self.inputs, index, "input")

    def output(self, index: int = 0) -> Shape:
        """Shape of an output that the rule needs. `Uncounted` without it."""
        return _needed(self.outputs, index, "output")

    def has(self, index: int) -> bool:
        """True if the input `index` has a shape."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def number(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))


Rule = Callable[[SizedNode], int]


def _needed(shapes: Sequence[Shape | None], index: int, end: str) -> Shape:
    shape = shapes[index] if index < len(shapes) else None
    if shape is None:
        raise Uncounted(f"the shape of its {end} {index} is not known before the call")
    return shape


def _convolution(data: int, weight: int) -> Rule:
    """Conv: each output is a sum over the kernel and the input channels of its group. `data`, `weight`: their inputs."""

    def count(call: SizedNode) -> int:
        channels_and_kernel = call.input(weight)[1:]
        return 2 * prod(call.output()) * prod(channels_and_kernel)

    return count


def _transposed(call: SizedNode) -> int:
    """ConvTranspose: each input adds to the kernel and the output channels of its group."""
    return 2 * prod(call.input(0)) * prod(call.input(1)[1:])


def _product(left: int, right: int) -> Rule:
    """MatMul of the inputs `left` and `right`: [.., M, K] x [.., K, N], with broadcasting. One of both may be a vector."""

    def count(call: SizedNode) -> int:
        _ = call.input(right)
        axis = -2 if call.number("transA") and len(call.input(left)) > 1 else -1
        return 2 * prod(call.output()) * call.input(left)[axis]

    return count


def _packed_product(call: SizedNode) -> int:
    """MatMulNBits and its kin: the sizes of the packed weights are attributes."""
    return 2 * prod(call.input(0)[:-1]) * call.number("K") * call.number("N")


def _recurrent(gates: int) -> Rule:
    """LSTM, GRU, RNN: for each step and direction, each gate multiplies by [H, I] and [H, H]."""

    def count(call: SizedNode) -> int:
        # layout 0 is [time, batch, I] and layout 1 is [batch, time, I]: the same product.
        time, batch, width = call.input(0)
        directions = 2 if call.attributes.get("direction", b"forward") in (b"bidirectional", "bidirectional") else 1
        hidden = call.number("hidden_size")
        return 2 * time * batch * directions * gates * hidden * (width + hidden)

    return count


def _attention(call: SizedNode) -> int:
    """ONNX's Attention (23): the products of queries with keys, and of their weights with values."""
    query, key, value = (call.input(index) for index in range(3))
    past = call.input(4)[2] if call.has(4) else 0
    if len(query) == 4:
        batch, heads, steps, width = query
        length, value_width = key[2] + past, value[3]
        return 2 * batch * heads * steps * length * (width + value_width)
    heads, groups = call.number("q_num_heads"), call.number("kv_num_heads")
    return _attended(query, key[1] + past, value[2] * heads // groups)


def _attended(query: Shape, length: int, value_width: int) -> int:
    """Products of [batch, steps, width] queries with `length` keys, and with values. Widths are those of all heads."""
    batch, steps, width = query
    return 2 * batch * steps * length * (width + value_width)


def _attention_with_weights(call: SizedNode) -> int:
    """ONNX Runtime's Attention and QAttention: the products with the packed weights of queries, keys and values come first."""
    batch, steps, width = call.input(0)
    columns = call.input(1)[1]
    sizes = [int(size) for size in call.attributes.get("qkv_hidden_sizes", ())] or [columns // 3] * 3
    # past [2, batch, heads, length, width of a head]; input 4 of Attention, 8 of QAttention
    place = 8 if call.operator.endswith("QAttention") else 4
    past = call.input(place)[3] if call.has(place) else 0
    return 2 * batch * steps * width * columns + _attended((batch, steps, sizes[0]), steps + past, sizes[2])


def _several_heads(call: SizedNode) -> int:
    """ONNX Runtime's MultiHeadAttention with queries, keys and values apart."""
    query, key, value = (call.input(index) for index in range(3))
    if len(query) != 3 or len(key) != 3:
        raise Uncounted("queries, keys and values are packed")
    past = call.input(6)[2] if call.has(6) else 0
    return _attended(query, key[1] + past, value[2])


def _einsum(call: SizedNode) -> int:
    """Einsum of one or two operands without `...`: one multiply-add for each combination of its indices."""
    text = call.attributes.get("equation", b"")
    equation = re.sub(r"\s", "", text.decode() if isinstance(text, bytes) else str(text))
    parts = equation.partition("->")[0].split(",")
    if "." in equation or len(parts) != len(call.inputs) or len(parts) > 2:
        raise Uncounted(f"the equation {equation!r} has more than two operands, or open axes")
    sizes = {letter: size for index, part in enumerate(parts) for letter, size in zip(part, call.input(index), strict=True)}
    if len(parts) == 1:
        return prod(call.input(0)) if prod(call.output()) < prod(call.input(0)) else 0
    summed = prod(sizes.values()) > prod(call.output())
    return (2 if summed else 1) * prod(sizes.values())


def each_output(operations: int) -> Rule:
    """`operations` for each element of the first output."""
    return lambda call: operations * prod(call.output())


def each_input(operations: int) -> Rule:
    """`operations` for each element of the first input."""
    return lambda call: operations * prod(call.input(0))


def _of_all_inputs(call: SizedNode) -> int:
    """Sum, Mean, Max, Min: one operation for each output and further input."""
    return prod(call.output()) * max(1, len(call.inputs) - 1)


def _pool(call: SizedNode) -> int:
    """Pools: one operation for each output and each element of its window."""
    return prod(call.output()) * prod(int(size) for size in call.attributes.get("kernel_shape", ()))


def _interpolation(call: SizedNode) -> int:
    """Resize, Upsample, GridSample: one multiply-add for each output and each neighbour that its mode reads."""
    mode = call.attributes.get("mode", b"linear" if call.operator == "GridSample" else b"nearest")
    name = mode.decode() if isinstance(mode, bytes) else str(mode)
    neighbours = {"nearest": 0, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}.get(name)
    if neighbours is None:
        raise Uncounted(f"its mode {name!r} is not known")
    source, result = call.input(0), call.output()
    # GridSample interpolates along all axes behind the channels, Resize along those that change.
    axes = len(result) - 2 if call.operator == "GridSample" else sum(a != b for a, b in zip(source, result))
    return 2 * prod(result) * neighbours**axes if neighbours and axes else 0


def _window(call: SizedNode) -> int:
    """LRN: a sum of squares over `size` channels, a power, and a division."""
    return prod(call.output()) * (2 * call.number("size") + 4)


LAYERS: Mapping[str, Rule] = {
    "Conv": _convolution(0, 1),
    "ConvInteger": _convolution(0, 1),
    "QLinearConv": _convolution(0, 3),
    "com.microsoft.QLinearConv": _convolution(0, 3),
    "com.microsoft.FusedConv": _convolution(0, 1),
    "DeformConv": _convolution(0, 1),
    "ConvTranspose": _transposed,
    "Gemm": _product(0, 1),
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "QLinearMatMul": _product(0, 3),
    "com.microsoft.FusedGemm": _product(0, 1),
    "com.microsoft.FusedMatMul": _product(0, 1),
    "com.microsoft.FusedMatMulActivation": _product(0, 1),
    "com.microsoft.GemmFastGelu": _product(0, 1),
    "com.microsoft.MatMulIntegerToFloat": _product(0, 1),
    "com.microsoft.DynamicQuantizeMatMul": _product(0, 1),
    "com.microsoft.QGemm": _product(0, 3),
    "com.microsoft.MatMulNBits": _packed_product,
    "com.microsoft.MatMulBnb4": _packed_product,
    "com.microsoft.MatMulFpQ4": _product(0, 1),
    "Einsum": _einsum,
    "LSTM": _recurrent(4),
    "GRU": _recurrent(3),
    "RNN": _recurrent(1),
    "com.microsoft.DynamicQuantizeLSTM": _recurrent(4),
    "Attention": _attention,
    "com.microsoft.Attention": _attention_with_weights,
    "com.microsoft.QAttention": _attention_with_weights,
    "com.microsoft.MultiHeadAttention": _several_heads,
}
"""Operators that multiply by weights or activations: those that other counters, such as torch's, count."""

ONE_EACH = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "PRelu", "BitShift", "Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Celu"),
    *("Selu", "Gelu", "Mish", "Swish", "HardSwish", "HardSigmoid", "Sigmoid", "Softplus", "Softsign", "Shrink", "Clip", "Tanh"),
    *("Abs", "Neg", "Sign", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh"),
    *("Cosh", "Asinh", "Acosh", "Atanh", "Ceil", "Floor", "Round", "CumSum", "Range", "BitwiseAnd", "BitwiseOr"),
    *("BitwiseXor", "BitwiseNot", "com.microsoft.FastGelu", "com.microsoft.QuickGelu", "com.microsoft.Gelu"),
    *("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu", "com.microsoft.QLinearAdd"),
    *("com.microsoft.QLinearMul", "com.microsoft.BiasGelu", "com.microsoft.BiasAdd"),
)
REDUCTIONS = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum"),
    *("ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    *("com.microsoft.QLinearGlobalAveragePool", "com.microsoft.QLinearReduceMean"),
)
OTHERS: Mapping[str, Rule] = {
    **dict.fromkeys(ONE_EACH, each_output(1)),
    **dict.fromkeys(REDUCTIONS, each_input(1)),
    **dict.fromkeys(("Sum", "Mean", "Max", "Min"), _of_all_inputs),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "com.microsoft.QLinearAveragePool"), _pool),
    **dict.fromkeys(("Resize", "Upsample", "GridSample"), _interpolation),
    # greatest value, difference, exponential, sum, division
    **dict.fromkeys(("Softmax", "LogSoftmax", "com.microsoft.QLinearSoftmax"), each_output(5)),
    "BatchNormalization": each_output(2),  # a factor and a summand of each channel
    # mean, difference, square, sum, product with the root, factor, summand
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), each_output(7)),
    "com.microsoft.SkipLayerNormalization": each_output(8),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), each_output(4)),
    "com.microsoft.SkipSimplifiedLayerNormalization": each_output(5),
    "MeanVarianceNormalization": each_output(5),
    "LpNormalization": each_output(3),
    "LRN": _window,
    # a product and a sum
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), each_output(2)),
    **dict.fromkeys(("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear"), each_output(2)),
    "DynamicQuantizeLinear": each_output(4),  # also the least and the greatest value
    **dict.fromkeys(("RotaryEmbedding", "com.microsoft.RotaryEmbedding"), each_output(3)),
}

ROWS = ("Gather", "GatherElements", "GatherND", "Slice", "Split", "Compress")
"""Operators that read only those parts of their first input that they return."""


def count(call: SizedNode) -> int:
    """Operations of one call of a node. `Uncounted`, with the reason, where no rule fits."""
    rule = LAYERS.get(call.operator) or OTHERS.get(call.operator)
    if rule is None:
        if call.operator in MOVES:
            return 0
        raise Uncounted("no rule counts this operator")
    try:
        return rule(call)
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise Uncounted("its shapes do not fit the operator") from error
