"""What each column of the table is: its name, its unit, its digits, and how it is computed. Declared here, once.

Names only grow: people script against them. A value that does not apply is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from ...axes import AXES, Scalar
from ...evidence import Pooled
from ...spec import Sweep
from ..stats.intervals import Interval, drop_interval, log_interval, mcnemar, typical
from ..stats.percentiles import samples_needed
from ..store import series
from ..store.record import UNDETERMINED, CellRecord
from . import gpu, load
from .executed import executed, placement, unlike
from .findings import Finding
from .grade import grade

FIGURES = ("ok", "mismatch", UNDETERMINED)
SCIENTIFIC = 0  # digits of a column whose figures are shown as 1.2e-03


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a column's figure is computed from: a cell's record, its baseline's, and what the run's sweep asked for.

    `instrument`: it measures this tool. `verdict` is about the speed-up, and depends on how many there are in the table.
    """

    record: CellRecord
    base: CellRecord | None
    host: str
    asked: Sweep | None = None
    instrument: bool = False
    verdict: str | None = None

    @cached_property
    def speedup(self) -> Interval | None:
        """Paired by round; None without a baseline, for the baseline itself, and for too few rounds."""
        return log_interval(self.ratios) if self.base is not self.record else None

    @cached_property
    def ratios(self) -> list[float]:
        """The speed-up in each round that both measured."""
        if self.base is None or not (self.base.measured and self.record.measured):
            return []
        return series.ratios(self.base, self.record)

    @cached_property
    def pooled(self) -> Pooled:
        """The percentiles of all calls."""
        return series.pooled(self.record)

    @cached_property
    def p50(self) -> Interval | None:
        return series.interval(self.record, "p50")

    @cached_property
    def held(self) -> load.Best | None:
        """The highest rate of arrivals within the limit that was asked for."""
        return load.held(self.record, self.asked)

    @cached_property
    def trust(self) -> tuple[str, list[Finding]]:
        """The grade and its reasons."""
        return grade(self.record, self.base, self.asked)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is said about it, each once; nothing for a row without figures but its status."""
        if self.record.status in FIGURES:
            return tuple(dict.fromkeys(_findings(self)))
        return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """`measured` columns are None unless the row's status has figures, `timed` ones unless calls were timed.

    In the table for people stand columns that are `shown`, or that `vary` and do so (None does not count where they are
    `partial`); what is the same in all rows is
    said once above it, under its `label` or title. `digits`: significant ones, in the smallest figure of the column; or as many
    `decimals`. `number`: its values can be compared with a limit.
    """

    name: str
    value: Callable[[Row], Scalar]
    unit: str = ""
    digits: int = 3
    decimals: int | None = None
    title: str = ""
    measured: bool = True
    timed: bool = False
    shown: bool = True
    varies: bool = False
    partial: bool = False
    label: str = ""
    number: bool = True

    def of(self, row: Row) -> Scalar:
        """This column's value in `row`."""
        if self.measured and row.record.status not in FIGURES:
            return None
        return None if self.timed and not row.record.blocks else self.value(row)


def _timed(name: str, value: Callable[[Row], Scalar], **how: Any) -> Column:
    return Column(name=name, value=value, timed=True, **how)


def _axis(name: str) -> Column:
    axis = AXES[name]
    how: dict[str, Any] = {"varies": not axis.always, "partial": axis.partial, "number": axis.number}
    return Column(name=name, value=lambda row: axis.of(row.record.cell), measured=False, **how)


def _condition(name: str, value: Callable[[Row], Scalar]) -> Column:
    return Column(name=name, value=value, measured=False, varies=True, number=False)


def _from(part: str, name: str) -> Callable[[Row], Scalar]:
    """A value as it was stored in one part of the record."""

    def value(row: Row) -> Scalar:
        stored: Scalar = getattr(getattr(row.record, part), name, None)
        return stored

    return value


def _settings(row: Row) -> Scalar:
    opened = row.record.opened
    told = opened.info.settings if opened else None
    return None if told is None else " ".join(f"{option}={setting}" for option, setting in told.items())


def _percentile(kind: str, which: int) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        found: float | None = getattr(row.pooled.kinds[kind], f"p{which}_ns")
        return None if found is None else found / 1e6

    return value


def _p50_bound(end: str) -> Callable[[Row], Scalar]:
    """One end of p50's interval: as far from p50, as a ratio, as that of the rounds' values is from their mean."""

    def value(row: Row) -> Scalar:
        p50 = _percentile("latency", 50)(row)
        return None if row.p50 is None or not isinstance(p50, float) else p50 * getattr(row.p50, end) / row.p50.middle

    return value


def _speedup_bound(end: str) -> Callable[[Row], Scalar]:
    return lambda row: None if row.speedup is None else float(getattr(row.speedup, end))


