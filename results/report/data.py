"""Runs as the content of a report: rows, a pick for each model, and the hosts and settings of the runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...errors import BadInput
from ...spec import Sweep, set_fields
from ..recommend.by_model import ModelRows, split_models
from ..recommend.candidates import Measured, Request, baseline_of
from ..recommend.objective import Prices, parse_prices
from ..recommend.recommend import Decision, decide, half_written
from ..store.head import PROFILE
from ..store.record import Run
from ..table.findings import Finding
from ..table.render import plain
from ..table.table import Table, lines, tabulate

SETTINGS = ("model", "models", "dataset", "threads", "baseline", "metric", "images", "cold", "options", "seed")
Facts = list[tuple[str, str]]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The decision for the `rows` of one model, made when it is read: a page has cards of its first models alone.

    Without a decision, `undecided` is the reason, as a sentence.
    """

    rows: ModelRows
    request: Request
    prices: Prices

    @property
    def model(self) -> str:
        return self.rows.model

    @property
    def decision(self) -> Decision | None:
        return self._decided[0]

    @property
    def undecided(self) -> str:
        return self._decided[1]

    @cached_property
    def _decided(self) -> tuple[Decision | None, str]:
        if not self.rows.measured:
            return None, "A check measures no time. Measure times with bench infer."
        try:
            return decide(self.rows.runs, self.request, self.rows.measured, self.prices), ""
        except BadInput as error:
            return None, f"There is no recommendation: {error}."


@dataclass(frozen=True, kw_only=True)
class Report:
    """Content of a report of `runs`.

    `measured`: each row with the values of its columns, in the order of the table.
    `picks`: one for each model, in the order of the table.
    `baseline`: the target that speed-ups refer to; None without one.
    `plot_data`: results of the functions that `compute_once` marks.
    """

    runs: tuple[Run, ...]
    measured: Measured
    table: Table
    picks: tuple[Pick, ...]
    baseline: str | None
    notes: tuple[Finding, ...]
    plot_data: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def columns(self) -> frozenset[str]:
        """Names of the columns of the table for people."""
        return frozenset(field.name for field in self.table.fields)


def compute_once(compute: Callable[Concatenate[Report, P], R]) -> Callable[Concatenate[Report, P], R]:
    """Make a function that computes its data of a report once, since a page draws each plot for two widths of screens."""

    @wraps(compute)
    def once(report: Report, /, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (compute, *args, *kwargs.items())
        if key not in report.plot_data:
            report.plot_data[key] = compute(report, *args, **kwargs)
        data: R = report.plot_data[key]
        return data

    return once


def gather(runs: Sequence[Run], request: Request, baseline: str | None = None) -> Report:
    """Make the report of `runs`. Speed-ups refer to `baseline`, or else to the baseline that all runs share.

    `BadInput` if no run has that baseline, or the backend or host of a price.
    """
    against = baseline or baseline_of(runs)
    measured = lines(runs, against)
    # over all models, since a backend with a price may have rows of one model alone
    prices = parse_prices(request.prices, [cells for _, cells in measured])
    return Report(
        runs=tuple(runs),
        measured=measured,
        table=tabulate(runs, measured, against),
        picks=tuple(Pick(rows=item, request=request, prices=prices) for item in split_models(runs, measured)),
        baseline=against,
        notes=tuple(unfinished(runs)),
    )


def unfinished(runs: Sequence[Run]) -> list[Finding]:
    """A finding for each run that ended before all of its rows were measured."""
    counts = [(run, sum(record.interrupted for record in run.cells)) for run in runs]
    return [half_written(run, len(run.cells) - left, len(run.cells)) for run, left in counts if left]


def machines(report: Report) -> list[tuple[str, Facts]]:
    """The name of each run, with its host, versions and settings as pairs of title and text."""
    return [(plain(run.folder.resolve().name), _facts(run)) for run in report.runs]


def _facts(run: Run) -> Facts:
    sweep = run.sweep or Sweep()
    timed = not run.is_check and run.sweep is not None
    # Other tools do not always report their threads, and 0 is not a number of threads.
    threads = {record.cell.settings.threads for record in run.cells if record.cell.settings.threads or not record.imported}
    ran = {record.imported.facts["ran"] for record in run.cells if record.imported and "ran" in record.imported.facts}
    facts = {
        "begun": date(run),
        "ran": sorted(ran),
        **set_fields(run.host),
        "versions": run.head.versions,
        "onnxbench": run.head.tool,
        "budget": sweep.budget.name if timed else None,
        "rounds at most": sweep.budget.rounds if timed else None,
        **({name: getattr(sweep, name) for name in SETTINGS} if run.sweep else {}),
        "threads": sorted(threads),
    }
    texts = [(name.replace("_", " "), plain(_text(value))) for name, value in facts.items()]
    return [("kind", _kind(run)), *((title, text) for title, text in texts if text)]


def _kind(run: Run) -> str:
    if run.is_check:
        return "check: answers and accuracy, no times"
    if run.head.kind == PROFILE:
        return "profile: times of kernels"
    tools = sorted({record.imported.tool for record in run.cells if record.imported})
    return f"imported: times measured by {', '.join(tools)}" if tools else "measured times"


def date(run: Run) -> str:
    """The minute in UTC at which `run` began; empty where the run does not have it."""
    seconds: Any = run.head.began_unix_s
    if not isinstance(seconds, int | float):
        return ""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _text(value: Any) -> str:
    """A value of run.json on one line; empty for a value that is not set."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    return "" if value is None or value is False else str(value)
