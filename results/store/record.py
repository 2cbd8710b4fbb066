"""What a run folder holds, and how it is read back: run.json, the journal, the samples. NumPy only.

    run.json        schema version, host, versions, settings, seed, and the cells in the order of the plan, each with the
                    `key` that the journal has for it
    journal.jsonl   one line an event of one cell, appended as it ends: a value of evidence.py, with its name in EVENTS and
                    the cell's key
    samples/        one .npz for each block: `latency`, `end_to_end` and `device` (by the device's own clock, empty
                    where it has none), the time of every call (int64 ns)

The journal only grows. A line that a kill cut short is dropped when it is read; a later event replaces an earlier
one of its kind (and round), so a cell that failed and was measured again counts as measured.
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
from ...evidence import (
    LOAD,
    ROUND,
    Block,
    Built,
    Cold,
    Drawn,
    Energy,
    Explained,
    Failed,
    Finished,
    Imported,
    Inspected,
    Opened,
    Pooled,
    StepFailed,
    UnderLoad,
    Verified,
    Warm,
)
from ...spec import PRECISIONS, Cell, Sweep
from ...untrusted import load_times, understood
from ..stats.percentiles import nearest_rank
from .head import CHECK, Head, Host, read_whole_head
from .journal import Event, read_journal
from .noise import COUNTERS, disturbances, unseen

AGREEMENT_FLOOR, AGREEMENT_IMAGES = 97.0, 100

UNDETERMINED = "undetermined"  # the status of a row whose answers were compared with a reference that tells nothing
BEGINNINGS = (Built, Cold, Opened)
MENDS: Mapping[type[Any], str] = {
    Block: ROUND,
    UnderLoad: LOAD,
}  # which step has worked after all, by the event that it ends with

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """Everything that was stored about one cell.

    `key`: the cell's key in the run folder. `failed`: why it has no figures, where it has none. `failed_steps`: what failed
    after its figures were complete. `check`: its run compares answers and measures no time. `until`: its run measures rounds
    until the cell is finished. `imported`: the figures of another tool.
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
    warm: Warm | None = None
    energy: Energy | None = None
    load: UnderLoad | None = None
    pooled: Pooled | None = None
    finished: Finished | None = None
    failed: Failed | None = None
    imported: Imported | None = None
    failed_steps: tuple[StepFailed, ...] = ()
    cold: tuple[Cold, ...] = ()
    blocks: Mapping[int, Block] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether it has figures: another cell may be compared with it."""
        return bool(self.blocks) and not self.failed

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
        """ok, mismatch, undetermined, or why not, derived from the outcome and the parity."""
        if self.failed:
            return self.failed.status
        if not self._complete:
            return "failed"
        if self._far_from_reference():
            return "mismatch"
        return UNDETERMINED if self.parity and self.parity.undetermined else "ok"

    @property
    def reason(self) -> str | None:
        """Why the row is not ok."""
        if self.failed:
            return self.failed.reason
        if not self._complete:
            return "not measured: the run was interrupted" + ("" if self.check else "; --resume goes on with it")
        if self.status == UNDETERMINED and self.parity:
            return f"parity tells nothing: {self.parity.undetermined}; give other inputs with --input or --dataset"
        if self.status == "mismatch" and self.parity:
            floor = PRECISIONS[self.cell.precision].floor_db
            return f"SQNR {self.parity.sqnr_db:.1f} dB against the FP32 reference, and {self.cell.precision} needs {floor:g}"
        return None

    @property
    def _complete(self) -> bool:
        """Whether anything was found out."""
        instrument = self.opened is not None and self.opened.instrument
        return bool(self.blocks or self.imported) or (self.check and (self.inspected is not None or instrument))

    def _far_from_reference(self) -> bool:
        """Under the precision's floor, unless enough real samples come out the same."""
        known = self.parity
        if known is None:
            return False
        agrees = (known.agreement or 0) >= AGREEMENT_FLOOR and (known.images or 0) >= AGREEMENT_IMAGES
        return known.sqnr_db < PRECISIONS[self.cell.precision].floor_db and not agrees

    @cached_property
    def disturbed(self) -> frozenset[int]:
        """The rounds that something disturbed."""
        return frozenset(number for number, block in self.blocks.items() if disturbances(block.noise))

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """The counters of disturbances that its system does not have, in the order of noise.COUNTERS."""
        missing = {name for block in self.blocks.values() for name in unseen(block.noise)}
        return tuple(name for name in COUNTERS if name in missing)

    def calls(self, number: int, kind: str) -> NDArray[np.int64]:
        """The times of a round's calls in ns. `kind`: latency, end_to_end or device; none of what was not timed."""
        return self._samples[number].get(kind, np.array([], np.int64))

    def p50_ns(self, number: int, kind: str) -> float | None:
        """The median of a round's calls, by nearest rank, without reading its samples where the journal tells it."""
        told = self.blocks[number].p50_ns
        if told is not None:
            return told.get(kind)
        calls = self.calls(number, kind)
        return nearest_rank(calls, 50) if len(calls) else None

    @cached_property
    def _samples(self) -> dict[int, dict[str, NDArray[np.int64]]]:
        return {number: load_times(self.folder / self.blocks[number].samples) for number in sorted(self.blocks)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder, read."""

    folder: Path
    head: Head
    cells: tuple[CellRecord, ...]
    _bases: dict[str | None, dict[tuple[Scalar, ...], CellRecord]] = field(default_factory=dict, init=False, repr=False)

    @property
    def host(self) -> Host:
        return self.head.host

    @property
    def is_check(self) -> bool:
        """Whether it compares answers and measures no time."""
        return self.head.kind == CHECK

    @property
    def sweep(self) -> Sweep | None:
        """The sweep that was asked for."""
        return self.head.sweep

    def is_instrument(self, cell: Cell) -> bool:
        """True if `cell` measures this tool, and is never a target."""
        return cell.backend in self.head.instruments

    def base_of(self, record: CellRecord, baseline: str | None) -> CellRecord | None:
        """The baseline's fp32 cell that answers the same question."""
        if baseline not in self._bases:
            named = [item for item in self.cells if is_base(item.cell, item.cell, baseline)]
            self._bases[baseline] = {question(item.cell): item for item in reversed(named)}
        return self._bases[baseline].get(question(record.cell))


def is_base(cell: Cell, of: Cell, baseline: str | None) -> bool:
    """Whether the speed-up of `of` is against `cell`: the one place that says what is compared with what."""
    return str(cell.target) == baseline and cell.precision == "fp32" and question(cell) == question(of)


def read_run(folder: Path) -> Run:
    """The run in `folder`; `BadInput` if there is none, or one that this version cannot read."""
    head, cells = read_whole_head(folder)
    with understood([folder]), _uncollected():
        about: dict[str, list[Event]] = {}
        for key, event in read_journal(folder):
            about.setdefault(key, []).append(event)
        records = (gather(cell, key, folder, head, about.get(key, ())) for cell, key in cells.items())
        return Run(folder=folder, head=head, cells=tuple(records))


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles of garbage inside: a large run has none among its values, and searching takes half of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def gather(cell: Cell, key: str, folder: Path, head: Head, events: Iterable[Event]) -> CellRecord:
    """The record of `cell` from its `events`. A cell that failed and begins anew keeps nothing of before."""
    kept: dict[type[Any], list[Any]] = {}
    blocks: dict[int, Block] = {}
    failed_steps: dict[str, StepFailed] = {}
    for event in events:
        if Failed in kept and isinstance(event, BEGINNINGS):
            kept, blocks, failed_steps = {}, {}, {}
        failed_steps.pop(MENDS.get(type(event), ""), None)
        if isinstance(event, StepFailed):
            failed_steps[event.step] = event
        elif isinstance(event, Block):
            blocks[event.round] = event
            kept.pop(Pooled, None)
        else:
            kept.setdefault(type(event), []).append(event)
    return CellRecord(
        cell=cell,
        key=key,
        folder=folder,
        check=head.kind == CHECK,
        until=not head.kind and head.sweep is not None,
        drawn=_last(Drawn, kept),
        built=_last(Built, kept),
        opened=_last(Opened, kept),
        inspected=_last(Inspected, kept),
        parity=_last(Verified, kept),
        explained=_last(Explained, kept),
        warm=_merged(kept.get(Warm, ())),
        energy=_last(Energy, kept),
        load=_last(UnderLoad, kept),
        pooled=_last(Pooled, kept),
        finished=_last(Finished, kept),
        failed=_last(Failed, kept),
        imported=_last(Imported, kept),
        failed_steps=tuple(failed_steps.values()),
        cold=tuple(kept.get(Cold, ())),
        blocks=blocks,
    )


def _last(kind: type[E], kept: Mapping[type[Any], Sequence[Any]]) -> E | None:
    found: Sequence[E] = kept.get(kind, ())
    return found[-1] if found else None


def _merged(warm: Sequence[Warm]) -> Warm | None:
    """The last warm-up; what the search found is told by the first alone, since a cell that is opened again has no search."""
    if not warm:
        return None
    tried = next((event.tried for event in reversed(warm) if event.tried), ())
    return replace(warm[-1], tried=tried)