def _throughput(row: Row) -> Scalar:
    rates = [row.record.blocks[number].throughput for number in series.values(row.record, "throughput")]
    calls, took_ns = (sum(getattr(rate, name) for rate in rates) for name in ("calls", "took_ns"))
    return float(row.record.cell.batch * calls / took_ns * 1e9)


def _throughput_threads(row: Row) -> Scalar:
    chosen = row.record.warm and row.record.warm.concurrency
    return chosen.threads if chosen else row.record.cell.settings.threads


def _drop_bound(end: int) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        counts = _changed(row)
        return None if counts is None else drop_interval(*counts)[end]

    return value


def _changed(row: Row) -> tuple[int, int, int] | None:
    """Numbers of answers lost and gained, and of images; None without labels."""
    found = row.record.parity
    if found is None or found.lost is None or found.gained is None or found.images is None:
        return None
    return found.lost, found.gained, found.images


def _change(row: Row) -> Scalar:
    """The probability that so uneven a change came by chance."""
    counts = _changed(row)
    return None if counts is None else mcnemar(*counts[:2])


def _cold(name: str) -> Callable[[Row], Scalar]:
    """The median over the cell's fresh processes; memory is known without `--cold` too."""

    def value(row: Row) -> Scalar:
        known = [figure for event in row.record.cold if (figure := getattr(event, name)) is not None]
        return float(median(known)) if known else None

    return value


def _build(row: Row) -> Scalar:
    """What building took when it was done: in this run before the first round, or when it came into the cache."""
    return getattr(row.record.built or row.record.opened, "build_s", None)


def _deployed(row: Row) -> Scalar:
    return (row.record.warm and row.record.warm.deploy) or None


def _findings(row: Row) -> list[Finding]:
    """What a reader should know before trusting the row: why it has not the best grade, and what is withheld."""
    record = row.record
    if record.imported:
        return [Finding.of("definition", text=text) for text in record.imported.notes]
    told = [*(row.trust[1] if record.blocks else unlike(record)), *_of_file(record)]
    return told if record.check else [*told, *_of_rounds(row), *load.notes(record, row.asked), *_of_gpu(record)]


def _of_file(record: CellRecord) -> Iterator[Finding]:
    built, opened = record.built or record.opened, record.opened
    if built and built.remark:
        yield Finding.of("built", remark=built.remark)
    if opened and opened.made_by:
        yield Finding.of("made_otherwise", tool=opened.made_by)
    if opened and opened.random_calibration:
        yield Finding.of("random_calibration")


def _of_rounds(row: Row) -> Iterator[Finding]:
    record = row.record
    if record.unfinished:
        yield Finding.of("unfinished")
    if record.warm and not record.warm.stationary:
        yield Finding.of("not_warm")
    for which in series.NOTED:
        if row.pooled.kinds["latency"].samples < samples_needed(which):
            yield Finding.of("withheld", percentile=which, samples=samples_needed(which))
    if not all(block.settled for block in record.blocks.values()):
        yield Finding.of("busy_threads")
    if gpu.at_power_limit(record):
        yield Finding.of("power_limit")
    for failed in record.failed_steps:
        yield Finding.of("step_failed", step=failed.step, reason=failed.reason)


def _of_gpu(record: CellRecord) -> Iterator[Finding]:
    return (Finding.of("gpu_untold", reason=reason) for reason in gpu.untold(record))


def _notes(row: Row) -> Scalar:
    return "; ".join(finding.sentence for finding in row.findings) or None


def _slo(row: Row) -> Scalar:
    wanted = load.asked(row.record, row.asked)
    return None if wanted is None else f"p{wanted.percentile:g} <= {wanted.limit_ms:g} ms, {wanted.arrivals} arrivals"


def _slo_rate(row: Row) -> Scalar:
    return row.held.capacity.rate_per_s if row.held else None


def _slo_settings(row: Row) -> Scalar:
    return row.held.way.deploy if row.held and row.held.capacity.rate_per_s else None


