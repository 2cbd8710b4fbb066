"""Lowering of a file to an earlier opset: the same computation in the operators of that opset. onnx, inside functions; run in
a worker.

Operators without a rule (lowering_rules.py) are replaced by their own ONNX function body. An operator that has neither is
refused by its name. Weights in other files stay there: the lowered file refers to them (docs/adr/0040).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Unsupported, one_line
from ..spec import Shapes
from .graph import opset as opset_of
from .lowering_bodies import expand
from .lowering_fixed import fix
from .lowering_rules import RULES
from .lowering_site import FILE_HINT, STANDARD, GraphValues, ModelFacts, Site
from .repair import graphs, sort_nodes, subgraphs

if TYPE_CHECKING:
    import onnx

OF_ITS_INPUT = ("GroupNormalization",)  # operators for which onnx infers nothing; their output has the type of their input
Refused = dict[str, Unsupported]  # the first error of each operator, by its name and version
LOWEST, NEWEST = 15, 28  # opsets between which the rules are complete
METADATA_IR = 10  # first version of the format in which nodes and values have metadata


def convert(source: Path, target: Path, opset: int, shapes: Shapes = ()) -> None:
    """Write the file `source` in `opset` to `target`, and copy the files with its weights to the folder of `target`.

    `shapes`: those that its inputs get in place of open dimensions; the opset may then be that of the file.
    """
    import onnx

    model = onnx.load(str(source), load_external_data=False)
    if shapes:
        model = fix(_inline(model), shapes, source.parent)
    if not shapes or opset != opset_of(model):
        model = lower(model, opset, source.parent)
    onnx.save(model, str(target))
    for location in external_locations(model):
        copy = target.parent / location
        copy.parent.mkdir(parents=True, exist_ok=True)
        # A copy and not a link: onnx and runtimes refuse weights behind links.
        shutil.copyfile(source.parent / location, copy)


def external_locations(model: onnx.ModelProto) -> list[str]:
    """Names of the files in which `model` has weights, relative to the folder of the model."""
    tensors = [tensor for graph in graphs(model.graph) for tensor in graph.initializer]
    for graph in graphs(model.graph):
        tensors += [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
    outside = (tensor for tensor in tensors if tensor.data_location == tensor.EXTERNAL)
    return list(dict.fromkeys(entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"))


def lower(model: onnx.ModelProto, opset: int, folder: Path) -> onnx.ModelProto:
    """Return `model` in `opset`, with all functions inlined. `folder`: that of the files with its weights.

    Raises `Unsupported` with all operators that have no equivalent in `opset`, and `BadInput` for an opset outside the rules.
    """
    current = opset_of(model)
    if not LOWEST <= opset < current:
        raise BadInput(f"a file of opset {current} cannot be lowered to opset {opset}", f"give {_choices(current)}")
    if current > NEWEST:
        raise Unsupported(f"opset {current} is newer than the rules, which know opset {NEWEST}", "upgrade onnxbench")
    span = Span(current=current, target=opset)
    scope_of = partial(_inferred, folder=folder)
    model, scope = expand(_inline(model), partial(_needs_body, span=span), scope_of, current)
    refused: Refused = {}
    _lower_graph(model.graph, scope, span, refused)
    if refused:
        raise _of_all(refused)
    _restamp(model, opset)
    return model


def _of_all(refused: Refused) -> Unsupported:
    """One error for all operators that cannot be lowered: the reason of the first one, and the names of the others."""
    first, *others = refused
    also = f"; neither can {', '.join(others)}" if others else ""
    return Unsupported(f"{refused[first].message}{also}", refused[first].hint)


def _choices(current: int) -> str:
    return f"{LOWEST} to {current - 1}" if current > LOWEST else f"a file of an opset above {LOWEST}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The opset of a model, and the lower one that it gets."""

    current: int
    target: int


def since(operator: str, opset: int) -> int:
    """Version of a standard operator in `opset`; 0 if the opset does not have the operator."""
    from onnx import defs

    try:
        return int(defs.get_schema(operator, opset, "").since_version)
    except defs.SchemaError:
        return 0


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without functions of its own."""
    from onnx.inliner import inline_local_functions

    if not model.functions:
        copy: onnx.ModelProto = type(model).FromString(model.SerializeToString())
        return copy
    inlined = inline_local_functions(model)
    if inlined.functions:
        names = ", ".join(sorted(function.name for function in inlined.functions))
        raise Unsupported(f"functions of another opset than the model's cannot be lowered: {names}", FILE_HINT)
    return inlined


def _needs_body(operator: str, span: Span) -> bool:
    """True if `operator` has versions above the target down to its first one, and the first one has no rule."""
    version = since(operator, span.current)
    while version > span.target:
        below = since(operator, version - 1)
        if not below:
            return (operator, version) not in RULES
        version = below
    return False


def _inferred(model: onnx.ModelProto, folder: Path) -> GraphValues:
    """Values of `model`, to which the types and shapes of its values are added, as far as onnx infers them."""
    import onnx

    trial = type(model).FromString(model.SerializeToString())
    for node in (node for graph in graphs(trial.graph) for node in graph.node):
        if node.domain in STANDARD and node.op_type in OF_ITS_INPUT:
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    # A model that onnx refuses stays as it is: the rules that need no shapes still apply.
    with suppress(Exception):
        trial = onnx.shape_inference.infer_shapes(trial, data_prop=True)
    for graph, other in zip(graphs(model.graph), graphs(trial.graph)):
        del graph.value_info[:]
        graph.value_info.extend(other.value_info)
    names = {name for graph in graphs(model.graph) for name in _names(graph)}
    return GraphValues(model.graph, ModelFacts(folder=folder, opset=opset_of(model), names=names))


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the values of one graph."""
    yield from (value.name for value in (*graph.input, *graph.output))
    yield from (tensor.name for tensor in graph.initializer)
    yield from (name for node in graph.node for name in (*node.input, *node.output))


