"""Quantization in a graph: its quantized layers, and the reason why some runtimes refuse its scheme.

This module reads messages of onnx and imports it only for names of types. The rules are those of TensorRT's developer guide,
section "Explicit Quantization". tests/integration/test_tensorrt.py confirms them with TensorRT's parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

PAIR = ("QuantizeLinear", "DequantizeLinear")
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OPERATORS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
QUANTIZING = (*PAIR, *OPERATORS)
RECURRENT = ("LSTM", "GRU", "RNN", "Attention")
STANDARD = ("", "ai.onnx")


def count_layers(graph: onnx.GraphProto) -> tuple[int, int]:
    """Number of nodes that multiply in 8 bits, and number of nodes that multiply in other types."""
    made_by = makers(graph)
    # DynamicQuantizeLinear, the last operator, does not multiply.
    quantized = [is_quantized(node, made_by) for node in graph.node if node.op_type in (*LAYERS, *RECURRENT, *OPERATORS[:4])]
    return sum(quantized), len(quantized) - sum(quantized)


def makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that computes each value, by the name of the value."""
    return {output: node for node in graph.node for output in node.output}


def is_quantized(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    """True if both factors of a layer have 8 bits: both come from DequantizeLinear, or the operator is an integer operator."""
    factors = [made_by.get(name) for name in node.input[:2]]
    return node.op_type in OPERATORS or all(maker is not None and maker.op_type == PAIR[1] for maker in factors)


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


def find_obstacle(graph: onnx.GraphProto, folder: Path = Path()) -> str | None:
    """Reason why runtimes with symmetric INT8 in Q/DQ pairs only refuse `graph`; None if they accept it.

    `folder`: folder of the file, for weights that are stored beside it.
    """
    constants = dict(_constants(graph))
    return next(filter(None, (_obstacle(node, constants, folder) for node in graph.node)), None)


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.HasField("t"))


def _obstacle(node: onnx.NodeProto, constants: dict[str, Any], folder: Path) -> str | None:
    if node.op_type in OPERATORS:
        return f"{node.name or node.op_type} is an integer operator, {node.op_type}, not a Q/DQ pair"
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


def _type(node: onnx.NodeProto, constants: dict[str, Any], zero: onnx.TensorProto | None) -> int | None:
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
