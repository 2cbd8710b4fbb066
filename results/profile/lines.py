"""Profiles side by side: a line for each node, or for a group of nodes that a runtime fused. Pure.

Runtimes fuse different nodes. A line has the smallest group of nodes whose kernels belong to no other line on any side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...evidence import GraphNode, Kernel, Profiled
from ...work import MOVES
from ..store.record import CellRecord, Run
from ..table.table import names_of
from .mapping import LAYERS

SHOWN_OPERATORS = 4
LONGEST_NAME = 36  # characters of a node's name for people
COARSE_LAYERS, COARSE_SHARE = 8, 0.25
"""A kernel is coarse if it has so many layers, and this share of all: TensorRT runs most of a transformer as one kernel."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Profile of one cell. `label`: its name in the table, by what distinguishes it from the other sides.

    `roofs`: records of its run that measure the machine.
    """

    label: str
    record: CellRecord
    profiled: Profiled
    roofs: tuple[CellRecord, ...] = ()

    @property
    def total_ns(self) -> float:
        """Sum of the times of all kernels."""
        return sum(kernel.ns or 0 for kernel in self.profiled.kernels)

    @property
    def mapped(self) -> float:
        """Share of the kernels' time that is mapped to nodes."""
        return sum(kernel.ns or 0 for kernel in self.profiled.kernels if kernel.nodes) / self.total_ns if self.total_ns else 0.0


@dataclass(frozen=True, kw_only=True)
class SidePart:
    """Kernels of one side in a line."""

    kernels: tuple[Kernel, ...]

    @property
    def ns(self) -> float:
        return sum(kernel.ns or 0 for kernel in self.kernels)

    @property
    def low_ns(self) -> float:
        """Sum of the lower quartiles over calls."""
        return sum(kernel.low_ns or 0 for kernel in self.kernels)

    @property
    def high_ns(self) -> float:
        """Sum of the upper quartiles over calls."""
        return sum(kernel.high_ns or 0 for kernel in self.kernels)

    @property
    def types(self) -> str:
        """Types that the kernels compute in, the one with most time first; empty for moves alone."""
        times: Counter[str] = Counter()
        for kernel in self.kernels:
            times[kernel.type] += int(kernel.ns or 0) + 1
        return "+".join(name for name, _ in times.most_common() if name)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Nodes that belong together, and the part of each side; None for a side without a kernel of these nodes.

    Without nodes it holds the kernels that could not be mapped.
    """

    nodes: tuple[GraphNode, ...]
    parts: tuple[SidePart | None, ...]

    @property
    def main(self) -> GraphNode | None:
        """The node that names the line: the first layer, else the last node, whose output the line writes."""
        layers = (node for node in self.nodes if node.operator in LAYERS)
        return next(layers, self.nodes[-1] if self.nodes else None)

    @property
    def operators(self) -> str:
        """Operators in the order of the graph: `Conv+Relu`, `Add+4 Mul`.

        Of a long line the first ones, where layers come first, and operators that only move values last.
        """
        counts = Counter(node.operator for node in self.nodes)
        if len(counts) > SHOWN_OPERATORS:
            counts = Counter({name: counts[name] for name in sorted(counts, key=_rank)})
        texts = [name if count == 1 else f"{count} {name}" for name, count in counts.items()]
        return "+".join((*texts[:SHOWN_OPERATORS], *(["…"] if len(texts) > SHOWN_OPERATORS else [])))

    @property
    def most_ns(self) -> float:
        return max((part.ns for part in self.parts if part), default=0.0)


@dataclass(frozen=True, kw_only=True)
class ProfiledCase:
    """Sides that answer one question: the same model, batch and shapes. `name`: what distinguishes it from other cases.

    `absent`: labels and reasons of cells without a profile, and `unprofiled` their records. `coarse`: coarse kernels by the
    place of their side, whose time belongs to lines of their own.
    """

    name: str
    sides: tuple[Side, ...]
    lines: tuple[Line, ...]
    absent: tuple[tuple[str, str, str], ...] = ()
    unprofiled: tuple[tuple[str, CellRecord], ...] = ()
    coarse: Mapping[int, tuple[Kernel, ...]] = field(default_factory=dict)

    @property
    def idle(self) -> int:
        """Number of nodes of the first side without a kernel on any side: they are folded, or cost nothing."""
        busy = {node.name for line in self.lines for node in line.nodes}
        return sum(node.name not in busy for node in self.sides[0].profiled.nodes) if self.sides else 0


def _rank(operator: str) -> int:
    return 0 if operator in LAYERS else 2 if operator in MOVES else 1


def short(name: str) -> str:
    """End of the name of a node. Exporters write paths, and names of several nodes they fused, whose last part says most."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def cases_of(runs: Sequence[Run]) -> list[ProfiledCase]:
    """Cases of all `runs`, in the order of their first cells."""
    named = list(zip(names_of(runs), runs)) if len(runs) > 1 else [("", run) for run in runs]
    cells = [(name, record) for name, run in named for record in run.cells if not record.cell.roof]
    roofs = {name: tuple(record for record in run.cells if record.cell.roof) for name, run in named}
    questions: dict[tuple[object, ...], list[tuple[str, CellRecord]]] = {}
    for name, record in cells:
        questions.setdefault(_question(record), []).append((name, record))
    several = len({record.cell.model for _, record in cells}) > 1
    return [_case(members, several, roofs) for members in questions.values()]


