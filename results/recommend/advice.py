"""Formats of a decision: for people (`table`, `markdown`), with a program to paste, and for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...axes import Scalar
from ...spec import set_fields
from ..store.head import SCHEMA
from ..table.column import RANKING_VIEW, Field
from ..table.columns import BY_NAME, shown_in
from ..table.findings import Finding, sentences
from ..table.layout import PIPE, Screen
from ..table.render import plain, render, with_columns
from ..table.table import Table, named
from .candidates import Candidate
from .conclusions import conclude, machines, missed, relaxed
from .objective import COST, Objective
from .recommend import Binding, Decision, Difference

OF_SEVERAL = ("run", "host", "environment", "model")  # shown if their values differ
COST_FIELD = Field(name=COST, title="cost a million", priority=12, digits=4, each=True, definition="Price of a million items.")
RANK_FIELD = Field(name="rank", priority=0, definition="Place in the order of the objective.")
PARETO_FIELD = Field(
    name="pareto", number=False, priority=20, definition="Mark of a row that no other row beats in every respect."
)
NONDOMINATED = "*"
WARNING = "# From the run folder, written by the machine that measured it: read it before you run it."
NO_PROGRAM = "the run has no program for this row (an old run, or a runtime without one): use the settings above"


def exit_code(decision: Decision) -> int:
    """Exit code of `recommend`: 0 with a pick, 1 without a feasible row."""
    return 0 if decision.pick else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Appearance of a decision: its screen, and columns of the ranking (empty for all columns)."""

    screen: Screen = PIPE
    columns: tuple[str, ...] = ()


PLAIN = Look()


def advise(decision: Decision, format: str, look: Look = PLAIN) -> str:
    """Text of `decision` in one of FORMATS, with a newline at the end."""
    return FORMATS[format](decision, look)


def _csv(decision: Decision, look: Look) -> str:
    return render(ranking(decision, look), "csv")


def _json(decision: Decision, look: Look) -> str:
    return json.dumps({**request_data(decision), **decision_data(decision, look)}, indent=1, allow_nan=False) + "\n"


def request_data(decision: Decision) -> dict[str, Any]:
    """The request and the host as JSON data."""
    request = decision.request
    return {
        "schema": SCHEMA,
        "host": set_fields(decision.runs[0].host),
        "objective": request.objective.name,
        "conditions": [condition.text for condition in request.conditions],
        "prices": dict(request.prices),
        "demand_per_s": request.demand,
    }


def decision_data(decision: Decision, look: Look) -> dict[str, Any]:
    """The answer to the request as JSON data."""
    best = decision.difference
    return {
        "machines": machines(decision, decision.pick) if decision.pick else None,
        "pick": _deployed(decision.pick),
        "runner_up": _deployed(decision.runner_up),
        "difference": best and {"ratio": best.ratio, **_ends(best), "shown": best.shown, "how": best.basis_text},
        "pareto": [decision.ranked[index].name for index in sorted(decision.pareto)],
        "excluded": [
            {"name": item.name, "reasons": [*sentences(item.reasons), *map(missed, item.misses)]} for item in decision.excluded
        ],
        "binding": [_bound(item) for item in decision.binding],
        "nearest": _relaxation(decision.nearest),
        "notes": sentences(decision.notes),
        "findings": [finding.wire() for finding in conclude(decision).all],
        "rows": ranking(decision, look).rows,
    }


def _ends(best: Difference) -> dict[str, float | None]:
    low, high = (best.interval.low, best.interval.high) if best.interval else (None, None)
    return {"ci_low": low, "ci_high": high}


