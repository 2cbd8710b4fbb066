"""A decision as text: for people (`table`, `markdown`) with settings and a program to paste, and for programs. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from ...axes import Scalar
from ...spec import set_fields
from ..store.head import SCHEMA
from ..table.column import PICK_VIEW, RANKING_VIEW, Field
from ..table.columns import BY_NAME, COLUMNS, shown_in
from ..table.findings import Finding, sentences
from ..table.render import plain, render
from ..table.table import Table, named
from .candidates import Candidate, Miss
from .objective import COST, UNITS
from .recommend import Binding, Decision, Difference

OF_SEVERAL = ("run", "host", "environment", "model")  # are shown where there are several
COST_FIELD = Field(name=COST, title="cost a million", priority=12, definition="Price of a million items.")
RANK_FIELD = Field(name="rank", priority=0, definition="Place in the order of the objective.")
PARETO_FIELD = Field(
    name="pareto", number=False, priority=20, definition="Mark of a row that no other row beats in every respect."
)
NONDOMINATED = "*"
WHOSE = "# From the run folder, as the machine that measured it wrote it: read it before you run it."
OLD = "the run has no program for it: it is older than they are, or its runtime has none; the settings are above"


def exit_code(decision: Decision) -> int:
    """0 for a pick, 1 where no row is feasible."""
    return 0 if decision.pick else 1


def advise(decision: Decision, format: str) -> str:
    """`decision` in one of the formats, ending in a newline."""
    return FORMATS[format](decision)


def _csv(decision: Decision) -> str:
    return render(_ranking(decision), "csv")


def _json(decision: Decision) -> str:
    request, best = decision.request, decision.difference
    data = {
        "schema": SCHEMA,
        "host": set_fields(decision.runs[0].host),
        "objective": request.objective.name,
        "conditions": [condition.text for condition in request.conditions],
        "prices": dict(request.prices),
        "demand_per_s": request.demand,
        "machines": machines(decision, decision.pick) if decision.pick else None,
        "pick": _told(decision.pick),
        "runner_up": _told(decision.runner_up),
        "difference": best and {"ratio": best.ratio, **_ends(best), "shown": best.shown, "how": best.how},
        "pareto": [decision.ranked[index].name for index in sorted(decision.pareto)],
        "excluded": [
            {"name": item.name, "reasons": [*item.reasons, *(_missed(miss) for miss in item.misses)]}
            for item in decision.excluded
        ],
        "binding": [_bound(item) for item in decision.binding],
        "nearest": _relaxation(decision.nearest),
        "notes": sentences(decision.notes),
        "findings": [note.wire() for note in decision.notes],
        "rows": _ranking(decision).rows,
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _ends(best: Difference) -> dict[str, float | None]:
    low, high = (best.interval.low, best.interval.high) if best.interval else (None, None)
    return {"ci_low": low, "ci_high": high}


def _told(item: Candidate | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {"name": item.name, "row": item.cells, "settings": _settings(item), "snippet": item.deployment.snippet}


def _bound(item: Binding) -> dict[str, Any]:
    off = {"value": item.miss.value, "limit": item.miss.condition.limit, "relative": item.miss.relative}
    others = [miss.condition.text for miss in item.others]
    return {"condition": item.miss.condition.text, "name": item.candidate.name, **off, "also": others}


def _relaxation(item: Candidate | None) -> dict[str, Any] | None:
    if item is None:
        return None
    relax = relaxed(item.misses[0]) if len(item.misses) == 1 else None
    return {"name": item.name, "misses": [_missed(miss) for miss in item.misses], "relax": relax}


def _table(decision: Decision) -> str:
    lines = [*answer(decision), *([_grid(decision, "table")] if decision.ranked else []), *rest(decision)]
    pasted = ["", "to paste:", "", *program(decision.pick)] if decision.pick else []
    return _joined([*lines, *pasted])


def _markdown(decision: Decision) -> str:
    told = [f"- {line.strip()}" for line in answer(decision)]
    below = [f"- {line.strip()}" for line in rest(decision)]
    snippet = program(decision.pick) if decision.pick else []
    pasted = ["", "```python", *snippet, "```"] if snippet else []
    return _joined([*told, "", *([_grid(decision, "markdown")] if decision.ranked else []), *below, *pasted])


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _grid(decision: Decision, format: str) -> str:
    return render(_ranking(decision), format).rstrip() + "\n"


def program(item: Candidate) -> list[str]:
    """The program to paste, in lines; a comment that there is none where the run has none."""
    snippet = item.deployment.snippet
    if not snippet and item.row.record.imported:
        return [f"# these are figures of {plain(item.row.record.imported.tool)}: there is no program to paste"]
    return [WHOSE, *(plain(line) for line in snippet.splitlines())] if snippet else [f"# {OLD}"]


def _ranking(decision: Decision) -> Table:
    """The feasible rows in order, with what is of the decision and not of a run: rank, pareto, cost."""
    rows: list[dict[str, Scalar]] = [
        {"rank": index + 1, "pareto": NONDOMINATED if index in decision.pareto else None, **item.cells}
        for index, item in enumerate(decision.ranked)
    ]
    asked = [item.column for item in decision.request.conditions]
    fields = [item for item in (*shown_in(RANKING_VIEW), *asked, COST_FIELD) if any(row[item.name] is not None for row in rows)]
    several = [item for item in fields if item.name not in OF_SEVERAL or len({row[item.name] for row in rows}) > 1]
    return Table(
        names=("rank", *BY_NAME, COST, "pareto"),
        rows=tuple(rows),
        fields=tuple(dict.fromkeys((RANK_FIELD, PARETO_FIELD, *several))),
        grouped=False,
    )


def answer(decision: Decision, known: Collection[Finding] = ()) -> list[str]:
    """The pick, how to set it, the runner-up and the notes, or what is nearest, in lines; settings are indented. Without the
    notes that are `known`."""
    notes = [f"note: {note.sentence}" for note in decision.notes if note not in known]
    pick, other, best = decision.pick, decision.runner_up, decision.difference
    if pick is None:
        return [plain(line) for line in (*_infeasible(decision), *notes)]
    lines = [f"pick: {pick.name}: {_figures(pick)}", *(f"    {line}" for line in _settings(pick)), *_machines(decision, pick)]
    if other and best:
        lines += [f"runner-up: {other.name}: {_figures(other)}", f"    {_compared(best)}", *_cheaper(pick, other, best)]
    elif other is None:
        lines.append("runner-up: none: no other row is feasible")
    return [plain(line) for line in (*lines, *notes)]


def machines(decision: Decision, item: Candidate) -> int | None:
    """How many machines like this one take what is demanded."""
    rate, _ = item.rate
    return math.ceil(decision.request.demand / rate) if decision.request.demand and rate else None


def _machines(decision: Decision, item: Candidate) -> list[str]:
    count, (_, why) = machines(decision, item), item.rate
    return [f"    {count} of this machine for {decision.request.demand:g}/s: {why}"] if count else []


def _figures(item: Candidate) -> str:
    """The objective first, then the others that the row has."""
    first = item.objective.column_of(item.row.record.cell.device)
    names = dict.fromkeys((first, *(column.name for column in shown_in(PICK_VIEW)), COST))
    return " · ".join(_figure(name, item.cells[name]) for name in names if item.cells[name] is not None)


def _figure(name: str, value: Scalar) -> str:
    title = "cost" if name == COST else BY_NAME[name].metric
    return f"{title} {value:.4g} {UNITS.get(name, '')}".strip()


def _settings(item: Candidate) -> list[str]:
    """What to set: the runtime's own words for how the objective was measured, threads, lanes, batch, options, the file."""
    record, deploy = item.row.record, item.deployment.deploy
    cell = record.cell
    facts = [
        f"batch {cell.batch}",
        *(f"{name} {value}" for name, value in (("lanes", item.lanes), ("threads a lane", item.threads)) if value),
        *(f"{key}={value}" for key, value in cell.settings.options),
    ]
    file = record.opened and record.opened.file
    return [line for line in (deploy, " · ".join(facts), f"file {file}" if file else "") if line]


