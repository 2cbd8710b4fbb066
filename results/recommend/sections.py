"""Formats of the decisions on several models: a section for each model. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from ..table.layout import GREEN
from ..table.render import escaped, plain, render
from .advice import PLAIN, Look, advise, decision_data, exit_code, ranking, request_data
from .recommend import Decision

Decisions = Mapping[str, Decision]
"""The decision for each model, by the model's name."""


def exit_code_of_models(decisions: Decisions) -> int:
    """Exit code of `recommend`: 0 with a pick for each model, 1 if a model has no feasible row."""
    return max(map(exit_code, decisions.values()))


def advise_models(decisions: Decisions, format: str, look: Look = PLAIN) -> str:
    """Text of `decisions` in one of advice.FORMATS, with a newline at the end. One decision has no section."""
    if len(decisions) == 1:
        return advise(next(iter(decisions.values())), format, look)
    return {"json": _json, "csv": _csv}.get(format, _sections)(decisions, format, look)


def _json(decisions: Decisions, format: str, look: Look) -> str:
    models = [{"model": model, **decision_data(decision, look)} for model, decision in decisions.items()]
    data = {**request_data(next(iter(decisions.values()))), "models": models}
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _csv(decisions: Decisions, format: str, look: Look) -> str:
    """One list of all rows; `rank` begins again with each model."""
    tables = [ranking(decision, look) for decision in decisions.values()]
    return render(replace(tables[0], rows=tuple(row for table in tables for row in table.rows)), format)


def _sections(decisions: Decisions, format: str, look: Look) -> str:
    def heading(model: str) -> str:
        return f"## {escaped(plain(model))}" if format == "markdown" else look.screen.styled(f"model {plain(model)}", GREEN)

    return "\n".join(f"{heading(model)}\n\n{advise(decision, format, look)}" for model, decision in decisions.items())
