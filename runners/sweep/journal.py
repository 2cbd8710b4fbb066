"""Writer of a run folder: one process at a time, and a journal that only grows. Standard library only.

results/store/record describes the files and reads them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from ...errors import BadInput, StorageFailed, Unsupported
from ...files import replace_file
from ...results.store.head import RUN, Head, head_to_wire
from ...results.store.journal import JOURNAL, SAMPLES, Event, event_to_wire
from ...spec import Cell
from ...untrusted import open_plain

LOCK, SCRATCH, LOGS = ".lock", "scratch", "logs"


def _make(folder: Path) -> None:
    """Make `folder` where it is missing. Raises OSError for a link, since its target may be anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder.name} is a link")


class Journal:
    """An open run folder, as a context manager. Entering locks the folder; leaving removes the scratch arrays.

    Raises `BadInput` where another process writes to the folder, or where the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch, self.logs = folder / SCRATCH, folder / LOGS
        self._open = ExitStack()

    def __enter__(self) -> Journal:
        with ExitStack() as opening:
            try:
                for part in (self.folder / SAMPLES, self.scratch, self.logs):
                    _make(part)
                lock = opening.enter_context(open_plain(self.folder / LOCK, os.O_WRONLY | os.O_CREAT))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._file = opening.enter_context(open_plain(self.folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
            except BlockingIOError as error:
                hint = "wait for the other command to end, or give another --out"
                raise BadInput(f"another bench command is writing to {self.folder}", hint) from error
            except OSError as error:
                raise BadInput(f"cannot write to {self.folder} ({error.strerror})", "give another --out") from error
            self._mend()
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        if kind and issubclass(kind, (BadInput, Unsupported)) and not (self.folder / RUN).exists():
            self._vanish()
        self._open.close()

    def _vanish(self) -> None:
        """Remove the files of a run that was refused before it began."""
        for part in (self.folder / SAMPLES, self.logs):
            shutil.rmtree(part, ignore_errors=True)
        for name in (LOCK, JOURNAL):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _mend(self) -> None:
        """End an incomplete last line, which a killed run leaves. The next event then has a line of its own."""
        path = self.folder / JOURNAL
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")

    def add(self, key: str, event: Event) -> None:
        """Append one event of the cell with `key`. The event is on the disk when this returns. Raises `StorageFailed`."""
        line = json.dumps(event_to_wire(key, event), allow_nan=False) + "\n"
        try:
            data = line.encode()
            while data:  # the file is unbuffered: one write may take a part of the line
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageFailed(
                f"cannot write to {self.folder} ({error.strerror})", "free some space, then go on with --resume"
            ) from error

    def write_head(self, head: Head, cells: Mapping[Cell, str]) -> None:
        """Replace run.json as a whole. `cells`: each cell's key in the journal. Raises `StorageFailed`."""
        text = json.dumps(head_to_wire(head, cells), indent=1)
        try:
            replace_file(self.folder / RUN, lambda scratch: scratch.write_text(text))
        except OSError as error:
            raise StorageFailed(
                f"cannot write to {self.folder} ({error.strerror})", "free some space, then go on with --resume"
            ) from error


def sample_file(key: str, round_number: int) -> str:
    """Path of a block's samples relative to the run folder, as the journal writes it."""
    return f"{SAMPLES}/{key}-r{round_number:03}.npz"
