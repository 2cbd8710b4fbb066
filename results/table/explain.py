"""Findings of the INT8 doctor: the time of an INT8 call by part, and the nodes that cost accuracy. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from ...evidence import Explained, Kernel
from ..store.record import CellRecord, Run
from .executed import other_layers
from .findings import Finding, sentences

SHOWN_NODES = 8
INTEGER_UNITS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")  # multiply 8 bits faster than floats
QDQ = ("QuantizeLinear", "DequantizeLinear", "FakeQuantize")
ONE_LINE = {
    **dict.fromkeys(("int8_time", "int8_time_alone", "int8_layers", "int8_other", "int8_float_layers"), "time"),
    **dict.fromkeys(("int8_float_between", "int8_unfused", "int8_moving"), "time"),
    **dict.fromkeys(("int8_sqnr", "int8_node_sqnr", "int8_no_cost"), "nodes"),
}
"""Kinds of findings that share one line of the text below a table."""


def explain(run: Run) -> dict[str, list[Finding]]:
    """Findings by topic, `speed` and `accuracy`, on the INT8 rows of a check with explanations.

    Findings on speed name the row by its cell's id, and findings on accuracy by its model.
    """
    rows = [record for record in run.cells if record.cell.precision == "int8" and record.inspected]
    speed = [finding for record in rows for finding in _speed(record, _fp32(run, record))]
    units = run.host.isa
    on_cpu = any(record.cell.device == "cpu" for record in rows)
    # a host of an old run, or one without /proc/cpuinfo, reports no instruction sets: that proves nothing
    if speed and on_cpu and units is not None and not set(units) & set(INTEGER_UNITS):
        speed.append(Finding.of("no_integer_units", units=", ".join(INTEGER_UNITS)))
    return {"speed": speed, "accuracy": [finding for record in run.cells for finding in _accuracy(record)]}


def in_lines(findings: Sequence[Finding]) -> list[str]:
    """Text of `findings`, behind the row's name; the parts of one row's time are one line."""
    runs = groupby(findings, key=lambda finding: (finding.rows, ONE_LINE.get(finding.kind, finding.kind)))
    return [": ".join((*rows, "; ".join(sentences(group)))) for (rows, _), group in runs]


def _fp32(run: Run, record: CellRecord) -> CellRecord | None:
    base = run.base_of(record, str(record.cell.target))
    return base if base and base.inspected else None


def _speed(record: CellRecord, base: CellRecord | None) -> list[Finding]:
    """Time of one call, and its parts as shares of all kernels' time."""
    kernels = _timed(record)
    total_ns = _sum_ns(kernels)
    if not total_ns:
        return []
    findings = [_against(total_ns, base), *_parts(kernels, total_ns), *_other_scheme(record)]
    return [replace(finding, rows=(record.cell.id,)) for finding in findings]


def _timed(record: CellRecord) -> list[Kernel]:
    """Kernels with a measured duration."""
    return [kernel for kernel in (record.inspected.kernels if record.inspected else ()) if kernel.ns is not None]


def _sum_ns(kernels: Sequence[Kernel]) -> float:
    return sum(kernel.ns or 0 for kernel in kernels)


def _other_scheme(record: CellRecord) -> list[Finding]:
    """Propose another scheme if layers that the file quantizes ran in float."""
    in_float = other_layers(record)
    best, scheme = record.opened.int8_scheme if record.opened else None, record.cell.scheme
    if not in_float or not scheme or best in (None, scheme):
        return []
    return [Finding.of("int8_other_scheme", **dict(in_float[0].values), scheme=best)]


def _parts(kernels: Sequence[Kernel], total_ns: float) -> list[Finding]:
    """Shares of the time. Every kernel is in exactly one part; empty parts are left out."""
    in_8_bits = [kernel for kernel in kernels if kernel.type == "int8"]
    in_float = [kernel for kernel in kernels if kernel.type not in ("", "int8")]
    moving = [kernel for kernel in kernels if not kernel.type]
    layers, others = ([kernel for kernel in in_8_bits if kernel.layer is layer] for layer in (True, False))
    float_layers, between = ([kernel for kernel in in_float if kernel.layer is layer] for layer in (True, False))
    # a pair that the runtime fused into a layer has no kernel of its own, so every kernel here is a pair that costs time
    unfused, rest = ([kernel for kernel in moving if (kernel.operator in QDQ) is pair] for pair in (True, False))
    parts: Sequence[tuple[str, Sequence[Kernel], dict[str, str]]] = (
        ("int8_layers", layers, {}),
        ("int8_other", others, {"kernels": _counted(others)}),
        ("int8_float_layers", float_layers, {"nodes": _named(float_layers)}),
        ("int8_float_between", between, {"kernels": _counted(between)}),
        ("int8_unfused", unfused, {"kernels": _counted(unfused)}),
        ("int8_moving", rest, {"kernels": _counted(rest)}),
    )
    return [Finding.of(kind, share=_sum_ns(part) / total_ns, **names) for kind, part, names in parts if part]


