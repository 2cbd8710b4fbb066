"""The INT8 doctor's findings in words: why INT8 is as fast as it is, and which nodes cost the accuracy. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...evidence import Explained, Kernel
from ..store.record import CellRecord, Run
from .executed import other_layers

SHOWN_NODES = 8
INTEGER_UNITS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")  # multiply 8 bits faster than floats
QDQ = ("QuantizeLinear", "DequantizeLinear", "FakeQuantize")


def explain(run: Run) -> dict[str, list[str]]:
    """By what they are about, `speed` and `accuracy`, the findings on INT8 rows of a check with explanations."""
    rows = [record for record in run.cells if record.cell.precision == "int8" and record.inspected]
    speed = [line for record in rows for line in _speed(record, _fp32(run, record))]
    units = run.host.isa
    on_cpu = any(record.cell.device == "cpu" for record in rows)
    if speed and on_cpu and units is not None and not set(units) & set(INTEGER_UNITS):
        speed.append(f"this CPU has none of {', '.join(INTEGER_UNITS)}: 8 bits are multiplied hardly faster than floats")
    return {"speed": speed, "accuracy": [line for record in run.cells for line in _accuracy(record)]}


def _fp32(run: Run, record: CellRecord) -> CellRecord | None:
    found = run.base_of(record, str(record.cell.target))
    return found if found and found.inspected else None


def _speed(record: CellRecord, base: CellRecord | None) -> list[str]:
    """Where the time of one call goes, as a share of all kernels' time."""
    kernels = _timed(record)
    total = _sum_ns(kernels)
    if not total:
        return []
    shares = [f"{_sum_ns(some) / total:.0%} {what}" for what, some in _parts(kernels) if some]
    return [f"{record.cell.id}: {_against(total, base)}; {', '.join(shares)}", *_other_scheme(record)]


def _timed(record: CellRecord) -> list[Kernel]:
    """The kernels whose time is known."""
    return [kernel for kernel in (record.inspected.kernels if record.inspected else ()) if kernel.ns is not None]


def _sum_ns(kernels: Sequence[Kernel]) -> float:
    return sum(kernel.ns or 0 for kernel in kernels)


def _other_scheme(record: CellRecord) -> list[str]:
    """Another scheme, where layers that the file quantizes ran in float."""
    left = other_layers(record)
    scheme, made = record.opened.int8_scheme if record.opened else None, record.cell.scheme
    if not left or not made or scheme in (None, made):
        return []
    return [f"{record.cell.id}: {left[0].sentence}; bench export --int8 {scheme} makes a file as this runtime likes it best"]


def _parts(kernels: Sequence[Kernel]) -> list[tuple[str, list[Kernel]]]:
    """Every kernel in one part, and what each part is called."""
    in_8_bits = [kernel for kernel in kernels if kernel.type == "int8"]
    in_float = [kernel for kernel in kernels if kernel.type not in ("", "int8")]
    moving = [kernel for kernel in kernels if not kernel.type]
    layers, others = ([kernel for kernel in in_8_bits if kernel.layer is layer] for layer in (True, False))
    float_layers, between = ([kernel for kernel in in_float if kernel.layer is layer] for layer in (True, False))
    unfused, rest = ([kernel for kernel in moving if (kernel.operator in QDQ) is pair] for pair in (True, False))
    return [
        ("in INT8 layers", layers),
        (f"in {_counted(others)}", others),
        (f"in layers left in float ({_named(float_layers)})", float_layers),
        (f"in {_counted(between)} between them", between),
        (f"in Q/DQ pairs that were not fused ({_counted(unfused)})", unfused),
        (f"in {_counted(rest)}, which moves or converts data", rest),
    ]


def _against(total_ns: float, base: CellRecord | None) -> str:
    own = f"kernels take {total_ns / 1e6:.3g} ms"
    known_ns = _sum_ns(_timed(base)) if base else 0
    return f"{own}, in fp32 {known_ns / 1e6:.3g} ms ({known_ns / total_ns:.1f} x)" if known_ns else own


def _named(kernels: Sequence[Kernel]) -> str:
    names = [kernel.node or kernel.operator for kernel in kernels]
    return ", ".join(names[:SHOWN_NODES]) + (", ..." if len(names) > SHOWN_NODES else "")


def _counted(kernels: Sequence[Kernel]) -> str:
    """`fp32 Relu x4, QuantizeLinear x5`."""
    counts = Counter(f"{kernel.type} {kernel.operator}".strip() for kernel in kernels)
    return ", ".join(f"{name} x{count}" if count > 1 else name for name, count in counts.most_common())


def _accuracy(record: CellRecord) -> list[str]:
    found = record.explained
    if not found:
        return []
    if found.why_not is not None:
        return [f"{record.cell.model}: {found.why_not}"]
    worst = ", ".join(f"{name} {value:.1f}" for name, value in found.nodes[:SHOWN_NODES]) or "none costs anything"
    lines = [f"{record.cell.model}: all in INT8 {found.sqnr_db:.1f} dB; each node alone in INT8, worst first, dB: {worst}"]
    return [*lines, *_suggestion(record, found)]


def _suggestion(record: CellRecord, found: Explained) -> list[str]:
    proof = found.proof
    if not proof:
        return [f"{record.cell.model}: no node stands out, so there is nothing to exclude"]
    before, after = proof.before, proof.after
    agreement = f", agreement {before.agreement:.1f} -> {after.agreement:.1f} %" if after.agreement is not None else ""
    what = f"SQNR {before.sqnr_db:.1f} -> {after.sqnr_db:.1f} dB{agreement} on {proof.items} {proof.data}"
    return [f"{record.cell.model}: --exclude {','.join(found.exclude)}: {what}"]