def _lower_graph(graph: onnx.GraphProto, scope: GraphValues, span: Span, refused: Refused) -> None:
    """Lower the nodes of `graph` and of its subgraphs in place. Nodes that cannot be lowered stay, and join `refused`."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in subgraphs([node]):
            _lower_graph(inner, scope.inner(inner), span, refused)
        try:
            nodes += _lower_node(node, scope, span)
        except Unsupported as error:
            nodes.append(node)
            refused.setdefault(f"{node.op_type}-{since(node.op_type, span.current)}", error)
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    sort_nodes(graph)


def _lower_node(node: onnx.NodeProto, scope: GraphValues, span: Span) -> list[onnx.NodeProto]:
    """The nodes of the target's opset that replace `node`."""
    version = since(node.op_type, span.current) if node.domain in STANDARD else 0
    if version <= span.target:
        return [node]
    site = Site(node, scope, version, span.target)
    below = since(node.op_type, site.below)
    rule = RULES.get((node.op_type, version))
    if rule:
        rule(site)
    elif below:
        _narrow(site, below)
    else:
        site.refuse(f"ONNX has this operator since opset {version}, and defines no equivalent of older operators")
    lower_span = Span(current=site.below, target=span.target)
    nodes = [item for made in site.nodes for item in _lower_node(made, scope, lower_span)]
    for made in nodes:
        _check_types(made, site)
    return nodes


def _narrow(site: Site, below: int) -> None:
    """Keep a node whose operator only got further types and attributes. Refuse it if it uses one of the new attributes."""
    from onnx import defs

    new, old = (defs.get_schema(site.node.op_type, version, "") for version in (site.since, below))
    if _formals(new) != _formals(old):
        site.refuse(f"its inputs or outputs changed in opset {site.since}")
    added = new.attributes.keys() - old.attributes.keys()
    for attribute in site.node.attribute:
        if attribute.name in added and not _is_default(attribute, new.attributes[attribute.name]):
            site.refuse(f"it sets {attribute.name}, which ONNX has since opset {site.since}")
    site.keep(drop=added)


def _formals(schema: Any) -> list[tuple[str, str]]:
    return [(formal.name, formal.option.name) for formal in (*schema.inputs, *schema.outputs)]


def _is_default(attribute: onnx.AttributeProto, declared: Any) -> bool:
    """True if `attribute` has the value that it also has where it is left out. Lists of ones are the default of dilations."""
    from onnx import helper

    value, default = helper.get_attribute_value(attribute), declared.default_value
    if default.name:
        return bool(value == helper.get_attribute_value(default))
    return attribute.name in FLOAT8_ONLY or (attribute.name == "dilations" and set(value) <= {1})


FLOAT8_ONLY = ("saturate", "round_mode")  # attributes that matter only for types that older opsets lack


def _check_types(node: onnx.NodeProto, site: Site) -> None:
    """Refuse the node of `site` if `node`, which replaces it, has types that its operator lacks in the target's opset."""
    from onnx import defs

    schema = defs.get_schema(node.op_type, site.target, "")
    for formals, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
        for index, name in enumerate(names):
            formal = formals[min(index, len(formals) - 1)] if formals else None
            kind = _type_name(site.scope.type_of(name))
            if formal is not None and kind and formal.types and kind not in formal.types:
                site.refuse(f"{node.op_type} has no type {kind} there, which {name} has")


def _type_name(kind: int) -> str:
    from onnx import TensorProto

    return f"tensor({TensorProto.DataType.Name(kind).lower()})" if kind else ""


def _restamp(model: onnx.ModelProto, opset: int) -> None:
    """Give `model` the target's opset, and the version of the file format that belongs to it."""
    from onnx import helper

    for entry in model.opset_import:
        if entry.domain in STANDARD:
            entry.version = opset
    try:
        least = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    except ValueError as error:
        raise Unsupported(f"the model imports operators that onnx does not know ({one_line(error)})", FILE_HINT) from error
    model.ir_version = min(model.ir_version, least)
    if model.ir_version < METADATA_IR:
        _drop_metadata(model)


def _drop_metadata(model: onnx.ModelProto) -> None:
    """Remove the metadata of nodes and values, mostly the exporter's stack traces, which the older format does not have."""
    for graph in graphs(model.graph):
        for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
            part.ClearField("metadata_props")
