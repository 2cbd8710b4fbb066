"""What a run folder holds, and how it is read back: run.json, the journal, the samples. NumPy only.

    run.json        schema version, host, versions, settings, seed, and the cells in the order of the plan, each with the
                    `key` that the journal has for it
    journal.jsonl   one line an event of one cell, appended as it ends (events.py has their types): drawn, built, cold,
                    opened, inspected, verified, warm, energy, block, stopped, load, ended; a check has those up to
                    verified, and explained; imported is all that a row of another tool has; step_failed: after a
                    cell was complete
                    a block's `p50_ns` are the medians of its samples, by their kind, since most readers need no more
    samples/        one .npz for each block: `latency`, `end_to_end` and `device` (by the device's own clock, empty
                    where it has none), the time of every call (int64 ns)

The journal only grows. A line that a kill cut short is dropped when it is read; a later event replaces an earlier
one of its kind (and round), so a cell that failed and was measured again counts as measured.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInput, one_line
from ...spec import KEY_DIGITS, PRECISIONS, Cell, digest, from_wire, to_wire
from ...untrusted import WRONG, load_times, parse, read_bytes, sample_path, understood
from ..stats.percentiles import nearest_rank
from .events import Head, check
from .noise import COUNTERS, disturbances, unseen

SCHEMA = 3
RUN, JOURNAL, SAMPLES = "run.json", "journal.jsonl", "samples"
AGREEMENT_FLOOR, AGREEMENT_IMAGES = 97.0, 100

UNDETERMINED = "undetermined"  # the status of a row whose answers were compared with a reference that tells nothing
CHECK = "check"  # the kind of a run that measures no time
BEGINNINGS = ("built", "cold", "opened")
BLOCK = "block"
MANY = (BLOCK, "cold", "warm")  # kinds of events of which not only the last counts
STEP_FAILED = "step_failed"  # a step of a cell whose figures are complete: one of ROUND, LOAD
ROUND, LOAD = "round", "load"
MENDS = {BLOCK: ROUND, "load": LOAD}  # which step has worked after all, by the event that it ends with

END_BYTES = 22  # the last record of a zip file

Data = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Digested:
    """What is known of a cell without a look at its blocks (digest.py): series.figures, and of the samples that count, for each
    of series.KINDS, how many there are and their percentiles series.NOTED, in ns."""

    figures: Mapping[str, Sequence[float]]
    samples: Sequence[Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """Everything that was stored about one cell.

    `key`: the cell's key in the run folder. `ended`: why it has no figures, where it has none. `failed_steps`: what failed
    after its figures were complete. `check`: its run compares answers and measures no time. `imported`: the figures of
    another tool, its name, and how its definitions differ.
    """

    cell: Cell
    folder: Path
    key: str = ""
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
    imported: Data | None = None
    failed_steps: tuple[Data, ...] = ()
    cold: tuple[Data, ...] = ()
    blocks: Mapping[int, Data] = field(default_factory=dict)
    digested: Digested | None = None

    @property
    def measured(self) -> bool:
        """Whether it has figures: another cell may be compared with it."""
        return bool(self.blocks) and not self.ended

    @cached_property
    def status(self) -> str:
        """ok, mismatch, undetermined, or why not, derived from the outcome and the parity."""
        if self.ended:
            return str(self.ended["status"])
        if not self._complete:
            return "failed"
        if self._far_from_reference():
            return "mismatch"
        return UNDETERMINED if (self.parity or {}).get("undetermined") else "ok"

    @property
    def reason(self) -> str | None:
        """Why the row is not ok."""
        if self.ended:
            return str(self.ended["reason"])
        if not self._complete:
            return "not measured: the run was interrupted" + ("" if self.check else "; --resume goes on with it")
        if self.status == UNDETERMINED and self.parity:
            return f"parity tells nothing: {self.parity['undetermined']}; give other inputs with --input or --dataset"
        if self.status == "mismatch" and self.parity:
            floor = PRECISIONS[self.cell.precision].floor_db
            return f"SQNR {self.parity['sqnr_db']:.1f} dB against the FP32 reference, and {self.cell.precision} needs {floor:g}"
        return None

    @property
    def _complete(self) -> bool:
        """Whether anything was found out."""
        instrument = bool((self.opened or {}).get("instrument"))
        return bool(self.blocks or self.imported) or (self.check and (self.inspected is not None or instrument))

    def _far_from_reference(self) -> bool:
        """Under the precision's floor, unless enough real samples come out the same."""
        if not self.parity:
            return False
        agrees = (self.parity.get("agreement") or 0) >= AGREEMENT_FLOOR and self.parity.get("images", 0) >= AGREEMENT_IMAGES
        return bool(self.parity["sqnr_db"] < PRECISIONS[self.cell.precision].floor_db) and not agrees

    @cached_property
    def disturbed(self) -> frozenset[int]:
        """The rounds that something disturbed."""
        return frozenset(number for number, block in self.blocks.items() if disturbances(block))

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """The counters of disturbances that its system does not have, in the order of noise.COUNTERS."""
        missing = {name for block in self.blocks.values() for name in unseen(block)}
        return tuple(name for name in COUNTERS if name in missing)

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
    _bases: dict[str | None, dict[tuple[str, int, int], CellRecord]] = field(default_factory=dict, init=False, repr=False)

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
        if baseline not in self._bases:
            named = [item for item in self.cells if is_base(item.cell, item.cell, baseline)]
            self._bases[baseline] = {_question(item.cell): item for item in reversed(named)}
        return self._bases[baseline].get(_question(record.cell))


