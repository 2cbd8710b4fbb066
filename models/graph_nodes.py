"""Nodes of an ONNX file with their tensors, shapes and modules of PyTorch. onnx, inside functions; run in a worker.

torch's exporter writes the module of each node into the file. `name_scopes` are paths of modules, and last the name of the
operation in the traced module. The last of `class_hierarchy` is the operation, such as `aten.linear.default`.
https://docs.pytorch.org/docs/stable/onnx_export.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..profiles import GraphNode
from ..spec import Shapes
from ..work import GraphWork, NodeWork
from . import onnx_file

if TYPE_CHECKING:
    import onnx

SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


def read_nodes(path: Path, shapes: Shapes = ()) -> tuple[GraphNode, ...]:
    """Nodes of the file at `path` in its order, those of subgraphs too.

    `shapes`: those of the inputs, from which onnx infers the shapes of all tensors. Without them the nodes have no shapes.
    """
    proto = onnx_file.model_of(path)
    tensors = _tensors(_inferred(proto, shapes)) if shapes else {}
    return tuple(_node(node, tensors) for node in _nodes(proto.graph))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of `graph` and of all graphs inside it. A constant does nothing in a call."""
    for node in graph.node:
        if node.op_type != "Constant":
            yield node
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(inner)


def _inferred(proto: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """`proto` with the shapes that onnx infers; without them where its inference fails."""
    import onnx

    sizes = dict(shapes)
    for value in proto.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ())):
            dim.dim_value = size
    with suppress(Exception):  # errors of its C++ code have no common base; the nodes then have no shapes
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return proto


def _tensors(proto: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """Shape as a text, and type, of each tensor that has both."""
    import onnx

    graph, kinds = proto.graph, onnx.TensorProto.DataType
    values = (*graph.value_info, *graph.output, *graph.input)
    return {
        value.name: (_shape(value.type.tensor_type.shape), kinds.Name(value.type.tensor_type.elem_type).lower())
        for value in values
        if value.type.tensor_type.HasField("shape")
    }


def _shape(shape: onnx.TensorShapeProto) -> str:
    return "x".join(str(dim.dim_value) if dim.HasField("dim_value") else "?" for dim in shape.dim) or "scalar"


def _node(node: onnx.NodeProto, tensors: Mapping[str, tuple[str, str]]) -> GraphNode:
    outputs = tuple(filter(None, node.output))
    facts = [tensors.get(name, ("?", "")) for name in outputs]
    scope, call, origin = _module(node)
    return GraphNode(
        name=node.name or next(iter(outputs), ""),
        operator=node.op_type,
        inputs=tuple(filter(None, node.input)),
        outputs=outputs,
        shapes=tuple(shape for shape, _ in facts) if tensors else (),
        dtype=facts[0][1] if facts else "",
        scope=scope,
        call=call,
        origin=origin,
    )


def _module(node: onnx.NodeProto) -> tuple[str | None, str, str]:
    """Path of the module, its operation, and the name of the operation; None and empty texts for another exporter's file."""
    facts = {item.key: item.value for item in getattr(node, "metadata_props", ())}
    scopes, classes = (_texts(facts.get(key, "")) for key in (SCOPES, CLASSES))
    if len(scopes) < 2:
        return None, "", ""
    parts = classes[-1].split(".") if classes else []
    return scopes[-2], "::".join(parts[:2]), scopes[-1]


def _texts(text: str) -> list[str]:
    """The list of texts that `text` writes as Python does; empty for anything else, since the file may come from anybody."""
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        value = ast.literal_eval(text)
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    return []


def with_work(nodes: Iterable[GraphNode], work: GraphWork) -> tuple[GraphNode, ...]:
    """`nodes` with the operations and bytes of `work`, which are 0 for a node that is computed at load."""
    by_output = {name: each for each in work.nodes for name in each.outputs}
    return tuple(_with_work(node, by_output.get(next(iter(node.outputs), ""))) for node in nodes)


def _with_work(node: GraphNode, work: NodeWork | None) -> GraphNode:
    if work is None:
        return replace(node, flops=0)
    if work.operator.rpartition(".")[2] != node.operator:  # the last node of a function, whose other nodes are no nodes here
        return node
    flops = None if work.flops is None else work.flops * work.layer
    return replace(node, flops=flops, reads=work.reads, writes=work.writes)
