"""Side of a visit that is on the node: it starts the run in a process, and gives its new lines to whoever polls. psutil.

The node has the same version of this package as the machine that started the visit.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ...errors import BenchError, RuntimeFailed, encode_error, of_system
from ...results.store.head import RUN
from ...results.store.journal import JOURNAL, SAMPLES
from ...untrusted import is_sample_name, open_plain
from ..pool.process import dies_with_parent, end_group, last_line
from ..worker.clock import Clock
from .cluster import FILES, FOLDER, OUT, WEIGHTS, End, News, NodeOrder, Parcel
from .entry import ORDER

ENTRY = "onnxbench.runners.cluster.entry"
PREFIX, LOCK, LOG, SCRATCH = "onnxbench-node-", ".visit", "stderr", "tmp"
END_S = 10.0
READ_BYTES = 1 << 16
NEWS_BYTES = 1 << 26  # of the journal in one answer


def plain_environment(own: str = "/proc/self/environ") -> dict[str, str]:
    """Variables that this process was started with, without those of Ray.

    Ray's worker sets OMP_NUM_THREADS and the visible GPUs later, for code that runs inside it. A run on the machine itself has
    neither.
    """
    try:
        pairs = [item.partition("=") for item in Path(own).read_bytes().decode(errors="surrogateescape").split("\0") if item]
        variables = {name: value for name, _, value in pairs}
    except OSError:  # macOS
        variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return {name: value for name, value in variables.items() if not name.startswith("RAY_")}


def remove_leftovers() -> None:
    """Remove the folders of visits that were killed. The system unlocked theirs; a folder without a lock is just being made."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), open_plain(path, os.O_WRONLY) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


class Visitor:
    """A run on this node. Its files are in a temporary folder, which ends with it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer, self._journal, self._head = b"", 0, 0
        self._ending: End | None = None
        self._lock: IO[bytes] | None = None

    def arrive(self) -> News:
        """Empty news: the node is free, and its files are on their way."""
        return News()

    def begin(self, order: NodeOrder, parcel: Parcel) -> News:
        """Write the files and start the run. An error of the disk is the end of the visit."""
        try:
            remove_leftovers()
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
            self._lock = self._path(LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._unpack(order, parcel)
            self._start(order.place)
        except OSError as error:
            self.close()
            return News(end=End(error=encode_error(of_system(error))))
        return News()

    def _unpack(self, order: NodeOrder, parcel: Parcel) -> None:
        root, folder = self._path(FILES), self._path()
        for path, content in parcel.files.items():
            self._write(root / path.lstrip("/"), content.tobytes())
        for path, text in parcel.texts.items():
            self._write(root / path.lstrip("/"), _filled(text, folder).encode())
        for name, data in order.stored.items():
            self._write(folder / OUT / name, data)
        self._journal = len(order.stored.get(JOURNAL, b""))
        wire: dict[str, Any] = {"task": order.task, "request": order.request, "most": order.most, "least": order.least}
        wire |= {"explain": order.explain, "resume": bool(order.stored)}
        self._write(folder / ORDER, _filled(json.dumps(wire), folder).encode())
        (root / order.place.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _path(self, *parts: str) -> Path:
        assert self._folder is not None
        return self._folder.joinpath(*parts)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _start(self, place: str) -> None:
        scratch = self._path(SCRATCH)
        scratch.mkdir()
        with self._path(LOG).open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", ENTRY, str(self._path())],
                cwd=self._path(FILES, place.lstrip("/")),
                env={**plain_environment(), "TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                bufsize=0,
                start_new_session=True,
                preexec_fn=dies_with_parent(),  # noqa: PLW1509 (one system call, which is safe after a fork)
            )
        # Ray gives its workers a lower priority than that of its own processes. Only root may raise it again.
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, 0)

    def poll(self, wait_s: float) -> News:
        """News of the next `wait_s` seconds, or until the run ends."""
        notes: list[str] = []
        step: tuple[str, float, float] | None = None
        results: str | None = None
        for data in self._progress(wait_s):
            if "note" in data:
                notes.append(self._sent(data["note"]))
            elif "step" in data:
                step = (str(data["step"][0]), float(data["step"][1]), float(data["step"][2]))
            elif "results" in data:
                results = self._sent(json.dumps(data["results"]))
            else:
                self._ending = End(error=data["end"] and {key: self._sent(text) for key, text in data["end"].items()})
        lines, samples = self._new_lines()
        end = self._end(lines)
        return News(
            head=self._new_head(),
            samples=samples,
            lines=lines,
            notes=tuple(notes),
            step=step,
            results=results,
            weights=(end and self._content(WEIGHTS)) or b"",
            end=end,
        )

    def _progress(self, wait_s: float) -> Iterator[Mapping[str, Any]]:
        """Lines of the run's stdout that arrive within `wait_s` seconds."""
        process, clock = self._process, Clock()
        assert process is not None
        assert process.stdout is not None
        begin = clock.now_ns()
        while (left_s := wait_s - clock.since_s(begin)) > 0:
            if not select.select([process.stdout], [], [], left_s)[0]:
                continue
            data = os.read(process.stdout.fileno(), READ_BYTES)
            if not data:
                process.wait()
                self._ending = self._ending or End(error=encode_error(self._death(process.returncode)))
                return
            *complete, self._buffer = (self._buffer + data).split(b"\n")
            yield from map(json.loads, complete)

    def _end(self, lines: tuple[str, ...]) -> End | None:
        """The end, once the process has ended and every line of its journal was sent."""
        ended = self._process is not None and self._process.poll() is not None
        return self._ending if ended and not lines else None

    def _death(self, code: int) -> BenchError:
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        line = last_line(self._path(LOG))
        return RuntimeFailed(f"the run on the node {end}", f"its last output: {line}" if line else "it printed nothing")

    def _new_head(self) -> str | None:
        path = self._path(OUT, RUN)
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._head:
                return None
            text = path.read_text()
        except OSError:
            return None
        self._head = changed
        return self._sent(text)

    def _new_lines(self) -> tuple[tuple[str, ...], tuple[tuple[str, bytes], ...]]:
        """New complete lines of the journal, and the files of samples that they name."""
        try:
            with self._path(OUT, JOURNAL).open("rb") as file:
                file.seek(self._journal)
                data = file.read(NEWS_BYTES)
        except OSError:
            return (), ()
        data = data[: data.rfind(b"\n") + 1]
        self._journal += len(data)
        lines = data.decode().splitlines()
        names = [name for line in lines if (name := _samples_of(line))]
        samples = [(name, content) for name in names if (content := self._content(OUT, name)) is not None]
        return tuple(map(self._sent, lines)), tuple(samples)

    def _content(self, *parts: str) -> bytes | None:
        try:
            return self._path(*parts).read_bytes()
        except OSError:
            return None

    def _sent(self, text: str) -> str:
        """`text` with FOLDER in place of this visit's folder."""
        return text.replace(str(self._path()), FOLDER)

    def stop(self) -> None:
        """Ask the run to end after its current block."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """End every process of the run, and remove its folder."""
        if self._process:
            # Its workers are in groups of their own. They end with it, because their kernel signals them.
            end_group(self._process.pid)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock:
            self._lock.close()


def _samples_of(line: str) -> str:
    """Name of the file of samples of a block; empty for any other line."""
    data = json.loads(line)
    name = data.get("samples") if data.get("event") == "block" else None
    return name if isinstance(name, str) and is_sample_name(name, SAMPLES) else ""


def _filled(text: str, folder: Path) -> str:
    return text.replace(FOLDER, str(folder))
