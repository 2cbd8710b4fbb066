"""Biases of layers in the form that ONNX Runtime's quantizers can handle. onnx, inside functions; run in a worker.

The results of the graph stay the same.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .repair import inputs_of, unused_name

if TYPE_CHECKING:
    import onnx

WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
PLACE = 2  # of the bias among the inputs


def separate_biases(graph: onnx.GraphProto) -> bool:
    """Give each layer a bias of its own, with one axis.

    The quantizer copies a shared bias under its name and a number, and does not look at the other names. In basic-pitch the
    copy has the name of a layer's result, and the file is invalid. The quantizer fails on a Gemm's bias of shape [1, N],
    because it compares arrays as numbers. Return True if the graph changed.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    names = {*tensors, *(name for node in graph.node for name in (*node.input, *node.output))}
    names |= {value.name for value in (*graph.input, *graph.output)}
    readers = Counter(name for node in graph.node for name in node.input)
    replaced: set[str] = set()
    for node in graph.node:
        name = node.input[PLACE] if node.op_type in WITH_BIAS and len(node.input) > PLACE else ""
        if name not in tensors:
            continue
        is_row = node.op_type == "Gemm" and len(tensors[name].dims) > 1 and tensors[name].dims[0] == 1
        if is_row or readers[name] > 1:
            node.input[PLACE] = _copy(graph, tensors[name], unused_name(f"{name}_of_{node.name}", names), is_row=is_row)
            names.add(node.input[PLACE])
            replaced.add(name)
    used = {name for node in graph.node for name in inputs_of(node)}
    for name in replaced - used:
        graph.initializer.remove(tensors[name])
    return bool(replaced)


def _copy(graph: onnx.GraphProto, bias: onnx.TensorProto, name: str, *, is_row: bool) -> str:
    """Add a copy of `bias` under `name`, a row as a vector, and return the name."""
    graph.initializer.add().CopyFrom(bias)
    copy = graph.initializer[-1]
    copy.name = name
    if is_row:
        del copy.dims[0]
    return name
