"""Profiles as a table: a line for each node or group of nodes, with time and share on each side. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...axes import Scalar
from ..store.head import SCHEMA
from ..table.column import Field
from ..table.roof import RoofShares
from ..table.table import RowValues, Table
from .findings import findings_of
from .lines import Line, ProfiledCase, Side, SidePart, short
from .roofs import LayerWork, SideWork

SHOWN_LINES = 25
UNMAPPED = "(not mapped)"
CASE = Field(name="case", number=False, priority=1, definition="Model, batch and dimensions.")
FIELDS: tuple[Field, ...] = (
    Field(name="operators", number=False, priority=0, definition="Operators of the nodes, in the order of the graph."),
    Field(name="name", number=False, priority=2, definition="End of the name of the node in `node`."),
    Field(name="node", number=False, priority=9, definition="Name of the first layer among the nodes, else of the last node."),
    Field(name="shape", number=False, priority=3, definition="Shape of that node's first output."),
    Field(name="dtype", number=False, priority=9, definition="Type of that output in the file."),
    Field(name="nodes", priority=9, definition="Number of nodes."),
    Field(name="gflops", title="GFLOP", priority=5, definition="Nominal operations of its multiply-adds in one call, in 10⁹."),
)
OF_SIDE: tuple[Field, ...] = (
    Field(name="ms", priority=0, each=True, definition="Time of the kernels in one call, in ms."),
    Field(name="share_p", title="%", priority=0, decimals=1, definition="Share of the time of all kernels, in per cent."),
    Field(name="type", number=False, priority=4, definition="Types that the kernels compute in; empty for moves of data."),
    Field(name="kernels", priority=9, definition="Number of kernels."),
    Field(name="gflops_per_s", title="GFLOP/s", priority=9, definition="Nominal operations a second, in 10⁹."),
    Field(
        name="of_roof",
        title="of roof",
        unit="%",
        priority=3,
        decimals=0,
        definition="Least time on this machine over it, in %.",
    ),
    Field(name="bound", number=False, priority=6, definition="What limits it: compute, memory, launch or overhead."),
)
RATIO = Field(name="ratio", title="x", priority=1, decimals=2, definition="Time over that of the first side.")
PEOPLE = ("ms", "share_p", "type", "ratio", "of_roof", "bound")
ROOFED = ("gflops", "of_roof", "bound")  # columns of a profile with roofs
BEHIND = ("node", "dtype", "nodes")  # columns for programs


def tabulate(cases: Sequence[ProfiledCase], everything: bool = False) -> Table:
    """Table of `cases`. Without `everything` it has the SHOWN_LINES lines of each case with most time."""
    labels = list(dict.fromkeys(side.label for case in cases for side in case.sides))
    first = labels[0] if labels else ""
    fields = [*([CASE] if len(cases) > 1 else []), *FIELDS, *_side_fields(labels, first)]
    works = {id(case): [SideWork.of(side) for side in case.sides] for case in cases}
    rows = [_row(case, line, labels, works[id(case)]) for case in cases for line in _shown(case, everything)]
    has_roofs = any(work for each in works.values() for work in each)
    findings = [finding for case in cases for finding in findings_of(case)]
    return Table(
        names=("case", *(field.name for field in (*FIELDS, *_side_fields(labels, first)))),
        rows=tuple(rows),
        fields=tuple(field for field in fields if _is_for_people(field, labels, has_roofs)),
        facts=tuple(_facts(cases)),
        findings=tuple(findings),
        remarks=tuple(_left_out(cases, everything)),
        grouped=False,
        head={
            "schema": SCHEMA,
            "sides": [_side_data(side, case, work) for case in cases for side, work in zip(case.sides, works[id(case)])],
            "findings": [finding.wire() for finding in findings],
        },
    )


def _side_fields(labels: Sequence[str], first: str) -> Iterator[Field]:
    for label in labels:
        for field in (*OF_SIDE, *([RATIO] if label != first else [])):
            title = f"{label} {field.heading}"
            yield Field(
                name=f"{label}.{field.name}",
                title=title,
                unit=field.unit,
                number=field.number,
                priority=field.priority,
                decimals=field.decimals,
                each=field.each,
                definition=field.definition,
            )


def _is_for_people(field: Field, labels: Sequence[str], has_roofs: bool) -> bool:
    label, dot, name = field.name.rpartition(".")
    if name in ROOFED and not has_roofs:
        return False
    return name in PEOPLE if dot and label in labels else field.name not in BEHIND


def _shown(case: ProfiledCase, everything: bool) -> list[Line]:
    """Lines to show, in the order of the graph: all, or those with most time on any side."""
    if everything or len(case.lines) <= SHOWN_LINES:
        return list(case.lines)
    totals = [side.total_ns or 1 for side in case.sides]
    shares = {id(line): max(part.ns / total for part, total in zip(line.parts, totals) if part) for line in case.lines}
    most = {id(line) for line in sorted(case.lines, key=lambda line: -shares[id(line)])[:SHOWN_LINES]}
    return [line for line in case.lines if id(line) in most or not line.nodes]


def _row(case: ProfiledCase, line: Line, labels: Sequence[str], works: Sequence[SideWork | None]) -> RowValues:
    main = line.main
    layers = {
        side.label: work.of_line(line, part) if work else LayerWork() for side, work, part in zip(case.sides, works, line.parts)
    }
    row: dict[str, Scalar] = {
        "case": case.name,
        "operators": line.operators or UNMAPPED,
        "name": short(main.name) if main else None,
        "node": main.name if main else None,
        "shape": main.shapes[0] if main and main.shapes else None,
        "dtype": main.dtype or None if main else None,
        "nodes": len(line.nodes),
        "gflops": next((layer.flops / 1e9 for layer in layers.values() if layer.flops), None),
    }
    parts = {side.label: (side, part) for side, part in zip(case.sides, line.parts)}
    first = parts[labels[0]][1] if labels and labels[0] in parts else None
    for label in labels:
        side, part = parts.get(label, (None, None))
        row |= _figures(label, side, part, first if label != labels[0] else None)
        row |= _roof_figures(label, layers.get(label, LayerWork()))
        if label == labels[0]:
            row.pop(f"{label}.ratio")
    return row


def _figures(label: str, side: Side | None, part: SidePart | None, first: SidePart | None) -> dict[str, Scalar]:
    ratio = part.ns / first.ns if part and first and first.ns and part.ns else None
    return {
        f"{label}.ms": part.ns / 1e6 if part else None,
        f"{label}.share_p": 100 * part.ns / side.total_ns if side and part and side.total_ns else None,
        f"{label}.type": part.types or None if part else None,
        f"{label}.kernels": len(part.kernels) if part else None,
        f"{label}.ratio": ratio,
    }


def _roof_figures(label: str, layer: LayerWork) -> dict[str, Scalar]:
    shares = layer.shares
    return {
        f"{label}.gflops_per_s": layer.flops_per_s / 1e9 if layer.flops_per_s else None,
        f"{label}.of_roof": None if shares.of_roof is None else 100 * shares.of_roof,
        f"{label}.bound": shares.bound,
    }


def _facts(cases: Sequence[ProfiledCase]) -> Iterator[str]:
    """Lines above the table: the cases, and the versions of the runtimes are facts of the runs."""
    for case in cases:
        sides = ", ".join(side.label for side in case.sides)
        yield f"{case.name}: time of the kernels in one call on {sides}" if sides else f"{case.name}: no profile"


def _left_out(cases: Sequence[ProfiledCase], everything: bool) -> Iterator[str]:
    """Sentences on lines and nodes that the table does not show."""
    for case in cases:
        left = len(case.lines) - len(_shown(case, everything))
        if left:
            yield f"{case.name}: {left} lines with less time are left out; --all prints them"
        if case.idle:
            yield f"{case.name}: {case.idle} nodes have no kernel on any side: they are computed at load, or move nothing"


def _side_data(side: Side, case: ProfiledCase, work: SideWork | None) -> dict[str, Any]:
    """Totals of a side for programs; times in ms, shares of the roof in %."""
    profiled, call = side.profiled, work.of_call() if work else RoofShares()
    return {
        "case": case.name,
        "label": side.label,
        "p50_ms": _ms(profiled.p50_ns),
        "profiled_p50_ms": _ms(profiled.profiled_p50_ns),
        "kernels_ms": _ms(profiled.kernels_ns),
        "mapped": side.mapped,
        "calls": profiled.calls,
        "step_us": profiled.step_ns / 1e3,
        "opening_ms": {part.name: part.ns / 1e6 for part in profiled.opening},
        "of_roof": None if call.of_roof is None else 100 * call.of_roof,
        "bound": call.bound,
    }


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6
