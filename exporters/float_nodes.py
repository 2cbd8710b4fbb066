"""Nodes of an FP32 graph that stay in float in the static INT8 schemes, by rules about the graph and the calibrated ranges.

No rule names a model. Each rule has its reason beside it, and docs/adr the decision. The module reads messages of onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import shape_nodes

if TYPE_CHECKING:
    import onnx

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention")
WHOLE = (
    *("LayerNormalization", "InstanceNormalization", "BatchNormalization", "GroupNormalization", "RMSNormalization"),
    *("SimplifiedLayerNormalization", "SkipLayerNormalization", "LpNormalization", "MeanVarianceNormalization", "LRN"),
    *("Softmax", "LogSoftmax"),
)
"""Normalisations that are one operator. They divide by a statistic of their input, and a rounding grows with the quotient. They
compute little: 8 bits save no time. Evidence: Magika's LayerNorms, of 19 nodes each, and its softmax take top-1 from 98.6 to
7.3 % on 2,430 files; with these nodes in float it is 98.2 % (benchmarks/magika_files.py makes the set)."""

FUNCTIONS = ("Mul", "Sigmoid")
"""Parts of activation functions (SiLU, GELU) and gates. Each rounds a product whose range is the square of its factors' ranges.
Evidence: with Magika's two GELUs in float too, top-1 is 98.6 %, SQNR rises from 20.0 to 34.4 dB, and ONNX Runtime takes 16 s
instead of 24 s for the 2,430 files (FP32: 21 s), because it computes a function in 8 bits by a table, node by node."""

CURVES = (
    *("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Swish", "Mish", "HardSwish", "Exp"),
    *(
        "Sigmoid",
        "HardSigmoid",
        "Tanh",
        "Softplus",
        "Softsign",
        "Erf",
        "Softmax",
        "LogSoftmax",
        "LSTM",
        "GRU",
        "RNN",
        "Attention",
    ),
)
"""Functions that networks learn with. Before a logarithm that none of them precedes, layers are filters of a spectrum."""

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceLogSumExp")
TABLES = ("Gather", "GatherND", "GatherElements")
PASSING = (
    *("Relu", "Clip", "MaxPool", "AveragePool", "Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice"),
    *("Pad", "Resize", "Split"),
)
"""Operators that only choose, move or interpolate values: behind them a value has the origin of their first input."""
UNLIKE = 4.0  # ratio of ranges: with one scale, the smaller input of a Concat has at most 6 of the 8 bits


@dataclass(frozen=True)
class Wiring:
    """The graph by value: the index of the node that makes it, and of those that use it as data.

    `nodes` are in topological order. Shapes and constants are no data. Layers end every walk: no normalisation has one inside.
    """

    nodes: list[onnx.NodeProto]
    maker: Mapping[str, int]
    users: Mapping[str, list[int]]
    constants: frozenset[str]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Wiring:
        nodes = list(graph.node)
        fixed = {tensor.name for tensor in graph.initializer}
        fixed |= {name for node in nodes if node.op_type == "Constant" for name in node.output}
        maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
        wiring = cls(nodes, maker, {}, frozenset(fixed))
        users: dict[str, list[int]] = {}
        for index in range(len(nodes)):
            for name in wiring.data(index):
                users.setdefault(name, []).append(index)
        return replace(wiring, users=users)

    def data(self, index: int) -> list[str]:
        """Values that a node computes with."""
        node = self.nodes[index]
        places = shape_nodes.ARGUMENTS.get(node.op_type, ())
        return [name for place, name in enumerate(node.input) if name and place not in places and name not in self.constants]

    def before(self, name: str) -> list[str]:
        """Values from which a value was computed, up to the results of layers and the inputs of the graph."""
        index = self.maker.get(name)
        return [] if index is None or self.nodes[index].op_type in LAYERS else self.data(index)

    def operands(self, name: str) -> list[str]:
        """Values that the node that makes a value computes with, also those of a layer."""
        return self.data(self.maker[name]) if name in self.maker else []

    def after(self, name: str) -> list[str]:
        """Values that are computed from a value, without a layer between."""
        users = (self.nodes[index] for index in self.users.get(name, ()))
        return [result for node in users if node.op_type not in LAYERS for result in node.output if result]

    def source(self, name: str) -> str:
        """The value that a value only passes on: the one before activations by comparison, poolings and changes of shape."""
        while name in self.maker and self.nodes[self.maker[name]].op_type in PASSING:
            name = self.nodes[self.maker[name]].input[0]
        return name


def _reach(start: Iterable[str], step: Callable[[str], Iterable[str]]) -> set[str]:
    """The values of `start`, and all that `step` reaches from them."""
    reached, waiting = set(start), list(start)
    while waiting:
        new = set(step(waiting.pop())) - reached
        reached |= new
        waiting += new
    return reached


def find_float_nodes(graph: onnx.GraphProto, peaks: Mapping[str, float], operators: Collection[str]) -> list[str]:
    """Names of the nodes that stay in float, in the order of `graph`, which is sorted topologically.

    `peaks`: largest magnitude of each tensor, by name. `operators`: those that the quantizer supports.
    """
    wiring, shapes = Wiring.of(graph), set(shape_nodes.find_shape_nodes(graph))
    values = {name for node in graph.node if node.name in shapes for name in node.output} | _filtered(wiring)
    for node in wiring.nodes:
        by_kind = node.op_type not in operators or node.op_type in (*WHOLE, *FUNCTIONS)
        if by_kind or _is_table(node, wiring) or _is_unlike(node, peaks) or _is_sum_of_floats(node, wiring, values):
            values.update(node.output)
        if node.op_type in REDUCTIONS:
            values |= _normalisation(node, wiring)
    values |= _without_layer_after(wiring, values)
    return [node.name for node in wiring.nodes if values & set(filter(None, node.output))]


def find_filter_banks(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes before a logarithm of a spectrum, in the order of `graph`. They stay in float in every scheme.

    A logarithm shows the relative error of each value, and a spectrum has values of many sizes: 8 bits with one step round the
    quiet ones to 0. Evidence: basic-pitch with a filter bank in 8 bits has 7 dB, and 24 dB with the filter bank in float.
    """
    wiring = Wiring.of(graph)
    filtered = _filtered(wiring)
    return [node.name for node in wiring.nodes if filtered & set(filter(None, node.output))]


