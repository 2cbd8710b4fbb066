"""Nodes of a cluster, their kinds, and the choice of nodes to measure. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import BadInput, nearest
from ...results.store.nodes import NodeEntry

LABEL = "kind"  # label of a node that names its kind: ray start --labels kind=NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of a cluster.

    - `id`: the cluster's own name for it. `address`: its network address.
    - `cpus`, `gpus`: those that the cluster may give to work. `accelerator`: type of its GPUs or other accelerators.
    - `labels`: labels by name. `cpu`: model of the CPU. `machine`: equal for nodes that share a machine.
    - `unfit`: reason why it cannot measure; empty for a node that can.
    - `busy`: other work had some of its CPUs or GPUs when it was looked at.
    """

    id: str
    address: str = ""
    cpus: float = 1
    gpus: float = 0
    accelerator: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu: str = ""
    machine: str = ""
    unfit: str = ""
    busy: bool = False

    @property
    def kind(self) -> str:
        """Kind of the node: its label, or the type and number of its accelerators, or of its CPUs."""
        if label := self.labels.get(LABEL):
            return label
        name, count = (self.accelerator, self.gpus) if self.accelerator else (self.cpu or "unknown CPU", self.cpus)
        return f"{name} x{count:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Station:
    """A node to measure. `name`: its name in tables, the kind alone where one node of the kind is measured."""

    name: str
    kind: str
    node: Node


def kinds_of(names: Sequence[str], nodes: Iterable[Node]) -> tuple[str, ...]:
    """The kinds that the user's `names` mean: complete names, or parts of one name. Every kind by name without them.

    `BadInput` for a name that no kind has, and for a part of several.
    """
    kinds = sorted({node.kind for node in nodes})  # a cluster lists its nodes in any order
    if not kinds:
        raise BadInput("the cluster has no node with CPUs for work", "start one: ray start --address=HOST:6379")
    return tuple(dict.fromkeys(_kind(name, kinds) for name in names)) or tuple(kinds)


def _kind(name: str, kinds: Collection[str]) -> str:
    if name in kinds:
        return name
    matches = [kind for kind in kinds if name.lower() in kind.lower()]
    if len(matches) > 1:
        raise BadInput(f"--node {name!r} matches {len(matches)} kinds: {', '.join(matches)}", "give a longer part of the name")
    if not matches:
        raise BadInput(f"no node of the cluster has the kind {name!r}", nearest(name, kinds))
    return matches[0]


def stations(nodes: Sequence[Node], kinds: Collection[str], *, every: bool) -> list[Station]:
    """Nodes of these `kinds` to measure, in the order of the kinds: one of each kind, or `every` one.

    A node that can measure goes before one that cannot, and a free one before a busy one.
    """
    selected: list[Station] = []
    for kind in kinds:
        own = sorted((node for node in nodes if node.kind == kind), key=_rank)
        names = [f"{kind}#{number}" for number in range(1, len(own) + 1)] if every and len(own) > 1 else [kind]
        selected += [Station(name=name, kind=kind, node=node) for name, node in zip(names, own)]
    return selected


def _rank(node: Node) -> tuple[bool, bool, str, str]:
    return bool(node.unfit), node.busy, node.address, node.id


def resumed(entries: Sequence[NodeEntry], nodes: Sequence[Node]) -> tuple[list[Station], list[NodeEntry]]:
    """A node for each of `entries`, and the entries for which there is none.

    The node that measured before goes first; another one of its kind may take its place.
    """
    free = {node.id: node for node in nodes}
    own = {entry.name: free.pop(entry.id) for entry in entries if entry.id in free and not free[entry.id].unfit}
    absent: list[NodeEntry] = []
    for entry in entries:
        if entry.name in own:
            continue
        others = sorted((node for node in free.values() if node.kind == entry.kind), key=_rank)
        if others:
            own[entry.name] = free.pop(others[0].id)
        else:
            absent.append(entry)
    return [Station(name=entry.name, kind=entry.kind, node=own[entry.name]) for entry in entries if entry.name in own], absent
