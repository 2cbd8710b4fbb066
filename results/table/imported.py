"""Rows of other tools that stand together although their tool's settings gave their figures different meanings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..store.record import CellRecord
from .findings import Finding

PROVENANCE = ("ran", "processor", "accelerator")  # facts of an imported row that are no settings of its tool


def unlike_settings(named: Iterable[tuple[str, CellRecord]]) -> list[Finding]:
    """A finding for each tool and model whose rows, given by name, were measured with different settings."""
    groups: dict[tuple[str, str], list[tuple[str, Mapping[str, str]]]] = {}
    for name, record in named:
        if record.imported:
            groups.setdefault((record.imported.tool, record.cell.model), []).append((name, record.imported.facts))
    return [finding for (tool, model), rows in groups.items() for finding in _unlike(tool, model, rows)]


def _unlike(tool: str, model: str, rows: Sequence[tuple[str, Mapping[str, str]]]) -> list[Finding]:
    settings = dict.fromkeys(name for _, facts in rows for name in facts if name not in PROVENANCE)
    values = {name: sorted({facts[name] for _, facts in rows if name in facts}) for name in settings}
    texts = [f"{name} {' and '.join(different)}" for name, different in values.items() if len(different) > 1]
    if not texts:
        return []
    finding = Finding.of("unlike_settings", tool=tool, model=model, settings=", ".join(texts))
    return [replace(finding, rows=tuple(dict.fromkeys(name for name, _ in rows)))]
