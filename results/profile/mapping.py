"""Kernels of a runtime mapped to the nodes of a graph: by names, by the runtime's own graph, by modules, by neighbours. Pure.

The rules, in their order. A later rule adds only what an earlier one left open.

1. Names. A kernel covers the nodes that it names, by the node's name or by that of one of its outputs. A name that a runtime
   made from another one (`conv1/WithoutBiases`) counts as the longest part before a `/` that is a node.
2. Fusions. A kernel also covers the nodes before its last ones, up to the tensors that other kernels write and the nodes that
   other kernels name. Its last nodes write its tensors, as the runtime's own graph has them by the kernel's name or place, or
   are those that it names.
   A layer in a layout of the runtime's own writes and reads tensors with other names than those of the graph. Then the nodes
   that compute between two kernels, such as the addition and the activation of a residual network, belong to the layer before
   them: runtimes compute them on its results.
3. Modules of PyTorch. The n-th operation of one kind in a module is the n-th such operation of the module in the traced graph.
   An operation without a counterpart covers the nodes of its module that no other operation of the module covers. A module
   without nodes covers those that read its parameters: an exporter that folds a BatchNorm into a convolution keeps one node,
   which has the name of one module and the weights of the other.
4. Neighbours. A kernel without nodes, such as a copy to another layout, belongs to the kernel that needs it: the next layer
   that reads it, else a layer that it reads from, else any kernel beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...profiles import GraphNode, Kernel, Links
from ...work import MOVES

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "Attention", "LSTM", "GRU", "RNN", "Einsum")
Covered = list[set[int]]
"""Places of the nodes that each kernel covers."""


def mapped(
    kernels: Sequence[Kernel], links: Sequence[Links], nodes: Sequence[GraphNode], runtime: Sequence[GraphNode] = ()
) -> tuple[Kernel, ...]:
    """`kernels` with the names of the `nodes` that each computes, in the order of the graph.

    `links`: of each kernel. `runtime`: nodes of the runtime's own graph, which have the names of its kernels.
    """
    graph = Graph(nodes=nodes)
    own = _own_nodes(kernels, links, runtime)
    linked = [replace(each, reads=node.inputs, writes=node.outputs) if node else each for each, node in zip(links, own)]
    covered = [_by_names(each, graph) for each in linked]
    _add_fused(covered, linked, graph)
    _add_to_layers(covered, linked, graph, [kernel.layer for kernel in kernels])
    _add_modules(covered, linked, graph)
    _add_neighbours(covered, linked, kernels)
    return tuple(
        replace(kernel, nodes=tuple(nodes[place].name for place in sorted(places))) for kernel, places in zip(kernels, covered)
    )


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes with an index of their names and tensors."""

    nodes: Sequence[GraphNode]
    place_of: Mapping[str, int] = field(init=False)
    writer_of: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        writers = {name: place for place, node in enumerate(self.nodes) for name in node.outputs}
        names = {node.name: place for place, node in enumerate(self.nodes)}
        object.__setattr__(self, "writer_of", writers)
        object.__setattr__(self, "place_of", {**writers, **names})

    def find(self, name: str) -> int | None:
        """Place of the node with that name or output, or of the node from whose name a runtime made it."""
        while name:
            if name in self.place_of:
                return self.place_of[name]
            name = name.rpartition("/")[0]
        return None


def _own_nodes(kernels: Sequence[Kernel], links: Sequence[Links], runtime: Sequence[GraphNode]) -> list[GraphNode | None]:
    """Node of the runtime's own graph for each kernel: that of the same name, or for a kernel without a name by its place.

    Places count where both have the same operators in the same order.
    """
    by_name = {node.name: node for node in runtime}
    same = [kernel.operator for kernel in kernels] == [node.operator for node in runtime]
    by_place: Sequence[GraphNode | None] = runtime if same else [None] * len(kernels)
    named = (next((by_name[name] for name in each.covers if name in by_name), None) for each in links)
    return [node or other for node, other in zip(named, by_place)]


def _by_names(links: Links, graph: Graph) -> set[int]:
    places = (graph.find(name) for name in links.covers)
    return {place for place in places if place is not None}


def _add_fused(covered: Covered, links: Sequence[Links], graph: Graph) -> None:
    """Add the nodes between the tensors that a kernel writes and those that other kernels write."""
    named = set().union(*covered) if covered else set()
    written = {name for each in links for name in each.writes}
    for own, each in zip(covered, links):
        # A kernel may write a tensor of the runtime's own, such as one in another layout. What it names is then the end.
        ends = {graph.writer_of[name] for name in each.writes if name in graph.writer_of} or set(own)
        stops = (written - set(each.writes)) | set(each.reads)
        # A node that a kernel names belongs to that kernel alone, and the walk ends there.
        own.update(_between(ends - (named - own), stops, named, graph))


def _between(ends: Iterable[int], stops: set[str], named: set[int], graph: Graph) -> set[int]:
    """`ends`, and the nodes before them up to the tensors `stops` and the nodes `named`."""
    inside: set[int] = set()
    waiting = list(ends)
    while waiting:
        place = waiting.pop()
        inside.add(place)
        before = (graph.writer_of.get(name) for name in graph.nodes[place].inputs if name not in stops)
        waiting += [other for other in before if other is not None and other not in inside and other not in named]
    return inside