def _against(total_ns: float, base: CellRecord | None) -> Finding:
    """Time of all kernels, beside that of the fp32 row if its kernels were timed."""
    fp32_ns = _sum_ns(_timed(base)) if base else 0
    if not fp32_ns:
        return Finding.of("int8_time_alone", kernels_ms=total_ns / 1e6)
    return Finding.of("int8_time", kernels_ms=total_ns / 1e6, fp32_ms=fp32_ns / 1e6, speedup=fp32_ns / total_ns)


def _named(kernels: Sequence[Kernel]) -> str:
    names = [_name(kernel) for kernel in kernels]
    return ", ".join(names[:SHOWN_NODES]) + (", ..." if len(names) > SHOWN_NODES else "")


def _name(kernel: Kernel) -> str:
    """Name of a node of the file where the kernel is mapped to one, as --exclude takes it; else the runtime's own name."""
    own = kernel.node or kernel.operator
    return own if own in kernel.nodes else next(iter(kernel.nodes), own)


def _counted(kernels: Sequence[Kernel]) -> str:
    """`fp32 Relu x4, QuantizeLinear x5`."""
    counts = Counter(f"{kernel.type} {kernel.operator}".strip() for kernel in kernels)
    return ", ".join(f"{name} x{count}" if count > 1 else name for name, count in counts.most_common())


def _accuracy(record: CellRecord) -> list[Finding]:
    """SQNR of the file, SQNR with single nodes in INT8, and the nodes to exclude."""
    explained = record.explained
    if not explained:
        return []
    findings = [*_nodes(explained), *_of_outputs(explained), _suggestion(explained), *_of_proof(explained)]
    if explained.why_not is not None:
        findings = [Finding.of("int8_not_explained", reason=explained.why_not)]
    return [replace(finding, rows=(record.cell.model,)) for finding in findings]


def _nodes(explained: Explained) -> list[Finding]:
    worst = [Finding.of("int8_node_sqnr", node=node, sqnr_db=db) for node, db in explained.nodes[:SHOWN_NODES]]
    return [Finding.of("int8_sqnr", sqnr_db=explained.sqnr_db), *(worst or [Finding.of("int8_no_cost")])]


def _of_outputs(explained: Explained) -> list[Finding]:
    """The most costly node of each of several outputs, the worst output first."""
    costs = sorted(explained.outputs, key=lambda cost: cost.sqnr_db)[:SHOWN_NODES]
    names = ("output", "sqnr_db", "node", "node_db", "after_db")
    return [Finding.of("int8_output", **{name: getattr(cost, name) for name in names}) for cost in costs]


def _of_proof(explained: Explained) -> list[Finding]:
    """Top-1 before and after, and the command that leaves the nodes in float."""
    proof = explained.proof
    findings: list[Finding] = []
    if not proof or not explained.exclude:
        return [Finding.of("int8_search", command=explained.command)] if explained.command else findings
    if proof.top1_after is not None:
        figures = {"before": proof.top1_before, "after": proof.top1_after, "fp32": proof.top1_fp32}
        findings.append(Finding.of("int8_top1", **figures, items=proof.items, data=proof.data))
    if explained.command:
        figures = {"sqnr_before_db": explained.sqnr_db, "sqnr_after_db": explained.after_db}
        findings.append(Finding.of("int8_command", command=explained.command, **figures, data=explained.data))
    return findings


def _nothing_gained(explained: Explained) -> Finding:
    """Reason for no suggestion, with the numbers of nodes that were tried."""
    if not explained.tried:
        return Finding.of("int8_no_outlier")
    best_db = max(value for _, value in explained.tried)
    figures = {"sqnr_before_db": explained.sqnr_db, "sqnr_after_db": best_db}
    return Finding.of("int8_no_gain", tried=", ".join(str(size) for size, _ in explained.tried), **figures)


def _suggestion(explained: Explained) -> Finding:
    """Nodes to exclude, as --exclude takes them, with the SQNR (and agreement) before and after."""
    proof = explained.proof
    if not proof:
        return _nothing_gained(explained)
    before, after = proof.before, proof.after
    if not explained.exclude:
        figures = {"sqnr_before_db": before.sqnr_db, "sqnr_after_db": after.sqnr_db}
        return Finding.of("int8_not_proven", **figures, items=proof.items, data=proof.data)
    finding = Finding.of(
        "int8_exclude",
        nodes=",".join(explained.exclude),
        sqnr_before_db=before.sqnr_db,
        sqnr_after_db=after.sqnr_db,
        items=proof.items,
        data=proof.data,
    )
    if after.agreement is None:
        return finding
    agreement = (("agreement_before", before.agreement), ("agreement_after", after.agreement))
    return Finding(kind="int8_exclude_agreement", values=(*finding.values, *agreement))
