"""Declaration of a column with all its traits. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...axes import AXES, Scalar
from .findings import Finding
from .row import MEASURED, Row

SCIENTIFIC = 0  # digits of a column whose figures are shown as 1.2e-03
UNIT = re.compile(r"_(ms|s|mb|mj|db|w|c|per_s)$")  # the unit at the end of a column's name
MORE, LESS = "more", "less"
TIME, MEMORY, ACCURACY, LOAD = "time", "memory", "accuracy", "load"
ONE_CALL, ALL_LANES, ARRIVALS = "one call", "all lanes", "arrivals"
CHECK_VIEW, RANKING_VIEW, PICK_VIEW, TAG_VIEW = "check", "ranking", "pick", "tag"
LAST = 99


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Traits of a column that a layout needs.

    digits: significant digits of the column's smallest figure. decimals: digits after the point, which replace `digits`.
    each: every figure has `digits` significant digits of its own.
    number: its values are numbers, which are aligned at the right and may have a limit.
    priority: a narrow terminal shows columns with low numbers first, and columns of one priority only together.
    definition: one sentence.
    """

    name: str
    title: str = ""
    unit: str = ""
    digits: int = 3
    decimals: int | None = None
    each: bool = False
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

    value: computes the figure from a row; None if the row has none.
    measured: None unless the row's status is one of MEASURED. timed: None unless calls were timed.
    shown: the table for people has it if a row has a figure. varies: shown if its values differ; one common value stands above
        the table under its `label` or title.
    partial: it does not apply to every row, so None does not count as a different value.
    interval: columns of the lower and the upper end of its 95 % interval.
    leads: it stands first in the table for people.
    gpu: measured on GPUs only.
    better: MORE or LESS, whichever is better; empty for a column without a direction.
    compared: kind of the metric in `bench compare` (TIME, LOAD, MEMORY or ACCURACY); empty for a column that is not compared.
    objective: name of the objective in `bench recommend`; empty for a column that is no objective.
    in_flight: load during the measurement (ONE_CALL, ALL_LANES or ARRIVALS); empty if the load does not matter.
    cheaper: words for a row with less of it than the pick of `bench recommend`.
    views: further places that show it: a check's table, the ranking and the pick of `bench recommend`, tags of trackers.
    absent: reason for a measured row without a figure: a kind of finding, or a function of the row.
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
        """Compute the value of this column in `row`."""
        if (self.measured or self.timed) and row.record.status not in MEASURED:
            return None
        return None if self.timed and not row.record.blocks else self.value(row)

    def why_absent(self, row: Row) -> Finding:
        """Reason for a `row` with figures that has none in this column."""
        tool = row.record.imported and row.record.imported.tool
        if tool:
            return Finding.of("absent_import", column=self.name, tool=tool)
        if row.record.opened and row.record.opened.program and not callable(self.absent) and self.absent != "absent_baseline":
            return Finding.of("absent_phase" if self.absent == "absent_phase" else "absent_program", column=self.name)
        if self.gpu and row.record.cell.device == "cpu":
            return Finding.of("absent_on_cpu", column=self.name)
        if callable(self.absent):
            return self.absent(row)
        return Finding.of(self.absent, column=self.name)


def values_of(columns: Iterable[Column], row: Row) -> dict[str, Scalar]:
    """Compute the values of `columns` in `row`, by name."""
    # the status comes first: the record of a failed row lacks parts that `value` reads
    measured = row.record.status in MEASURED
    timed = measured and bool(row.record.blocks)
    return {
        column.name: column.value(row) if (timed if column.timed else measured or not column.measured) else None
        for column in columns
    }


def timed(name: str, value: Callable[[Row], Scalar], **traits: Any) -> Column:
    """Column that is None unless calls were timed."""
    return Column(name=name, value=value, timed=True, **traits)


def axis(name: str, **traits: Any) -> Column:
    """Column of an axis of axes.py."""
    declared = AXES[name]
    own: dict[str, Any] = {"varies": not declared.always, "partial": declared.partial, "number": declared.number}
    own |= {"value": lambda row: declared.of(row.record.cell), "definition": declared.definition, "measured": False}
    return Column(name=name, **{**own, **traits})


def condition(name: str, value: Callable[[Row], Scalar], **traits: Any) -> Column:
    """Column with a text in every row, including rows without figures."""
    return Column(name=name, value=value, measured=False, varies=True, number=False, **traits)


def stored(part: str, name: str) -> Callable[[Row], Scalar]:
    """Read a value from one part of the record; None if the record lacks that part."""

    def value(row: Row) -> Scalar:
        figure: Scalar = getattr(getattr(row.record, part), name, None)
        return figure

    return value