def _filtered(wiring: Wiring) -> set[str]:
    """Values from which a logarithm is computed by filters, squares and sums alone, from the inputs of the graph on."""
    filtered: set[str] = set()
    for logarithm in (node for node in wiring.nodes if node.op_type == "Log"):
        before = _reach([name for name in logarithm.input if name not in wiring.constants], wiring.operands)
        makers = [wiring.nodes[wiring.maker[name]] for name in before if name in wiring.maker]
        if not any(node.op_type in CURVES or _is_table(node, wiring) for node in makers):
            filtered |= before
    return filtered


def _is_sum_of_floats(node: onnx.NodeProto, wiring: Wiring, values: set[str]) -> bool:
    """True for an Add that is not the sum of two 8-bit values, as at the end of a residual block.

    A sum with a constant is a bias, which layers add without a rounding. `values`: results of nodes in float.
    """
    sources = [wiring.source(name) for name in node.input] if node.op_type == "Add" else []
    return any(name in wiring.constants or name in values for name in sources)


def _without_layer_after(wiring: Wiring, values: set[str]) -> set[str]:
    """Results that only nodes in float use, or nobody: 8 bits there are a rounding that saves no layer any time.

    So the scores and the mask before a softmax stay in float, and what follows the last layer: the boxes and the scores of a
    detector. `values`: results of the nodes that are in float by the other rules.
    """
    reached = set(values)
    for node in reversed(wiring.nodes):
        users = [user for name in node.output for user in wiring.users.get(name, ())]
        if node.op_type not in LAYERS and all(reached & set(wiring.nodes[user].output) for user in users):
            reached.update(node.output)
    return reached


def _is_table(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """True for the lookup in an embedding table: one scale for all rows rounds the small ones to 0, and saves no time."""
    return node.op_type in TABLES and node.input[0] in wiring.constants


def _normalisation(reduction: onnx.NodeProto, wiring: Wiring) -> set[str]:
    """Values inside the normalisation, or the softmax, that uses the result of `reduction`; empty if none does.

    It joins a statistic of a value with the value itself, without a layer between: x - mean(x), x / sqrt(mean(x^2)),
    exp(x) / sum(exp(x)). A global pooling joins nothing, and a squeeze-and-excitation block has layers between.
    """
    behind = _reach(reduction.output, wiring.after)
    origins = _reach(reduction.input[:1], wiring.before)
    inside: set[str] = set()
    for index in sorted({wiring.maker[name] for name in behind - set(reduction.output)}):
        others = [name for name in wiring.data(index) if name not in behind]
        if shared := _reach(others, wiring.before) & origins:
            # Only from the last value that both sides share: before it is perhaps a residual path through the whole network.
            first = max(shared, key=lambda name: wiring.maker.get(name, -1))
            ends = set(wiring.nodes[index].output)
            inside |= (_reach(ends, wiring.before) & _reach([first], wiring.after)) - {first}
    return inside


def _is_unlike(node: onnx.NodeProto, peaks: Mapping[str, float]) -> bool:
    """True for a Concat of inputs whose ranges differ by more than UNLIKE: the result has one scale, that of the largest."""
    inputs = [peaks[name] for name in node.input if name in peaks] if node.op_type == "Concat" else []
    return bool(inputs) and max(inputs) > UNLIKE * min(inputs)
