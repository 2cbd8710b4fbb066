"""Shapes of one call in place of open dimensions, and the values that follow from these shapes as constants. NumPy; onnx inside
functions. Run in a worker.

A runtime that builds for fixed shapes gets such a file where the open file computes integers or booleans from its own sizes
(docs/adr/0040).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..spec import Shapes
from . import lowering_folding as folding
from .graph import opset as opset_of
from .lowering_folding import Array
from .lowering_site import LARGEST_CONSTANT, STANDARD, GraphValues, ModelFacts, Site
from .repair import graphs, inputs_of

if TYPE_CHECKING:
    import onnx

FOLDED = {
    *folding.FOLDED,
    *("Abs", "And", "Ceil", "ConstantOfShape", "CumSum", "Expand", "Flatten", "Floor", "GatherElements", "GatherND"),
    *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Not", "Or", "Pow", "ReduceMax", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ScatterND", "Sqrt", "Tile", "Transpose", "Trilu", "Xor"),
}
FILLS = {"ConstantOfShape", "Expand", "GatherElements", "GatherND", "Range", "Tile"}
LARGEST_RESULT = 4 << 20  # bytes of a constant that replaces a node
LARGEST_WEIGHT = 2 * LARGEST_CONSTANT  # bytes: larger ones are no operand of a node that is computed here
MOST_PASSES = 8  # each pass may give shapes from which the next one computes more


def needs_shapes(model: onnx.ModelProto, folder: Path) -> bool:
    """True if `model` fills or gathers integers or booleans by sizes that are open, or takes a part of a shape.

    TensorRT 8.6 ignores `start` and `end` of a Shape node, and takes the whole shape.
    """
    from onnx import TensorProto
    from onnx.inliner import inline_local_functions

    weights = _detach_weights(model)
    copy = inline_local_functions(model) if model.functions else type(model).FromString(model.SerializeToString())
    _attach_weights(model, weights)
    scope = _scope(copy, folder)
    size_values: set[str] = set()
    for node in copy.graph.node:
        inputs = [name for name in node.input if name]
        uses_size = not size_values.isdisjoint(inputs)
        if uses_size and node.op_type in FILLS and scope.type_of(node.output[0]) in (TensorProto.BOOL, TensorProto.INT64):
            return True
        if node.op_type == "Shape" and _takes_part(node):
            return True
        if node.op_type in ("Shape", "Size"):
            size_values.update(node.output if folding.of_shape(node, scope.shape(inputs[0])) is None else ())
        elif uses_size and node.op_type in FOLDED and all(name in size_values or name in scope.constants for name in inputs):
            size_values.update(node.output)
    return False


def _takes_part(node: onnx.NodeProto) -> bool:
    """True if a Shape node may leave out dimensions."""
    return any(attribute.name == "end" or (attribute.name == "start" and attribute.i) for attribute in node.attribute)


def fix(model: onnx.ModelProto, shapes: Shapes, folder: Path) -> onnx.ModelProto:
    """`model` with `shapes` for its inputs, and with constants in place of all nodes that compute the same for every input.

    `folder`: that of the files with its weights.
    """
    weights = _detach_weights(model)
    _set_shapes(model, dict(shapes))
    for _ in range(MOST_PASSES):
        if not _fold(model, _scope(model, folder)):
            break
    scope = _scope(model, folder)
    for node in list(model.graph.node):
        if node.op_type == "GatherND" and node.domain in STANDARD:
            _replace_gather(model.graph, node, scope)
    _remove_unused(model.graph)
    _attach_weights(model, weights)
    return model


def _detach_weights(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Take the data of large weights out of `model`, which each inference of shapes would copy."""
    weights = {}
    for tensor in model.graph.initializer:
        if tensor.ByteSize() > LARGEST_WEIGHT:
            weights[tensor.name] = type(tensor).FromString(tensor.SerializeToString())
            tensor.ClearField("raw_data")
    return weights


def _attach_weights(model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> None:
    """Put the data of the weights that `model` still has back."""
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])


