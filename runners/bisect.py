"""`bench bisect`: runs of a good version and another in turns, until the first slower version is found. Loads no framework.

Each run is a sweep of two environments of one backend, in a folder of its own, which bench show reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..errors import BadInput, Unavailable, quantity
from ..results.bisect.halving import between, next_version, steps_left
from ..results.bisect.steps import Bisection
from ..results.bisect.trials import RUN_COUNTS, SKIPPED, SLOWER, UNDECIDED, VersionTrial, judge, limit_between
from ..results.stats.intervals import Repeated
from ..results.store import record, series
from ..results.table.row import MEASURED
from ..spec import Sweep, Target
from .infer import RunKind, Surroundings, infer
from .pool.context import Context
from .pool.packages import Installer, Pip
from .pool.progress import Progress
from .sweep.plan import PlannedCell

BATCHES = (1,)  # one case: a file with an open batch is compared at this batch, unless the user names another
MORE_IS_BETTER = ("throughput",)
Pythons = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Versions to bisect: from `good` to `bad` of `package`, by `metric`. `threshold`: loss that counts, as a share."""

    package: str
    good: str
    bad: str
    metric: str = "p50"
    threshold: float | None = None


class Measurer(Protocol):
    """Source of the ratios of two versions."""

    def ratios(self, pythons: Pythons, name: str) -> Repeated | str:
        """Loss of the second target against the first in each life or round of a new run called `name`.

        A sentence if the second has no figures. `Unavailable` if the first has none.
        """


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Measurer that measures both versions in turns, in a run folder below that of `surroundings`."""

    sweep: Sweep
    metric: str
    surroundings: Surroundings

    def ratios(self, pythons: Pythons, name: str) -> Repeated | str:
        out, targets = self.surroundings.out / name, [label for label, _ in pythons]
        infer(self._sweep(pythons), replace(self.surroundings, out=out), RunKind(batches=BATCHES, guard=_guard))
        cells = {str(item.cell.target): item for item in record.read_run(out).cells}
        good, other = (cells[target] for target in targets)
        if not good.measured or good.status not in MEASURED:
            raise Unavailable(f"the good version {targets[0]} was not measured ({good.reason})", f"see bench show {out}")
        if not other.measured or other.status not in MEASURED:
            return f"{other.status}: {other.reason}"
        base, new = (other, good) if self.metric in MORE_IS_BETTER else (good, other)
        return series.paired(base, new, self.metric)

    def _sweep(self, pythons: Pythons) -> Sweep:
        """Sweep of the two targets, with the options of these two."""
        targets = tuple(label for label, _ in pythons)
        return replace(
            self.sweep,
            backends=targets,
            pythons=tuple(pythons),
            options=tuple(pair for pair in self.sweep.options if _environment(pair[0]) in (None, *targets)),
            # the stop rule's speed-up is that of p50
            baseline=targets[0] if self.metric == "p50" else None,
            metric=self.metric,
        )


def _environment(option: str) -> str | None:
    """Target that an option with a prefix such as `ort-cpu@1_28_0.KEY` names; None for an option of all environments."""
    prefix = option.partition(".")[0]
    return prefix if "@" in prefix else None


@dataclass(kw_only=True)
class Bisector:
    """A bisection in progress. `result` has the trials so far, if the user interrupts it too."""

    sweep: Sweep
    question: Question
    progress: Progress
    measurer: Measurer
    installer: Installer = field(default_factory=Pip)
    result: Bisection | None = None

    def run(self) -> Bisection:
        """Measure until the first slower version is found. Returns `result` with all trials.

        Raises `BadInput` before any long work, and `Interrupted`.
        """
        question = self.question
        self.check()
        listed = self.installer.versions(question.package)
        versions = between(listed, question.good, question.bad, question.package)
        self._check_options(versions)
        start = Bisection(package=question.package, metric=question.metric, versions=versions)
        self.result = replace(start, limit=1 + (question.threshold or 0.0))
        self._try(versions[-1])
        bad = self.result.trials[0]
        if bad.verdict == SLOWER:
            self.result = replace(self.result, limit=limit_between(bad, question.threshold))
            while version := next_version(versions, self.result.by_version):
                self._try(version)
        self.result = replace(self.result, finished=True)
        return self.result

    def check(self) -> Sweep:
        """Sweep of the backend without versions, for a check of the model before any environment is made.

        Raises `BadInput` for anything but one case of one backend, without an interpreter of its own.
        """
        names = self.sweep.backends
        if len(names) != 1 or "@" in names[0] or names[0] == "all":
            raise BadInput("bisect compares versions of one backend", "write --backend with one name, such as ort-cpu")
        _check_one_case(self.sweep)
        if self.sweep.pythons:
            raise BadInput("--python does not apply: bisect makes an environment for each version", "leave it out")
        return replace(self.sweep, options=tuple(pair for pair in self.sweep.options if _environment(pair[0]) is None))

    def _check_options(self, versions: Sequence[str]) -> None:
        """Raise `BadInput` for an option of an environment that no version has."""
        targets = {str(self._target(version)) for version in versions}
        for name, _ in self.sweep.options:
            if _environment(name) not in (None, *targets):
                raise BadInput(
                    f"--option {name} names no version of this bisection", f"use one of {', '.join(sorted(targets))}"
                )

    def _target(self, version: str) -> Target:
        return Target(backend=self.sweep.backends[0], environment=environment_name(version))

    def _try(self, version: str) -> None:
        """Add the trial of `version`."""
        result = self._result()
        left = steps_left(result.versions, result.by_version) if result.trials else len(result.versions).bit_length()
        note = f"{self.question.package} {version} against {result.versions[0]}, at most {quantity(left, 'version')} to try"
        self.progress.note(note)
        trial = self._trial(version, result)
        self.result = replace(result, trials=(*result.trials, trial))

    def _result(self) -> Bisection:
        if self.result is None:
            raise RuntimeError("the bisection has not begun")
        return self.result

    def _trial(self, version: str, result: Bisection) -> VersionTrial:
        """Trial of `version`. Longer if it is undecided; skipped if it cannot be installed or measured."""
        good = result.versions[0]
        # An error of the good version ends the bisection: nothing can be compared.
        pythons = [(str(self._target(good)), str(self.installer.environment(self.question.package, good)))]
        try:
            pythons.append((str(self._target(version)), str(self.installer.environment(self.question.package, version))))
        except Unavailable as error:
            return VersionTrial(version=version, verdict=SKIPPED, reason=error.message)
        ratios: list[Repeated] = []
        for count in RUN_COUNTS:
            while len(ratios) < count:
                name = f"{len(result.trials) + 1:02}-{environment_name(version)}-run{len(ratios) + 1}"
                measured = self.measurer.ratios(pythons, name)
                if isinstance(measured, str):
                    return VersionTrial(version=version, verdict=SKIPPED, runs=len(ratios), reason=measured)
                ratios.append(measured)
            trial = judge(version, ratios, result.limit)
            if trial.verdict != UNDECIDED:
                break
        return trial


def environment_name(version: str) -> str:
    """Name of the environment of `version`: `1_28_0` for 1.28.0, since a name has no dots."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in version)


def _check_one_case(sweep: Sweep) -> None:
    """Raise `BadInput` for a sweep in which the user asks for several values of an axis."""
    options = {"--model": sweep.models, "--precision": sweep.precisions, "--batch": sweep.batches, "--cache": sweep.caches}
    options |= {f"--dim {name}": sizes for name, sizes in sweep.dims} | {"--int8": sweep.schemes}
    for option, values in options.items():
        if len(values) > 1:
            problem = f"bisect compares one case, and {option} has {len(values)} values ({', '.join(map(str, values))})"
            raise BadInput(problem, f"give {option} one value")


def _guard(rows: Sequence[PlannedCell], context: Context) -> None:
    """Raise `BadInput` for more than one case, or for a case that cannot run on either version."""
    by_target: dict[str, list[PlannedCell]] = {}
    for row in rows:
        by_target.setdefault(str(row.cell.target), []).append(row)
    for cells in by_target.values():
        if len(cells) > 1:
            names = ", ".join(f"{row.cell.precision} b{row.cell.batch}" for row in cells)
            raise BadInput(
                f"bisect compares one case, and there are {len(cells)} ({names})", "add --precision, --batch or --dim"
            )
