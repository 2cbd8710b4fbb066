"""Findings on profiles: totals against p50, and what takes the time. Pure.

Each finding has the figures that it rests on. The limits below decide which facts are worth a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...errors import quantity
from ...evidence import OpeningPart
from ..store.record import CellRecord
from ..table.advice import graph_option, has_no_graph
from ..table.findings import Finding
from .lines import Line, ProfiledCase, Side, short
from .roofs import SideWork

SUM_SHARE = 0.10  # difference of the kernels' sum and p50 that needs an explanation
MOVES_SHARE = 0.10  # of the kernels' time: copies and changes of layout or type
QDQ_SHARE = 0.05
QDQ = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "FakeQuantize")
OPERATOR_SHARE, OPERATOR_RATIO = 0.10, 2.0
"""An operator stands out if it takes this share of one side's time, and this times the share that it takes on another side."""
SLOWER_SHARE, SLOWER_LINES = 0.05, 3
"""A line is slower if it costs this share of the first side's time more, and the quartiles of both sides do not overlap."""
ROOM_SHARE, ROOM_LINES = 0.05, 3
"""A line has room if its time above the roof is this share of all kernels' time."""


def findings_of(case: ProfiledCase) -> list[Finding]:
    """Findings on the sides of `case`, each with the label of its side."""
    absent = [(label, Finding.of("profile_absent", status=status, reason=reason)) for label, status, reason in case.absent]
    labelled = [replace(finding, rows=(label,)) for label, finding in absent]
    labelled += [replace(finding, rows=(label,)) for label, record in case.unprofiled for finding in _start(record)]
    for side in case.sides:
        labelled += [replace(finding, rows=(side.label,)) for finding in _of_side(side)]
    for place, kernels in case.coarse.items():
        count = sum(len(kernel.nodes) for kernel in kernels)
        coarse = Finding.of("profile_coarse", kernels=quantity(len(kernels), "kernel"), nodes=count)
        labelled.append(replace(coarse, rows=(case.sides[place].label,)))
    for place, side in enumerate(case.sides):
        pairs = (*_operators(case, place), *(_slower(case, place) if place else ()), *_roof(case, place))
        labelled += [replace(finding, rows=(side.label,)) for finding in pairs]
    return labelled


def _of_side(side: Side) -> Iterator[Finding]:
    profiled, total_ns = side.profiled, side.total_ns
    if not total_ns or not profiled.p50_ns or not profiled.profiled_p50_ns or not profiled.kernels_ns:
        yield Finding.of("profile_empty")
        return
    yield Finding.of(
        "profile_totals",
        p50_ms=profiled.p50_ns / 1e6,
        kernels_ms=profiled.kernels_ns / 1e6,
        sum_p=100 * profiled.kernels_ns / profiled.p50_ns,
        mapped_p=100 * side.mapped,
        cost_p=100 * (profiled.profiled_p50_ns / profiled.p50_ns - 1),
        calls=profiled.calls,
    )
    yield from _start(side.record, profiled.opening)
    yield from _difference(side)
    yield from _moves(side)


def _start(record: CellRecord, opening: Sequence[OpeningPart] = ()) -> Iterator[Finding]:
    """Times of a fresh process, and the parts of its load: those that the runtime reports, and those of the worker."""
    starts = record.cold
    if starts and starts[-1].cold_s is not None:
        start = starts[-1]
        seconds = {"cold_ms": start.cold_s, "process_ms": start.process_s, "import_ms": start.import_s, "load_ms": start.load_s}
        times = {name: 1e3 * (value or 0) for name, value in seconds.items()}
        first_ms = start.first_ms or 0
        rest_ms = max(0.0, times["cold_ms"] - times["process_ms"] - times["import_ms"] - times["load_ms"] - first_ms)
        yield Finding.of("profile_start", **times, first_ms=first_ms, rest_ms=rest_ms)
    opened = record.opened
    load_ns = 1e9 * (opened.load_s or 0) if opened else 0
    for parts in (opening, opened.parts if opened else ()):
        if parts:
            texts = ", ".join(f"{part.name} {part.ns / 1e6:.3g}" for part in parts)
            yield Finding.of("profile_opening", parts=texts, source=parts[0].source, load_ms=load_ns / 1e6)


def _difference(side: Side) -> Iterator[Finding]:
    """Explanation of a sum of the kernels that differs from p50 by more than SUM_SHARE.

    The profiled calls, in which the kernels ran, decide between the reasons.
    """
    profiled = side.profiled
    p50_ns, kernels_ns, profiled_ns = (profiled.p50_ns or 0, profiled.kernels_ns or 0, profiled.profiled_p50_ns or 0)
    figures = {"sum_p": 100 * (kernels_ns / p50_ns - 1), "cost_p": 100 * (profiled_ns / p50_ns - 1)}
    if abs(kernels_ns / p50_ns - 1) <= SUM_SHARE:
        return
    kernels = sum(bool(kernel.ns) for kernel in profiled.kernels)
    if kernels_ns < p50_ns and kernels_ns < (1 - SUM_SHARE) * profiled_ns:
        gap_ns = p50_ns - kernels_ns
        # A clock of whole steps cuts half a step off each kernel on average.
        cut_ns = min(gap_ns, kernels * profiled.step_ns / 2)
        gap_us = gap_ns / 1e3 / max(1, kernels)
        yield Finding.of(
            "profile_gaps", gap_p=100 * gap_ns / p50_ns, kernels=kernels, gap_us=gap_us, cut_p=100 * cut_ns / p50_ns
        )
        if has_no_graph(side.record):
            yield Finding.of("profile_graph", gap_p=100 * gap_ns / p50_ns, option=graph_option(side.record.cell))
    elif kernels_ns > p50_ns and profiled_ns - p50_ns >= (kernels_ns - p50_ns) / 2:
        cost_us = (profiled_ns - p50_ns) / 1e3 / max(1, kernels)
        yield Finding.of("profile_slowed", **figures, kernels=kernels, cost_us=cost_us)
    else:
        yield Finding.of("profile_unsteady", **figures)