def _scope(model: onnx.ModelProto, folder: Path) -> GraphValues:
    """Values of `model`, with the types and shapes that onnx infers."""
    import onnx

    # Not those of an earlier inference, which knew fewer sizes.
    _clear_names(model)
    with suppress(Exception):  # of a model that onnx refuses: it stays as it is
        model.CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True))
    names = {name for graph in graphs(model.graph) for node in graph.node for name in (*node.input, *node.output)}
    names |= {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
    return GraphValues(model.graph, ModelFacts(folder=folder, opset=opset_of(model), names=names))


def _set_shapes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give the inputs their shapes."""
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ())):
            dim.dim_value = size


def _clear_names(model: onnx.ModelProto) -> None:
    """Remove inferred shapes, and the names of open dimensions of outputs."""
    for graph in graphs(model.graph):
        del graph.value_info[:]
        for value in graph.output:
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField("dim_param"):
                    dim.Clear()


def _fold(model: onnx.ModelProto, scope: GraphValues) -> bool:
    """Replace each node of constant inputs by its result. False if there is none."""
    from onnx import numpy_helper

    arrays: dict[str, Array] = {}
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if outputs.isdisjoint(node.output) and (array := _result(node, scope, arrays)) is not None:
            arrays[node.output[0]] = array
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    _keep(model.graph, [node for node in model.graph.node if not node.output or node.output[0] not in arrays])
    _remove_unused(model.graph)
    return bool(arrays)


def _result(node: onnx.NodeProto, scope: GraphValues, arrays: Mapping[str, Array]) -> Array | None:
    """The output of `node` if it follows from constants and shapes, and is not large."""
    if node.domain not in STANDARD or len(node.output) != 1:
        return None
    if node.op_type in ("Shape", "Size"):
        return folding.of_shape(node, scope.shape(node.input[0]))
    if node.op_type not in FOLDED or not _is_small(node, scope):
        return None
    operands = {name: arrays[name] if name in arrays else scope.array(name, depth=0) for name in node.input if name}
    inputs = {name: array for name, array in operands.items() if array is not None}
    if len(inputs) < len(operands):
        return None
    if node.op_type == "GatherElements":
        return _gather_elements(node, inputs)
    result = folding.evaluate(node, inputs, scope.place.opset)
    return result if result is not None and result.nbytes <= LARGEST_RESULT else None


def _gather_elements(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> Array:
    """The output of a GatherElements node, of which onnx's evaluator knows the axes up to 32 elements only."""
    data, indices = (inputs[name] for name in node.input)
    axis = next((item.i for item in node.attribute), 0) % data.ndim
    part = tuple(slice(None) if place == axis else slice(size) for place, size in enumerate(indices.shape))
    elements: Array = np.take_along_axis(data[part], indices, axis)
    return elements


def _is_small(node: onnx.NodeProto, scope: GraphValues) -> bool:
    """False if the result of `node` is known to be too large to compute."""
    shape = scope.shape(node.output[0]) or ()
    return int(np.prod([dim or 1 for dim in shape], dtype=np.int64)) <= LARGEST_RESULT


def _replace_gather(graph: onnx.GraphProto, node: onnx.NodeProto, scope: GraphValues) -> None:
    """Replace a GatherND of constant indices by a Reshape, and by a Gather of rows unless it keeps all rows in their order."""
    shape, indices = scope.shape(node.input[0]), scope.array(node.input[1], depth=0)
    if shape is None or None in shape or indices is None or any(item.i for item in node.attribute):
        return
    sizes = tuple(dim for dim in shape if dim is not None)
    depth = indices.shape[-1]
    rows = np.ravel_multi_index(tuple(np.moveaxis(indices % np.array(sizes[:depth]), -1, 0)), sizes[:depth])
    site = Site(node, scope, 0, scope.place.opset)
    source, rest = node.input[0], sizes[depth:]
    if not np.array_equal(rows.ravel(), np.arange(np.prod(sizes[:depth]))):
        source = _rows(site, source, rows.ravel(), rest)
    site.finish("Reshape", [source, site.const([*indices.shape[:-1], *rest])])
    place = next(index for index, item in enumerate(graph.node) if item.output[:1] == node.output[:1])
    _keep(graph, [*graph.node[:place], *site.nodes, *graph.node[place + 1 :]])


def _rows(site: Site, source: str, rows: Array, rest: tuple[int, ...]) -> str:
    """`rows` of `source`, whose last axes are `rest`. Booleans are gathered as integers, since runtimes lack the other."""
    from onnx import TensorProto

    logical = site.type_of(0) == TensorProto.BOOL
    flat = site.add("Reshape", [source, site.const([-1, *rest])])
    if logical:
        flat = site.add("Cast", [flat], to=TensorProto.INT32)
    elements = site.add("Gather", [flat, site.const(rows)], axis=0)
    return site.add("Cast", [elements], to=TensorProto.BOOL) if logical else elements


def _keep(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give `graph` these nodes."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants whose values nothing uses."""
    used = {value.name for value in graph.output}
    live = []
    for node in reversed(graph.node):
        if not used.isdisjoint(node.output):
            live.append(node)
            used |= inputs_of(node)
    _keep(graph, reversed(live))
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(left) < len(graph.initializer):
        copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in left]
        del graph.initializer[:]
        graph.initializer.extend(copies)
