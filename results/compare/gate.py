"""Whether a comparison shows a regression that a user does not accept, such as `p50>5%`. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
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
EXAMPLE = "such as p50>5% or top1_drop>0.3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The most that a metric may become worse by: a share of the base's figure, or percentage points."""

    metric: Metric
    most: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Regressions that are shown to break a limit (`shown`), and those that may or may not (`unsure`)."""

    shown: tuple[tuple[Limit, Change], ...] = ()
    unsure: tuple[tuple[Limit, Change], ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Both, the regressions first."""
        return (*self.failures, *self.warnings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(_told("limit_broken", self.shown))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(_told("limit_unsure", self.unsure))


def _told(kind: str, judged: Sequence[tuple[Limit, Change]]) -> Iterator[Finding]:
    return (Finding.of(kind, limit=limit.text, change=sentence(change)) for limit, change in judged)


def parse(texts: Sequence[str]) -> list[Limit]:
    """The limits that `texts` name. `BadInput` for what is no `METRIC>LIMIT`, no metric that is compared, or no number."""
    return [_parsed(text) for text in texts]


def thresholds(limits: Sequence[Limit]) -> dict[str, float]:
    """By metric, the least that is asked about."""
    found: dict[str, float] = {}
    for limit in limits:
        found[limit.metric.name] = min(limit.most, found.get(limit.metric.name, math.inf))
    return found


def _parsed(text: str) -> Limit:
    found = FORM.fullmatch(text)
    if not found:
        raise BadInput(f"{text!r} is not of the form METRIC>LIMIT", f"give what a metric may lose at most, {EXAMPLE}")
    name, most = found[1].strip(), found[2].strip()
    metric = _metric(name)
    return Limit(metric=metric, most=_most(name, most, metric), text=f"--fail-on {text}")


def _most(name: str, text: str, metric: Metric) -> float:
    """The limit as a share, or in points; one that nothing could break is none."""
    found, units = NUMBER.fullmatch(text), POINT_UNITS if metric.in_points else RATIO_UNITS
    try:
        most = float(found[1]) if found and found[2] in units else math.nan
    except ValueError:
        most = math.nan
    if 0 <= most < (100 if metric.in_points or metric.more_is_better else math.inf):
        return most if metric.in_points else most / 100
    what, example = ("percentage points", f"{name}>0.3") if metric.in_points else ("per cent", f"{name}>5%")
    raise BadInput(f"{text!r} is not a limit for {name}", f"give {what} from 0 up, such as {example}")


def _metric(name: str) -> Metric:
    """The metric of that name, with or without its unit."""
    column = conditions.metrics().get(name)
    found = next((metric for metric in COMPARED.values() if column and metric.column == column.name), None)
    if found is None:
        raise BadInput(f"{name!r} is not a metric that is compared", nearest(name, COMPARED))
    return found


def judge(limits: Sequence[Limit], changes: Sequence[Change]) -> Judgement:
    """Hold `changes` against `limits`. `BadInput` if a limit is about nothing that both sides have."""
    shown: list[tuple[Limit, Change]] = []
    unsure: list[tuple[Limit, Change]] = []
    for limit in limits:
        about = [item for item in changes if item.metric.name == limit.metric.name and item.verdict is not None]
        if not about:
            raise BadInput(f"no cell of both sides has {limit.metric.name}", f"nothing could fail {limit.text}")
        shown += [(limit, item) for item in about if _broken(item, limit)]
        unsure += [(limit, item) for item in about if _unsure(item, limit)]
    return Judgement(shown=tuple(shown), unsure=tuple(unsure))


def _broken(found: Change, limit: Limit) -> bool:
    """Whether the whole interval is beyond the limit, and the change no chance among so many."""
    return found.verdict in WORSE and found.loss is not None and found.loss[0] > limit.most


def _unsure(found: Change, limit: Limit) -> bool:
    return not _broken(found, limit) and (found.loss is None or found.loss[1] > limit.most)


def sentence(found: Change) -> str:
    """A finding in words: the cell, the figures, how far they can be trusted."""
    metric, ends = found.metric, found.ends
    unit = "points" if metric.in_points else "x"
    what = f"{found.change:+.2f} {unit}" if metric.in_points else f"{found.change:.3f} {unit}"
    if ends:
        what += f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    why = f" ({found.reason})" if found.reason else ""
    return f"{found.pair.cell.id} {metric.column} {found.base:.4g} -> {found.new:.4g}, {what}, {found.verdict}{why}"


def workflow(changes: Sequence[Change], judgement: Judgement, facts: Sequence[str], left: Sequence[Finding]) -> list[str]:
    """Lines that GitHub Actions shows beside a change: regressions that fail as errors, other losses, what is not sure and
    what could not be compared (`left`) as warnings, gains and what differs (`facts`) as notices."""
    failed = {id(change) for _, change in judgement.shown}
    worse = [sentence(item) for item in changes if item.verdict in WORSE and id(item) not in failed]
    better = [sentence(item) for item in changes if item.verdict == item.metric.words[0]]
    levels = {
        "error": sentences(judgement.failures),
        "warning": (*sentences(judgement.warnings), *worse, *sentences(left)),
        "notice": (*better, *facts),
    }
    lines = [f"::{level} title=bench compare::{_escaped(text)}" for level, texts in levels.items() for text in texts]
    counts = {verdict: sum(item.verdict == verdict for item in changes) for verdict in VERDICTS}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return [*lines, f"::notice title=bench compare::{told or 'nothing was compared'}"]


def _escaped(text: str) -> str:
    """As the workflow commands of GitHub Actions want their data."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
