"""Columns of latency, throughput and the speed-up. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ....axes import Scalar
from ....spec import COLD
from ...stats.intervals import LEAST_ROUNDS, Interval
from ...stats.percentiles import samples_needed
from ...store import series
from ..column import ALL_LANES, LESS, MORE, ONE_CALL, PICK_VIEW, RANKING_VIEW, TAG_VIEW, TIME, Column, axis, stored, timed
from ..findings import Finding
from ..row import Row


def _percentile(kind: str, which: int) -> Callable[[Row], Scalar]:
    name = f"p{which}_ns"

    def value(row: Row) -> Scalar:
        ns: float | None = getattr(row.pooled.kinds[kind], name)
        return None if ns is None else ns / 1e6

    return value


def withheld(metric: str, which: float) -> Callable[[Row], Finding]:
    """Return a function for the reason why `metric`, percentile `which`, is missing: too few samples."""
    return lambda row: Finding.of("absent_percentile", metric=metric, samples=samples_needed(which))


def _no_p95(row: Row) -> Finding:
    # Runs of version 0.1 stored no p95, however many calls they made.
    enough = row.pooled.kinds["latency"].samples >= samples_needed(95)
    return Finding.of("absent", column="p95_ms") if enough else withheld("p95", 95)(row)


def too_few_rounds(name: str) -> Callable[[Row], Finding]:
    """Return a function for the reason why an end of the interval in column `name` is missing."""
    return lambda row: Finding.of("absent_interval", column=name, rounds=LEAST_ROUNDS)


def median_bound(kind: str, interval: Callable[[Row], Interval | None], end: str) -> Callable[[Row], Scalar]:
    """One end of a median's interval in ms."""
    median = _percentile(kind, 50)

    def value(row: Row) -> Scalar:
        # p50 pools all calls, and its interval comes from the medians of the rounds, whose mean differs a little from p50: the
        # interval is moved to p50 as a ratio
        p50, bounds = median(row), interval(row)
        return None if bounds is None or not isinstance(p50, float) else p50 * getattr(bounds, end) / bounds.middle

    return value


def _real_time_factor(row: Row) -> Scalar:
    step_s = row.sweep and row.sweep.step_seconds
    p50_ms = _percentile("latency", 50)(row) if step_s else None
    return p50_ms / 1e3 / step_s if isinstance(p50_ms, float) and step_s else None


def _no_real_time_factor(row: Row) -> Finding:
    if row.sweep and row.sweep.step_seconds:
        return withheld("p50", 50)(row)
    return Finding.of("absent_step", column="real_time_factor")


def _speedup_bound(end: str) -> Callable[[Row], Scalar]:
    return lambda row: None if row.speedup is None else float(getattr(row.speedup, end))


def _throughput(row: Row) -> Scalar:
    # all calls over all time, since a mean of rates would give a short block the weight of a long one
    if row.record.cell.latency_only:
        return None
    rates = [row.record.blocks[number].throughput for number in series.values(row.record, "throughput")]
    calls, took_ns = (sum(getattr(rate, name) for rate in rates) for name in ("calls", "took_ns"))
    return float(row.record.cell.batch * calls / took_ns * 1e9)


def _no_throughput(row: Row) -> Finding:
    kind = "absent_when_cold" if row.record.cell.cache == COLD else "absent"
    return Finding.of(kind, column="throughput_per_s")


def _throughput_threads(row: Row) -> Scalar:
    concurrency = row.record.warm and row.record.warm.concurrency
    return concurrency.threads if concurrency else row.record.cell.settings.threads


def _disturbed(row: Row) -> Scalar:
    # without counters, 0 would claim that nothing disturbed the rounds
    return None if row.record.unseen else len(series.disturbed(row.record))


def _deployed(row: Row) -> Scalar:
    return (row.record.warm and not row.record.cell.latency_only and row.record.warm.deploy) or None


def _build(row: Row) -> Scalar:
    """Seconds of the build, in this run before the first round, or earlier when the file came into the cache."""
    return getattr(row.record.built or row.record.opened, "build_s", None)


