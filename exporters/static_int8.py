"""INT8 with Q/DQ pairs and calibrated ranges: every scheme but the dynamic one.

onnx and ONNX Runtime's quantizer, inside functions; run in a worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import graph, shape_nodes
from .calibration import operators
from .float_nodes import find_filter_banks, find_float_nodes
from .repair import inputs_of as inputs_of_node
from .schemes import Scheme

if TYPE_CHECKING:
    import onnx

PAIR = ("QuantizeLinear", "DequantizeLinear")
NEEDS_PAIR = ("Conv", "ConvTranspose")
"""Layers with a pair behind them even where only nodes in float follow: ONNX Runtime computes a Conv in 8 bits only if its
result is quantized. The result of a MatMul or Gemm may be in float."""


def quantize(prepared: Path, target: Path, scheme: Scheme, exclude: Sequence[str], ranges: Any, only: Sequence[str]) -> None:
    """Write a prepared file to `target` in INT8 with `ranges`. `only`: nodes to quantize; empty for all nodes."""
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    model = load_model_with_shape_infer(prepared)
    in_float = _float_inputs(model.graph, _float_nodes(model.graph, scheme, ranges))
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=scheme.weight_bits == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=getattr(QuantType, scheme.activations),
        tensors_range=ranges,
        nodes_to_quantize=list(only),
        nodes_to_exclude=[*exclude, *in_float],
        op_types_to_quantize=list(scheme.operators) or operators(),
        extra_options=dict(scheme.options),
    )
    quantizer.quantize_model()
    with tempfile.TemporaryDirectory() as folder:
        rough = Path(folder) / "rough.onnx"
        quantizer.model.save_model_to_file(str(rough), graph.is_external(prepared))
        quantized = graph.load(rough)
    _restore_inputs(quantized.graph, in_float)
    if scheme.float_outputs:
        _free_outputs(quantized.graph)
    graph.save(quantized, target)


def _float_nodes(model: onnx.GraphProto, scheme: Scheme, ranges: Any) -> list[str]:
    if scheme.operators:
        others = {node.name for node in model.node if node.op_type not in scheme.operators} | set(find_filter_banks(model))
        return [node.name for node in model.node if node.name in others]
    bounds = {name: data.range_value for name, data in ranges.items()}
    peaks = {name: max(abs(float(low.min())), abs(float(high.max()))) for name, (low, high) in bounds.items()}
    return find_float_nodes(model, peaks, operators())


def _float_inputs(model: onnx.GraphProto, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The inputs that each of the nodes `names` takes without a Q/DQ pair; an empty name for its other inputs."""
    in_float, shapes = set(names), set(shape_nodes.find_shape_nodes(model))
    makers = {name: node for node in model.node for name in node.output if name}
    readers: dict[str, list[str]] = {}
    for node in model.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)

    def is_float(name: str) -> bool:
        maker = makers.get(name)
        if maker is None or maker.name in in_float:
            return True
        return maker.op_type not in NEEDS_PAIR and all(reader in in_float for reader in readers[name])

    return {
        node.name: tuple(name if node.name in shapes or is_float(name) else "" for name in node.input)
        for node in model.node
        if node.name in in_float or node.name in shapes
    }


def _restore_inputs(quantized: onnx.GraphProto, inputs_of: Mapping[str, Sequence[str]]) -> None:
    """Give the nodes in `inputs_of` the inputs that they had, and remove the Q/DQ pairs that are then without a user.

    The quantizer puts a pair before all users of a value, also before excluded nodes.
    """
    values = {value.name for value in (*quantized.input, *quantized.initializer)}
    values |= {name for node in quantized.node for name in node.output}
    for node in quantized.node:
        for index, name in enumerate(inputs_of.get(node.name, ())):
            # The quantizer renames the value behind an output of the graph, and the output has the rounded values.
            before = f"{name}_QuantizeLinearInput"
            node.input[index] = before if before in values else name if name in values else node.input[index]
    for kind in reversed(PAIR) if inputs_of else ():
        used = {name for node in quantized.node for name in inputs_of_node(node)} | {value.name for value in quantized.output}
        for node in [node for node in quantized.node if node.op_type == kind and not used & set(node.output)]:
            quantized.node.remove(node)
    used = {name for node in quantized.node for name in inputs_of_node(node)} | {value.name for value in quantized.output}
    for tensor in [tensor for tensor in quantized.initializer if tensor.name not in used]:
        quantized.initializer.remove(tensor)


def _free_outputs(quantized: onnx.GraphProto) -> None:
    """Remove the Q/DQ pair before each output: rounding the outputs costs more accuracy than all other nodes do."""
    makers = {output: node for node in quantized.node for output in node.output}
    uses = [name for node in quantized.node for name in node.input]
    for output in quantized.output:
        last = makers.get(output.name)
        first = makers.get(last.input[0]) if last and last.op_type == "DequantizeLinear" else None
        if last is None or first is None or first.op_type != "QuantizeLinear" or uses.count(last.input[0]) != 1:
            continue
        inner, maker = first.input[0], makers.get(first.input[0])
        if maker is None or output.name in uses:
            continue  # an input that is an output too, or an output that another node uses
        for node in quantized.node:
            node.input[:] = [output.name if name == inner else name for name in node.input]
        maker.output[:] = [output.name if name == inner else name for name in maker.output]
        quantized.node.remove(first)
        quantized.node.remove(last)
