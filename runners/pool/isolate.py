"""The parent's side of a worker: start it, ask it, wait no longer than allowed, and say how it ended.

A crash, a hang or an out-of-memory kill in a worker is an exception here and a row in the table.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import OutOfMemory, WorkerDied, WorkerTimeout, from_wire
from ..worker import bootstrap, nvml
from ..worker.clock import Clock
from . import watchdog
from .watchdog import Watchdog

BOOTSTRAP = Path(bootstrap.__file__)
READ_SIZE = 1 << 16
GRACE_S = 5.0
ISOLATED = "isolated"  # what the bootstrap is told
LAST_BYTES, LAST_WORDS = 4096, 200

Event = Callable[[dict[str, Any]], None]


PATHS = ("PYTHONPATH", "PYTHONHOME")  # what is on them was installed for this interpreter


def _environment(python: str) -> dict[str, str]:
    """A worker's environment variables; another interpreter looks for packages in its own places alone."""
    found = nvml.environment(os.environ)
    return found if python == sys.executable else {name: value for name, value in found.items() if name not in PATHS}


class Worker:
    """One worker process. A context manager: leaving it ends the process, however it is."""

    def __init__(self, log: Path, clock: Clock, python: str = sys.executable, *, network: bool = True) -> None:
        """Start a worker of the interpreter `python`; what it prints goes to the file `log`.

        Without `network` it has none where the system allows that, and else it has one all the same.
        """
        self.log, self._clock, self._buffer = log, clock, b""
        most_mb = watchdog.limit_mb()
        request_read, self._requests = os.pipe()
        self._answers, answer_write = os.pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [python, "-u", str(BOOTSTRAP), str(request_read), str(answer_write), str(os.getpid())]
        arguments += [] if network else [ISOLATED]
        try:
            with log.open("ab") as sink:
                self._process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    pass_fds=(request_read, answer_write),
                    env=_environment(python),
                    start_new_session=True,  # Ctrl-C in a terminal is for the parent alone
                )
        finally:
            os.close(request_read)
            os.close(answer_write)
        self._watchdog = Watchdog(pid=self._process.pid, most_mb=most_mb)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, job: str, timeout_s: float, on_event: Event | None = None, **request: Any) -> dict[str, Any]:
        """The answer to `job`. Raises the worker's own `BenchError`, `WorkerDied` or `WorkerTimeout`."""
        self.send(job, **request)
        return self.receive(job, timeout_s, on_event)

    def send(self, job: str, **request: Any) -> None:
        """Ask without waiting."""
        line = json.dumps({"job": job, **request}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._requests, line) :]
        except BrokenPipeError:
            raise self._death(job) from None

    def receive(self, job: str, timeout_s: float, on_event: Event | None = None) -> dict[str, Any]:
        """The answer to what was sent; an event starts the time limit anew."""
        while True:
            message = self._message(job, timeout_s)
            if "error" in message:
                raise from_wire(message["error"])
            if "ok" in message:
                return dict(message["ok"])
            if on_event:
                on_event(message["event"])

    def _message(self, job: str, timeout_s: float) -> dict[str, Any]:
        """A line as data; a worker that wrote anything else into the pipe is not listened to any more."""
        line = self._line(job, timeout_s)
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            self.kill()
            raise WorkerDied(f"the worker answered with no JSON while it was to {job}", "it was ended") from None

    def _line(self, job: str, timeout_s: float) -> bytes:
        begin = self._clock.now_ns()
        while b"\n" not in self._buffer:
            left = timeout_s - self._clock.since_s(begin)
            if not self._wait(min(left, watchdog.LOOK_S)):
                self._check(job, timeout_s, left)
                continue
            data = os.read(self._answers, READ_SIZE)
            if not data:
                raise self._death(job)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _wait(self, seconds: float) -> bool:
        """Whether there is something to read, after so long at most."""
        return bool(select.select([self._answers], [], [], max(0.0, seconds))[0])

    def _check(self, job: str, timeout_s: float, left_s: float) -> None:
        """End a worker that has used up its time or its memory."""
        found = self._watchdog.found()
        if found:
            self.kill()
            raise OutOfMemory(f"the worker {found}, while it was to {job}", f"try a smaller batch, or set {watchdog.LIMIT}")
        if left_s <= 0:
            self.kill()
            raise WorkerTimeout(f"no answer within {timeout_s:g} s while it was to {job}", "allow more with --timeout")

    def _death(self, job: str) -> WorkerDied:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        words = self._last_words()
        told = f"its last words were: {words}" if words else "it said nothing"
        hint = "out of memory, or killed from outside" if code == -signal.SIGKILL else told
        return WorkerDied(f"the worker {how} while it was to {job}", hint)

    def _last_words(self) -> str:
        """The last line of the log that says something."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")[:LAST_WORDS]
        return ""

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()

    def dismiss(self) -> None:
        """End a process that holds nothing worth waiting for."""
        self.kill()
        self.close()

    def close(self) -> None:
        """Let the process end by itself, for at most GRACE_S seconds."""
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.close()
