"""Operations and bytes of the lines of a profile, and their share of what the machine attains (--roof). Pure.

docs/roof.md has the definitions. A turn of a profile has a round of roofs beside it, and each share is taken within one turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from ...evidence import GraphNode
from ...spec import PRECISIONS
from ..store.record import CellRecord
from ..table.roof import NARROW, Demand, Roofs, RoofShares, types_of
from .lines import Line, Side, SidePart


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerWork:
    """Work of a line on one side. `flops`: nominal operations of its multiply-adds. `nbytes`: bytes that it moves at least.

    `typical_ns`: median over the turns of its time. `shares`: of the roofs. None: not counted, or not measured.
    """

    flops: float | None = None
    nbytes: float | None = None
    typical_ns: float | None = None
    shares: RoofShares = field(default_factory=RoofShares)

    @property
    def flops_per_s(self) -> float | None:
        """Operations a second, by the typical time."""
        return 1e9 * self.flops / self.typical_ns if self.flops and self.typical_ns else None


@dataclass(frozen=True, kw_only=True)
class SideWork:
    """Work of the lines of a side, by the roofs of its run. Its `nodes` by name; nodes that read each tensor in `readers`.

    `sources`: tensor of which another one is a view.
    """

    side: Side
    roofs: Roofs
    nodes: Mapping[str, GraphNode]
    readers: Mapping[str, frozenset[str]]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, side: Side) -> SideWork | None:
        """Work of `side`; None for a profile without roofs."""
        profiled = side.profiled
        if not profiled.rounds or len(profiled.rounds) != len(profiled.turns_p50_ns):
            return None
        sources = {node.outputs[0]: node.inputs[0] for node in profiled.nodes if _is_view(node)}
        readers: dict[str, set[str]] = {}
        for node in profiled.nodes:
            for name in node.inputs if not _is_view(node) else ():
                readers.setdefault(_root(name, sources), set()).add(node.name)
        return cls(
            side=side,
            roofs=Roofs.beside(side.record, side.roofs),
            nodes={node.name: node for node in profiled.nodes},
            readers={name: frozenset(names) for name, names in readers.items()},
            sources=sources,
        )

    def of_call(self) -> RoofShares:
        """Shares of a whole call, by its time without the profiler."""
        work, profiled = self.side.record.work, self.side.profiled
        if work is None:
            return RoofShares()
        times_s = {number: ns / 1e9 for number, ns in zip(profiled.rounds, profiled.turns_p50_ns) if ns}
        types = types_of(self.side.record)
        kernels = sum(bool(kernel.ns) for kernel in profiled.kernels)
        nbytes = work.least_bytes(_narrow(self.side.record, types))
        return self.roofs.shares(Demand(flops=work.layer_flops, nbytes=nbytes, kernels=kernels), times_s, types)

    def of_line(self, line: Line, part: SidePart | None) -> LayerWork:
        """Work of `line`, whose kernels on this side are `part`."""
        nodes = [self.nodes[node.name] for node in line.nodes if node.name in self.nodes]
        if not nodes or part is None:
            return LayerWork()
        flops, types = _sum(node.flops for node in nodes), tuple(filter(None, part.types.split("+")))
        moved = self._bytes(nodes)
        nbytes = None if moved is None else moved * _narrow(self.side.record, types)
        turns = [sum(ns) for ns in zip(*(kernel.turns_ns for kernel in part.kernels if kernel.turns_ns))]
        times_s = {number: ns / 1e9 for number, ns in zip(self.side.profiled.rounds, turns) if ns > 0}
        demand = Demand(flops=flops, nbytes=nbytes, kernels=len(part.kernels))
        # a line without bytes and operations, such as a Reshape, has no least time
        shares = self.roofs.shares(demand, times_s, types or types_of(self.side.record)) if flops or nbytes else RoofShares()
        return LayerWork(flops=flops, nbytes=nbytes, typical_ns=median(turns) if turns else None, shares=shares)

    def _bytes(self, nodes: Iterable[GraphNode]) -> float | None:
        """Bytes that the group `nodes` reads and writes, each tensor once. Tensors that stay inside the group do not count."""
        group = [node for node in nodes if not _is_view(node)]
        names = {node.name for node in group}
        ends = [(zip(node.inputs, node.reads), zip(node.outputs, node.writes)) for node in group]
        read = {_root(name, self.sources): nbytes for reads, _ in ends for name, nbytes in reads}
        written = {name: nbytes for _, writes in ends for name, nbytes in writes}
        inside = {name for name in written if self.readers.get(name, frozenset()) <= names and name in self.readers}
        moved = [nbytes for name, nbytes in read.items() if name not in written]
        return _sum([*moved, *(nbytes for name, nbytes in written.items() if name not in inside)])


def _is_view(node: GraphNode) -> bool:
    """True for a node that moves no bytes: its output is its first input in another shape."""
    return bool(node.inputs and node.outputs and node.writes) and not any(node.writes) and not any(node.reads)


def _root(name: str, sources: Mapping[str, str]) -> str:
    """Tensor of which `name` is a view, over any number of views."""
    seen = {name}
    while name in sources and sources[name] not in seen:
        seen.add(name := sources[name])
    return name


def _narrow(record: CellRecord, types: Iterable[str]) -> float:
    """Bytes of a value over those in the file, where a runtime computes an FP32 file in a narrower type."""
    is_fp32 = PRECISIONS[record.cell.precision].file == "fp32"
    return min((NARROW.get(name, 1.0) for name in types), default=1.0) if is_fp32 else 1.0


def _sum(values: Iterable[float | None]) -> float | None:
    given = list(values)
    return None if None in given else sum(value for value in given if value is not None)
