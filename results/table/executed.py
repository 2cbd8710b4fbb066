"""What really ran, from the runtime's own evidence: kernel by kernel where it tells them, else what it declares. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ...evidence import Info, Kernel, Layers
from ...spec import PRECISIONS
from ..store.record import CellRecord
from .findings import Finding


def kernels(record: CellRecord) -> Sequence[Kernel]:
    """The stored kernels that compute something."""
    return [kernel for kernel in (record.inspected.kernels if record.inspected else ()) if kernel.type]


def _info(record: CellRecord) -> Info:
    return record.opened.info if record.opened else Info()


def executed(record: CellRecord) -> str | None:
    """The types of the arithmetic, those of most layers first, then of most other kernels: `int8+fp32`."""
    counted = Counter(kernel.type for kernel in kernels(record))
    layers = Counter(kernel.type for kernel in kernels(record) if kernel.layer)
    names = sorted(counted, key=lambda name: (-layers[name], -counted[name]))
    return "+".join(names) or _info(record).executed


def placement(record: CellRecord) -> str | None:
    """`13/13 CPU, int8 8/12 nodes`: nodes on the asked device, and kernels in the asked arithmetic of those that compute."""
    arithmetic, all_kernels = PRECISIONS[record.cell.precision].arithmetic, kernels(record)
    own = sum(kernel.type == arithmetic for kernel in all_kernels)
    census = f"{arithmetic} {own}/{len(all_kernels)} nodes" if all_kernels else ""
    return ", ".join(filter(None, (_info(record).placement, census))) or None


def unlike(record: CellRecord) -> list[Finding]:
    """In what way it ran otherwise than asked: other arithmetic, another place, or what its session remarks."""
    placed = re.match(r"(\d+)/(\d+) ", _info(record).placement or "")
    elsewhere = [Finding.of("elsewhere", nodes=int(placed[1]), of=int(placed[2]))] if placed and placed[1] != placed[2] else []
    remarks = [Finding.of("session", remark=remark) for remark in _info(record).remarks]
    return [*_other_arithmetic(record), *elsewhere, *remarks]


def _other_arithmetic(record: CellRecord) -> list[Finding]:
    asked, ran = PRECISIONS[record.cell.precision], executed(record) or ""
    if asked.layers_only and kernels(record):
        return other_layers(record)
    other = set(ran.split("+")) & set(PRECISIONS) - {asked.arithmetic, *asked.name.split("+")}
    return [Finding.of("other_arithmetic", asked=asked.name, ran=ran)] if other else []


def other_layers(record: CellRecord) -> list[Finding]:
    """A quantized file says itself which of its layers are float; more of them in float is not what was asked for."""
    asked, layers = PRECISIONS[record.cell.precision].arithmetic, (record.opened and record.opened.layers) or Layers()
    ran = [kernel.type for kernel in kernels(record) if kernel.layer]
    quantized = asked == PRECISIONS[record.cell.precision].file == "int8"
    other = [type for type in ran if type != asked]
    excess = len(other) - (layers.float if quantized else 0)
    if excess <= 0:
        return []
    of = f"{excess if layers.quantized is None else layers.quantized} quantized layers" if quantized else f"{len(ran)} layers"
    return [Finding.of("float_layers", count=excess, of=of, ran=other[0])]
