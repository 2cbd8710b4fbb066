"""Advice on a row from its share of the roof: what would make it faster, with the figures that say so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...spec import Cell
from ...work import COMPUTE, MEMORY
from ..store.record import CellRecord
from .findings import Finding
from .roof import LAUNCH, OVERHEAD, RoofShares, kernels_of, product_rates, types_of

if TYPE_CHECKING:
    from .row import Row

NEAR = 0.7  # of a limit: little is left below it
MOST = 0.5  # of the bytes of a call
FASTER = 1.3  # times as fast: the products of a type that is worth a sentence
LOW, BETTER = 0.5, 1.5  # a share of the roof that a larger batch raises, and how many times
CUDA_GRAPH = "cuda_graph"


def of_limits(record: CellRecord, limits: RoofShares, roofs: Sequence[CellRecord]) -> Iterator[Finding]:
    """Advice on a row by the limit that bounds it; none for a row far from its limits in computing and memory."""
    if limits.bound == MEMORY and (limits.memory or 0) >= NEAR:
        yield _memory(record, limits)
    elif limits.bound == COMPUTE and (limits.compute or 0) >= NEAR:
        yield _compute(record, limits, roofs)
    elif limits.bound == LAUNCH:
        yield _launch(record, limits)
    elif limits.bound == OVERHEAD:
        largest = max(limits.compute or 0, limits.memory or 0, limits.launch or 0)
        yield Finding.of("help_profile", largest_p=100 * largest)


def _memory(record: CellRecord, limits: RoofShares) -> Finding:
    work = record.work
    total = (work and work.least_bytes()) or 0
    weights = (work and work.weight_bytes) or 0
    figures = {"share_p": 100 * (limits.memory or 0), "weights_p": 100 * weights / total if total else 0.0}
    if weights < MOST * total:
        return Finding.of("help_memory_values", **figures)
    return Finding.of("help_memory_batch" if "int8" in types_of(record) else "help_memory", **figures)


def _compute(record: CellRecord, limits: RoofShares, roofs: Sequence[CellRecord]) -> Finding:
    own, share = types_of(record)[0], 100 * (limits.compute or 0)
    rates = product_rates(record, roofs)
    fastest = max(rates, key=lambda name: rates[name], default=own)
    if fastest == own or rates[fastest] < FASTER * (limits.flops_per_s or 0):
        return Finding.of("help_compute_alone", share_p=share, type=own)
    return Finding.of("help_compute", share_p=share, type=own, other=fastest, ratio=rates[fastest] / (limits.flops_per_s or 1))


def _launch(record: CellRecord, limits: RoofShares) -> Finding:
    kernels = kernels_of(record, record.work) if record.work else 0
    figures = {"share_p": 100 * (limits.launch or 0), "kernels": kernels}
    if has_no_graph(record):
        return Finding.of("help_graph", **figures, option=graph_option(record.cell))
    return Finding.of("help_launch", **figures)


def has_no_graph(record: CellRecord) -> bool:
    """True for a session that could have a CUDA graph, and has none."""
    settings = (record.opened.info.settings if record.opened else None) or {}
    return settings.get(CUDA_GRAPH) == "off"


def graph_option(cell: Cell) -> str:
    """Option of the command line that requests a CUDA graph for the target of `cell`."""
    return f"--option {cell.target}.{CUDA_GRAPH}=on"


def of_batches(rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Finding]]:
    """Advice on rows of a small batch, where a larger one of the same run reaches a larger share of the roof, by name."""
    families: dict[tuple[str, Cell], list[tuple[str, Row]]] = {}
    for name, row in rows:
        if row.roofs and row.limits.of_roof is not None:
            families.setdefault((row.run, replace(row.record.cell, batch=0, shapes=())), []).append((name, row))
    return [(name, advice) for family in families.values() for name, row in family if (advice := _larger(row, family))]


def _larger(row: Row, family: Sequence[tuple[str, Row]]) -> Finding | None:
    own = row.limits.of_roof or 0.0
    larger = [other for _, other in family if other.record.cell.batch > row.record.cell.batch]
    best = max(larger, key=lambda other: other.limits.of_roof or 0.0, default=None)
    reached = (best and best.limits.of_roof) or 0.0
    if best is None or own >= LOW or reached < BETTER * own:
        return None
    return Finding.of("help_batch", of_roof_p=100 * own, batch=best.record.cell.batch, other_p=100 * reached)
