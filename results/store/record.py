"""Reader of a run folder: run.json, the journal, the samples. NumPy only.

    run.json        schema version, host, versions, settings, seed, and the cells in the order of the plan, each with its
                    `key` in the journal
    journal.jsonl   a line for each event of a cell, appended when the event ends: a value of evidence.py, with its name
                    in EVENTS and the cell's key
    samples/        a .npz file for each block: `latency`, `end_to_end` and `device` (by the device's own clock, empty
                    where it has none), the duration of every call (int64 ns)

The journal only grows. The reader drops an incomplete last line, which a killed process leaves. A later event replaces
an earlier event of the same kind (and round): a cell that failed and was measured again counts as measured.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...axes import Scalar, question
from ...errors import quantity
from ...evidence import (
    ANSWERS,
    LOAD,
    MEMORY,
    ROUND,
    Answered,
    Block,
    Built,
    Cold,
    Converted,
    Drawn,
    Energy,
    Explained,
    Failed,
    Finished,
    Imported,
    Inspected,
    KeptEngine,
    Life,
    Opened,
    Pooled,
    Profiled,
    Reopened,
    StepFailed,
    TimedBuild,
    Tuned,
    UnderLoad,
    Verified,
    Warm,
)
from ...spec import PRECISIONS, Cell, Sweep
from ...untrusted import load_times, understood
from ...work import Workload
from ..stats.intervals import Repeated
from ..stats.percentiles import nearest_rank
from .beside import with_defaults
from .builds import measured_build, middle_build
from .head import CHECK, Head, Host, read_whole_head
from .journal import Event, read_journal
from .noise import COUNTERS, is_disturbed, unseen
from .reasons import parity_reason, timed_reason
from .verdict import MISMATCH, OK, UNDETERMINED, Verdict, enough_agreement, judge

BEGINNINGS = (Built, Cold, Converted, KeptEngine, Opened, Tuned)
MENDS: Mapping[type[Any], str] = {
    UnderLoad: LOAD,
    Answered: ANSWERS,
    Cold: MEMORY,
}  # the step whose earlier failure an event of this type cancels, as a block cancels that of ROUND

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """Events that a run stored about one cell.

    `key`: the cell's key in the run folder. `failed`: the failure of a cell without figures.
    `failed_steps`: failures after the figures were complete. `check`: the run compares answers and measures no time.
    `until`: the run measures rounds until the cell is finished. `imported`: the figures of another tool.
    `lives`: the openings after the first, each in a fresh process; `reopened`: those that report other values. `builds`: builds
    of its engine by their numbers; `built` is the one that was measured. `timed_builds`: figures of each build, where there are
    several. `tuned`: a search for options. `profiled`: times of its kernels.
    `rounds_that_count`, `by_round`, `repeated`: what series.counted, values and repeated found, for several figures of a table.
    `samples`: what `calls` read, by kind and round. Few figures need it: the journal has the percentiles of a finished cell.
    """

    cell: Cell
    folder: Path
    key: str = ""
    check: bool = False
    until: bool = False
    drawn: Drawn | None = None
    built: Built | None = None
    opened: Opened | None = None
    inspected: Inspected | None = None
    parity: Verified | None = None
    explained: Explained | None = None
    answered: Answered | None = None
    warm: Warm | None = None
    energy: Energy | None = None
    work: Workload | None = None
    load: UnderLoad | None = None
    pooled: Pooled | None = None
    finished: Finished | None = None
    failed: Failed | None = None
    imported: Imported | None = None
    failed_steps: tuple[StepFailed, ...] = ()
    cold: tuple[Cold, ...] = ()
    lives: tuple[Life, ...] = ()
    reopened: tuple[Reopened, ...] = ()
    builds: Mapping[int, Built] = field(default_factory=dict)
    timed_builds: tuple[TimedBuild, ...] = ()
    kept_engine: KeptEngine | None = None
    converted: Converted | None = None
    tuned: Tuned | None = None
    profiled: Profiled | None = None
    blocks: Mapping[int, Block] = field(default_factory=dict)
    rounds_that_count: dict[bool, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    by_round: dict[str, Mapping[int, float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    repeated: dict[str, Repeated] = field(default_factory=dict, init=False, repr=False, compare=False)
    samples: dict[str, dict[int, NDArray[np.int64]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def measured(self) -> bool:
        """True if the cell has figures, and other cells can be compared with it."""
        return bool(self.blocks) and not self.failed

    @property
    def build(self) -> int:
        """Number of the build that was measured: the middle one."""
        return middle_build(self.timed_builds) or 0

    def wanted_builds(self, requested: int) -> int:
        """Number of builds of a run that requests so many: one where the user keeps an engine of an earlier run."""
        return 1 if self.kept_engine and self.kept_engine.reused else requested

    @property
    def unfinished(self) -> bool:
        """True if the run ended before this cell had enough rounds."""
        return self.until and self.measured and not self.finished

    @property
    def interrupted(self) -> bool:
        """True if the run ended before this cell had figures, or before it had enough rounds."""
        return self.unfinished or not (self.failed or self._complete)

    @cached_property
    def status(self) -> str:
        """Status of the row, from the failure and the parity: ok, mismatch, undetermined, or the status of the failure."""
        if self.failed:
            return self.failed.status
        if not self._complete:
            return "failed"
        if self.parity and self.parity.diverged:
            return MISMATCH
        if self.parity and self.parity.undetermined:
            return UNDETERMINED
        if self.timed_verdict and self.timed_verdict.status == MISMATCH:
            return MISMATCH
        return self.verdict.status if self.verdict else MISMATCH if self._far_from_reference() else OK

    @cached_property
    def verdict(self) -> Verdict | None:
        """Verdict on the parity; None without parity, and for a row of version 0.1."""
        return judge(self.cell.precision, self.parity) if self.parity else None

    @cached_property
    def timed_verdict(self) -> Verdict | None:
        """Verdict on the worst answer of a timed call; None where none was compared."""
        if self.parity is None or self.answered is None:
            return None
        # Labels that prove a converted file prove the same file here.
        worst = replace(self.answered.worst, agreement=self.parity.agreement, images=self.parity.images)
        return judge(self.cell.precision, worst)

    @property
    def reason(self) -> str | None:
        """Reason in words for a status other than ok."""
        if self.failed:
            return self.failed.reason
        if not self._complete:
            return "not measured: the run was interrupted" + ("" if self.check else "; bench infer --resume continues it")
        if self.parity and self.parity.diverged:
            steps = quantity(self.parity.diverged_step or 0, "step")
            return f"the state in {self.parity.diverged} is not finite after {steps}"
        if self.answered and self.timed_verdict and self.wrong_when_timed:
            return timed_reason(self.cell.precision, self.answered, self.timed_verdict)
        if self.parity and self.status in (UNDETERMINED, MISMATCH):
            return parity_reason(self.cell.precision, self.parity, self.verdict)
        return None

    @property
    def wrong_when_timed(self) -> bool:
        """True if the answers of timed calls alone are wrong."""
        timed = self.timed_verdict is not None and self.timed_verdict.status == MISMATCH
        untimed = self.verdict is not None and self.verdict.status == MISMATCH
        return timed and not untimed and self.status == MISMATCH

    @property
    def _complete(self) -> bool:
        """True if the run has a result for the cell: a block, imported figures, a profile, or a check's evidence."""
        instrument = self.opened is not None and self.opened.instrument
        return bool(self.blocks or self.imported or self.profiled) or (
            self.check and (self.inspected is not None or instrument)
        )

    def _far_from_reference(self) -> bool:
        """True if SQNR is below the precision's class floor, and too few real samples have the same answer.

        The rule of version 0.1, whose rows have one figure for all outputs.
        """
        parity = self.parity
        if parity is None:
            return False
        agrees = enough_agreement(parity.agreement, parity.images)
        return parity.sqnr_db < PRECISIONS[self.cell.precision].floor_db and not agrees

    @cached_property
    def disturbed(self) -> frozenset[int]:
        """Numbers of the disturbed rounds."""
        return frozenset([number for number, block in self.blocks.items() if is_disturbed(block.noise)])

    @cached_property
    def lives_of_rounds(self) -> Mapping[int, int]:
        """Life of each round; empty where the process lasts for the run."""
        return {number: block.life for number, block in self.blocks.items() if block.life is not None}

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """Counters of disturbances that the system does not have, in the order of noise.COUNTERS."""
        missing = {name for block in self.blocks.values() for name in unseen(block.noise)}
        return tuple(name for name in COUNTERS if name in missing)

    def calls(self, number: int, kind: str) -> NDArray[np.int64]:
        """Durations of a round's calls, int64 ns. `kind`: latency, end_to_end or device; empty for a kind without a clock."""
        if kind not in self.samples:
            files = {nth: self.folder / self.blocks[nth].samples for nth in sorted(self.blocks)}
            self.samples[kind] = {nth: load_times(path, kind) for nth, path in files.items()}
        return self.samples[kind][number]

    def p50_ns(self, number: int, kind: str) -> float | None:
        """Median of a round's calls in ns, by nearest rank; from the journal if it has the median, else from the samples."""
        medians = self.blocks[number].p50_ns
        if medians is not None:
            return medians.get(kind)
        calls = self.calls(number, kind)
        return nearest_rank(calls, 50) if len(calls) else None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Content of one run folder."""

    folder: Path
    head: Head
    cells: tuple[CellRecord, ...]
    _bases: dict[str | None, dict[tuple[Scalar, ...], CellRecord]] = field(default_factory=dict, init=False, repr=False)

    @property
    def host(self) -> Host:
        return self.head.host

    @property
    def is_check(self) -> bool:
        """True for a run of `check`, which compares answers and measures no time."""
        return self.head.kind == CHECK

    @property
    def sweep(self) -> Sweep | None:
        """Requested sweep."""
        return self.head.sweep

    def is_instrument(self, cell: Cell) -> bool:
        """True if `cell` measures this tool itself, or the machine, and cannot be deployed."""
        return cell.backend in self.head.instruments or bool(cell.roof)

    def base_of(self, record: CellRecord, baseline: str | None) -> CellRecord | None:
        """The baseline's fp32 cell of the same question (axes.py); None without such a cell."""
        if baseline not in self._bases:
            bases = [item for item in self.cells if is_base(item.cell, item.cell, baseline)]
            self._bases[baseline] = {question(item.cell): item for item in reversed(bases)}
        return self._bases[baseline].get(question(record.cell))


