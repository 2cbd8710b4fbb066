"""Arithmetic that ran, from the runtime's evidence: its kernels if it reports them, else its own declaration. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ...evidence import Info, Kernel, Layers
from ...spec import PRECISIONS
from ..store.record import CellRecord
from .findings import Finding


def kernels(record: CellRecord) -> Sequence[Kernel]:
    """Stored kernels that compute: kernels that only move or convert data have no type."""
    return [kernel for kernel in (record.inspected.kernels if record.inspected else ()) if kernel.type]


def _info(record: CellRecord) -> Info:
    return record.opened.info if record.opened else Info()


def executed(record: CellRecord) -> str | None:
    """Types of the arithmetic, such as `int8+fp32`: the type of most layers first, then of most other kernels."""
    if not (computing := kernels(record)):
        return _info(record).executed
    counted = Counter(kernel.type for kernel in computing)
    layers = Counter(kernel.type for kernel in computing if kernel.layer)
    # layers first: they take most of the time, and are what a precision is about
    names = sorted(counted, key=lambda name: (-layers[name], -counted[name]))
    return "+".join(names)


def placement(record: CellRecord) -> str | None:
    """`13/13 CPU, int8 8/12 nodes`: nodes on the requested device of all, and kernels in the requested arithmetic of all."""
    arithmetic, all_kernels = PRECISIONS[record.cell.precision].arithmetic, kernels(record)
    own = sum(kernel.type == arithmetic for kernel in all_kernels)
    census = f"{arithmetic} {own}/{len(all_kernels)} nodes" if all_kernels else ""
    return ", ".join(filter(None, (_info(record).placement, census))) or None


def unlike(record: CellRecord) -> list[Finding]:
    """Findings on differences from the request: other arithmetic, another device, and remarks of the session."""
    placed = re.match(r"(\d+)/(\d+) ", _info(record).placement or "")
    elsewhere = [Finding.of("elsewhere", nodes=int(placed[1]), of=int(placed[2]))] if placed and placed[1] != placed[2] else []
    remarks = [Finding.of("session", remark=remark) for remark in _info(record).remarks]
    return [*_other_arithmetic(record), *elsewhere, *remarks]


def _other_arithmetic(record: CellRecord) -> list[Finding]:
    precision, ran = PRECISIONS[record.cell.precision], executed(record) or ""
    if precision.layers_only and kernels(record):
        return other_layers(record)
    # a declared type that is none of our precisions proves neither that the requested one ran nor that it did not
    other = set(ran.split("+")) & set(PRECISIONS) - {precision.arithmetic, *precision.name.split("+")}
    return [Finding.of("other_arithmetic", asked=precision.name, ran=ran)] if other else []


def other_layers(record: CellRecord) -> list[Finding]:
    """Finding on layers that ran in another type than the request, beyond the layers that the file itself leaves in float."""
    arithmetic, layers = PRECISIONS[record.cell.precision].arithmetic, (record.opened and record.opened.layers) or Layers()
    ran = [kernel.type for kernel in kernels(record) if kernel.layer]
    quantized = arithmetic == PRECISIONS[record.cell.precision].file == "int8"
    other = [type for type in ran if type != arithmetic]
    # a quantized file declares its float layers (first and last ones, often); only more of them are a difference
    excess = len(other) - (layers.float if quantized else 0)
    if excess <= 0:
        return []
    of = f"{excess if layers.quantized is None else layers.quantized} quantized layers" if quantized else f"{len(ran)} layers"
    return [Finding.of("float_layers", count=excess, of=of, ran=other[0])]
