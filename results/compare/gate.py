"""Limits on regressions, such as `p50>5%`: their grammar, the changes that break them, and lines for GitHub Actions. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...errors import BadInput
from ...spec import nearest
from ..stats.intervals import LEAST_RUNS
from ..table import conditions
from ..table.conditions import NUMBER, UNITS
from ..table.findings import Finding, sentences
from ..table.kind import FAILURE
from .change import (
    FEW_PASSES,
    FEW_ROUNDS,
    FEW_RUNS,
    OTHER_CLOCKS,
    OTHER_HOST,
    OTHER_IMAGES,
    OTHER_LIMITS,
    WORSE,
    Change,
)
from .metrics import COMPARED, Metric
from .verdict import overall

FORM = re.compile(r"([^<>=]*)>([^<>=]*?)(?:\s+and\s+([^<>=]*)>([^<>=]*))?")
RATIO_UNITS, POINT_UNITS = ("%",), ("", "%", "points")
ACCEPTED = "write for example 'p50>5%', 'p50>5% and >0.1ms' or 'top1_drop>0.3'"
FAIL, DEFAULT, WARN = POLICIES = ("fail", "default", "warn")
"""Outcomes of a limit that some cells leave undecided: it fails, it fails if no cell is decided, or it passes."""

BEYOND = "the interval reaches beyond the limit"
REMEDIES: Mapping[str, str] = {
    FEW_ROUNDS: "measure both runs with --budget normal",
    FEW_RUNS: f"give {LEAST_RUNS} or more runs a side",
    OTHER_CLOCKS: "measure both runs with --lock-clocks",
    OTHER_LIMITS: "measure both runs with the same --load and --slo",
    FEW_PASSES: "measure both runs with --budget normal",
    OTHER_HOST: "compare runs of one host",
    OTHER_IMAGES: "give both runs the same --dataset and --images",
}
MEASURE_LONGER = f"measure both runs with --budget thorough, or give {LEAST_RUNS} or more runs a side"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """Largest accepted loss of a metric: `most` is a share of base's figure, or percentage points.

    `floor`: a loss in the unit of the metric that is always accepted.
    """

    metric: Metric
    most: float
    text: str
    floor: float = 0.0

    def of(self, change: Change) -> float:
        """The limit for `change`: a loss must be beyond both `most` and `floor`."""
        return max(self.most, self.floor / change.base) if self.floor else self.most

    def is_broken(self, change: Change) -> bool:
        """True if the whole interval is beyond the limit, and the change is significant among all changes (Holm)."""
        return change.verdict in WORSE and change.loss is not None and change.loss[0] > self.of(change)

    def is_unsure(self, change: Change) -> bool:
        return not self.is_broken(change) and (change.loss is None or change.loss[1] > self.of(change))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Outcome of a `limit`: the changes that certainly break it (`shown`), and those that may break it (`unsure`).

    `cells`: the number of changes that it applies to.
    """

    limit: Limit
    shown: tuple[Change, ...]
    unsure: tuple[Change, ...]
    cells: int

    @property
    def broken(self) -> Iterator[Finding]:
        return (Finding.of("limit_broken", limit=self.limit.text, **change.values) for change in self.shown)

    @property
    def warnings(self) -> list[Finding]:
        return [
            Finding.of("limit_unsure" if item.ends else "limit_unsure_no_interval", limit=self.limit.text, **item.values)
            for item in self.unsure
        ]

    @property
    def condensed(self) -> list[Finding]:
        """The warnings as one finding, if there are several."""
        return [self._of_cells("limit_unsure_cells")] if len(self.unsure) > 1 else self.warnings

    def undecided(self, policy: str) -> list[Finding]:
        """Finding on the cells that are not decided, if `policy` fails for them or lets all of them pass; else empty."""
        if len(self.unsure) == self.cells:
            return [self._of_cells("limit_passed_undecided" if policy == WARN else "limit_undecided")]
        return [self._of_cells("limit_partly_decided")] if self.unsure and policy == FAIL else []

    def _of_cells(self, kind: str) -> Finding:
        reasons = list(dict.fromkeys(_reason(change) for change in self.unsure))
        remedies = dict.fromkeys(REMEDIES.get(reason, MEASURE_LONGER) for reason in reasons)
        return Finding.of(
            kind,
            limit=self.limit.text,
            unsure=len(self.unsure),
            cells=self.cells,
            reason=", ".join(reasons),
            remedy="; ".join(remedies),
        )