def _compared(best: Difference) -> str:
    if best.interval is None:
        return f"no difference shown: {_percent(best.ratio)} %, {best.how}"
    ends = f"[{_percent(best.interval.low)}, {_percent(best.interval.high)}]"
    if not best.shown:
        return f"no difference shown: {_percent(best.ratio)} % {ends} ({best.how})"
    return f"differs by {_percent(best.ratio)} % {ends} ({best.how})"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.3g}"


def _cheaper(pick: Candidate, other: Candidate, best: Difference) -> list[str]:
    """Where the pick is not shown to be the better one, what speaks for the other."""
    if best.shown:
        return []
    less = [
        words
        for name, words in ((COST, "costs less"), *((column.name, column.cheaper) for column in COLUMNS if column.cheaper))
        if _less(other.cells[name], pick.cells[name])
    ]
    return [f"    the pick is not shown to be better than the runner-up, which {' and '.join(less)}"] if less else []


def _less(one: Scalar, other: Scalar) -> bool:
    return isinstance(one, float) and isinstance(other, float) and one < other


def _infeasible(decision: Decision) -> list[str]:
    near, lines = decision.nearest, ["nothing is feasible: no row keeps every limit and has every figure"]
    if near and len(near.misses) == 1:
        (miss,) = near.misses
        lines.append(f"nearest: {near.name}: {_missed(miss)}; {relaxed(miss)} would be enough")
    elif near:
        several = "; ".join(_missed(miss) for miss in near.misses)
        lines.append(f"nearest: {near.name}: no single limit is enough: {several}")
    return lines


