"""Repairs of a graph before its conversion, for files that runtimes accept and converters do not.

onnx, inside functions; run in a worker. Each repair keeps the results of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def repair(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with functions inlined, sparse constants dense, outputs of their own, and nodes in order."""
    from onnx.inliner import inline_local_functions

    if model.functions:
        # The inliner returns a new model, and it must fit into one protobuf message of 2 GB.
        model = inline_local_functions(model)
    for graph in graphs(model.graph):
        _make_dense(graph)
    _remove_weight_inputs(model.graph)
    _separate_outputs(model.graph)
    _infer_output_shapes(model)
    for graph in graphs(model.graph):
        sort_nodes(graph)
    return model


def subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """Graphs in the attributes of `nodes`."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from ((attribute.g,) if attribute.HasField("g") else ())
        yield from attribute.graphs


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` and all of its subgraphs."""
    yield graph
    for inner in subgraphs(graph.node):
        yield from graphs(inner)


def captured(graph: onnx.GraphProto) -> set[str]:
    """Names of values that a subgraph, with its own subgraphs, uses from the graphs around it."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    used = {name for node in graph.node for name in inputs_of(node)} | {value.name for value in graph.output}
    return used - own


def inputs_of(node: onnx.NodeProto) -> set[str]:
    """Names of values that `node` needs: its inputs, and values that its subgraphs capture."""
    return {*filter(None, node.input), *(name for graph in subgraphs([node]) for name in captured(graph))}


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Order the nodes of one graph topologically. Nodes keep their order where it is possible. A cycle stays as it is."""
    nodes = list(graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [{maker[name] for name in inputs_of(node) if name in maker} for node in nodes]
    users: list[list[int]] = [[] for _ in nodes]
    for index, indices in enumerate(needs):
        for needed in indices:
            users[needed].append(index)
    ready = [index for index, indices in enumerate(needs) if not indices]
    heapify(ready)
    order: list[int] = []
    while ready:
        order.append(heappop(ready))
        for user in users[order[-1]]:
            needs[user].discard(order[-1])
            if not needs[user]:
                heappush(ready, user)
    if len(order) == len(nodes) and order != sorted(order):
        _replace_nodes(graph, [nodes[index] for index in order])


def _replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _make_dense(graph: onnx.GraphProto) -> None:
    """Replace sparse initializers and sparse Constant nodes by dense tensors."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("sparse_tensor"):
                tensor = _dense(attribute.sparse_tensor)
                attribute.Clear()
                attribute.name, attribute.type = "value", attribute.TENSOR
                attribute.t.CopyFrom(tensor)


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """The dense tensor of `sparse`, whose indices are flat [n] or coordinates [n, rank]."""
    import numpy as np
    from onnx import numpy_helper

    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    array[np.unravel_index(indices, array.shape) if indices.ndim == 1 else tuple(indices.T)] = values
    return numpy_helper.from_array(array, sparse.values.name)


def _remove_weight_inputs(graph: onnx.GraphProto) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _separate_outputs(graph: onnx.GraphProto) -> None:
    """Put an Identity before each output that is an input, an initializer, or an earlier output.

    The output of an input has a new name, because a graph defines each name once.
    """
    import onnx

    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    used_names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for output in graph.output:
        if output.name in used_names:
            source = output.name
            output.name = unused_name(f"{source}_output", names)
            graph.node.append(onnx.helper.make_node("Identity", [source], [output.name], name=output.name))
            names.add(output.name)
        used_names.add(output.name)


def unused_name(name: str, names: Iterable[str]) -> str:
    """`name`, with a number at its end if `names` has it."""
    number, free = 1, name
    while free in names:
        number, free = number + 1, f"{name}_{number}"
    return free


def _infer_output_shapes(model: onnx.ModelProto) -> None:
    """Fill in the shapes of outputs without one, which onnx.checker requires."""
    import onnx

    missing = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    if missing:
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
        for value in missing:
            value.type.CopyFrom(inferred[value.name].type)
