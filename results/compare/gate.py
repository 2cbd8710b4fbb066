"""Limits on regressions, such as `p50>5%`: their grammar, the changes that break them, and lines for GitHub Actions. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BadInput
from ...spec import nearest
from ..table import conditions
from ..table.conditions import NUMBER
from ..table.findings import Finding, sentences
from .compare import VERDICTS, WORSE, Change
from .metrics import COMPARED, Metric

FORM = re.compile(r"([^<>=]*)>([^<>=]*)")
RATIO_UNITS, POINT_UNITS = ("%",), ("", "%", "points")
EXAMPLE = "such as --fail-on 'p50>5%' or --fail-on 'top1_drop>0.3'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """Largest accepted loss of a metric: `most` is a share of base's figure, or percentage points."""

    metric: Metric
    most: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Changes that certainly break a limit (`shown`), and changes that may break one (`unsure`)."""

    shown: tuple[tuple[Limit, Change], ...] = ()
    unsure: tuple[tuple[Limit, Change], ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Failures first, then warnings."""
        return (*self.failures, *self.warnings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(Finding.of("limit_broken", limit=limit.text, **change.values) for limit, change in self.shown)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding.of("limit_unsure" if change.ends else "limit_unsure_no_interval", limit=limit.text, **change.values)
            for limit, change in self.unsure
        )


def parse(texts: Sequence[str]) -> list[Limit]:
    """Parse limits. `BadInput` for a text that is not METRIC>LIMIT, for a metric that is not compared, and for no number."""
    return [_parsed(text) for text in texts]


def thresholds(limits: Sequence[Limit]) -> dict[str, float]:
    """Lowest limit of each metric."""
    lowest: dict[str, float] = {}
    for limit in limits:
        lowest[limit.metric.name] = min(limit.most, lowest.get(limit.metric.name, math.inf))
    return lowest


def _parsed(text: str) -> Limit:
    parts = FORM.fullmatch(text)
    if not parts:
        raise BadInput(f"{text!r} is not of the form METRIC>LIMIT", f"write the largest accepted loss, {EXAMPLE}")
    name, most = parts[1].strip(), parts[2].strip()
    metric = _metric(name)
    return Limit(metric=metric, most=_most(name, most, metric), text=f"--fail-on {text}")


def _most(name: str, text: str, metric: Metric) -> float:
    """The limit as a share, or in points. `BadInput` for a limit that no change could break."""
    number, units = NUMBER.fullmatch(text), POINT_UNITS if metric.in_points else RATIO_UNITS
    try:
        most = float(number[1]) if number and number[2] in units else math.nan
    except ValueError:  # the pattern accepts 1.2.3
        most = math.nan
    # throughput cannot fall by 100 %, nor accuracy by 100 points, but latency may rise by any share; nan fails every comparison
    if 0 <= most < (100 if metric.in_points or metric.more_is_better else math.inf):
        return most if metric.in_points else most / 100
    what, example = ("percentage points", f"{name}>0.3") if metric.in_points else ("per cent", f"{name}>5%")
    raise BadInput(f"{text!r} is not a limit for {name}", f"give {what} from 0 up, such as {example}")


def _metric(name: str) -> Metric:
    """The metric of that name, with or without its unit."""
    column = conditions.metrics().get(name)
    metric = next((metric for metric in COMPARED.values() if column and metric.column == column.name), None)
    if metric is None:
        raise BadInput(f"{name!r} is not a metric that is compared", nearest(name, COMPARED))
    return metric


def judge(limits: Sequence[Limit], changes: Sequence[Change]) -> Judgement:
    """Check `changes` against `limits`. `BadInput` for a limit on a metric that no cell has on both sides."""
    shown: list[tuple[Limit, Change]] = []
    unsure: list[tuple[Limit, Change]] = []
    for limit in limits:
        # only the control has no verdict, and its own changes are no regression
        about = [change for change in changes if change.metric.name == limit.metric.name and change.verdict is not None]
        if not about:
            raise BadInput(f"no cell of both sides has {limit.metric.name}", f"nothing could fail {limit.text}")
        shown += [(limit, change) for change in about if _broken(change, limit)]
        unsure += [(limit, change) for change in about if _unsure(change, limit)]
    return Judgement(shown=tuple(shown), unsure=tuple(unsure))


def _broken(change: Change, limit: Limit) -> bool:
    """True if the whole interval is beyond the limit, and the change is significant among all changes (Holm)."""
    return change.verdict in WORSE and change.loss is not None and change.loss[0] > limit.most


def _unsure(change: Change, limit: Limit) -> bool:
    return not _broken(change, limit) and (change.loss is None or change.loss[1] > limit.most)


def workflow(changes: Sequence[Change], judgement: Judgement, facts: Sequence[Finding], left: Sequence[Finding]) -> list[str]:
    """Workflow commands of GitHub Actions, which it shows beside a change.

    Errors are broken limits. Warnings are uncertain limits, other losses, and cells that were not compared (`left`).
    Notices are gains, `facts`, and the number of changes of each verdict.
    """
    failed = {id(change) for _, change in judgement.shown}
    worse = [change for change in changes if change.verdict in WORSE and id(change) not in failed]
    better = [change for change in changes if change.verdict == change.metric.words[0]]
    levels = {
        "error": judgement.failures,
        "warning": (*judgement.warnings, *_changes(worse), *left),
        "notice": (*_changes(better), *facts),
    }
    lines = [_command(level, text) for level, findings in levels.items() for text in sentences(findings)]
    counts = {verdict: sum(change.verdict == verdict for change in changes) for verdict in VERDICTS}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return [*lines, _command("notice", summary or "nothing was compared")]


def _changes(changes: Sequence[Change]) -> list[Finding]:
    return [Finding.of("change", **change.values) for change in changes]


def _command(level: str, text: str) -> str:
    """One workflow command. Its data has no raw percent sign or line break (GitHub, Workflow commands)."""
    data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=bench compare::{data}"