def is_base(cell: Cell, of: Cell, baseline: str | None) -> bool:
    """True if `cell` is the base of the speed-up of `of`. A cell on several GPUs is no base."""
    is_target = str(cell.target) == baseline and cell.precision == "fp32" and cell == cell.alone
    return is_target and question(cell) == question(of)


def read_run(folder: Path) -> Run:
    """Read the run in `folder`. `BadInput` without a run there, or for a run that this version cannot read."""
    head, cells = read_whole_head(folder)
    with understood([folder]), _collector_off():
        events: dict[str, list[Event]] = {}
        for key, event in read_journal(folder):
            events.setdefault(key, []).append(event)
        records = [gather(cell, key, folder, head, events.get(key, ())) for cell, key in cells.items()]
        return Run(folder=folder, head=head, cells=with_defaults(records))


@contextmanager
def _collector_off() -> Iterator[None]:
    """Context without Python's collector of reference cycles."""
    # The values of a run have no cycles, and searching the many values of a large run takes half of the time of reading.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def gather(cell: Cell, key: str, folder: Path, head: Head, events: Iterable[Event]) -> CellRecord:
    """Build the record of `cell` from its `events`. A cell that begins again after a failure drops all earlier events."""
    by_type, blocks, failed_steps = _grouped(events)
    return CellRecord(
        cell=cell,
        key=key,
        folder=folder,
        check=head.kind == CHECK,
        until=not head.kind and head.sweep is not None,
        drawn=_last(Drawn, by_type),
        built=measured_build(by_type.get(Built, ()), by_type.get(TimedBuild, ())),
        opened=_last(Opened, by_type),
        inspected=_last(Inspected, by_type),
        parity=_last(Verified, by_type),
        explained=_last(Explained, by_type),
        answered=_last(Answered, by_type),
        warm=_merged(by_type.get(Warm, ())),
        energy=_last(Energy, by_type),
        work=_last(Workload, by_type),
        load=_last(UnderLoad, by_type),
        pooled=_last(Pooled, by_type),
        finished=_last(Finished, by_type),
        failed=_last(Failed, by_type),
        imported=_last(Imported, by_type),
        failed_steps=tuple(failed_steps.values()),
        cold=tuple(by_type.get(Cold, ())),
        lives=tuple(by_type.get(Life, ())),
        reopened=tuple(by_type.get(Reopened, ())),
        builds={event.build: event for event in by_type.get(Built, ())},
        timed_builds=tuple(by_type.get(TimedBuild, ())),
        kept_engine=_last(KeptEngine, by_type),
        converted=_last(Converted, by_type),
        tuned=_last(Tuned, by_type),
        profiled=_last(Profiled, by_type),
        blocks=blocks,
    )


