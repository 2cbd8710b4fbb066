"""Work of an ONNX graph: operations and bytes of each node, from the shapes that the model has. Pure; reads messages of onnx.

The shapes come with the model: runners/worker/work_jobs.py sets the inputs' shapes and infers the others. operations.py has the
rules of the operators.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

from ..work import VIEWS, GraphWork, NodeWork, Shape
from . import operations
from .generators import subgraphs
from .operations import SizedNode, Uncounted

if TYPE_CHECKING:
    import onnx

STANDARD = ("", "ai.onnx")
LOOPS = ("If", "Loop", "Scan")
DEEPEST = 50  # graphs within graphs: far above what exporters write, and a limit for hostile files
PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """Type and shape of a value: bits of an element (None for text), and its shape (None if unknown)."""

    bits: int | None = None
    shape: Shape | None = None

    @property
    def nbytes(self) -> int | None:
        """Bytes of the value; None if unknown. Elements below 8 bits are packed."""
        return None if self.bits is None or self.shape is None else -(-prod(self.shape) * self.bits // 8)


@dataclass(kw_only=True)
class _Scope:
    """Values of a graph and of those around it, by name. `weights`: bytes that nodes read of each initializer, by its name."""

    values: MutableMapping[str, Value]
    constants: Mapping[str, onnx.TensorProto]
    prefix: str = ""
    times: int = 1
    depth: int = 0
    weights: dict[str, int | None] = field(default_factory=dict)


def count_work(model: onnx.ModelProto) -> GraphWork:
    """Work of one call of `model`, in which every shape is a number that was set or inferred, and no function is left.

    A node whose shapes are open has no figures, and says so.
    """
    scope = _Scope(values=dict(_values(model.graph)), constants={tensor.name: tensor for tensor in model.graph.initializer})
    nodes = tuple(_nodes(model.graph, scope))
    inputs = [value.name for value in model.graph.input if value.name not in scope.constants]
    return GraphWork(
        nodes=nodes,
        weight_bytes=_sum(scope.weights.values()),
        input_bytes=_sum(scope.values.get(name, Value()).nbytes for name in inputs),
        output_bytes=_sum(scope.values.get(value.name, Value()).nbytes for value in model.graph.output),
    )


def _values(graph: onnx.GraphProto) -> Iterator[tuple[str, Value]]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name, _of_type(value.type)
    for tensor in graph.initializer:
        yield tensor.name, _of_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.HasField("t"):
                yield node.output[0], _of_tensor(attribute.t)


def _of_type(kind: onnx.TypeProto) -> Value:
    tensor = kind.tensor_type
    dims = tensor.shape.dim
    is_known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return Value(bits=_bits(tensor.elem_type), shape=tuple(dim.dim_value for dim in dims) if is_known else None)


def _of_tensor(tensor: onnx.TensorProto) -> Value:
    return Value(bits=_bits(tensor.data_type), shape=tuple(tensor.dims))


def _bits(kind: int) -> int | None:
    """Bits of an element of onnx's type `kind`; None for text and for a type that is not set."""
    from onnx import TensorProto, helper

    if kind in (TensorProto.UNDEFINED, TensorProto.STRING) or kind not in TensorProto.DataType.values():
        return None
    name = TensorProto.DataType.Name(kind)
    return PACKED_BITS.get(name) or 8 * int(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _nodes(graph: onnx.GraphProto, scope: _Scope) -> Iterator[NodeWork]:
    """Work of each node, and of those in its subgraphs after it."""
    for node in graph.node:
        if node.domain in STANDARD and node.op_type in LOOPS:
            yield from _of_subgraphs(node, scope)
        elif node.op_type != "Constant":
            yield _node(node, scope)


def _node(node: onnx.NodeProto, scope: _Scope) -> NodeWork:
    inputs = [scope.values.get(name, Value()) if name else None for name in node.input]
    outputs = [scope.values.get(name, Value()) for name in node.output if name]
    work = _named(node, scope, inputs, outputs)
    reads = _reads(work.operator, inputs, outputs)
    for name, nbytes in zip(node.input, reads):
        _note_weight(scope, name, nbytes)
    figures = _moved(node, scope, reads, [item.nbytes for item in outputs])
    call = SizedNode(
        operator=work.operator,
        attributes=_attributes(node),
        inputs=work.input_shapes,
        outputs=work.output_shapes,
    )
    try:
        return replace(work, flops=operations.count(call) * scope.times, **figures)
    except Uncounted as reason:
        return replace(work, unknown=str(reason), **figures)


def _moved(node: onnx.NodeProto, scope: _Scope, reads: Sequence[int | None], writes: Sequence[int | None]) -> dict[str, Any]:
    """Bytes that all runs of a node move, of each end and together; zeros for a view."""
    is_view = node.domain in STANDARD and node.op_type in VIEWS
    named = [nbytes for name, nbytes in zip(node.input, reads) if name]
    ends = {"reads": named, "writes": writes}
    each = {end: tuple(0 if is_view else _times(nbytes, scope.times) for nbytes in sizes) for end, sizes in ends.items()}
    return {**each, "read_bytes": _sum(each["reads"]), "write_bytes": _sum(each["writes"])}


def _named(node: onnx.NodeProto, scope: _Scope, inputs: Sequence[Value | None] = (), outputs: Sequence[Value] = ()) -> NodeWork:
    operator = node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
    return NodeWork(
        name=f"{scope.prefix}{node.name or node.op_type}",
        operator=operator,
        outputs=tuple(filter(None, node.output)),
        input_shapes=tuple(item.shape if item else None for item in inputs),
        output_shapes=tuple(item.shape for item in outputs),
        layer=operator in operations.LAYERS,
        times=scope.times,
    )


def _reads(operator: str, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> list[int | None]:
    """Bytes that a node reads of each input."""
    sizes = [item.nbytes if item else 0 for item in inputs]
    if operator in VIEWS and operator not in ("Dropout", "Identity"):
        # A view of a weight is read by the node that uses the view.
        return sizes[:1] + [0] * len(sizes[1:])
    if operator in operations.ROWS and sizes:
        sizes[0] = _sum(item.nbytes for item in outputs)
    return sizes


def _note_weight(scope: _Scope, name: str, nbytes: int | None) -> None:
    """Add `nbytes` to what a call reads of a weight: at most all of it, since a second reading finds it in a cache."""
    if name not in scope.constants:
        return
    size, read, before = _of_tensor(scope.constants[name]).nbytes, _times(nbytes, scope.times), scope.weights.get(name, 0)
    scope.weights[name] = None if size is None or read is None or before is None else min(size, before + read)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import AttributeProto, helper

    kinds = (AttributeProto.INT, AttributeProto.INTS, AttributeProto.STRING, AttributeProto.FLOAT)
    return {item.name: helper.get_attribute_value(item) for item in node.attribute if item.type in kinds}


def _of_subgraphs(node: onnx.NodeProto, scope: _Scope) -> Iterator[NodeWork]:
    """Work of the node If, Loop or Scan, which computes nothing itself, and of the nodes in its graphs."""
    own = replace(_named(node, scope), flops=0, read_bytes=0, write_bytes=0)
    graphs = list(subgraphs(node))
    if scope.depth >= DEEPEST:
        yield replace(own, flops=None, unknown=f"it has more than {DEEPEST} graphs around it")
        return
    if node.op_type == "If":
        yield from _of_branches(own, node, graphs, scope)
        return
    times = _repetitions(node, scope)
    inner = [list(_nodes(graph, _inner(scope, graph, own, times or 1))) for graph in graphs]
    works = [work for graph in inner for work in graph]
    if times is None:
        works = [replace(work, flops=None, unknown="the number of its runs depends on data") for work in works]
    yield own
    yield from works


def _of_branches(own: NodeWork, node: onnx.NodeProto, graphs: Sequence[onnx.GraphProto], scope: _Scope) -> Iterator[NodeWork]:
    """The branch that runs, where the condition is a constant. Otherwise the first, if each has as many operations."""
    branch = _condition(node, scope)
    names = [attribute.name for attribute in node.attribute if attribute.HasField("g")]
    works = {
        name: list(_nodes(graph, _inner(scope, graph, own, 1))) for name, graph in zip(names, graphs) if branch in (None, name)
    }
    totals = {tuple(sorted((work.operator, work.flops or 0) for work in each if work.flops != 0)) for each in works.values()}
    yield own
    first = next(iter(works.values()), [])
    if len(totals) <= 1:
        yield from first
    else:
        yield from (replace(work, flops=None, unknown="the branch depends on data") for each in works.values() for work in each)


def _condition(node: onnx.NodeProto, scope: _Scope) -> str | None:
    """Name of the branch that a constant condition chooses; None for a computed one."""
    tensor = scope.constants.get(node.input[0])
    if tensor is None or len(tensor.raw_data) + len(tensor.int32_data) != 1:
        return None
    return "then_branch" if any(tensor.raw_data) or any(tensor.int32_data) else "else_branch"


def _inner(scope: _Scope, graph: onnx.GraphProto, own: NodeWork, times: int) -> _Scope:
    constants: ChainMap[str, Any] = ChainMap({tensor.name: tensor for tensor in graph.initializer}, dict(scope.constants))
    return replace(
        scope,
        values=ChainMap(dict(_values(graph)), scope.values),
        constants=constants,
        prefix=f"{own.name}/",
        times=scope.times * times,
        depth=scope.depth + 1,
    )


def _repetitions(node: onnx.NodeProto, scope: _Scope) -> int | None:
    """Number of runs of a Loop or Scan; None if it depends on data."""
    if node.op_type == "Scan":
        count = next((item.i for item in node.attribute if item.name == "num_scan_inputs"), 0)
        axes = next((list(item.ints) for item in node.attribute if item.name == "scan_input_axes"), [0] * count)
        shape = scope.values.get(node.input[len(node.input) - count], Value()).shape if 0 < count <= len(node.input) else None
        return shape[axes[0]] if shape and -len(shape) <= axes[0] < len(shape) else None
    limit = scope.constants.get(node.input[0]) if node.input[0] else None
    if limit is None or not _runs_on(node, scope):
        return None
    number = limit.int64_data[0] if limit.int64_data else int.from_bytes(limit.raw_data[:8], "little", signed=True)
    return max(0, int(number))


def _runs_on(node: onnx.NodeProto, scope: _Scope) -> bool:
    """True if the condition of a Loop is always true: each run hands it on as it is, or as a constant."""
    body = next(subgraphs(node), None)
    if body is None or not body.output or len(body.input) < 2:
        return False
    source = {one.output[0]: one.input[0] for one in body.node if one.op_type in ("Identity", "Cast") and one.input}
    name = body.output[0].name
    while name in source:
        name = source.pop(name)
    constants = {tensor.name for tensor in body.initializer} | {one.output[0] for one in body.node if one.op_type == "Constant"}
    begins = len(node.input) < 2 or not node.input[1] or node.input[1] in scope.constants
    return begins and (name == body.input[1].name or name in constants or name in scope.constants)


def _sum(sizes: Iterable[int | None]) -> int | None:
    given = list(sizes)
    return None if None in given else sum(size for size in given if size is not None)


def _times(nbytes: int | None, times: int) -> int | None:
    return None if nbytes is None else nbytes * times