def _moves(side: Side) -> Iterator[Finding]:
    """Shares of kernels that compute nothing."""
    moving = [kernel for kernel in side.profiled.kernels if not kernel.type and kernel.ns]
    pairs = [kernel for kernel in moving if kernel.operator in QDQ]
    rest = [kernel for kernel in moving if kernel.operator not in QDQ]
    for kind, kernels, least in (("profile_moves", rest, MOVES_SHARE), ("profile_qdq", pairs, QDQ_SHARE)):
        share = sum(kernel.ns or 0 for kernel in kernels) / side.total_ns
        if share >= least:
            times: Counter[str] = Counter()
            for kernel in kernels:
                times[kernel.operator] += int(kernel.ns or 0)
            names = ", ".join(f"{name} {time / side.total_ns:.0%}" for name, time in times.most_common(3))
            yield Finding.of(kind, share_p=100 * share, kernels=len(kernels), operators=names)


def _operators(case: ProfiledCase, place: int) -> Iterator[Finding]:
    """Operators that take a much larger share on this side than on another one."""
    own, side = _by_operator(case, place), case.sides[place]
    for other_place, other in enumerate(case.sides):
        if other_place == place or not side.total_ns or not other.total_ns or case.coarse.keys() & {place, other_place}:
            continue
        theirs = _by_operator(case, other_place)
        for operator, ns in own.most_common():
            share, other_share = ns / side.total_ns, theirs[operator] / other.total_ns
            # slower in time too: a smaller total makes every share larger
            if share >= OPERATOR_SHARE and share >= OPERATOR_RATIO * other_share and ns > theirs[operator]:
                count = sum(line.main is not None and line.main.operator == operator for line in case.lines)
                yield Finding.of(
                    "profile_operator",
                    operator=operator,
                    lines=count,
                    share_p=100 * share,
                    ms=ns / 1e6,
                    other=other.label,
                    other_share_p=100 * other_share,
                    other_ms=theirs[operator] / 1e6,
                )


def _roof(case: ProfiledCase, place: int) -> Iterator[Finding]:
    """Share of the roof that a call reaches, and the lines whose time is most above their roof."""
    side = case.sides[place]
    work = SideWork.of(side)
    if work is None or not side.total_ns:
        return
    call = work.of_call()
    if call.of_roof is not None:
        yield Finding.of("profile_roof", of_roof_p=100 * call.of_roof, bound=call.bound)
    rooms = []
    for line in case.lines:
        part = line.parts[place]
        of_roof = work.of_line(line, part).shares.of_roof
        if part and line.main and of_roof is not None and of_roof < 1:
            rooms.append((part.ns * (1 - of_roof), of_roof, part.ns, line.operators, short(line.main.name)))
    for room_ns, of_roof, ns, operators, node in sorted(rooms, reverse=True)[:ROOM_LINES]:
        if room_ns >= ROOM_SHARE * side.total_ns:
            shares = {"share_p": 100 * ns / side.total_ns, "of_roof_p": 100 * of_roof, "room_p": 100 * room_ns / side.total_ns}
            yield Finding.of("profile_room", operators=operators, node=node, **shares)


def _by_operator(case: ProfiledCase, place: int) -> Counter[str]:
    """Time of one side in ns, by the operator that names the line."""
    times: Counter[str] = Counter()
    for line in case.lines:
        part = line.parts[place]
        if part and line.main:
            times[line.main.operator] += int(part.ns)
    return times


def _slower(case: ProfiledCase, place: int) -> Iterator[Finding]:
    """Lines that explain most of the time by which this side is slower than the first, the largest first."""
    first, side = case.sides[0], case.sides[place]
    if case.coarse.keys() & {0, place}:  # the time of their lines is in another line on one side
        return
    slower = sorted(case.lines, key=lambda line: -_excess_ns(line, place))[:SLOWER_LINES]
    for line in slower:
        excess_ns, main = _excess_ns(line, place), line.main
        if main and excess_ns >= SLOWER_SHARE * first.total_ns:
            base, own = line.parts[0], line.parts[place]
            yield Finding.of(
                "profile_slower",
                operators=line.operators,
                node=short(main.name),
                ms=own.ns / 1e6 if own else 0.0,
                first=first.label,
                first_ms=base.ns / 1e6 if base else 0.0,
                excess_ms=excess_ns / 1e6,
                total_ms=(side.total_ns - first.total_ns) / 1e6,
            )


def _excess_ns(line: Line, place: int) -> float:
    """Time by which a line is longer than on the first side; 0 where the quartiles overlap."""
    base, own = line.parts[0], line.parts[place]
    if own is None or (base is not None and own.low_ns <= base.high_ns):
        return 0.0
    return own.ns - (base.ns if base else 0.0)
