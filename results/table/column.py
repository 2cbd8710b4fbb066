"""A column and everything that is known of it. Standard library and the package's own; pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...axes import AXES, Scalar
from .findings import Finding
from .row import MEASURED, Row

SCIENTIFIC = 0  # digits of a column whose figures are shown as 1.2e-03
UNIT = re.compile(r"_(ms|s|mb|mj|db|w|c|per_s)$")  # the end of a column's name that says its unit
MORE, LESS = "more", "less"
TIME, MEMORY, ACCURACY = "time", "memory", "accuracy"
ONE_CALL, ALL_LANES, ARRIVALS = "one call", "all lanes", "arrivals"
CHECK_VIEW, RANKING_VIEW, PICK_VIEW, TAG_VIEW = "check", "ranking", "pick", "tag"
LAST = 99


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A column as people see it: what a layout needs, and nothing of where the figures come from.

    digits: significant ones, in the smallest figure of the column; or as many `decimals`.
    number: its values are numbers, which are aligned at the right, and for which a limit may be set.
    priority: columns with a low number are shown first where a terminal is narrow; those of one priority are shown together.
    definition: one sentence.
    """

    name: str
    title: str = ""
    unit: str = ""
    digits: int = 3
    decimals: int | None = None
    number: bool = True
    priority: int = LAST
    definition: str = ""

    @property
    def heading(self) -> str:
        """The title, or the name of a column that has none."""
        return self.title or self.name

    @property
    def metric(self) -> str:
        """The name without its unit, as users write it in limits: `p50` for `p50_ms`."""
        return UNIT.sub("", self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column(Field):
    """A column of a run's table.

    value: computes the figure from a row; None where there is none.
    measured: None unless the row's status is one of MEASURED. timed: None unless calls were timed.
    shown: in the table for people, where some row has a figure. varies: shown where its values differ, and otherwise once above
        the table under its `label` or title. partial: None is no value of its own, since it does not apply to every row.
    interval: the columns of the lower and the upper end of its 95 % interval.
    leads: it stands before all others in the table for people, wherever it is declared.
    gpu: measured on GPUs only.
    better: MORE or LESS of it is better; empty where neither is.
    compared: the kind of metric that `bench compare` takes it for (TIME, MEMORY or ACCURACY); empty where it is not compared.
    objective: its name as an objective of `bench recommend`; empty where it is none.
    in_flight: the load during which it is measured (ONE_CALL, ALL_LANES or ARRIVALS); empty where no load matters.
    cheaper: words for a row that has less of it than the row that `bench recommend` picks.
    views: where else it is shown: in the table of a check, in the ranking and the pick's line of `bench recommend`, and as a
        tag of a tracker.
    absent: why a measured row has no figure in it: a kind of finding, or a function of the row.
    """

    value: Callable[[Row], Scalar]
    measured: bool = True
    timed: bool = False
    shown: bool = True
    varies: bool = False
    partial: bool = False
    label: str = ""
    interval: tuple[str, str] | None = None
    leads: bool = False
    gpu: bool = False
    better: str = ""
    compared: str = ""
    objective: str = ""
    in_flight: str = ""
    cheaper: str = ""
    views: tuple[str, ...] = ()
    absent: str | Callable[[Row], Finding] = "absent"

    def of(self, row: Row) -> Scalar:
        """This column's value in `row`."""
        if self.measured and row.record.status not in MEASURED:
            return None
        return None if self.timed and not row.record.blocks else self.value(row)

    def why_absent(self, row: Row) -> Finding:
        """The reason for which `row`, whose status has figures, has none in this column."""
        tool = row.record.imported and row.record.imported.tool
        if tool:
            return Finding.of("absent_import", column=self.name, tool=tool)
        if self.gpu and row.record.cell.device == "cpu":
            return Finding.of("absent_on_cpu", column=self.name)
        if callable(self.absent):
            return self.absent(row)
        return Finding.of(self.absent, column=self.name)


def timed(name: str, value: Callable[[Row], Scalar], **traits: Any) -> Column:
    """A column that is None unless calls were timed."""
    return Column(name=name, value=value, timed=True, **traits)


def axis(name: str, **traits: Any) -> Column:
    """The column of an axis of axes.py."""
    known = AXES[name]
    shown: dict[str, Any] = {"varies": not known.always, "partial": known.partial, "number": known.number}
    definition = known.definition
    return Column(
        name=name, value=lambda row: known.of(row.record.cell), measured=False, definition=definition, **{**shown, **traits}
    )


def condition(name: str, value: Callable[[Row], Scalar], **traits: Any) -> Column:
    """A text that every row has, also one without figures."""
    return Column(name=name, value=value, measured=False, varies=True, number=False, **traits)


def stored(part: str, name: str) -> Callable[[Row], Scalar]:
    """A value as it stands in one part of the record."""

    def value(row: Row) -> Scalar:
        figure: Scalar = getattr(getattr(row.record, part), name, None)
        return figure

    return value
