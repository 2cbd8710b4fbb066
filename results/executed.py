"""What really ran, from the runtime's own evidence: kernel by kernel where it tells them, else what it declares. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..spec import PRECISIONS
from .record import CellRecord


def kernels(record: CellRecord) -> Sequence[dict[str, Any]]:
    """The stored kernels that compute something."""
    return [kernel for kernel in (record.inspected or {}).get("kernels", ()) if kernel["type"]]


def _info(record: CellRecord, name: str) -> str | None:
    found = (record.opened or {}).get("info", {}).get(name)
    return None if found is None else str(found)


def executed(record: CellRecord) -> str | None:
    """The types of the arithmetic, those of most kernels first: `int8+fp32`."""
    counted = Counter(str(kernel["type"]) for kernel in kernels(record))
    return "+".join(name for name, _ in counted.most_common()) or _info(record, "executed")


def placement(record: CellRecord) -> str | None:
    """`13/13 CPU, int8 8/12 nodes`: nodes on the asked device, and kernels in the asked arithmetic of those that compute."""
    arithmetic, all_kernels = PRECISIONS[record.cell.precision].arithmetic, kernels(record)
    own = sum(kernel["type"] == arithmetic for kernel in all_kernels)
    census = f"{arithmetic} {own}/{len(all_kernels)} nodes" if all_kernels else ""
    return ", ".join(filter(None, (_info(record, "placement"), census))) or None


def unlike(record: CellRecord) -> list[str]:
    """In what way it ran otherwise than asked: other arithmetic, or another place."""
    placed = re.match(r"(\d+)/(\d+) ", _info(record, "placement") or "")
    elsewhere = [f"{placed[1]} of {placed[2]} nodes ran on the device"] if placed and placed[1] != placed[2] else []
    return [*_other_arithmetic(record), *elsewhere]


def _other_arithmetic(record: CellRecord) -> list[str]:
    precision, ran = record.cell.precision, executed(record) or ""
    if PRECISIONS[precision].file == "int8" and kernels(record):
        return float_layers(record)
    other = set(ran.split("+")) & set(PRECISIONS) - {PRECISIONS[precision].arithmetic}
    return [f"{precision} was asked for and {ran} ran"] if other else []


def float_layers(record: CellRecord) -> list[str]:
    """A quantized file says itself which of its layers are float; more of them in float is not what was asked for."""
    in_float = [kernel["type"] for kernel in kernels(record) if kernel["layer"] and kernel["type"] != "int8"]
    layers = (record.opened or {}).get("layers", {})
    excess = len(in_float) - int(layers.get("float", 0))
    if excess <= 0:
        return []
    return [f"{excess} of {layers.get('quantized', excess)} quantized layers ran in {in_float[0]}"]
