"""Biases of layers in the form that ONNX Runtime's quantizers can handle. onnx, inside functions; run in a worker.

The results of the graph stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .repair import inputs_of, unused_name

if TYPE_CHECKING:
    import onnx

WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
PLACE = 2


def separate_biases(graph: onnx.GraphProto) -> bool:
    """Give each layer a bias of its own, with one axis.

    The quantizer copies a shared bias under its name and a number, without a look at the other names: in basic-pitch the copy
    has the name of a layer's result, and the file is invalid. For a Gemm's bias of shape [1, N] it compares arrays as numbers.
    Return True if the graph changed.
    """
    biases = {tensor.name: tensor for tensor in graph.initializer}
    names = {*biases, *(name for node in graph.node for name in (*node.input, *node.output))}
    names |= {value.name for value in (*graph.input, *graph.output)}
    uses = [name for node in graph.node for name in node.input]
    changed, seen = False, set[str]()
    for node in graph.node:
        name = node.input[PLACE] if node.op_type in WITH_BIAS and len(node.input) > PLACE else ""
        if name not in biases:
            continue
        is_flat = len(biases[name].dims) < 2 or node.op_type != "Gemm" or biases[name].dims[0] != 1
        if name in seen or not is_flat or uses.count(name) > 1:
            node.input[PLACE] = _copy(graph, biases[name], unused_name(f"{name}_of_{node.name}", names), is_flat=is_flat)
            names.add(node.input[PLACE])
            changed = True
        seen.add(name)
    used = {name for node in graph.node for name in inputs_of(node)}
    for tensor in [tensor for name, tensor in biases.items() if name in uses and name not in used]:
        graph.initializer.remove(tensor)
    return changed


def _copy(graph: onnx.GraphProto, bias: onnx.TensorProto, name: str, *, is_flat: bool) -> str:
    graph.initializer.add().CopyFrom(bias)
    copy = graph.initializer[-1]
    copy.name = name
    if not is_flat:
        del copy.dims[0]
    return name
