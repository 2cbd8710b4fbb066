"""Kind of a finding: its severity and its sentence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

INFO, CAUTION, FAILURE = "info", "caution", "failure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Severity of a finding (INFO, CAUTION or FAILURE), and its sentence as a format of its values."""

    severity: str
    sentence: str
