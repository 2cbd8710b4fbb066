"""Decisions as a value of Python: text, picks, dict, pandas and HTML. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from ...axes import Scalar
from ...errors import BadInput
from ..table.render import bare_paths
from ..table.values import data_frame, html_list, html_of
from .advice import PLAIN, answer, program, ranking, rest, settings_of
from .recommend import Decision
from .sections import Decisions, advise_models, exit_code_of_models

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class PickedRow:
    """The row to deploy: its `name`, its figures by column name, its `settings`, and a `program` that runs it."""

    name: str
    row: dict[str, Scalar]
    settings: tuple[str, ...]
    program: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Recommendation:
    """Result of `recommend`: a decision for each model. Printed, it is the text of the command."""

    decisions: Decisions

    @property
    def picks(self) -> dict[str, PickedRow | None]:
        """The row to deploy of each model; None for a model without a feasible row."""
        return {model: _pick(decision) for model, decision in self.decisions.items()}

    @property
    def pick(self) -> PickedRow | None:
        """The row to deploy, or None without a feasible row. `BadInput` for several models."""
        if len(self.decisions) > 1:
            raise BadInput(f"there is a pick for each of {', '.join(self.decisions)}", "use picks, which has them by model")
        return next(iter(self.picks.values()))

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0, or 1 if a model has no feasible row."""
        return exit_code_of_models(self.decisions)

    def to_dict(self) -> dict[str, Any]:
        """Data of `--format json`."""
        data: dict[str, Any] = json.loads(advise_models(self.decisions, "json"))
        return data

    def to_pandas(self) -> DataFrame:
        """A pandas table of the feasible rows; `rank` begins again with each model."""
        tables = [ranking(decision, PLAIN) for decision in self.decisions.values()]
        return data_frame([row for table in tables for row in table.rows], tables[0].names)

    def __str__(self) -> str:
        return advise_models(self.decisions, "table")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        headings = len(self.decisions) > 1
        return "".join(_html(decision, model if headings else "") for model, decision in self.decisions.items())


def _pick(decision: Decision) -> PickedRow | None:
    item = decision.pick
    if item is None:
        return None
    code = "\n".join(program(item)) + "\n"
    return PickedRow(name=item.name, row=dict(item.cells), settings=tuple(settings_of(item)), program=code)


def _html(decision: Decision, heading: str) -> str:
    title = f"<h4>{escape(heading)}</h4>" if heading else ""
    above, below = ([bare_paths(line.strip()) for line in lines] for lines in (answer(decision), rest(decision)))
    table = html_of(ranking(decision, PLAIN)) if decision.ranked else ""
    code = f"<pre>{escape(chr(10).join(program(decision.pick)))}</pre>" if decision.pick else ""
    return f"{title}{html_list(above)}{table}{html_list(below)}{code}"
