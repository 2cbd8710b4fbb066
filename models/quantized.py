"""What a graph says about its own 8 bits: which of its layers are quantized, and whether every runtime takes the scheme.

onnx's messages are read, nothing is imported. TensorRT's rules are stated in its developer guide under "Explicit
Quantization" and were confirmed with its parser (tests/integration/test_tensorrt.py).
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


def layers(graph: onnx.GraphProto) -> tuple[int, int]:
    """How many nodes multiply in 8 bits, and how many otherwise."""
    made_by = makers(graph)
    kinds = [is_quantized(node, made_by) for node in graph.node if node.op_type in (*LAYERS, *RECURRENT, *OPERATORS[:4])]
    return sum(kinds), len(kinds) - sum(kinds)


def makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each value."""
    return {output: node for node in graph.node for output in node.output}


def is_quantized(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    """Whether a layer's two factors are 8 bits: both come out of DequantizeLinear, or the operator is an integer one."""
    factors = [made_by.get(name) for name in node.input[:2]]
    return node.op_type in OPERATORS or all(maker is not None and maker.op_type == PAIR[1] for maker in factors)


def quantized_nodes(graph: onnx.GraphProto) -> list[tuple[str, bool]]:
    """The nodes that Q/DQ pairs surround, in the graph's order, and whether each is a layer."""
    made_by = makers(graph)
    after = {name for node in graph.node if node.op_type == PAIR[0] for name in node.input[:1]}
    return [
        (node.name, node.op_type in LAYERS)
        for node in graph.node
        if node.op_type not in PAIR and (any(name in after for name in node.output) or _dequantized(node, made_by))
    ]


def _dequantized(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    found = [made_by.get(name) for name in node.input]
    return any(maker is not None and maker.op_type == PAIR[1] for maker in found)


def obstacle(graph: onnx.GraphProto, folder: Path = Path()) -> str | None:
    """Why a runtime that wants symmetric INT8 in Q/DQ pairs refuses `graph`; None where it does not. `folder`: the file's, for
    weights that are in files of their own."""
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
        return f"{node.name or node.op_type} is an integer operator, {node.op_type}, and no Q/DQ pair"
    if node.op_type not in PAIR:
        return None
    if node.domain not in STANDARD:
        return f"{node.name} is {node.op_type} of {node.domain}, which ONNX Runtime alone has"
    if node.input[1] not in constants:
        return f"{node.name} computes its scale"
    named = node.input[2] if len(node.input) > 2 else ""
    if named and named not in constants:
        return f"{node.name} computes its zero point"
    zero = constants.get(named)
    return _obstacle_of_type(node, _type(node, constants, zero)) or (_shifted(node, zero, folder) if zero is not None else None)


def _type(node: onnx.NodeProto, constants: dict[str, Any], zero: onnx.TensorProto | None) -> int | None:
    """The type of the 8 bits: the zero point's, else what the node says or the weights are; None where neither is known."""
    from onnx import TensorProto

    if zero is not None:
        return zero.data_type
    if node.op_type == PAIR[0]:
        said = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        return said or TensorProto.UINT8
    return getattr(constants.get(node.input[0]), "data_type", None)


def _obstacle_of_type(node: onnx.NodeProto, kind: int | None) -> str | None:
    from onnx import TensorProto

    if kind in (None, TensorProto.INT8):
        return None
    if kind == TensorProto.INT32:
        return f"{node.name} dequantizes a bias of 32 bits"
    return f"{node.name} uses {TensorProto.DataType.Name(kind).lower()}, not int8"


def _shifted(node: onnx.NodeProto, zero: onnx.TensorProto, folder: Path) -> str | None:
    from onnx import numpy_helper

    values = numpy_helper.to_array(zero, str(folder))
    return f"{node.name} has a zero point other than 0" if values.any() else None