COLUMNS: tuple[Column, ...] = (
    _condition("host", lambda row: row.host),
    *map(_axis, ("model", "backend", "environment", "device", "precision", "scheme", "batch")),
    _condition("status", lambda row: row.record.status),
    Column(name="reason", number=False, value=lambda row: row.record.reason, measured=False, shown=False),
    Column(name="executed", number=False, value=lambda row: executed(row.record), varies=True),
    Column(name="placement", number=False, value=lambda row: placement(row.record), shown=False),
    Column(name="settings", number=False, value=_settings, shown=False),
    Column(name="conversion", number=False, value=_from("opened", "conversion"), shown=False),
    _timed("p50_ms", _percentile("latency", 50), unit="ms", title="p50"),
    _timed("p50_ci_low_ms", _p50_bound("low"), unit="ms", title="from"),
    _timed("p50_ci_high_ms", _p50_bound("high"), unit="ms", title="to"),
    _timed("p90_ms", _percentile("latency", 90), unit="ms", title="p90"),
    _timed("p99_ms", _percentile("latency", 99), unit="ms", title="p99"),
    _timed("samples", lambda row: row.pooled.kinds["latency"].samples, shown=False),
    _timed("rounds", lambda row: len(series.values(row.record, "throughput")), shown=False),
    _timed("disturbed", lambda row: None if row.record.unseen else len(series.disturbed(row.record)), shown=False),
    _timed("stopped", _from("finished", "why"), shown=False, number=False),
    _timed("e2e_p50_ms", _percentile("end_to_end", 50), unit="ms", title="e2e p50"),
    _timed("device_p50_ms", _percentile("device", 50), unit="ms", title="device p50"),
    _timed("throughput_per_s", _throughput, unit="/s", title="throughput"),
    _timed("lanes", _from("warm", "lanes"), varies=True),
    _timed("throughput_threads", _throughput_threads, title="threads a lane", varies=True),
    _timed("throughput_settings", _deployed, shown=False, number=False),
    _axis("threads"),
    _timed("speedup", lambda row: typical(row.ratios), unit="x", title="speed-up"),
    _timed("speedup_ci_low", _speedup_bound("low"), unit="x", title="from"),
    _timed("speedup_ci_high", _speedup_bound("high"), unit="x", title="to"),
    _timed("verdict", lambda row: row.verdict, number=False),
    Column(name="build_s", value=_build, unit="s", title="build"),
    Column(name="load_s", value=_from("opened", "load_s"), unit="s", title="load"),
    Column(name="first_ms", value=_from("opened", "first_ms"), unit="ms", title="first"),
    Column(name="top1", value=_from("parity", "top1"), unit="%", decimals=2, varies=True),
    Column(name="top1_drop", value=_from("parity", "top1_drop"), unit="points", title="drop", decimals=2, varies=True),
    Column(
        name="top1_drop_ci_low",
        value=_drop_bound(0),
        unit="points",
        title="from",
        label="drop at least",
        decimals=2,
        varies=True,
    ),
    Column(
        name="top1_drop_ci_high", value=_drop_bound(1), unit="points", title="to", label="drop at most", decimals=2, varies=True
    ),
    Column(name="top1_change_p", value=_change, shown=False),
    Column(name="images", value=_from("parity", "images"), varies=True),
    Column(name="agreement", value=_from("parity", "agreement"), unit="%", decimals=2, shown=False),
    Column(name="sqnr_db", value=_from("parity", "sqnr_db"), unit="dB", title="SQNR"),
    Column(name="max_abs_err", value=_from("parity", "max_abs_err"), digits=SCIENTIFIC, title="max abs error", shown=False),
    Column(name="rel_err", value=_from("parity", "rel_err"), digits=SCIENTIFIC, title="rel error", shown=False),
    Column(name="cold_s", value=_cold("cold_s"), unit="s", title="cold start"),
    Column(name="cold_process_s", value=_cold("process_s"), unit="s", title="process"),
    Column(name="cold_import_s", value=_cold("import_s"), unit="s", title="import"),
    Column(name="cold_load_s", value=_cold("load_s"), unit="s", title="cold load"),
    Column(name="cold_first_ms", value=_cold("first_ms"), unit="ms", title="cold first"),
    Column(name="peak_rss_mb", value=_cold("peak_rss_mb"), unit="MB", title="memory"),
    Column(name="device_mem_mb", value=_cold("device_mem_mb"), unit="MB", title="GPU memory"),
    Column(name="artifact_mb", value=_from("opened", "artifact_mb"), unit="MB", title="file", varies=True),
    _timed("energy_mj", _from("energy", "energy_mj"), unit="mJ", title="energy"),
    _timed("gpu_power_w", _from("energy", "power_w"), unit="W", title="GPU power", shown=False),
    _timed("gpu_mhz", lambda row: gpu.clock_mhz(row.record), unit="MHz", title="GPU clock", shown=False),
    _timed("gpu_temperature_c", lambda row: gpu.temperature_c(row.record), unit="°C", title="GPU temperature", shown=False),
    _timed("slo", _slo, varies=True, number=False, label="under load"),
    _timed("slo_rate_per_s", _slo_rate, unit="/s", title="rate under load"),
    _timed("slo_settings", _slo_settings, shown=False, number=False),
    _timed("grade", lambda row: row.trust[0], number=False),
    Column(name="notes", number=False, value=_notes, shown=False),
)
