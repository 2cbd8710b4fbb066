"""Quantization in a graph: its quantized layers, and the reason why some runtimes refuse its scheme.

This module reads messages of onnx and imports it only for names of types. The rules are those of TensorRT's developer guide,
section "Explicit Quantization". tests/integration/test_tensorrt.py confirms them with TensorRT's parser.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

PAIR = ("QuantizeLinear", "DequantizeLinear")
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
RECURRENT = ("LSTM", "GRU", "RNN", "Attention")
STANDARD = ("", "ai.onnx")
COMPUTING = re.compile(r"QLinear|QOrdered|DynamicQuantize|MatMulInteger|ConvInteger|QAttention|QGemm|QEmbedLayerNormalization")
"""First part of the names of operators that compute in 8 bits, in ONNX and among ONNX Runtime's own."""

MULTIPLYING = re.compile(r"Conv|MatMul|Gemm|Attention|LSTM")
WEIGHT_ONLY = ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized", "QMoE")
"""ONNX Runtime's operators with weights in few bits, and activations in float."""

EIGHT_BIT_LEVEL = 4  # MatMulNBits' accuracy_level of activations in 8 bits
DEEPEST = 50  # calls of functions within functions: far above what exporters write, and a limit for hostile files


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Nodes of one graph, with the `constants` and the `makers` of all values that these nodes see, by name.

    A subgraph sees the values of the graphs around it. A function sees only its own.
    """

    nodes: Sequence[onnx.NodeProto]
    constants: MutableMapping[str, onnx.TensorProto]
    makers: MutableMapping[str, onnx.NodeProto]


def scopes(graph: onnx.GraphProto, functions: Iterable[onnx.FunctionProto] = ()) -> Iterator[Scope]:
    """Every scope of a model: its graph, the bodies of its functions, and all subgraphs of If, Loop and Scan."""
    yield from _scopes(graph.node, dict(_constants(graph)), {}, {})
    for function in functions:
        yield from scopes_of_function(function)


def _scopes(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
    outer_constants: MutableMapping[str, onnx.TensorProto],
    outer_makers: MutableMapping[str, onnx.NodeProto],
) -> Iterator[Scope]:
    made_by = {output: node for node in nodes for output in node.output}
    own = {**constants, **dict(_constant_nodes(nodes))}
    scope = Scope(nodes=nodes, constants=ChainMap(own, outer_constants), makers=ChainMap(made_by, outer_makers))
    yield scope
    for graph in (graph for node in nodes for graph in subgraphs(node)):
        yield from _scopes(graph.node, dict(_constants(graph)), scope.constants, scope.makers)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Graphs in the attributes of `node`."""
    single = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return [*single, *(graph for attribute in node.attribute for graph in attribute.graphs)]


def count_layers(graph: onnx.GraphProto, functions: Iterable[onnx.FunctionProto] = ()) -> tuple[int, int]:
    """Number of nodes that multiply in 8 bits, and number of nodes that multiply in other types.

    The layers of a function count at each of its calls.
    """
    bodies = {(function.domain, function.name): list(scopes_of_function(function)) for function in functions}
    counts: dict[tuple[str, str], tuple[int, int]] = {}

    def count(members: Iterable[Scope], depth: int) -> tuple[int, int]:
        totals = [0, 0]
        for node, made_by in ((node, member.makers) for member in members for node in member.nodes):
            name = (node.domain, node.op_type)
            if name in bodies and name not in counts:
                counts[name] = count(bodies[name], depth + 1) if depth < DEEPEST else (0, 0)
            in_8_bits, in_float = counts[name] if name in bodies else _layers(node, made_by)
            totals[0] += in_8_bits
            totals[1] += in_float
        return totals[0], totals[1]

    return count(scopes(graph), 0)


def scopes_of_function(function: onnx.FunctionProto) -> Iterator[Scope]:
    """The body of a function, and its subgraphs."""
    return _scopes(function.node, {}, {}, {})


def _layers(node: onnx.NodeProto, made_by: Mapping[str, onnx.NodeProto]) -> tuple[int, int]:
    """(1, 0) for a layer in 8 bits, (0, 1) for a layer in another type, (0, 0) for other nodes."""
    eight_bits = bool(COMPUTING.match(node.op_type) and MULTIPLYING.search(node.op_type))
    if not eight_bits and node.op_type not in (*LAYERS, *RECURRENT, *WEIGHT_ONLY[:3]):
        return 0, 0
    return (1, 0) if is_quantized(node, made_by) else (0, 1)


