"""A bisection as a table: one row for each trial, and the sentence with the first slower version. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.head import SCHEMA
from ..table.column import Field
from ..table.findings import Finding
from ..table.table import RowValues, Table
from ..table.values import Rows
from .halving import bracket, undecided
from .trials import SLOWER, VersionTrial

RATIO: dict[str, Any] = {"decimals": 3}
FIELDS: tuple[Field, ...] = (
    Field(name="version", number=False, priority=0, definition="Version of the package that was compared with the good one."),
    Field(name="verdict", number=False, priority=0, definition="slower, not slower, undecided or skipped."),
    Field(
        name="ratio", title="loss", priority=1, definition="Its time over that of the good version: above 1 is slower.", **RATIO
    ),
    Field(name="ratio_ci_low", title="from", priority=2, definition="Lower end of the ratio's 95 % interval.", **RATIO),
    Field(name="ratio_ci_high", title="to", priority=2, definition="Upper end of the ratio's 95 % interval.", **RATIO),
    Field(name="runs", priority=3, definition="Runs in which both versions were measured in turns."),
    Field(name="reason", number=False, priority=4, definition="Reason of a version that is skipped."),
)


@dataclass(frozen=True, kw_only=True)
class Bisection:
    """A bisection of `versions` of `package` by `metric`: its `trials` in their order.

    `limit`: ratio above which a version is slower. `finished`: no version is left to try.
    """

    package: str
    metric: str
    versions: tuple[str, ...]
    trials: tuple[VersionTrial, ...] = ()
    limit: float = 1.0
    finished: bool = False

    @property
    def by_version(self) -> Mapping[str, VersionTrial]:
        """Trials by version."""
        return {trial.version: trial for trial in self.trials}

    @property
    def conclusion(self) -> Finding:
        """The first slower version with its evidence, or the reason why there is none."""
        bad = self.by_version.get(self.versions[-1])
        if bad is None or bad.verdict != SLOWER:
            return self._none(bad)
        ends = bracket(self.versions, self.by_version)
        trial = self.by_version[ends.bad]
        values: dict[str, Any] = {**self._values(trial), "before": ends.good}
        if not self.finished:
            return Finding.of("bisect_stopped", **values)
        if not ends.between:
            return Finding.of("bisect_first", **values)
        unsure = [trial.version for trial in undecided(self.by_version, ends.between)]
        return Finding.of(
            "bisect_range",
            **values,
            candidates=", ".join((*ends.between, ends.bad)),
            why="undecided after all runs" if len(unsure) == len(ends.between) else "undecided or skipped",
            between=", ".join(ends.between),
        )

    @property
    def is_found(self) -> bool:
        """True if one version is shown to be the first slower one."""
        return self.conclusion.kind == "bisect_first"

    def _none(self, bad: VersionTrial | None) -> Finding:
        if bad is None:
            return Finding.of("bisect_nothing", package=self.package)
        if bad.ratio is None:
            return Finding.of("bisect_unmeasured", package=self.package, version=bad.version, reason=bad.reason)
        kind = "bisect_none" if bad.low is not None else "bisect_none_no_interval"
        return Finding.of(kind, **self._values(bad))

    def _values(self, trial: VersionTrial) -> dict[str, Any]:
        """Values of a sentence on `trial`; changes are in %."""
        shares = {"change": trial.ratio, "low": trial.low, "high": trial.high}
        changes = {name: None if share is None else 100 * (share - 1) for name, share in shares.items()}
        return {
            "package": self.package,
            "version": trial.version,
            "good": self.versions[0],
            "metric": self.metric,
            **changes,
            "runs": trial.runs,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class BisectedVersions(Rows):
    """Result of `bisect`: one row for each version that was compared with the good one.

    `first_slower`: the first slower version; None if `bad` is not shown to be slower, or if versions stay undecided.
    """

    first_slower: str | None

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 without a first slower version."""
        return int(self.first_slower is None)


def bisected(bisection: Bisection, notes: Sequence[str] = ()) -> BisectedVersions:
    """`bisection` as a value of Python."""
    table = tabulate(bisection)
    return BisectedVersions(table=table, notes=tuple(notes), first_slower=table.head["first_slower"])


def tabulate(bisection: Bisection) -> Table:
    """Table of the trials in the order of their measurement, with the conclusion below."""
    rows = [_row(trial) for trial in bisection.trials]
    versions, conclusion = bisection.versions, bisection.conclusion
    compared = f"{bisection.package} {versions[0]} (good) to {versions[-1]} (bad): {len(versions)} versions"
    limit = f"{bisection.metric} · slower: above {bisection.limit:.3f} times that of {versions[0]}"
    return Table(
        names=tuple(field.name for field in FIELDS),
        rows=tuple(rows),
        fields=tuple(field for field in FIELDS if field.name != "reason" or any(row["reason"] for row in rows)),
        facts=(compared, limit),
        findings=(conclusion,),
        grouped=False,
        head={
            "schema": SCHEMA,
            "package": bisection.package,
            "metric": bisection.metric,
            "versions": versions,
            "limit": bisection.limit,
            "first_slower": dict(conclusion.values)["version"] if bisection.is_found else None,
            "findings": [conclusion.wire()],
        },
    )


def _row(trial: VersionTrial) -> RowValues:
    values: Sequence[Any] = (trial.version, trial.verdict, trial.ratio, trial.low, trial.high, trial.runs, trial.reason or None)
    return dict(zip((field.name for field in FIELDS), values, strict=True))
