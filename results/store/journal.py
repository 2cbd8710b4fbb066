"""Reader of a run's journal: each line is an event of one cell (evidence.py) with the cell's key. Standard library only.

Each line is checked against the type of its event, since a run folder may come from anybody.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ...errors import BadInput, one_line
from ...evidence import (
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
from ...spec import set_fields
from ...untrusted import is_plain, is_sample_name, parse, read_bytes
from ...wire import reader
from ...work import Workload

JOURNAL, SAMPLES = "journal.jsonl", "samples"
FORMER = {"stopped": "finished", "ended": "failed"}  # event names before schema 3
TOGETHER = 1000  # lines that are parsed in one call
END_BYTES = 22  # size of the last record of a zip file without a comment

Event = (
    Drawn | Built | Cold | Opened | Inspected | Explained | Verified | Warm | Life | Energy | Block | Pooled | Finished | Failed
    | StepFailed | UnderLoad | Imported | Answered | TimedBuild | KeptEngine | Converted | Tuned | Profiled
    | Workload | Reopened
)  # fmt: skip

EVENTS: Mapping[str, type[Any]] = {
    "drawn": Drawn,
    "built": Built,
    "cold": Cold,
    "opened": Opened,
    "inspected": Inspected,
    "verified": Verified,
    "explained": Explained,
    "warm": Warm,
    "life": Life,
    "reopened": Reopened,
    "energy": Energy,
    "block": Block,
    "pooled": Pooled,
    "finished": Finished,
    "failed": Failed,
    "step_failed": StepFailed,
    "load": UnderLoad,
    "imported": Imported,
    "answered": Answered,
    "timed_build": TimedBuild,
    "kept_engine": KeptEngine,
    "converted": Converted,
    "tuned": Tuned,
    "profiled": Profiled,
    "work": Workload,
}
"""Types of events by their names in a journal."""

NAMES: Mapping[type[Any], str] = {kind: name for name, kind in EVENTS.items()}


def event_to_wire(key: str, event: Event) -> Mapping[str, Any]:
    """Data of a journal line: `event` of the cell with that `key`, without the fields at their defaults."""
    return {"event": NAMES[type(event)], "cell": key, **set_fields(event)}


def read_journal(folder: Path) -> Iterator[tuple[str, Event]]:
    """Yield the events of the journal's complete lines in order, each with its cell's key.

    Skips blocks without a complete file of samples, and events that this version does not have.
    `BadInput` for an event with a field that does not fit its type.
    """
    place = str(folder)
    for data in chain.from_iterable(_values(_journal_bytes(folder).split(b"\n"))):
        kind = _kind(data)
        if kind is None:
            continue
        try:
            event = reader(kind)(data)  # type: ignore[arg-type]  # a class is hashable
        except TypeError as error:
            what = f"the event {data['event']!r} has {error}"
            raise BadInput(f"the journal of {folder} is damaged: {one_line(what, 200)}", "measure it again") from error
        if kind is not Block or (is_sample_name(event.samples, SAMPLES) and _is_complete(f"{place}/{event.samples}")):
            yield data["cell"], event


def event_of_line(line: bytes) -> tuple[str, Event] | None:
    """Cell's key and event of one line; None for an incomplete line, and for an event that this version does not have.

    `TypeError` for an event with a field that does not fit its type.
    """
    data = _value(line)
    kind = _kind(data)
    return (data["cell"], reader(kind)(data)) if kind else None  # type: ignore[arg-type]  # a class is hashable


def _values(lines: Sequence[bytes]) -> Iterator[Iterable[Any]]:
    """Yield the JSON data of the complete lines, of many lines at a time."""
    for start in range(0, len(lines), TOGETHER):
        some = [line for line in lines[start : start + TOGETHER] if line]
        try:
            # One call for many lines takes half of the time: the parser keeps the names in its memory for one call.
            values = parse(b"[%b]" % b",".join(some))
        except ValueError:
            values = ()
        yield values if len(values) == len(some) else filter(None, map(_value, some))


def _value(line: bytes) -> Any:
    """The JSON data of a line; None for an incomplete line, which a killed process leaves."""
    try:
        return parse(line)
    except ValueError:
        return None


def _kind(data: Any) -> type[Any] | None:
    """Type of the event on a line; None for a line that is not an event of this version."""
    if not isinstance(data, dict) or not isinstance(data.get("cell"), str):
        return None
    name = data.get("event")
    return EVENTS.get(FORMER.get(name, name)) if isinstance(name, str) else None


def _journal_bytes(folder: Path) -> bytes:
    """Bytes of the journal, empty where there is no journal. `BadInput` where it is not a plain file, or is too large."""
    path = folder / JOURNAL
    try:
        return read_bytes(path) if path.exists() or path.is_symlink() else b""
    except OSError as error:
        raise BadInput(f"the journal of {folder} cannot be read ({one_line(error)})", "measure it again") from error


def _is_complete(path: str) -> bool:
    """True if `path` is a complete .npz file."""
    # The directory of a zip file is at its end, and a truncated file has no end record. Reading 22 bytes is enough to find
    # out; opening each file as an archive would read its directory too.
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for a writer
    except OSError:
        return False
    try:
        os.lseek(file, -END_BYTES, os.SEEK_END)  # an error for a pipe, and for a shorter file
        end = os.read(file, END_BYTES)
    except OSError:
        return False
    finally:
        os.close(file)
    if end[:4] == b"PK\5\6" and end[-2:] == bytes(2):  # NumPy writes no comment
        return True
    return is_plain(Path(path)) and zipfile.is_zipfile(path)
