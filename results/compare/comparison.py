"""A comparison as a table: one row for each metric of each cell, for any format. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...axes import AXES, Scalar
from ..stats.ambiguity import AMBIGUOUS
from ..stats.intervals import LEAST_ROUNDS, LEAST_RUNS
from ..store.head import SCHEMA
from ..table.column import Field
from ..table.columns import BY_NAME
from ..table.findings import Finding, sentences
from ..table.table import RowValues, Table
from .change import FEW_ROUNDS, FEW_RUNS, Change
from .run_figures import PROCESS
from .sides import Sides
from .verdict import Overall, decided_first, folded, is_shown, overall

FIGURE: dict[str, Any] = {"digits": 4, "each": True}  # rows have different units, and need different decimals
RATIO: dict[str, Any] = {"decimals": 3}
POINTS: dict[str, Any] = {"decimals": 2, "unit": "points"}
FIELDS: tuple[Field, ...] = (
    *(BY_NAME[name] for name in AXES),
    Field(name="options", number=False, priority=3, definition="Options of the runtime."),
    Field(name="metric", number=False, priority=0, definition="Column that is compared."),
    Field(name="unit", number=False, priority=9, definition="Unit of base and new."),
    Field(name="base", priority=5, definition="Figure of the base side, as in bench show.", **FIGURE),
    Field(name="new", priority=5, definition="Figure of the new side, as in bench show.", **FIGURE),
    Field(
        name="ratio",
        title="new/base",
        priority=2,
        definition="New over base by round, divided by the control's where there is one.",
        **RATIO,
    ),
    Field(name="ratio_ci_low", title="from", priority=4, definition="Lower end of the ratio's 95 % interval.", **RATIO),
    Field(name="ratio_ci_high", title="to", priority=4, definition="Upper end of the ratio's 95 % interval.", **RATIO),
    Field(name="change_points", title="new-base", priority=6, definition="New minus base, for accuracy.", **POINTS),
    Field(name="change_ci_low_points", title="from", priority=7, definition="Lower end of its 95 % interval.", **POINTS),
    Field(name="change_ci_high_points", title="to", priority=7, definition="Upper end of its 95 % interval.", **POINTS),
    Field(name="method", number=False, priority=10, definition="What the interval rests on: runs, one run, or samples."),
    Field(name="verdict", number=False, priority=1, definition="Conclusion, corrected for the number of changes (Holm)."),
    Field(name="reason", number=False, priority=8, definition="Reason for a verdict that is inconclusive or ambiguous."),
    Field(
        name="cycles_ratio",
        title="in cycles",
        priority=11,
        definition="New over base in cycles of the GPU (time x clock; items a cycle for the throughput).",
        **RATIO,
    ),
    Field(name="cycles_ratio_ci_low", title="from", priority=12, definition="Lower end of its 95 % interval.", **RATIO),
    Field(name="cycles_ratio_ci_high", title="to", priority=12, definition="Upper end of its 95 % interval.", **RATIO),
    Field(name="base_mhz", title="base clock", unit="MHz", priority=13, definition="Clock of the GPU in base."),
    Field(name="new_mhz", title="new clock", unit="MHz", priority=13, definition="Clock of the GPU in new."),
)
UNDECIDED_KINDS = ("undecided_rounds", "undecided_rounds_of_sides", "undecided_runs")
NAMES = tuple(field.name for field in FIELDS)
VARYING = (*AXES, "options", "method", "reason")  # shown to people if their values differ between rows


def tabulate(sides: Sides, changes: Sequence[Change], remarks: Sequence[Finding], *, fold: bool = False) -> Table:
    """Table of all `changes`, the decided ones first; `fold` puts one line in the place of the others.

    Above the rows stand the names of both sides, the verdict on all changes, and `facts`. Below them stand the cells that were
    not compared, and `remarks`.
    """
    ordered, above, together = decided_first(changes), facts(sides, changes), overall(changes)
    rows = [_row(change) for change in ordered if not fold or is_shown(change)]
    lines = (*folded(ordered), *sides.match.left, *remarks) if fold else (*sides.match.left, *remarks)
    return Table(
        names=NAMES,
        rows=tuple(rows),
        # without a row to show, the titles alone would help nobody
        fields=tuple(field for field in FIELDS if rows and _stands(field.name, rows)),
        facts=(f"base {', '.join(sides.base)} · new {', '.join(sides.new)}", *sentences(_with_verdict(above, together))),
        findings=lines,
        grouped=not fold,
        head={
            "schema": SCHEMA,
            "base": sides.base,
            "new": sides.new,
            "verdict": together.verdict,
            "verdicts": together.counts,
            "changed": sentences(sides.match.changed),
            "not_compared": sentences(sides.match.left),
            "control": sides.control,
            "remarks": sentences(remarks),
            "findings": [finding.wire() for finding in (*above, *sides.match.left, *remarks)],
        },
    )


def _with_verdict(facts: Sequence[Finding], together: Overall) -> list[Finding]:
    """`facts` with the verdict first. Where nothing can be decided, the first fact says that already."""
    undecided = any(finding.kind in UNDECIDED_KINDS for finding in facts)
    return [*facts] if undecided else [together.finding, *facts]


def facts(sides: Sides, changes: Sequence[Change]) -> list[Finding]:
    """Findings above the table: too few rounds or runs for any verdict, differences of the sides, and the control."""
    # drift concerns timings only: memory and accuracy do not depend on the day
    alone = any(change.ends and change.method == "one run" and change.metric.kind == "time" for change in changes)
    return [
        *_undecided(sides, changes),
        *sides.match.changed,
        *([Finding.of("control", target=sides.control)] if sides.control else []),
        *([_no_control(sides)] if alone and sides.match.same_host else []),
        *_ambiguous(changes),
    ]


def _no_control(sides: Sides) -> Finding:
    return Finding.of("no_control_of_lives") if sides.lives else Finding.of("no_control", allowance=PROCESS)


def _undecided(sides: Sides, changes: Sequence[Change]) -> list[Finding]:
    """Finding for a comparison without any interval, because both sides have too few rounds or runs."""
    reasons = {change.reason for change in changes if change.verdict is not None}
    if reasons == {FEW_RUNS}:
        base, new = len(sides.base), len(sides.new)
        return [Finding.of("undecided_runs", base=base, new=new, needed=LEAST_RUNS)] if min(base, new) < LEAST_RUNS else []
    base, new = sides.rounds
    # cells with enough rounds may lack a control with enough rounds; then the reason in the rows is all there is to say
    if reasons != {FEW_ROUNDS} or min(base, new) >= LEAST_ROUNDS:
        return []
    budget = next(iter(sides.budgets))
    if base != new or len(sides.budgets) > 1 or budget is None:
        return [Finding.of("undecided_rounds_of_sides", base=base, new=new, needed=LEAST_ROUNDS)]
    return [Finding.of("undecided_rounds", rounds=base, budget=budget, needed=LEAST_ROUNDS)]


def _row(change: Change) -> RowValues:
    none = (None, None, None)
    effect = (change.effect, *(change.ends or (None, None)))
    ratio, points = (none, effect) if change.metric.in_points else (effect, none)
    row: tuple[Scalar, ...] = (
        *change.pair.case,
        *(change.metric.column, change.metric.unit, change.base, change.new),
        *ratio,
        *points,
        *(change.method or None, change.verdict, change.reason or None),
        *_in_cycles(change),
    )
    return dict(zip(NAMES, row, strict=True))


def _in_cycles(change: Change) -> tuple[Scalar, ...]:
    """Ratio in cycles with the ends of its interval, and the clocks of both sides; None without clocks."""
    cycles = change.cycles
    if cycles is None:
        return (None,) * 5
    return (cycles.effect, *(cycles.ends or (None, None)), cycles.base_mhz, cycles.new_mhz)


def _ambiguous(changes: Sequence[Change]) -> list[Finding]:
    """Finding on each change that time and cycles contradict."""
    return [
        Finding.of(
            "ambiguous_change",
            cell=change.pair.cell.id,
            metric=change.metric.column,
            change=100 * (change.effect - 1),
            cycles=100 * (change.cycles.effect - 1),
            base_mhz=change.cycles.base_mhz,
            new_mhz=change.cycles.new_mhz,
        )
        for change in changes
        if change.verdict == AMBIGUOUS and change.cycles
    ]


def _stands(name: str, rows: Sequence[RowValues]) -> bool:
    """True if people are shown a column: axes that vary, and figures that some row has."""
    if name in VARYING and name != "backend":
        return len({row[name] for row in rows}) > 1
    return any(row[name] is not None for row in rows)
