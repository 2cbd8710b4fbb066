"""Order of runs in a history: by date, commit or version, or as the user named them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ...errors import BadInput
from ..store.record import CellRecord, Run

DATE, COMMIT, VERSION, GIVEN = ORDERS = ("date", "commit", "version", "given")
DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?")
PARTS = re.compile(r"\d+|[a-z]+")
BEFORE = ("dev", "a", "alpha", "b", "beta", "c", "rc", "pre")
"""Marks of versions that come before the release, as PEP 440 has them."""

Place = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Order:
    """Order of a history. `by`: one of ORDERS. `commits`: commits of the repository with their places, the oldest first."""

    by: str = DATE
    commits: Mapping[str, int] = field(default_factory=dict)

    def place(self, run: Run, record: CellRecord, name: str, number: int) -> Place:
        """Sort key of `record` in its case. `number`: place of `run` among the runs that the user named.

        `BadInput` if the run lacks what the order needs.
        """
        if self.by == GIVEN:
            return (number,)
        if self.by == COMMIT:
            return (self._commit(run, name), _seconds(run, record) or 0, number)
        if self.by == VERSION:
            return (*_version(run, record, name), _seconds(run, record) or 0, number)
        seconds = _seconds(run, record)
        if seconds is None:
            raise BadInput(f"{name} has no date", "write the runs in their order, and add --by given")
        return (seconds, number)

    def _commit(self, run: Run, name: str) -> int:
        commit = run.head.commit
        if not commit:
            raise BadInput(f"{name} has no commit: it was measured outside a git repository", "use --by date")
        if commit not in self.commits:
            problem = f"the git repository of this folder has no commit {commit[:12]}, which {name} was measured at"
            raise BadInput(problem, "run bench history inside that repository, or use --by date")
        return self.commits[commit]


def date_of(run: Run, record: CellRecord) -> str | None:
    """Date at which the figures were measured, as `2026-11-28 10:00:00`; UTC, or the clock of the imported tool."""
    seconds = _seconds(run, record)
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def version_of(run: Run, record: CellRecord) -> str | None:
    """Version of the runtime that was measured, or of the imported tool."""
    if record.imported:
        return record.imported.version
    return run.head.versions.get(str(record.cell.target))


def version_key(version: str) -> tuple[object, ...]:
    """Sort key of a version: 1.9 before 1.10, 1.28.0rc1 before 1.28 and 1.28.0, and 1.28.0 before 1.28.0.post1."""
    public = version.lower().partition("+")[0]
    match = re.match(r"v?(\d+(?:\.\d+)*)", public)
    release = [int(part) for part in match[1].split(".")] if match else []
    while release and not release[-1]:
        release.pop()
    rest = PARTS.findall(public[match.end() :] if match else public)
    stage = -1 if rest and rest[0] in BEFORE else bool(rest)
    return (release, stage, [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in rest])


def _version(run: Run, record: CellRecord, name: str) -> Place:
    version = version_of(run, record)
    if not version:
        raise BadInput(f"{name} has no version of {record.cell.target}", "use --by date or --by given")
    return version_key(version)


def _seconds(run: Run, record: CellRecord) -> float | None:
    """Seconds since 1970 at which the figures were measured. An import has the time that its file names."""
    if record.imported:
        return _seconds_of(record.imported.facts.get("ran", ""))
    seconds = run.head.began_unix_s
    # a damaged run.json may have any type or size of number here
    valid = isinstance(seconds, int | float) and 0 <= seconds < 1e11
    return float(seconds) if valid and seconds is not None else None


def _seconds_of(text: str) -> float | None:
    match = DAY.search(text)
    if not match:
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
    except ValueError:  # such as month 13
        return None


def numbered(commits: Sequence[str]) -> dict[str, int]:
    """Places of `commits`, which are sorted from the oldest to the newest."""
    return {commit: place for place, commit in enumerate(commits)}