def computes_in_8_bits(node: onnx.NodeProto) -> bool:
    """True for a node that quantizes values or computes with quantized values."""
    if node.op_type == "MatMulNBits":
        return any(attribute.name == "accuracy_level" and attribute.i == EIGHT_BIT_LEVEL for attribute in node.attribute)
    return node.op_type in PAIR or bool(COMPUTING.match(node.op_type))


def packed_weights(scope: Scope) -> list[str]:
    """Names of the constants in at most 8 bits that nodes of `scope` multiply by, after they convert them to floats."""
    from onnx import TensorProto

    small = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)
    takers = [node for node in scope.nodes if node.op_type in (*WEIGHT_ONLY, "Cast", "CastLike")]
    names = dict.fromkeys(name for node in takers for name in node.input)
    return [name for name in names if name in scope.constants and scope.constants[name].data_type in small]


def makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that computes each value, by the name of the value."""
    return {output: node for node in graph.node for output in node.output}


def is_quantized(node: onnx.NodeProto, made_by: Mapping[str, onnx.NodeProto]) -> bool:
    """True if both factors of a layer have 8 bits: both come from DequantizeLinear, or the operator is an integer operator."""
    factors = [made_by.get(name) for name in node.input[:2]]
    return bool(COMPUTING.match(node.op_type)) or all(maker is not None and maker.op_type == PAIR[1] for maker in factors)


def quantized_nodes(graph: onnx.GraphProto) -> list[tuple[str, bool]]:
    """Names of the nodes with Q/DQ pairs around them, in the order of the graph. The flag is True for a layer."""
    made_by = makers(graph)
    after = {name for node in graph.node if node.op_type == PAIR[0] for name in node.input[:1]}
    return [
        (node.name, node.op_type in LAYERS)
        for node in graph.node
        if node.op_type not in PAIR and (any(name in after for name in node.output) or _dequantized(node, made_by))
    ]


def _dequantized(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    return any(maker is not None and maker.op_type == PAIR[1] for maker in map(made_by.get, node.input))


def find_obstacle(graph: onnx.GraphProto, folder: Path = Path(), functions: Iterable[onnx.FunctionProto] = ()) -> str | None:
    """Reason why runtimes with symmetric INT8 in Q/DQ pairs only refuse `graph`; None if they accept it.

    `folder`: folder of the file, for weights that are stored beside it.
    """
    nodes = ((node, scope.constants) for scope in scopes(graph, functions) for node in scope.nodes)
    return next(filter(None, (_obstacle(node, constants, folder) for node, constants in nodes)), None)


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor


def _constant_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    for node in nodes:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.HasField("t"))


def _obstacle(node: onnx.NodeProto, constants: Mapping[str, Any], folder: Path) -> str | None:
    if COMPUTING.match(node.op_type) or node.op_type in WEIGHT_ONLY:
        kind = "an integer operator" if COMPUTING.match(node.op_type) else "an operator with packed weights"
        return f"{node.name or node.op_type} is {kind}, {node.op_type}, not a Q/DQ pair"
    if node.op_type not in PAIR:
        return None
    if node.domain not in STANDARD:
        return f"{node.name} is {node.op_type} of {node.domain}, which only ONNX Runtime supports"
    if node.input[1] not in constants:
        return f"{node.name} computes its scale"
    # TensorRT needs the scale and the zero point when it builds, so both must be constants.
    zero_name = node.input[2] if len(node.input) > 2 else ""
    if zero_name and zero_name not in constants:
        return f"{node.name} computes its zero point"
    zero = constants.get(zero_name)
    return _obstacle_of_type(node, _type(node, constants, zero)) or (_shifted(node, zero, folder) if zero is not None else None)


def _type(node: onnx.NodeProto, constants: Mapping[str, Any], zero: onnx.TensorProto | None) -> int | None:
    """The quantized type: that of the zero point, else of the node's attribute or of the weights; None if unknown."""
    from onnx import TensorProto

    if zero is not None:
        return zero.data_type
    if node.op_type == PAIR[0]:
        dtype = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        return dtype or TensorProto.UINT8  # ONNX's default
    return getattr(constants.get(node.input[0]), "data_type", None)


def _obstacle_of_type(node: onnx.NodeProto, kind: int | None) -> str | None:
    from onnx import TensorProto

    if kind in (None, TensorProto.INT8):
        return None
    if kind == TensorProto.INT32:
        return f"{node.name} dequantizes a 32-bit bias"
    return f"{node.name} uses {TensorProto.DataType.Name(kind).lower()}, not int8"


def _shifted(node: onnx.NodeProto, zero: onnx.TensorProto, folder: Path) -> str | None:
    from onnx import numpy_helper

    values = numpy_helper.to_array(zero, str(folder))
    return f"{node.name} has a zero point other than 0" if values.any() else None