def is_base(cell: Cell, of: Cell, baseline: str | None) -> bool:
    """Whether the speed-up of `of` is against `cell`: the one place that says what is compared with what."""
    return str(cell.target) == baseline and cell.precision == "fp32" and _question(cell) == _question(of)


def _question(cell: Cell) -> tuple[str, int, int]:
    return cell.model, cell.batch, cell.settings.threads


def read(folder: Path) -> Run:
    """The run in `folder`; `BadInput` if there is none, or one that this version cannot read."""
    head = read_head(folder)
    with understood([folder]):
        return Run(folder=folder, head=head, cells=tuple(item for item, _ in gathered(folder, head, read_journal(folder))))


def gathered(
    folder: Path, head: Data, events: Iterable[dict[str, Any]]
) -> Iterator[tuple[CellRecord, dict[str, list[dict[str, Any]]]]]:
    """The record of each cell in `head`, and those of its `events` that count, but for its blocks, by kind."""
    about: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        about.setdefault(event["cell"], []).append(event)
    for cell, key in cells_of(head, folder).items():
        known = kept(about.get(key, ()))
        blocks = {block["round"]: block for block in known.pop(BLOCK, ())}
        yield gather(cell, key, folder, head.get("kind") == CHECK, known, blocks), known


def listed(cell: Cell, key: str) -> dict[str, Any]:
    """`cell` as the head of a run lists it, with the `key` that the journal has for it."""
    return {**to_wire(cell), "key": key}


def cells_of(head: Data, folder: Path) -> dict[Cell, str]:
    """The cells that the head of the run in `folder` lists, with their keys there; `BadInput` if it has no such list."""
    try:
        return {from_wire(Cell, cell): _key(cell) for cell in head["cells"]}
    except WRONG as error:
        raise BadInput(f"{folder / RUN} has no list of cells ({one_line(error)})", "measure it again") from error


def _key(listed: Data) -> str:
    """The key of a cell that a head lists. Before schema 3 no key stood there: it was the digest of all that was written.

    `ValueError` for one that is no key: files are named after it.
    """
    key = listed["key"] if "key" in listed else digest(dict(listed))[:KEY_DIGITS]
    if not re.fullmatch(f"[0-9a-f]{{{KEY_DIGITS}}}", key):
        raise ValueError("a cell's key is not hexadecimal")
    return str(key)