def _reason(change: Change) -> str:
    """Reason why a limit is undecided for `change`."""
    return BEYOND if change.ends and change.reason != OTHER_CLOCKS else change.reason


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Outcomes of all limits. `policy`: one of POLICIES, for the cells that are not decided."""

    limits: tuple[Outcome, ...] = ()
    policy: str = DEFAULT

    @property
    def failed(self) -> bool:
        """True if a limit is broken, or fails because too little is decided."""
        return bool(self.failures)

    @property
    def shown(self) -> tuple[tuple[Limit, Change], ...]:
        return tuple((item.limit, change) for item in self.limits for change in item.shown)

    @property
    def unsure(self) -> tuple[tuple[Limit, Change], ...]:
        return tuple((item.limit, change) for item in self.limits for change in item.unsure)

    @property
    def undecided(self) -> tuple[Finding, ...]:
        """Findings on limits of which too little is decided."""
        return tuple(finding for item in self.limits for finding in item.undecided(self.policy))

    @property
    def failures(self) -> tuple[Finding, ...]:
        broken = [finding for item in self.limits for finding in item.broken]
        return (*broken, *(finding for finding in self.undecided if finding.severity == FAILURE))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for item in self.limits for finding in item.warnings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Failures first, then warnings, one for each undecided cell."""
        return self._with(self.warnings)

    @property
    def condensed(self) -> tuple[Finding, ...]:
        """Failures first, then warnings, one for each limit."""
        # an outcome for all cells has the same reasons
        summed = {dict(finding.values)["limit"] for finding in self.undecided}
        return self._with([finding for item in self.limits if item.limit.text not in summed for finding in item.condensed])

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Findings that are not on a broken limit: what is undecided, and why that fails or passes."""
        return tuple(finding for finding in self.condensed if finding.kind != "limit_broken")

    @property
    def allowed(self) -> tuple[Finding, ...]:
        """Findings on limits that pass although no cell is decided."""
        return tuple(finding for finding in self.undecided if finding.severity != FAILURE)

    def _with(self, warnings: Sequence[Finding]) -> tuple[Finding, ...]:
        return (*self.failures, *self.allowed, *warnings)


def parse(texts: Sequence[str]) -> list[Limit]:
    """Parse limits. `BadInput` for a text of another form, for a metric that is not compared, and for no number."""
    return [_parsed(text) for text in texts]


def thresholds(limits: Sequence[Limit]) -> dict[str, float]:
    """Lowest limit of each metric."""
    lowest: dict[str, float] = {}
    for limit in limits:
        lowest[limit.metric.name] = min(limit.most, lowest.get(limit.metric.name, math.inf))
    return lowest


def _parsed(text: str) -> Limit:
    parts = FORM.fullmatch(text.strip())
    if not parts:
        raise BadInput(f"{text!r} is not of the form METRIC>LIMIT", ACCEPTED)
    name, most, other, floor = (part and part.strip() for part in parts.groups())
    metric = _metric(name)
    if other and _metric(other) != metric:
        raise BadInput(f"{text!r} joins two metrics", f"give --fail-on twice, or write {name}>{most} and >LIMIT with a unit")
    least = 0.0 if floor is None else _floor(name, floor, metric)
    return Limit(metric=metric, most=_most(name, most, metric), floor=least, text=f"--fail-on {text}")


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
    raise BadInput(
        f"{text!r} is not a limit for {name}", f"give {what} from 0 up, such as {example}{_floor_form(name, metric)}"
    )


def _floor(name: str, text: str, metric: Metric) -> float:
    """Smallest loss that counts, in the unit of the metric. `BadInput` for a text without one of its units."""
    units = {} if metric.in_points else UNITS[metric.unit]
    number = NUMBER.fullmatch(text)
    try:
        floor = float(number[1]) * units[number[2]] if number else math.nan
    except (ValueError, KeyError):
        floor = math.nan
    if 0 < floor < math.inf:
        return floor
    if metric.in_points:
        raise BadInput(f"{name} is in points already, so it takes one limit", f"write {name}>0.3")
    raise BadInput(
        f"{text!r} is not an absolute limit for {name}", f"give a number with {', '.join(units)}{_floor_form(name, metric)}"
    )


def _floor_form(name: str, metric: Metric) -> str:
    """The form with an absolute limit, as the end of a hint; empty for a metric in points."""
    example = {"ms": "0.1ms", "MB": "10MB", "/s": "10/s"}.get(metric.unit)
    return f", or {name}>5% and >{example}" if example else ""


def _metric(name: str) -> Metric:
    """The metric of that name, with or without its unit."""
    column = conditions.metrics().get(name)
    metric = next((metric for metric in COMPARED.values() if column and metric.column == column.name), None)
    if metric is None:
        raise BadInput(f"{name!r} is not a metric that is compared", nearest(name, COMPARED))
    return metric


def judge(limits: Sequence[Limit], changes: Sequence[Change], policy: str = DEFAULT) -> Judgement:
    """Check `changes` against `limits`. `BadInput` for a limit on a metric that no cell has on both sides."""
    return Judgement(limits=tuple(_outcome(limit, changes) for limit in limits), policy=policy)


def _outcome(limit: Limit, changes: Sequence[Change]) -> Outcome:
    # only the control has no verdict, and its own changes are no regression
    about = [change for change in changes if change.metric.name == limit.metric.name and change.verdict is not None]
    if not about:
        raise BadInput(
            f"no cell of both sides has {limit.metric.name}, so {limit.text} cannot fail",
            "give another metric, or runs that measured this one",
        )
    shown, unsure = (tuple(filter(test, about)) for test in (limit.is_broken, limit.is_unsure))
    return Outcome(limit=limit, shown=shown, unsure=unsure, cells=len(about))


def workflow(changes: Sequence[Change], judgement: Judgement, facts: Sequence[Finding], left: Sequence[Finding]) -> list[str]:
    """Workflow commands of GitHub Actions, which it shows beside a change.

    Errors are broken limits. Warnings are uncertain limits, other losses, and cells that were not compared (`left`).
    Notices are gains, `facts`, and the verdict on all changes.
    """
    failed = {id(change) for _, change in judgement.shown}
    worse = [change for change in changes if change.verdict in WORSE and id(change) not in failed]
    better = [change for change in changes if change.verdict == change.metric.words[0]]
    levels = {
        "error": judgement.failures,
        "warning": (*judgement.allowed, *judgement.warnings, *_changes(worse), *left),
        "notice": (*_changes(better), *facts),
    }
    lines = [_command(level, text) for level, findings in levels.items() for text in sentences(findings)]
    return [*lines, _command("notice", overall(changes).finding.sentence)]


def _changes(changes: Sequence[Change]) -> list[Finding]:
    return [Finding.of("change", **change.values) for change in changes]


def _command(level: str, text: str) -> str:
    """One workflow command. Its data has no raw percent sign or line break (GitHub, Workflow commands)."""
    data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=bench compare::{data}"