def _missed(miss: Miss) -> str:
    name, unit = miss.condition.column.name, miss.condition.column.unit
    off = f"{abs(miss.value - miss.condition.limit):.3g} {unit}".rstrip()
    side = "above" if miss.condition.most else "below"
    return f"{miss.condition.text}: {name} is {miss.value:.4g} {unit}".rstrip() + f", {off} {side} it"


def relaxed(miss: Miss) -> str:
    """The limit that the row keeps, with as many digits as that takes at least, but four."""
    option, _, rest = miss.condition.text.partition(" ")
    value = Decimal(repr(miss.value))
    rounding = ROUND_CEILING if miss.condition.most else ROUND_FLOOR
    limit = value.normalize(Context(prec=4, rounding=rounding))
    unit = miss.condition.column.unit
    return f"{option} {rest.partition('=')[0]}={limit:f}{unit}"


def rest(decision: Decision) -> list[str]:
    """What binds, and what is not in the ranking, the same reason once."""
    lines = [NONDOMINATED_LEGEND] if decision.ranked else []
    for item in decision.binding:
        also = f"; it also breaks {', '.join(miss.condition.text for miss in item.others)}" if item.others else ""
        what = f"{item.candidate.name} ({_figures(item.candidate)})"
        lines.append(f"binds: {_missed(item.miss)} for {what}, which would be better{also}")
    about: dict[str, list[str]] = {}
    for candidate in decision.excluded:
        for reason in (*candidate.reasons, *(miss.condition.text for miss in candidate.misses)):
            about.setdefault(reason, []).append(candidate.name)
    total = len(decision.excluded) + len(decision.ranked)
    return [plain(line) for line in [*lines, *(f"excluded: {named(names, total)}: {why}" for why, names in about.items())]]


NONDOMINATED_LEGEND = (
    f"{NONDOMINATED} nothing is better in one of throughput (or the objective), p50, p99 and top1, and as good in all"
)
FORMATS: Mapping[str, Callable[[Decision], str]] = {"table": _table, "markdown": _markdown, "csv": _csv, "json": _json}
