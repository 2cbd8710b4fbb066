"""Histories in the formats of github-action-benchmark and Bencher, which follow figures over commits. Pure.

Both services append one run at a time, so a file has the last run of each case.

- https://github.com/benchmark-action/github-action-benchmark: `customSmallerIsBetter` and `customBiggerIsBetter`, an array of
  name, unit, value, range and extra.
- https://bencher.dev/docs/reference/bencher-metric-format: benchmark, measure, then value, lower_value and upper_value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..table.column import MORE
from ..table.render import bare_paths, plain
from .history import CaseHistory, History, RunPoint
from .order import date_of, version_of

GITHUB_ACTION, BENCHER = "github-action-benchmark", "bencher"
LONGEST_NAME = 1024  # Bencher's limit of a benchmark's name


def export(history: History, format: str) -> str:
    """Text of `history` in one of FORMATS, ending in a newline."""
    return json.dumps(FORMATS[format](history), indent=1, allow_nan=False, ensure_ascii=True) + "\n"


def tool_of(history: History) -> str:
    """Value of `tool:` in the workflow of github-action-benchmark that fits the metric."""
    return "customBiggerIsBetter" if history.metric.better == MORE else "customSmallerIsBetter"


def _github_action(history: History) -> list[dict[str, Any]]:
    return [_entry(case, case.points[-1], history) for case in history.cases]


def _entry(case: CaseHistory, point: RunPoint, history: History) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": f"{_name(case)} {history.metric.metric}",
        "unit": history.metric.unit or history.metric.metric,
        "value": point.value,
    }
    if point.low is not None and point.high is not None:
        entry["range"] = f"{point.low:.4g} to {point.high:.4g} (95 %)"
    facts = {"run": point.name, "date": date_of(point.run, point.record), "version": version_of(point.run, point.record)}
    entry["extra"] = "\n".join(f"{name}: {plain(bare_paths(value))}" for name, value in facts.items() if value)
    return entry


def _bencher(history: History) -> dict[str, dict[str, dict[str, float]]]:
    benchmarks: dict[str, dict[str, dict[str, float]]] = {}
    for case in history.cases:
        point = case.points[-1]
        figures = {"value": point.value, "lower_value": point.low, "upper_value": point.high}
        benchmarks[_name(case)] = {history.metric.name: {key: value for key, value in figures.items() if value is not None}}
    return benchmarks


def _name(case: CaseHistory) -> str:
    return plain(bare_paths(case.name))[:LONGEST_NAME]


FORMATS: Mapping[str, Callable[[History], Any]] = {GITHUB_ACTION: _github_action, BENCHER: _bencher}
