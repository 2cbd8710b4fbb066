"""Row of the table before its columns are computed: a cell's record, its baseline's, and the derived values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...errors import quantity
from ...evidence import Lowered, Pooled
from ...loop import LATENCY, PHASES
from ...spec import Sweep
from ..stats.ambiguity import AMBIGUOUS
from ..stats.intervals import Interval, Repeated
from ..stats.percentiles import samples_needed
from ..store import clocks, series
from ..store.record import CellRecord
from ..store.verdict import MISMATCH, OK, UNDETERMINED
from . import advice, gpu, load
from .arrays import of_arrays
from .builds import of_builds
from .executed import unlike
from .findings import Finding
from .grade import grade
from .lives import of_lives
from .parity import of_parity
from .roof import RoofShares, limits_of
from .tuning import of_tuning

FORMS = {"turns": "driven in blocks", "runs": "one run in each round", "call": "a call of Python"}
MEASURED = (OK, MISMATCH, UNDETERMINED)
"""Statuses of rows that have figures."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Source of a row's figures: a cell's record, its baseline's, and the run's sweep.

    `run`: unique name of its run in the table. `instrument`: its backend measures onnxbench itself. `verdict`: conclusion on
    the speed-up, corrected for the number of speed-ups in the table. `one_gpu`: the record of the same cell on one GPU, of a
    record on several. `roofs`: the run's records of what the machine attains.
    """

    record: CellRecord
    base: CellRecord | None
    host: str
    run: str = ""
    sweep: Sweep | None = None
    instrument: bool = False
    verdict: str | None = None
    one_gpu: CellRecord | None = None
    roofs: Sequence[CellRecord] = ()

    @cached_property
    def speedup(self) -> Interval | None:
        """Interval of the speed-up, paired by life or round; None without a baseline, for the baseline itself, or for few."""
        return self.ratios.interval if self.base is not self.record else None

    @cached_property
    def ratios(self) -> Repeated:
        """Speed-up in each life or round that both cells measured."""
        if self.base is None or not (self.base.measured and self.record.measured):
            return Repeated(())
        return series.ratios(self.base, self.record)

    @cached_property
    def cycles(self) -> Interval | None:
        """Interval of the speed-up in cycles; None without a clock on both sides, and where `speedup` is None."""
        return self.cycle_ratios.interval if self.base is not self.record else None

    @cached_property
    def cycle_ratios(self) -> Repeated:
        """Speed-up in cycles in each life or round that both cells measured with known clocks."""
        return clocks.ratios(self.base, self.record) if self.base and self.ratios.values else Repeated(())

    @cached_property
    def scaling(self) -> Repeated:
        """Throughput over that of one GPU, in each life or round that both cells measured; empty for one GPU."""
        if self.one_gpu is None or not (self.one_gpu.measured and self.record.measured):
            return Repeated(())
        return series.paired(self.one_gpu, self.record, "throughput")

    @cached_property
    def limits(self) -> RoofShares:
        """Least times of a call by the run's roofs, over its measured time."""
        return limits_of(self.record, self.roofs)

    @cached_property
    def pooled(self) -> Pooled:
        """Percentiles of all calls."""
        return series.pooled(self.record)

    @cached_property
    def p50(self) -> Interval | None:
        """Interval of the rounds' medians, in ns."""
        return series.interval(self.record, "p50")

    @cached_property
    def e2e_p50(self) -> Interval | None:
        """Interval of the rounds' medians from host memory to host memory, in ns."""
        return series.interval(self.record, "e2e_p50")

    @cached_property
    def sustained(self) -> load.Best | None:
        """Highest rate of arrivals within the limit of the run's --slo."""
        return load.sustained(self.record, self.sweep)

    @cached_property
    def trust(self) -> tuple[str, list[Finding]]:
        """Grade and its reasons."""
        return grade(self.record, self.base, self.sweep)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Distinct findings; empty for a row without figures, which has only its status."""
        if self.record.status in MEASURED:
            return tuple(dict.fromkeys(_findings(self)))
        return ()


def _findings(row: Row) -> list[Finding]:
    """Findings on the row: reasons for its grade, then facts of its file, its rounds, its load and its GPU."""
    record = row.record
    if record.imported:
        return [Finding.of("definition", text=text) for text in record.imported.notes]
    findings = [*(row.trust[1] if record.blocks else unlike(record)), *of_parity(record), *_of_file(record)]
    findings += [*of_builds(record), *of_tuning(record)]
    if record.check:  # a check measures no time
        return findings
    helpful = advice.of_limits(record, row.limits, row.roofs) if row.roofs else ()
    return [*findings, *_of_rounds(row), *load.notes(record, row.sweep), *_of_gpu(record), *helpful]


def _of_lowering(lowered: Lowered) -> Iterator[Finding]:
    if lowered.source > lowered.opset:
        kind = "lowered_by_export" if lowered.exporter else "lowered"
        yield Finding.of(kind, source=lowered.source, opset=lowered.opset, sqnr_db=lowered.sqnr_db)
    if lowered.shapes:
        yield Finding.of("fixed_shapes", shapes=lowered.shapes, sqnr_db=lowered.sqnr_db)


def _of_file(record: CellRecord) -> Iterator[Finding]:
    built, opened = record.built or record.opened, record.opened
    if built and built.remark:
        yield Finding.of("built", remark=built.remark)
    if opened and opened.made_by:
        yield Finding.of("made_otherwise", tool=opened.made_by)
    if opened and (lowered := opened.lowered):
        yield from _of_lowering(lowered)
    if opened and opened.invalid:
        yield Finding.of("invalid_file", reason=opened.invalid)
    if opened and opened.own_reference and record.parity:
        yield Finding.of("own_reference", precision=record.cell.precision)
    if opened and opened.random_weights:
        yield Finding.of("random_weights")
    if opened and opened.random_calibration:
        yield Finding.of("random_calibration")


def _parts(row: Row) -> Iterator[Finding]:
    """Finding on the share of each phase in the median call; none without phases, or with too few calls for a median."""
    whole = row.pooled.kinds[LATENCY].p50_ns
    medians = {name: row.pooled.kinds[name].p50_ns for name in PHASES if name in row.pooled.kinds}
    shares = {name: ns / whole for name, ns in medians.items() if ns is not None and whole}
    if shares:
        # Phases of several threads may overlap: then no time is left.
        rest = max(0.0, 1 - sum(shares.values()))
        yield Finding.of("program_parts", parts=", ".join(f"{name} {share:.0%}" for name, share in shares.items()), rest=rest)


def _of_rounds(row: Row) -> Iterator[Finding]:
    record = row.record
    if record.opened and record.opened.program:
        yield Finding.of("program", form=FORMS.get(record.opened.program, record.opened.program))
        yield from _parts(row)
    if record.unfinished:
        yield Finding.of("unfinished")
    if any(not warm.stationary for warm in (record.warm, *record.lives) if warm):
        yield Finding.of("not_warm")
    yield from of_lives(record)
    # a percentile from few samples would be the maximum, or close to it
    for which in series.NOTED:
        if row.pooled.kinds["latency"].samples < samples_needed(which):
            yield Finding.of("withheld", percentile=which, samples=samples_needed(which))
    yield from of_arrays(record)
    if not all(block.settled for block in record.blocks.values()):
        yield Finding.of("busy_threads")
    if gpu.at_power_limit(record):
        yield Finding.of("power_limit")
    if dropped := gpu.dropped(record):
        yield Finding.of("throttled", count=quantity(dropped, "measurement"))
    if row.verdict == AMBIGUOUS:
        yield _ambiguous(row)
    for failed in record.failed_steps:
        yield Finding.of("step_failed", step=failed.step, reason=failed.reason)


def _ambiguous(row: Row) -> Finding:
    """Finding on a speed-up that time and cycles contradict, with the clocks of both rows."""
    base = row.base or row.record
    return Finding.of(
        "ambiguous_speedup",
        time=row.ratios.typical,
        cycles=row.cycle_ratios.typical,
        mhz=clocks.record_mhz(row.record),
        base_mhz=clocks.record_mhz(base),
        base=str(base.cell.target),
    )


def _of_gpu(record: CellRecord) -> Iterator[Finding]:
    return (Finding.of("gpu_untold", reason=reason) for reason in gpu.missing_evidence(record))
