"""Findings on rows and runs, as values; kinds.py has their sentences. Pure.

No code parses a sentence: code reads the kind and the values of a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .kinds import KINDS

Part = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A fact about rows or runs. `kind`: a key of KINDS. `rows`: names of its rows, empty in a row's own findings.

    `values`: values of its sentence by name, and further values for programs.
    """

    kind: str
    rows: tuple[str, ...] = ()
    values: tuple[tuple[str, Part], ...] = ()

    @classmethod
    def of(cls, kind: str, /, **values: Part) -> Finding:
        """Make a finding of that kind."""
        return cls(kind=kind, values=tuple(values.items()))

    @property
    def severity(self) -> str:
        """INFO, CAUTION or FAILURE."""
        return KINDS[self.kind].severity

    def with_texts(self, change: Callable[[str], str]) -> Finding:
        """Apply `change` to every text among the values."""
        values = ((name, change(value) if isinstance(value, str) else value) for name, value in self.values)
        return replace(self, values=tuple(values))

    @property
    def sentence(self) -> str:
        """The finding as a sentence, without the names of its rows."""
        return KINDS[self.kind].sentence.format(**dict(self.values))

    def wire(self) -> dict[str, Any]:
        """The finding as JSON data."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "rows": self.rows,
            "values": dict(self.values),
            "sentence": self.sentence,
        }


def of_status(row: Mapping[str, Part]) -> list[Finding]:
    """Finding for a row, given by column name, that has a reason for its status; empty for a row without a reason."""
    return [Finding.of("status", status=row["status"], reason=row["reason"])] if row["reason"] else []


def sentences(findings: Iterable[Finding]) -> list[str]:
    """Sentences of the findings, without the names of their rows."""
    return [finding.sentence for finding in findings]


def grouped(findings: Sequence[tuple[str, Finding]]) -> list[Finding]:
    """Merge equal findings of several rows: each different finding once, with the names of all its rows."""
    names: dict[Finding, list[str]] = {}
    for row, finding in findings:
        names.setdefault(finding, []).append(row)
    return [replace(finding, rows=tuple(rows)) for finding, rows in names.items()]
