"""What a run folder holds, and how it is read back: run.json, the journal, the samples. NumPy only.

    run.json        schema version, host, versions, settings, seed, and the cells in the order of the plan
    journal.jsonl   one line an event of one cell, appended as it ends: built, cold, opened, inspected,
                    verified, warm, energy, block, stopped, load, ended; a check has the first five, and explained
                    a block's `p50_ns` are the medians of its samples, by their kind, since most readers need no more
    samples/        one .npz for each block: `latency`, `end_to_end` and `device` (by the device's own clock, empty
                    where it has none), the time of every call (int64 ns)

The journal only grows. A line that a kill cut short is dropped when it is read; a later event replaces an earlier
one of its kind (and round), so a cell that failed and was measured again counts as measured.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, one_line
from ..spec import PRECISIONS, Cell, from_wire
from ..untrusted import WRONG, load_times, parse, read_bytes, sample_path, understood
from .stats import nearest_rank

SCHEMA = 2
RUN, JOURNAL, SAMPLES = "run.json", "journal.jsonl", "samples"
AGREEMENT_FLOOR, AGREEMENT_IMAGES = 97.0, 100

CHECK = "check"  # the kind of a run that measures no time
BEGINNINGS = ("built", "cold", "opened")

Data = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """Everything that was stored about one cell. `ended` says why it has no figures, where it has none; `check`: its run
    compares answers and measures no time."""

    cell: Cell
    folder: Path
    check: bool = False
    built: Data | None = None
    opened: Data | None = None
    inspected: Data | None = None
    parity: Data | None = None
    explained: Data | None = None
    warm: Data | None = None
    energy: Data | None = None
    load: Data | None = None
    stopped: Data | None = None
    ended: Data | None = None
    cold: tuple[Data, ...] = ()
    blocks: Mapping[int, Data] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether it has figures: another cell may be compared with it."""
        return bool(self.blocks) and not self.ended

    @property
    def status(self) -> str:
        """ok, mismatch, or why not, derived from the outcome and the parity."""
        if self.ended:
            return str(self.ended["status"])
        if not self._complete:
            return "failed"
        return "mismatch" if self._far_from_reference() else "ok"

    @property
    def reason(self) -> str | None:
        """Why the row is not ok."""
        if self.ended:
            return str(self.ended["reason"])
        if not self._complete:
            return "not measured: the run was interrupted" + ("" if self.check else "; --resume goes on with it")
        if self.status == "mismatch" and self.parity:
            floor = PRECISIONS[self.cell.precision].floor_db
            return f"SQNR {self.parity['sqnr_db']:.1f} dB against the FP32 reference, and {self.cell.precision} needs {floor:g}"
        return None

    @property
    def _complete(self) -> bool:
        """Whether anything was found out."""
        instrument = bool((self.opened or {}).get("instrument"))
        return bool(self.blocks) or (self.check and (self.inspected is not None or instrument))

    def _far_from_reference(self) -> bool:
        """Under the precision's floor, unless enough real samples come out the same."""
        if not self.parity:
            return False
        agrees = (self.parity.get("agreement") or 0) >= AGREEMENT_FLOOR and self.parity.get("images", 0) >= AGREEMENT_IMAGES
        return bool(self.parity["sqnr_db"] < PRECISIONS[self.cell.precision].floor_db) and not agrees

    def calls(self, number: int, kind: str) -> NDArray[np.int64]:
        """The times of a round's calls in ns. `kind`: latency, end_to_end or device; none of what was not timed."""
        return self._samples[number].get(kind, np.array([], np.int64))

    def p50_ns(self, number: int, kind: str) -> float | None:
        """The median of a round's calls, by nearest rank, without reading its samples where the journal tells it."""
        told = self.blocks[number].get("p50_ns")
        if told is not None:
            return None if told.get(kind) is None else float(told[kind])
        calls = self.calls(number, kind)
        return nearest_rank(calls, 50) if len(calls) else None

    @cached_property
    def _samples(self) -> dict[int, dict[str, NDArray[np.int64]]]:
        return {number: load_times(self.folder / self.blocks[number]["samples"]) for number in sorted(self.blocks)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder, read."""

    folder: Path
    head: Data
    cells: tuple[CellRecord, ...]

    @property
    def host(self) -> Data:
        return dict(self.head["host"])

    @property
    def is_check(self) -> bool:
        """Whether it compares answers and measures no time."""
        return self.head.get("kind") == CHECK

    @property
    def sweep(self) -> dict[str, Any]:
        """What was asked for, as JSON data."""
        return dict(self.head.get("sweep", {}))

    def base_of(self, record: CellRecord, baseline: str | None) -> CellRecord | None:
        """The baseline's fp32 cell of the same model, batch and threads."""
        return next((item for item in self.cells if is_base(item.cell, record.cell, baseline)), None)


def is_base(cell: Cell, of: Cell, baseline: str | None) -> bool:
    """Whether the speed-up of `of` is against `cell`: the one place that says what is compared with what."""
    comparable = (cell.model, cell.batch, cell.settings.threads) == (of.model, of.batch, of.settings.threads)
    return str(cell.target) == baseline and cell.precision == "fp32" and comparable


def read(folder: Path) -> Run:
    """The run in `folder`; `BadInput` if there is none, or one that this version cannot read."""
    head = read_head(folder)
    events: dict[str, list[dict[str, Any]]] = {}
    for event in read_journal(folder):
        events.setdefault(event["cell"], []).append(event)
    try:
        cells = [from_wire(Cell, cell) for cell in head["cells"]]
        keys = [cell.key for cell in cells]
    except WRONG as error:
        raise BadInput(f"{folder / RUN} has no list of cells ({one_line(error)})", "measure it again") from error
    with understood([folder]):
        check = head.get("kind") == CHECK
        records = [_gather(cell, folder, events.get(key, ()), check) for cell, key in zip(cells, keys)]
    return Run(folder=folder, head=head, cells=tuple(records))


def read_head(folder: Path) -> dict[str, Any]:
    """run.json; `BadInput` if it is missing, damaged or of a newer schema."""
    try:
        head = parse(read_bytes(folder / RUN))
        schema = int(head["schema"])
    except (OSError, *WRONG) as error:
        raise BadInput(f"{folder} is not a run folder ({one_line(error)})", "give a folder that bench infer wrote") from error
    if schema > SCHEMA:
        raise BadInput(f"{folder} has schema {schema}, and this version reads up to {SCHEMA}", "upgrade onnxbench")
    return dict(head)


def is_check(folder: Path) -> bool:
    """Whether the run in `folder` measures no time."""
    return read_head(folder).get("kind") == CHECK


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """The journal's whole lines in order; blocks whose samples did not reach the disk are left out."""
    for line in _journal(folder).splitlines():
        try:
            event = parse(line)
        except ValueError:
            continue  # the line that a kill cut short
        if _is_event(event) and (event["event"] != "block" or _readable(folder, event)):
            yield event


def _journal(folder: Path) -> bytes:
    path = folder / JOURNAL
    try:
        return read_bytes(path) if path.exists() or path.is_symlink() else b""
    except OSError as error:
        raise BadInput(f"the journal of {folder} cannot be read ({one_line(error)})", "measure it again") from error


def _is_event(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get("event"), str) and isinstance(event.get("cell"), str)


def _readable(folder: Path, block: dict[str, Any]) -> bool:
    path = sample_path(folder, block.get("samples"), SAMPLES)
    try:
        return path is not None and zipfile.is_zipfile(path)  # its directory is at the end: one that was cut short is none
    except OSError:
        return False


def _gather(cell: Cell, folder: Path, events: Sequence[dict[str, Any]], check: bool) -> CellRecord:
    """The record of `cell` from its events: the last of each kind; a cell that ended without figures begins anew."""
    latest: dict[str, Any] = {}
    blocks: dict[int, Data] = {}
    cold: list[Data] = []
    for event in events:
        if "ended" in latest and event["event"] in BEGINNINGS:
            latest, blocks, cold = {}, {}, []
        if event["event"] == "block":
            blocks[event["round"]] = event
            continue
        if event["event"] == "cold":
            cold.append(event)
            continue
        known = latest.get(event["event"], {}) if event["event"] == "warm" else {}
        latest[event["event"]] = {**known, **event}  # what a search found is not told again when a cell is opened again
    return CellRecord(
        cell=cell,
        folder=folder,
        check=check,
        built=latest.get("built"),
        opened=latest.get("opened"),
        inspected=latest.get("inspected"),
        parity=latest.get("verified"),
        explained=latest.get("explained"),
        warm=latest.get("warm"),
        energy=latest.get("energy"),
        load=latest.get("load"),
        stopped=latest.get("stopped"),
        ended=latest.get("ended"),
        cold=tuple(cold),
        blocks=blocks,
    )