def _grouped(events: Iterable[Event]) -> tuple[dict[type[Any], list[Any]], dict[int, Block], dict[str, StepFailed]]:
    """Events by their type, the blocks by their round, and the failures of steps by the step."""
    by_type: dict[type[Any], list[Any]] = {}
    blocks: dict[int, Block] = {}
    failed_steps: dict[str, StepFailed] = {}
    for event in events:
        if type(event) is Block:  # most events of a large run
            blocks[event.round] = event
            failed_steps.pop(ROUND, None)
            by_type.pop(Pooled, None)  # percentiles of the rounds before this round
            continue
        # A retry of a failed cell begins with one of BEGINNINGS. Its figures must not mix with those of the failed try.
        if Failed in by_type and isinstance(event, BEGINNINGS):
            by_type, blocks, failed_steps = {}, {}, {}
        failed_steps.pop(MENDS.get(type(event), ""), None)
        if isinstance(event, StepFailed):
            failed_steps[event.step] = event
        else:
            by_type.setdefault(type(event), []).append(event)
    return by_type, blocks, failed_steps


def _last(kind: type[E], by_type: Mapping[type[Any], Sequence[Any]]) -> E | None:
    events: Sequence[E] = by_type.get(kind, ())
    return events[-1] if events else None


def _merged(warm: Sequence[Warm]) -> Warm | None:
    """Last warm-up, with the concurrencies that the first warm-up tried."""
    if not warm:
        return None
    # A cell that a new worker opens again warms up again and does not repeat the search for a concurrency.
    tried = next((event.tried for event in reversed(warm) if event.tried), ())
    return warm[-1] if warm[-1].tried == tried else replace(warm[-1], tried=tried)
