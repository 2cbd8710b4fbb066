"""ONNX's own function bodies in place of operators that an older opset lacks. onnx, inside functions; run in a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .lowering_site import STANDARD, GraphValues
from .repair import subgraphs

if TYPE_CHECKING:
    import onnx

DOMAIN = "onnxbench.body"  # of the functions that are inlined at once
DEPTH = 8  # bodies may use further operators that need theirs

Needs = Callable[[str], bool]


def expand(
    model: onnx.ModelProto, needs: Needs, scope_of: Callable[[onnx.ModelProto], GraphValues], opset: int
) -> tuple[onnx.ModelProto, GraphValues]:
    """`model` with the bodies of the operators that `needs` names, and the scope of its graph. `scope_of`: scope of a model."""
    from onnx.inliner import inline_local_functions

    for _ in range(DEPTH):
        scope = scope_of(model)
        functions = _call_bodies(model.graph, scope, needs, opset)
        if not functions:
            break
        model.functions.extend(functions)
        entry = model.opset_import.add()
        entry.domain, entry.version = DOMAIN, 1
        model = inline_local_functions(model)
        others = [entry for entry in model.opset_import if entry.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(others)
    return model, scope


def _call_bodies(graph: onnx.GraphProto, scope: GraphValues, needs: Needs, opset: int) -> list[onnx.FunctionProto]:
    """Make each node of `graph` that needs a body a call of a function. Returns the functions."""
    functions: list[onnx.FunctionProto] = []
    for node in graph.node:
        for inner in subgraphs([node]):
            functions += _call_bodies(inner, scope.inner(inner), needs, opset)
        body = _body(node, scope, opset) if node.domain in STANDARD and needs(node.op_type) else None
        if body is not None:
            body.domain, body.name = DOMAIN, f"{node.op_type}_{scope.number()}"
            node.domain, node.op_type = body.domain, body.name
            functions.append(body)
    return functions


def _body(node: onnx.NodeProto, scope: GraphValues, opset: int) -> onnx.FunctionProto | None:
    """The function body of `node` in operators of `opset`; None if ONNX defines none for its types."""
    import onnx
    from onnx import defs

    schema: Any = defs.get_schema(node.op_type, opset, "")
    _set_defaults(node, schema)
    text = b""
    if schema.has_context_dependent_function:
        types = [scope.types.get(name, onnx.TypeProto()).SerializeToString() for name in node.input]
        versions = [version for version in schema.context_dependent_function_opset_versions if version <= opset]
        for version in sorted(versions, reverse=True)[:1]:
            text = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), types)
    elif schema.has_function:
        text = schema.get_function_with_opset_version(
            max(version for version in schema.function_opset_versions if version <= opset)
        )
    if not text:
        return None
    body: onnx.FunctionProto = onnx.FunctionProto.FromString(text)
    # The inliner skips functions of another opset. A later opset has the same operators, with further types and parameters.
    del body.opset_import[:]
    entry = body.opset_import.add()
    entry.domain, entry.version = "", opset
    return body


def _set_defaults(node: onnx.NodeProto, schema: Any) -> None:
    """Set the attributes that `node` leaves out to their defaults, since a function body has no defaults of its own."""
    names = {attribute.name for attribute in node.attribute}
    declared = (attribute.default_value for name, attribute in schema.attributes.items() if name not in names)
    node.attribute.extend(default for default in declared if default.name)
