"""Findings: what is said about rows and runs beside their figures, as values. The sentences stand here, and nowhere else. Pure.

Nobody reads a sentence back: what a reader of code needs of a finding is its kind and its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

INFO, CAUTION, FAILURE = "info", "caution", "failure"
Part = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Severity of a finding (INFO, CAUTION or FAILURE), and its sentence as a format of its values."""

    severity: str
    sentence: str


KINDS: Mapping[str, Kind] = {
    "status": Kind(severity=FAILURE, sentence="{status}: {reason}"),
    # why a row does not have the best grade
    "no_interval": Kind(severity=CAUTION, sentence="no interval of {metric}: fewer than {rounds} rounds"),
    "wide_interval": Kind(severity=CAUTION, sentence="the interval of {metric} is wider than ±{half_width:.1%}"),
    "disturbed": Kind(severity=CAUTION, sentence="blocks disturbed: {cause}"),
    "noise_unseen": Kind(severity=CAUTION, sentence="no evidence of noise: the system has no {counters}"),
    "drift": Kind(severity=CAUTION, sentence="p50 {direction} by more than 5 % from the first round to the last"),
    "other_arithmetic": Kind(severity=CAUTION, sentence="{asked} was asked for and {ran} ran"),
    "float_layers": Kind(severity=CAUTION, sentence="{count} of {of} ran in {ran}"),
    "elsewhere": Kind(severity=CAUTION, sentence="{nodes} of {of} nodes ran on the device"),
    "session": Kind(severity=CAUTION, sentence="{remark}"),
    # what else a reader should know of a row
    "built": Kind(severity=INFO, sentence="{remark}"),
    "made_otherwise": Kind(
        severity=CAUTION,
        sentence="its file was made by onnxbench {tool}, in another way than the version that measured it does:"
        " bench export makes it again",
    ),
    "random_calibration": Kind(
        severity=CAUTION,
        sentence="calibrated on random inputs, so what it costs in accuracy is not that of real ones",
    ),
    "unfinished": Kind(severity=CAUTION, sentence="its rounds were not all measured: --resume goes on with it"),
    "not_warm": Kind(severity=CAUTION, sentence="latency was still changing when the warm-up ended"),
    "withheld": Kind(severity=INFO, sentence="p{percentile} withheld: fewer than {samples} samples"),
    "busy_threads": Kind(severity=CAUTION, sentence="its threads were still busy while others were measured"),
    "power_limit": Kind(severity=INFO, sentence="the GPU ran at its power limit"),
    "step_failed": Kind(severity=CAUTION, sentence="the step {step!r} failed, the other figures are kept: {reason}"),
    "rate_untold": Kind(severity=INFO, sentence="no rate: too few items arrived to tell p{percentile:g}"),
    "rate_queue": Kind(severity=INFO, sentence="no rate: its queue grows at {rate:.3g}/s already"),
    "rate_latency": Kind(severity=INFO, sentence="no rate: p{percentile:g} is {latency_ms:.3g} ms at {rate:.3g}/s already"),
    "rate_at_least": Kind(severity=INFO, sentence="p{percentile:g} holds at the highest rate that was tried"),
    "load_disturbed": Kind(severity=CAUTION, sentence="disturbed under load: {causes}"),
    "gpu_untold": Kind(severity=CAUTION, sentence="GPU evidence is missing: {reason}"),
    "definition": Kind(severity=INFO, sentence="{text}"),
    # why a measured row has no figure in a column
    "absent": Kind(severity=INFO, sentence="{column} is not in the run"),
    "absent_because": Kind(severity=INFO, sentence="{column}: {reason}"),
    "absent_percentile": Kind(
        severity=INFO, sentence="{metric} was withheld (fewer than {samples} samples): measure with --metric {metric}"
    ),
    "absent_interval": Kind(severity=INFO, sentence="{column} needs {rounds} rounds: measure at --budget normal"),
    "absent_baseline": Kind(severity=INFO, sentence="{column} needs another row to compare with: measure with --baseline"),
    "absent_labels": Kind(severity=INFO, sentence="{column} needs labelled samples: give --dataset"),
    "absent_parity": Kind(severity=INFO, sentence="{column}: the answers were not compared with the FP32 reference"),
    "absent_build": Kind(severity=INFO, sentence="{column}: this runtime compiles nothing ahead"),
    "absent_cold": Kind(severity=INFO, sentence="{column} was not measured: give --cold"),
    "absent_at_quick": Kind(severity=INFO, sentence="{column} is not measured at --budget quick: give --budget normal"),
    "absent_load": Kind(severity=INFO, sentence="{column} was not measured: give --load poisson --slo p99=10ms"),
    "absent_on_cpu": Kind(severity=INFO, sentence="{column} is measured on GPUs only"),
    "absent_import": Kind(severity=INFO, sentence="{column}: {tool} does not report it"),
    # of two sides
    "changed": Kind(severity=INFO, sentence="{what}: {old} -> {new}"),
    "only_in": Kind(severity=CAUTION, sentence="only in {side}, not compared: {cells}"),
    "no_figures": Kind(severity=CAUTION, sentence="{side} has no figures, {why}: {cells}"),
    "limit_broken": Kind(severity=FAILURE, sentence="{limit} failed: {change}"),
    "limit_unsure": Kind(severity=CAUTION, sentence="{limit} is inconclusive: {change}"),
    # of a machine
    "missing": Kind(severity=INFO, sentence="not here: {reason}"),
    "missing_install": Kind(severity=INFO, sentence="not here: {reason} ({install})"),
    # of limits that a user set
    "limit_unknown": Kind(severity=FAILURE, sentence="{limit} failed: no row has {column}"),
    "limit_missed": Kind(severity=FAILURE, sentence="{limit} failed: {column} is {value:.4g}{unit}"),
    "drop_unsure": Kind(
        severity=CAUTION,
        sentence="top1_drop is within {limit:g}, but {images} samples leave {high:.2f} points possible;"
        " --max top1_drop_ci_high={limit:g} requires certainty",
    ),
    # why a row cannot be recommended
    "instrument": Kind(severity=INFO, sentence="measures onnxbench itself, and cannot be deployed"),
    "no_price": Kind(severity=INFO, sentence="has no price; give --price {target}=AMOUNT"),
    "breaks_limit": Kind(severity=INFO, sentence="not within {limit}"),
    # of a decision
    "pick": Kind(severity=INFO, sentence="{figures}; grade {grade}, {rounds} rounds"),
    "pick_ungraded": Kind(severity=INFO, sentence="{figures}; no grade"),
    "best": Kind(severity=INFO, sentence="{extreme} {objective} of {rows} feasible rows"),
    "only_feasible": Kind(severity=INFO, sentence="the only feasible row"),
    "machines": Kind(severity=INFO, sentence="for {demand:g}/s: {machines} of this machine, each at {rate:.4g}/s with {slo}"),
    "machines_at_full_load": Kind(
        severity=CAUTION,
        sentence="for {demand:g}/s: {machines} of this machine, each at {rate:.4g}/s at full load, without a limit on latency;"
        " measure with --load poisson --slo p99=10ms for the rate within a limit",
    ),
    "runner_up": Kind(severity=INFO, sentence="{figures}; grade {grade}, {rounds} rounds"),
    "runner_up_ungraded": Kind(severity=INFO, sentence="{figures}; no grade"),
    "no_runner_up": Kind(severity=INFO, sentence="none: no other row is feasible"),
    "differs": Kind(
        severity=INFO,
        sentence="the pick is {change:.3g} % {direction} than the runner-up (95 %: {low:.3g} to {high:.3g} %; {basis})",
    ),
    "uncertain": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction} in {where}, but not certain"
        " (95 %: {low:.3g} to {high:.3g} %; {basis})",
    ),
    "uncertain_few_rounds": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction} in {where}, but not certain: {rounds} rounds, {needed} are needed",
    ),
    "uncertain_once": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction} in {where}, but not certain: {objective} is measured once",
    ),
    "uncertain_import": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction}, but not certain: figures of {tool} have no interval",
    ),
    "runner_up_cheaper": Kind(severity=CAUTION, sentence="the runner-up {advantages}, and the pick is not certainly better"),
    "infeasible": Kind(severity=FAILURE, sentence="nothing is feasible: no row keeps every limit and has every figure"),
    "limit_distance": Kind(
        severity=INFO, sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit"
    ),
    "nearest": Kind(
        severity=INFO,
        sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit; {relaxed} would be enough",
    ),
    "nearest_by_several": Kind(severity=INFO, sentence="no single limit is enough: {misses}"),
    "binds": Kind(
        severity=INFO,
        sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit; without the limit"
        " this row would be better than the pick ({figures})",
    ),
    "binds_with_others": Kind(
        severity=INFO,
        sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit; without the limit and {others}"
        " this row would be better than the pick ({figures})",
    ),
    "half_written": Kind(
        severity=CAUTION,
        sentence="{run} is half-written: {finished} of {rows} rows are finished and are used",
    ),
    "several_models": Kind(severity=CAUTION, sentence="rows of several models are compared: {models}"),
    "other_tool": Kind(severity=CAUTION, sentence="{row} is measured by {tool}, whose definitions differ: bench show says how"),
    "one_call": Kind(
        severity=INFO,
        sentence="p50 and p99 are of one call in flight; with all {lanes:.0f} lanes busy each call takes longer",
    ),
    "unlike_memory": Kind(
        severity=CAUTION,
        sentence="memory is not the same thing in all rows: {on_cpu} on the CPU, {on_gpu} on a GPU",
    ),
}
"""Every kind of finding, in the order in which they are told of a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is said: its kind, a key of KINDS; the names of the rows that it is about, none for a row's own finding;
    and the values in its sentence, by name."""

    kind: str
    rows: tuple[str, ...] = ()
    values: tuple[tuple[str, Part], ...] = ()

    @classmethod
    def of(cls, kind: str, /, **values: Part) -> Finding:
        """A finding of that kind."""
        return cls(kind=kind, values=tuple(values.items()))

    @property
    def severity(self) -> str:
        """INFO, CAUTION or FAILURE."""
        return KINDS[self.kind].severity

    def with_texts(self, change: Callable[[str], str]) -> Finding:
        """The finding with every text among its values changed."""
        values = ((name, change(value) if isinstance(value, str) else value) for name, value in self.values)
        return replace(self, values=tuple(values))

    @property
    def sentence(self) -> str:
        """The finding in words, without the rows."""
        return KINDS[self.kind].sentence.format(**dict(self.values))

    def wire(self) -> dict[str, Any]:
        """The finding as JSON data."""
        about = {"kind": self.kind, "severity": KINDS[self.kind].severity, "rows": self.rows}
        return {**about, "values": dict(self.values), "sentence": self.sentence}


def of_status(row: Mapping[str, Part]) -> list[Finding]:
    """The finding for a row that has a reason for its status, by column name; nothing for another one."""
    return [Finding.of("status", status=row["status"], reason=row["reason"])] if row["reason"] else []


def sentences(findings: Iterable[Finding]) -> list[str]:
    """The findings in words, without their rows."""
    return [finding.sentence for finding in findings]


def grouped(told: Sequence[tuple[str, Finding]]) -> list[Finding]:
    """Each different finding once, with the names of all rows that it is about, in the order of the first."""
    about: dict[Finding, list[str]] = {}
    for row, finding in told:
        about.setdefault(finding, []).append(row)
    return [replace(finding, rows=tuple(rows)) for finding, rows in about.items()]