def _add_to_layers(covered: Covered, links: Sequence[Links], graph: Graph, layers: Sequence[bool]) -> None:
    """Move nodes between two kernels from the kernel after them to the layer before them. Nodes that only move values stay."""
    moves = list[tuple[int, int, set[int]]]()
    for place, (own, each) in enumerate(zip(covered, links)):
        between = {node for node in _before_layers(own, graph) if graph.nodes[node].operator not in MOVES}
        between -= _by_names(each, graph)
        read = {name for node in between for name in graph.nodes[node].inputs} - _written(between, graph)
        if not between or read & set(each.reads):  # it reads what the first of these nodes reads, so it computes them
            continue
        writers = {graph.writer_of[name] for name in read if name in graph.writer_of}
        makers = [other for other, theirs in enumerate(covered) if other != place and layers[other] and theirs & writers]
        if makers:
            moves.append((place, max(makers), between))
    for place, maker, between in moves:
        covered[place] -= between
        covered[maker] |= between


def _before_layers(own: set[int], graph: Graph) -> set[int]:
    """Nodes among `own` that are before its layers; all of them where there is no layer."""
    layers = {place for place in own if graph.nodes[place].operator in LAYERS}
    after, ordered = set(layers), sorted(own)
    for place in ordered:
        if any(graph.writer_of.get(name) in after for name in graph.nodes[place].inputs):
            after.add(place)
    return own - after


def _written(places: Iterable[int], graph: Graph) -> set[str]:
    return {name for place in places for name in graph.nodes[place].outputs}


def _add_modules(covered: Covered, links: Sequence[Links], graph: Graph) -> None:
    """Add the nodes of the module of PyTorch that runs a kernel."""
    by_call = _operations(graph)
    counts: dict[tuple[str, str], int] = {}
    matched: dict[str, set[int]] = {}
    for own, each in zip(covered, links):
        if each.scope is None or own:
            continue
        key = (each.scope, _kind(each.call))
        place, counts[key] = counts.get(key, 0), counts.get(key, 0) + 1
        operations = by_call.get(key, ())
        if place < len(operations):
            own.update(operations[place])
            matched.setdefault(each.scope, set()).update(own)
    for own, each in zip(covered, links):
        if each.scope is not None and not own:
            inside = _of_module(each.scope, graph)
            own.update((inside - matched.get(each.scope, set())) or inside)


def _operations(graph: Graph) -> dict[tuple[str, str], list[set[int]]]:
    """Nodes of each operation of the traced module, by the module and the kind of the operation, in their order."""
    groups: dict[tuple[str, str], dict[str, set[int]]] = {}
    for place, node in enumerate(graph.nodes):
        if node.scope is not None:
            groups.setdefault((node.scope, _kind(node.call)), {}).setdefault(node.origin, set()).add(place)
    return {key: list(of_key.values()) for key, of_key in groups.items()}


def _kind(call: str) -> str:
    """Name of an operation, the same one for an operation in place: `aten::relu_` is `aten::relu`."""
    return call.removesuffix("_")


def _of_module(scope: str, graph: Graph) -> set[int]:
    """Nodes of a module: its own; without any, those of the modules inside it; without these, the readers of its parameters."""
    own = {place for place, node in enumerate(graph.nodes) if node.scope == scope}
    inner = (place for place, node in enumerate(graph.nodes) if (node.scope or "").startswith(f"{scope}." if scope else ""))
    return own or {place for place in inner if graph.nodes[place].scope is not None} or _readers_of_parameters(scope, graph)


def _readers_of_parameters(scope: str, graph: Graph) -> set[int]:
    """Nodes that read a parameter of the module itself, which is named after its path: `layer1.conv.weight`."""
    names = ({name.rpartition(".")[0] for name in node.inputs if name not in graph.writer_of} for node in graph.nodes)
    return {place for place, modules in enumerate(names) if scope and scope in modules}


def _add_neighbours(covered: Covered, links: Sequence[Links], kernels: Sequence[Kernel]) -> None:
    """Add the nodes of a neighbour to each kernel that has none, again and again for chains of such kernels."""
    readers, writers = _index(each.reads for each in links), _index(each.writes for each in links)
    changed = True
    while changed:
        changed = False
        for place, each in enumerate(links):
            if covered[place]:
                continue
            after = [other for name in each.writes for other in readers.get(name, ())]
            before = [other for name in each.reads for other in writers.get(name, ())]
            beside = [other for other in (*after, *before) if covered[other]]
            if beside:
                best = next((other for other in beside if kernels[other].layer), beside[0])
                covered[place] |= covered[best]
                changed = True


def _index(tensors: Iterable[Sequence[str]]) -> dict[str, list[int]]:
    """Places of the kernels that have each tensor."""
    places: dict[str, list[int]] = {}
    for place, names in enumerate(tensors):
        for name in names:
            places.setdefault(name, []).append(place)
    return places
