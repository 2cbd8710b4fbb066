"""A comparison of runs with the judgement on its limits, for the command and as a value of Python. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..store.record import Run
from ..table.findings import sentences
from ..table.values import Rows
from . import gate
from .change import Change
from .compare import compare
from .comparison import tabulate
from .gate import Judgement
from .sides import Sides


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Limits as the user wrote them. `policy`: one of gate.POLICIES."""

    limits: Sequence[str] = ()
    policy: str = gate.DEFAULT


@dataclass(frozen=True, kw_only=True)
class JudgedChanges:
    """Both `sides`, every change between them, and the judgement on the limits."""

    sides: Sides
    changes: Sequence[Change]
    judgement: Judgement

    @property
    def notes(self) -> list[str]:
        """Sentences on cells that were not compared, and on limits that nothing is certain to break."""
        return sentences((*self.sides.match.left, *self.judgement.notes))


@dataclass(frozen=True, kw_only=True, repr=False)
class ComparedRuns(Rows):
    """Result of `compare`: one row for each metric of each cell.

    `verdict`: slower, faster, mixed, equal or undecided. `failed`: True if a limit of `fail_on` fails.
    """

    verdict: str
    failed: bool

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if a limit fails."""
        return int(self.failed)


def judge(base: Sequence[Run], new: Sequence[Run], gates: Gates, control: str | None = None) -> JudgedChanges:
    """Compare both sides, and judge the changes by `gates`. Raises the errors of `gate.parse` and `compare`."""
    limits = gate.parse(gates.limits)
    sides, changes = compare(base, new, control, gate.thresholds(limits))
    return JudgedChanges(sides=sides, changes=changes, judgement=gate.judge(limits, changes, gates.policy))


def compared(judged: JudgedChanges) -> ComparedRuns:
    """`judged` with every row, as a file has them."""
    table = tabulate(judged.sides, judged.changes, judged.judgement.findings)
    failed = judged.judgement.failed
    return ComparedRuns(table=table, notes=tuple(judged.notes), verdict=str(table.head["verdict"]), failed=failed)
