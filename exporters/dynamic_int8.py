"""INT8 with weights in 8 bits, and ranges of activations that the runtime computes in each call.

onnx and ONNX Runtime's quantizer, inside functions; run in a worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import graph
from .float_nodes import find_filter_banks
from .repair import inputs_of, unused_name
from .schemes import Scheme

if TYPE_CHECKING:
    import onnx

WEIGHT = 1  # position among the inputs of a Gemm


def quantize(prepared: Path, target: Path, scheme: Scheme, exclude: Sequence[str], only: Sequence[str]) -> None:
    """Write a prepared file to `target`. `only`: nodes to quantize; empty for all layers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.onnx"
        model = graph.load(prepared)
        filters = find_filter_banks(model.graph)
        transpose_weights(model.graph)
        graph.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(scheme.operators),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(only),
            nodes_to_exclude=[*exclude, *filters],
            use_external_data_format=graph.is_external(source),
            extra_options={"WeightSymmetric": True},
        )


def transpose_weights(model: onnx.GraphProto) -> None:
    """Give each Gemm its weight in the order of a MatMul.

    The quantizer makes a MatMul of a Gemm. It transposes the weight itself, but leaves the old shape beside the new one, and
    its own shape inference then refuses the graph.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.initializer}
    names = {*weights, *(name for node in model.node for name in (*node.input, *node.output))}
    replaced: set[str] = set()
    for node in model.node:
        flag = next((each for each in node.attribute if each.name == "transB" and each.i), None)
        if node.op_type == "Gemm" and flag is not None and node.input[WEIGHT] in weights:
            weight = weights[node.input[WEIGHT]]
            node.input[WEIGHT] = unused_name(f"{weight.name}_transposed", names)
            names.add(node.input[WEIGHT])
            array = numpy_helper.to_array(weight).T.copy()
            model.initializer.append(numpy_helper.from_array(array, node.input[WEIGHT]))
            flag.i = 0
            replaced.add(weight.name)
    used = {name for node in model.node for name in inputs_of(node)}
    for tensor in [weights[name] for name in replaced - used]:
        model.initializer.remove(tensor)