def _question(record: CellRecord) -> tuple[object, ...]:
    cell = record.cell
    return cell.model, cell.batch, cell.dims, cell.shapes


def _case(
    members: Sequence[tuple[str, CellRecord]], several_models: bool, roofs: Mapping[str, tuple[CellRecord, ...]]
) -> ProfiledCase:
    cells = [record.cell for _, record in members]
    precisions = {(cell.precision, cell.scheme) for cell in cells}
    labels = [_label(run, record, len(precisions) > 1) for run, record in members]
    sides = tuple(
        Side(label=label, record=record, profiled=record.profiled, roofs=roofs[run])
        for label, (run, record) in zip(labels, members)
        if record.profiled and not record.failed
    )
    shown = {side.label for side in sides}
    unprofiled = tuple((label, record) for label, (_, record) in zip(labels, members) if label not in shown)
    absent = tuple((label, record.status, record.reason or "") for label, record in unprofiled)
    first = cells[0]
    dims = "".join(f" {name}={size}" for name, size in first.dims)
    name = f"{first.model} b{first.batch}{dims}" if several_models else f"b{first.batch}{dims}"
    coarse = coarse_kernels(sides)
    lines = tuple(aligned(sides, coarse))
    return ProfiledCase(name=name, sides=sides, lines=lines, absent=absent, unprofiled=unprofiled, coarse=coarse)


def _label(run: str, record: CellRecord, with_precision: bool) -> str:
    cell = record.cell
    scheme = f"-{cell.scheme}" if cell.scheme not in ("", "portable") else ""
    precision = f"{cell.precision}{scheme}" if with_precision else ""
    return " ".join(filter(None, (run, str(cell.target), precision)))


def coarse_kernels(sides: Sequence[Side]) -> dict[int, tuple[Kernel, ...]]:
    """Coarse kernels by the place of their side; none where all sides have some, which can then be compared as they are."""
    coarse = {place: kernels for place, side in enumerate(sides) if (kernels := _coarse(side))}
    return coarse if len(coarse) < len(sides) else {}


def _coarse(side: Side) -> tuple[Kernel, ...]:
    layers = {node.name for node in side.profiled.nodes if node.operator in LAYERS}
    least = max(COARSE_LAYERS, COARSE_SHARE * len(layers))
    return tuple(kernel for kernel in side.profiled.kernels if len(layers & set(kernel.nodes)) >= least)


def aligned(sides: Sequence[Side], coarse: Mapping[int, tuple[Kernel, ...]]) -> list[Line]:
    """Lines of `sides` in the order of the graph; kernels without nodes come last, in one line, and then `coarse` ones."""
    nodes = {node.name: node for side in reversed(sides) for node in side.profiled.nodes}
    order = list(dict.fromkeys(node.name for side in sides for node in side.profiled.nodes))
    groups = _Groups()
    own = [coarse.get(place, ()) for place in range(len(sides))]
    fine = [[kernel for kernel in side.profiled.kernels if kernel not in apart] for side, apart in zip(sides, own)]
    for kernels in fine:
        for kernel in kernels:
            groups.join(kernel.nodes)
    members: dict[str, list[str]] = {}
    for name in order:
        if name in groups.parent:
            members.setdefault(groups.root(name), []).append(name)
    roots = [*members, *([""] if any(not kernel.nodes for kernels in fine for kernel in kernels) else [])]
    parts = [_parts(kernels, groups) for kernels in fine]
    of_coarse = [
        Line(
            nodes=tuple(nodes[name] for name in kernel.nodes),
            parts=tuple(SidePart(kernels=(kernel,)) if other == place else None for other in range(len(sides))),
        )
        for place, kernels in coarse.items()
        for kernel in kernels
    ]
    lines = [
        Line(
            nodes=tuple(nodes[name] for name in members.get(root, ())),
            parts=tuple(of_side.get(root) for of_side in parts),
        )
        for root in roots
    ]
    return [*lines, *of_coarse]


def _parts(of_side: Iterable[Kernel], groups: _Groups) -> dict[str, SidePart]:
    """SidePart of each group of kernels, by the group's root; kernels without nodes have the root of an empty name."""
    kernels: dict[str, list[Kernel]] = {}
    for kernel in of_side:
        kernels.setdefault(groups.root(kernel.nodes[0]) if kernel.nodes else "", []).append(kernel)
    return {root: SidePart(kernels=tuple(of_root)) for root, of_root in kernels.items()}


class _Groups:
    """Disjoint sets of names, which `join` merges (union-find with path halving)."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        parent = self.parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    def join(self, names: Iterable[str]) -> None:
        roots = [self.root(name) for name in names]
        for root in roots[1:]:
            self.parent[root] = roots[0]