def read_head(folder: Path) -> dict[str, Any]:
    """run.json; `BadInput` if it is missing, damaged or of a newer schema."""
    try:
        head = parse(read_bytes(folder / RUN))
        schema = from_wire(Head, head).schema
    except (OSError, *WRONG) as error:
        raise BadInput(f"{folder} is not a run folder ({one_line(error)})", "give a folder that bench infer wrote") from error
    if schema > SCHEMA:
        raise BadInput(f"{folder} has schema {schema}, and this version reads up to {SCHEMA}", "upgrade onnxbench")
    return dict(head)


def is_measured(folder: Path) -> bool:
    """Whether the run in `folder` was measured here, and is neither a check nor imported."""
    return not read_head(folder).get("kind")


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """The journal's whole lines in order; blocks whose samples did not reach the disk are left out."""
    for event, _, _ in whole_lines(journal_bytes(folder), folder):
        yield event


def journal_bytes(folder: Path) -> bytes:
    """The journal as it is, nothing where there is none. `BadInput` where it is no plain file, or too large for one."""
    path = folder / JOURNAL
    try:
        return read_bytes(path) if path.exists() or path.is_symlink() else b""
    except OSError as error:
        raise BadInput(f"the journal of {folder} cannot be read ({one_line(error)})", "measure it again") from error


def whole_lines(journal: bytes, folder: Path) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The events of `read_journal`, each with where its line begins and ends."""
    end = 0
    for line in journal.splitlines(keepends=True):
        begin, end = end, end + len(line)
        try:
            event = parse(line)
        except ValueError:
            continue  # the line that a kill cut short
        if _is_event(event):
            checked(event, folder)
            if event["event"] != BLOCK or _readable(folder, event):
                yield event, begin, end


def checked(event: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`event`; `BadInput` if it holds something else than its kind has."""
    try:
        check(event)
    except TypeError as error:
        raise BadInput(f"the journal of {folder} is damaged: {one_line(error, 200)}", "measure it again") from error
    return event


def _is_event(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get("event"), str) and isinstance(event.get("cell"), str)


def _readable(folder: Path, block: Data) -> bool:
    """Whether its samples are a whole .npz: a zip file's directory is at its end, so one that was cut short is none."""
    path = sample_path(folder, block.get("samples"), SAMPLES)
    try:
        if path is None:
            return False
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (100,000 times in a large run)
            file.seek(-END_BYTES, os.SEEK_END)
            end = file.read()
            return (end[:4] == b"PK\5\6" and end[-2:] == bytes(2)) or zipfile.is_zipfile(file)  # NumPy writes no comment
    except OSError:
        return False


def kept(events: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Those of one cell's events that count, by kind: the last of each, and several of MANY (one block a round).

    A cell that ended without figures begins anew.
    """
    found: dict[str, dict[Any, dict[str, Any]]] = {}
    for event in events:
        kind = event["event"]
        if "ended" in found and kind in BEGINNINGS:
            found = {}
        same = found.setdefault(kind, {})
        if kind in MENDS:
            found.get(STEP_FAILED, {}).pop(MENDS[kind], None)
        same[_mark(event, len(same))] = event
    return {kind: list(same.values()) for kind, same in found.items()}


def _mark(event: Data, count: int) -> Any:
    """What an event replaces an earlier one of its kind by: `count` are there."""
    kind = event["event"]
    if kind == STEP_FAILED:
        return str(event.get("step"))
    return event["round"] if kind == BLOCK else count if kind in MANY else None


def gather(
    cell: Cell,
    key: str,
    folder: Path,
    check: bool,
    events: Mapping[str, Sequence[Data]],
    blocks: Mapping[int, Data],
    **more: Any,
) -> CellRecord:
    """The record of `cell` from its events that count (`kept`), of which `blocks` are by round."""
    latest = {kind: same[-1] for kind, same in events.items() if same}
    warm = events.get("warm", ())
    if len(warm) > 1:  # what a search found is not told again when a cell is opened again
        latest["warm"] = {name: value for event in warm for name, value in event.items()}
    return CellRecord(
        cell=cell,
        key=key,
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
        imported=latest.get("imported"),
        failed_steps=tuple(events.get(STEP_FAILED, ())),
        cold=tuple(events.get("cold", ())),
        blocks=blocks,
        **more,
    )