def _deployed(item: Candidate | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {"name": item.name, "row": item.cells, "settings": settings_of(item), "snippet": item.deployment.snippet}


def _bound(item: Binding) -> dict[str, Any]:
    distance = {"value": item.miss.value, "limit": item.miss.condition.limit, "relative": item.miss.relative}
    others = [miss.condition.text for miss in item.others]
    return {"condition": item.miss.condition.text, "name": item.candidate.name, **distance, "also": others}


def _relaxation(item: Candidate | None) -> dict[str, Any] | None:
    if item is None:
        return None
    relax = relaxed(item.misses[0]) if len(item.misses) == 1 else None
    return {"name": item.name, "misses": [missed(miss) for miss in item.misses], "relax": relax}


def _table(decision: Decision, look: Look) -> str:
    grid = [_grid(decision, "table", look)] if decision.ranked else []
    lines = [*_wrapped(answer(decision), look.screen), *grid, *_wrapped(rest(decision), look.screen)]
    pasted = ["", "to paste:", "", *program(decision.pick)] if decision.pick else []
    return _joined([*lines, *pasted])


def _markdown(decision: Decision, look: Look) -> str:
    above = [f"- {line.strip()}" for line in answer(decision)]
    below = [f"- {line.strip()}" for line in rest(decision)]
    snippet = program(decision.pick) if decision.pick else []
    pasted = ["", "```python", *snippet, "```"] if snippet else []
    return _joined([*above, "", *([_grid(decision, "markdown", look)] if decision.ranked else []), *below, *pasted])


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _wrapped(lines: Sequence[str], screen: Screen) -> list[str]:
    """`lines` that fit the screen, each with its own indent."""
    indented = ((line[: len(line) - len(line.lstrip())], line.strip()) for line in lines)
    return [part for indent, text in indented for part in screen.wrapped(text, indent)]


def _grid(decision: Decision, format: str, look: Look) -> str:
    return render(ranking(decision, look), format, look.screen).rstrip() + "\n"


def program(item: Candidate) -> list[str]:
    """Lines of the program to paste; a comment for a row without a program."""
    snippet = item.deployment.snippet
    if not snippet and item.row.record.imported:
        return [f"# {plain(item.row.record.imported.tool)} measured this row: there is no program to paste"]
    # The run folder may come from another machine: its text is made harmless for a terminal, and the reader is warned.
    return [WARNING, *(plain(line) for line in snippet.splitlines())] if snippet else [f"# {NO_PROGRAM}"]


def ranking(decision: Decision, look: Look) -> Table:
    """Feasible rows in order, with the columns of the decision itself: rank, pareto, cost."""
    rows: list[dict[str, Scalar]] = [
        {"rank": index + 1, "pareto": NONDOMINATED if index in decision.pareto else None, **item.cells}
        for index, item in enumerate(decision.ranked)
    ]
    limited = [item.column for item in decision.request.conditions]
    columns = (*shown_in(RANKING_VIEW), *limited, COST_FIELD)
    filled = [item for item in columns if any(row[item.name] is not None for row in rows)]
    several = [item for item in filled if item.name not in OF_SEVERAL or len({row[item.name] for row in rows}) > 1]
    table = Table(
        names=("rank", *BY_NAME, COST, "pareto"),
        rows=tuple(rows),
        fields=tuple(dict.fromkeys((RANK_FIELD, PARETO_FIELD, *several))),
        grouped=False,
    )
    return with_columns(table, look.columns) if look.columns else table


def answer(decision: Decision, reported: Collection[Finding] = ()) -> list[str]:
    """Lines on the pick, its settings, the runner-up and the notes, or on the nearest row; details are indented.

    Notes that are in `reported` are left out.
    """
    conclusions = conclude(decision)
    pick, runner_up = conclusions.pick, conclusions.runner_up
    lines = [*_infeasible(conclusions.infeasible)]
    if decision.pick:
        why, *demand = pick[1:]
        lines += [
            _labelled("pick", pick[0]),
            _indented(why),
            *map(_indent, settings_of(decision.pick)),
            *map(_indented, demand),
        ]
        lines += [_labelled("runner-up", runner_up[0]), *map(_indented, runner_up[1:])]
    notes = [f"note: {note.sentence}" for note in conclusions.notes if note not in reported]
    return [plain(line) for line in (*lines, *notes)]


def _infeasible(findings: Sequence[Finding]) -> list[str]:
    return [_labelled("nearest", finding) if finding.rows else finding.sentence for finding in findings]


def _labelled(label: str, finding: Finding) -> str:
    return ": ".join([label, *finding.rows, finding.sentence])


def _indented(finding: Finding) -> str:
    return _indent(finding.sentence)


def _indent(line: str) -> str:
    return f"    {line}"


def settings_of(item: Candidate) -> list[str]:
    """Lines with the runtime's own settings, then batch, lanes, threads and options, then the file."""
    record, deploy = item.row.record, item.deployment.deploy
    cell = record.cell
    facts = [
        f"batch {cell.batch}",
        *(f"{name} {value}" for name, value in (("lanes", item.lanes), ("threads a lane", item.threads)) if value),
        *(f"{key}={value}" for key, value in cell.settings.options),
    ]
    file = record.opened and record.opened.file
    return [line for line in (deploy, " · ".join(facts), f"file {file}" if file else "") if line]


def rest(decision: Decision) -> list[str]:
    """Lines on binding limits and excluded rows, with the same reason once."""
    conclusions, total = conclude(decision), len(decision.excluded) + len(decision.ranked)
    lines = [_legend(decision.request.objective)] if decision.ranked else []
    lines += [_labelled("binds", finding) for finding in conclusions.binding]
    lines += [f"excluded: {named(finding.rows, total)}: {finding.sentence}" for finding in conclusions.excluded]
    return [plain(line) for line in lines]


def _legend(objective: Objective) -> str:
    first = "throughput" if objective.name == "latency" else objective.name
    return f"{NONDOMINATED} Pareto: no other row is at least as good in {first}, p50, p99 and top-1, and better in one"


FORMATS: Mapping[str, Callable[[Decision, Look], str]] = {"table": _table, "markdown": _markdown, "csv": _csv, "json": _json}