P95 = timed(
    "p95_ms",
    _percentile("latency", 95),
    unit="ms",
    title="p95",
    priority=25,
    shown=False,
    better=LESS,
    in_flight=ONE_CALL,
    absent=_no_p95,
    definition="Latency that 95 % of the calls do not exceed.",
)
REAL_TIME_FACTOR = timed(
    "real_time_factor",
    _real_time_factor,
    title="RTF",
    decimals=5,
    priority=16,
    better=LESS,
    in_flight=ONE_CALL,
    absent=_no_real_time_factor,
    views=(RANKING_VIEW, PICK_VIEW),
    definition="Seconds of computing per second of signal: p50 over --step-seconds, not divided by the batch; below 1 keeps up"
    " with a live signal.",
)
COLUMNS = (
    timed(
        "p50_ms",
        _percentile("latency", 50),
        unit="ms",
        title="p50",
        priority=10,
        better=LESS,
        compared=TIME,
        objective="latency",
        in_flight=ONE_CALL,
        absent=withheld("p50", 50),
        views=(RANKING_VIEW, PICK_VIEW),
        definition="Median latency of a call: start and wait, one call in flight, inputs already where the device wants them.",
    ),
    timed(
        "p50_ci_low_ms",
        median_bound("latency", lambda row: row.p50, "low"),
        unit="ms",
        title="from",
        label="p50 from",
        priority=19,
        absent=too_few_rounds("p50_ci_low_ms"),
        definition="Lower end of the 95 % confidence interval of p50, from the medians of the rounds.",
    ),
    timed(
        "p50_ci_high_ms",
        median_bound("latency", lambda row: row.p50, "high"),
        unit="ms",
        title="to",
        label="p50 to",
        priority=19,
        absent=too_few_rounds("p50_ci_high_ms"),
        definition="Upper end of the 95 % confidence interval of p50, from the medians of the rounds.",
    ),
    timed(
        "p90_ms",
        _percentile("latency", 90),
        unit="ms",
        title="p90",
        priority=25,
        better=LESS,
        in_flight=ONE_CALL,
        absent=withheld("p90", 90),
        definition="Latency that 90 % of the calls do not exceed.",
    ),
    timed(
        "p99_ms",
        _percentile("latency", 99),
        unit="ms",
        title="p99",
        priority=18,
        better=LESS,
        in_flight=ONE_CALL,
        absent=withheld("p99", 99),
        views=(RANKING_VIEW, PICK_VIEW),
        definition="Latency that 99 % of the calls do not exceed.",
    ),
    timed(
        "samples",
        lambda row: row.pooled.kinds["latency"].samples,
        shown=False,
        definition="Number of calls that the percentiles rest on, of all rounds that count.",
    ),
    timed(
        "rounds",
        lambda row: len(series.counted(row.record)),
        shown=False,
        definition="Number of rounds that the figures rest on.",
    ),
    timed(
        "disturbed",
        _disturbed,
        shown=False,
        definition="Number of rounds that other work on the machine disturbed, as counters of the system show.",
    ),
    timed(
        "stopped",
        stored("finished", "why"),
        shown=False,
        number=False,
        views=(TAG_VIEW,),
        definition="Reason that ended the measurement: a narrow interval, or the budget.",
    ),
    timed(
        "e2e_p50_ms",
        _percentile("end_to_end", 50),
        unit="ms",
        title="e2e p50",
        priority=26,
        better=LESS,
        compared=TIME,
        in_flight=ONE_CALL,
        absent=withheld("e2e_p50", 50),
        definition="Median time of a call from host memory to host memory: bind, start, wait and fetch.",
    ),
    timed(
        "device_p50_ms",
        _percentile("device", 50),
        unit="ms",
        title="device p50",
        priority=27,
        gpu=True,
        better=LESS,
        in_flight=ONE_CALL,
        definition="Median time of a call by the device's own clock.",
    ),
    timed(
        "throughput_per_s",
        _throughput,
        unit="/s",
        title="throughput",
        priority=11,
        better=MORE,
        compared=TIME,
        objective="throughput",
        in_flight=ALL_LANES,
        absent=_no_throughput,
        views=(RANKING_VIEW, PICK_VIEW),
        definition="Items a second with all lanes busy, over the throughput blocks of all rounds that count.",
    ),
    timed(
        "lanes",
        stored("warm", "lanes"),
        varies=True,
        priority=22,
        views=(RANKING_VIEW,),
        definition="Number of calls in flight that gave the highest throughput.",
    ),
    timed(
        "throughput_threads",
        _throughput_threads,
        title="threads a lane",
        varies=True,
        priority=24,
        definition="Compute threads of each lane while throughput was measured.",
    ),
    timed(
        "throughput_settings",
        _deployed,
        shown=False,
        number=False,
        views=(TAG_VIEW,),
        definition="The runtime's own settings that give this throughput.",
    ),
    axis("threads", priority=8),
    timed(
        "speedup",
        lambda row: row.ratios.typical,
        unit="x",
        title="speed-up",
        priority=14,
        better=MORE,
        absent="absent_baseline",
        definition="Latency of the baseline in fp32 over that of the row, paired by round; above 1 is faster.",
    ),
    timed(
        "speedup_ci_low",
        _speedup_bound("low"),
        unit="x",
        title="from",
        label="speed-up from",
        priority=20,
        absent="absent_baseline",
        definition="Lower end of the 95 % confidence interval of the speed-up.",
    ),
    timed(
        "speedup_ci_high",
        _speedup_bound("high"),
        unit="x",
        title="to",
        label="speed-up to",
        priority=20,
        absent="absent_baseline",
        definition="Upper end of the 95 % confidence interval of the speed-up.",
    ),
    timed(
        "verdict",
        lambda row: row.verdict,
        number=False,
        priority=15,
        views=(TAG_VIEW,),
        definition="Conclusion on the speed-up, corrected for the number of speed-ups in the table (Holm).",
    ),
    Column(
        name="build_s",
        value=_build,
        unit="s",
        title="build",
        priority=37,
        better=LESS,
        absent="absent_build",
        definition="Time to build what is loaded instead of the file (an engine), when it was built.",
    ),
    Column(
        name="load_s",
        value=stored("opened", "load_s"),
        unit="s",
        title="load",
        priority=38,
        better=LESS,
        definition="Time to load, optimize and compile the model, without importing the runtime.",
    ),
    Column(
        name="first_ms",
        value=stored("opened", "first_ms"),
        unit="ms",
        title="first",
        priority=39,
        better=LESS,
        definition="Latency of the first call after loading.",
    ),
)
