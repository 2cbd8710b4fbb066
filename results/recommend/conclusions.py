"""Conclusions of a decision as findings: the pick, the runner-up, binding limits and excluded rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from ...axes import Scalar
from ..stats.intervals import LEAST_ROUNDS
from ..table.column import PICK_VIEW
from ..table.columns import BY_NAME, COLUMNS, shown_in
from ..table.findings import Finding, Part, grouped
from .candidates import Candidate, Miss
from .objective import COST, UNITS
from .recommend import Binding, Decision, Difference

CHEAPER = ((COST, "costs less"), *((column.name, column.cheaper) for column in COLUMNS if column.cheaper))


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """Findings of a decision by topic. The first finding of `pick` and of `runner_up` has the row's figures and grade."""

    pick: tuple[Finding, ...] = ()
    runner_up: tuple[Finding, ...] = ()
    infeasible: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    binding: tuple[Finding, ...] = ()
    excluded: tuple[Finding, ...] = ()

    @property
    def all(self) -> list[Finding]:
        """Findings in the order of the text output."""
        return [*self.pick, *self.runner_up, *self.infeasible, *self.notes, *self.binding, *self.excluded]


def conclude(decision: Decision) -> Conclusions:
    """Conclusions of `decision`."""
    pick = decision.pick
    return Conclusions(
        pick=_pick(decision, pick) if pick else (),
        runner_up=_runner_up(decision, pick) if pick else (),
        infeasible=() if pick else _infeasible(decision),
        notes=decision.notes,
        binding=tuple(_binding(item) for item in decision.binding),
        excluded=tuple(grouped([(item.name, finding) for item in decision.excluded for finding in _exclusion(item)])),
    )


def _about(item: Candidate, *findings: Finding) -> tuple[Finding, ...]:
    return tuple(replace(finding, rows=(item.name,)) for finding in findings)


def _pick(decision: Decision, pick: Candidate) -> tuple[Finding, ...]:
    extreme = "highest" if pick.objective.largest else "lowest"
    best = Finding.of("best", extreme=extreme, objective=pick.objective.name, rows=len(decision.ranked))
    reason = best if len(decision.ranked) > 1 else Finding.of("only_feasible")
    return _about(pick, _figures_of("pick", pick), reason, *_machines(decision, pick))


def _figures_of(kind: str, item: Candidate) -> Finding:
    """Figures of a row, with its grade and its number of rounds. Rows of other tools have neither."""
    grade, rounds = item.cells["grade"], item.cells["rounds"]
    if grade is None:
        return Finding.of(f"{kind}_ungraded", figures=figures(item))
    return Finding.of(kind, figures=figures(item), grade=grade, rounds=rounds)


def machines(decision: Decision, item: Candidate) -> int | None:
    """Number of machines like this one that serve the demand; None without a demand or a rate."""
    demand, rate = decision.request.demand, item.rate
    return math.ceil(demand / rate) if demand and rate else None


def _machines(decision: Decision, item: Candidate) -> list[Finding]:
    count = machines(decision, item)
    if count is None:
        return []
    parts = {"machines": count, "demand": decision.request.demand, "rate": item.rate}
    slo = item.cells["slo"] if item.cells["slo_rate_per_s"] else None
    return [Finding.of("machines", **parts, slo=slo) if slo else Finding.of("machines_at_full_load", **parts)]


def _runner_up(decision: Decision, pick: Candidate) -> tuple[Finding, ...]:
    other, best = decision.runner_up, decision.difference
    if other is None or best is None:
        return (Finding.of("no_runner_up"),)
    return _about(other, _figures_of("runner_up", other), _compared(pick, other, best), *_cheaper(pick, other, best))


def _compared(pick: Candidate, other: Candidate, best: Difference) -> Finding:
    """Difference of the pick from the runner-up, in percent of the runner-up's figure."""
    parts: dict[str, Part] = {"change": 100 * abs(best.ratio - 1), "direction": "better" if best.ratio >= 1 else "worse"}
    where = "this run" if best.one_run else "these runs"
    if best.interval:
        parts |= {"low": 100 * (best.interval.low - 1), "high": 100 * (best.interval.high - 1), "basis": best.basis_text}
        return Finding.of("differs", **parts) if best.shown else Finding.of("uncertain", **parts, where=where)
    tool = next((item.row.record.imported.tool for item in (pick, other) if item.row.record.imported), None)
    if tool:
        return Finding.of("uncertain_import", **parts, tool=tool)
    if best.basis == "once":
        return Finding.of("uncertain_once", **parts, where=where, objective=pick.objective.name)
    return Finding.of("uncertain_few_rounds", **parts, where=where, rounds=best.rounds, needed=LEAST_ROUNDS)


def _cheaper(pick: Candidate, other: Candidate, best: Difference) -> list[Finding]:
    """Advantages of the runner-up, where the pick is not certainly better."""
    if best.shown:
        return []
    advantages = [words for name, words in CHEAPER if _less(other.cells[name], pick.cells[name])]
    return [Finding.of("runner_up_cheaper", advantages=" and ".join(advantages))] if advantages else []


def _less(one: Scalar, other: Scalar) -> bool:
    return isinstance(one, float) and isinstance(other, float) and one < other


def _infeasible(decision: Decision) -> tuple[Finding, ...]:
    near, nothing = decision.nearest, Finding.of("infeasible")
    if near is None:
        return (nothing,)
    if len(near.misses) == 1:
        (miss,) = near.misses
        return nothing, *_about(near, Finding.of("nearest", **miss.parts, relaxed=relaxed(miss)))
    return nothing, *_about(near, Finding.of("nearest_by_several", misses="; ".join(map(missed, near.misses))))


def missed(miss: Miss) -> str:
    """A broken limit in words."""
    return Finding.of("limit_distance", **miss.parts).sentence


def relaxed(miss: Miss) -> str:
    """Limit that the row keeps, as an option with four significant digits."""
    option, _, rest = miss.condition.text.partition(" ")
    # Rounded away from the limit: the row would break a limit that is rounded to the nearest digit.
    rounding = ROUND_CEILING if miss.condition.most else ROUND_FLOOR
    limit = Decimal(repr(miss.value)).normalize(Context(prec=4, rounding=rounding))
    return f"{option} {rest.partition('=')[0]}={limit:f}{miss.condition.column.unit}"


def _binding(item: Binding) -> Finding:
    parts = {**item.miss.parts, "figures": figures(item.candidate)}
    if not item.others:
        return _about(item.candidate, Finding.of("binds", **parts))[0]
    others = ", ".join(miss.condition.text for miss in item.others)
    return _about(item.candidate, Finding.of("binds_with_others", **parts, others=others))[0]


def _exclusion(item: Candidate) -> Iterable[Finding]:
    """Reasons to exclude a row. Rows that break the same limit share a finding, thus it has no values of a row."""
    return (*item.reasons, *(Finding.of("breaks_limit", limit=miss.condition.text) for miss in item.misses))


def figures(item: Candidate) -> str:
    """Figures of a row with their units, the objective first."""
    first = item.objective.column_of(item.row.record.cell.device)
    names = dict.fromkeys((first, *(column.name for column in shown_in(PICK_VIEW)), COST))
    return " · ".join(_figure(name, item.cells[name]) for name in names if item.cells[name] is not None)


def _figure(name: str, value: Scalar) -> str:
    title = "cost" if name == COST else BY_NAME[name].metric
    # Four digits, but 11991 and not 1.199e+04.
    number = f"{value:.0f}" if isinstance(value, float) and value >= 1e4 else f"{value:.4g}"
    return f"{title} {number} {UNITS.get(name, '')}".strip()
