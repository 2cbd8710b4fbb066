"""The parent's side of a worker: start it, ask it, wait no longer than allowed, and say how it ended.

A crash, a hang or an out-of-memory kill in a worker is an exception here and a row in the table. Nothing that a worker writes
is trusted: messages, answers and logs have a largest size, and time and memory are looked at whether or not bytes arrive.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from ...errors import BenchError, OutOfMemory, StorageFailed, WorkerDied, WorkerTimeout, decode_error, one_line
from ...spec import from_wire, to_wire
from ...untrusted import open_plain
from ..worker import bootstrap, nvml
from ..worker.clock import Clock
from ..worker.jobs import Job, ProgressReport
from ..worker.tasks import JOBS
from . import host, watchdog
from .watchdog import Watchdog

BOOTSTRAP = Path(bootstrap.__file__)
READ_SIZE = 1 << 16
LINE_BYTES, ANSWER_BYTES, MESSAGE_BYTES = 1 << 24, 1 << 28, 1 << 8
"""The largest message of a worker, and the most that all messages of one answer may come to, each counted as MESSAGE_BYTES at
least: a million events. The kernels of a model of 50,000 nodes are 10 MB; 9,999 epochs of a training have 400,000 events."""

LOG_BYTES = 1 << 27  # that one worker may print
GRACE_S = 5.0
ISOLATED = "isolated"  # what the bootstrap is told
LAST_BYTES, LAST_WORDS = 4096, 200
PYTHON_PATHS = ("PYTHONPATH", "PYTHONHOME")  # what is on them was installed for this interpreter
MESSAGE_KINDS = ("ok", "error", "event")  # of messages
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

Answer = TypeVar("Answer")
OnReport = Callable[[ProgressReport], None]


def _environment(python: str) -> dict[str, str]:
    """A worker's environment variables; another interpreter looks for packages in its own places alone."""
    found = nvml.environment(os.environ)
    return found if python == sys.executable else {name: value for name, value in found.items() if name not in PYTHON_PATHS}


def _open_log(log: Path) -> IO[bytes]:
    """The file `log`, to append to. `StorageFailed` where that cannot be done."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open_plain(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError as error:
        raise StorageFailed(f"cannot write {log} ({error.strerror})", "free some space, or give another --out") from error


def end_group(leader: int) -> None:
    """Kill the process group of `leader`: whatever it forked is in it, unless it left by itself."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(leader, signal.SIGKILL)


def dies_with_parent() -> Callable[[], None] | None:
    """A function for a child to call before its program starts, so that the kernel kills it when this process ends.

    Linux alone has it. The bootstrap asks for it too, since an interpreter may be a script that starts another one.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(bootstrap.PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask


class ProcessWorker:
    """One worker process of this machine. A context manager: leaving it ends the process, however it is.

    `network`: what the worker said of its network (`isolated` or `open`), empty before its first answer. `begin_ns`: when its
    process was started, by the machine's monotonic clock. It sees the parent's folders, so nothing is brought or fetched.
    """

    def __init__(self, log: Path, clock: Clock, python: str = sys.executable, *, network: bool = True) -> None:
        """Start a worker of the interpreter `python`; what it prints goes to the file `log`.

        Without `network` it has none where the system allows that, and else it has one all the same.
        """
        self.log, self.network, self._clock = log, "", clock
        self._buffer, self._received, self._looked = bytearray(), 0, clock.now_ns()
        self.begin_ns = self._looked
        most_mb = watchdog.limit_mb()
        with _open_log(log) as sink:
            self._log_begin = os.fstat(sink.fileno()).st_size
            request_read, self._requests = os.pipe()
            self._answers, answer_write = os.pipe()
            arguments = [python, "-u", str(BOOTSTRAP), str(request_read), str(answer_write), str(os.getpid())]
            try:
                self._process = subprocess.Popen(
                    [*arguments, *([] if network else [ISOLATED])],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    pass_fds=(request_read, answer_write),
                    env=_environment(python),
                    start_new_session=True,  # Ctrl-C in a terminal is for the parent alone, and the group is ended whole
                    preexec_fn=dies_with_parent(),  # noqa: PLW1509 (one system call, which is safe after a fork)
                )
            finally:
                os.close(request_read)
                os.close(answer_write)
        self._watchdog = Watchdog(pid=self._process.pid, most_mb=most_mb)

    def resident_mb(self) -> float:
        """Memory that it has resident now, in MB."""
        return host.rss_mb(self._process.pid)

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """The answer to `job`. Raises the worker's own `BenchError`, `WorkerDied` or `WorkerTimeout`."""
        self.send(job)
        return self.receive(job, timeout_s, on_report)

    def send(self, job: Job[Any]) -> None:
        """Ask without waiting."""
        name = JOBS[type(job)].name
        line = json.dumps({"job": name, "asked": to_wire(job)}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._requests, line) :]
        except BrokenPipeError:
            raise self._death(name) from None

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """The answer to what was sent. An event starts the time limit anew, until all messages come to ANSWER_BYTES."""
        self._received = 0
        while True:
            content = self._message(job, timeout_s)
            if isinstance(content, BenchError):
                raise content
            if not isinstance(content, ProgressReport):
                return content
            if on_report:
                on_report(content)

    def _message(self, job: Job[Answer], timeout_s: float) -> Answer | ProgressReport | BenchError:
        """A message of the protocol; a worker that wrote anything else into the pipe is ended."""
        name = JOBS[type(job)].name
        line = self._line(name, timeout_s)
        try:
            message = json.loads(line)
            (kind,) = [kind for kind in MESSAGE_KINDS if kind in message]
            self.network = str(message.get("network", self.network))
            if kind == "error":
                return decode_error(message[kind])
            return from_wire(ProgressReport, message[kind]) if kind == "event" else from_wire(job.answer(), message[kind])
        except MALFORMED as error:
            raise self._distrusted(name, f"answered with no message of its protocol ({one_line(error, 120)})") from None

    def _line(self, job: str, timeout_s: float) -> bytes:
        begin = self._clock.now_ns()
        while (end := self._buffer.find(b"\n")) < 0:
            left = timeout_s - self._clock.since_s(begin)
            ready = self._wait(min(left, watchdog.LOOK_S))
            if not ready or self._clock.since_s(self._looked) > watchdog.LOOK_S:
                self._check(job, timeout_s, left, ready)
            if ready:
                self._read(job)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._take(job, max(0, MESSAGE_BYTES - len(line)))
        return line

    def _read(self, job: str) -> None:
        """Take what has arrived; a worker that is gone, or writes without end, is an error."""
        data = os.read(self._answers, READ_SIZE)
        if not data:
            raise self._death(job)
        self._buffer += data
        self._take(job, len(data))
        if len(self._buffer) > LINE_BYTES:
            raise self._distrusted(job, f"wrote a message of more than {LINE_BYTES >> 20} MB")

    def _take(self, job: str, nbytes: int) -> None:
        self._received += nbytes
        if self._received > ANSWER_BYTES:
            raise self._distrusted(job, f"wrote more than {ANSWER_BYTES >> 20} MB of messages")

    def _wait(self, seconds: float) -> bool:
        """True if there is something to read, after so long at most."""
        return bool(select.select([self._answers], [], [], max(0.0, seconds))[0])

    def _check(self, job: str, timeout_s: float, left_s: float, ready: bool) -> None:
        """End a worker that has used up its time, its memory or its log, or is dead while a child of it holds the pipe."""
        self._looked = self._clock.now_ns()
        if not ready and self._process.poll() is not None:
            raise self._death(job)
        found = self._watchdog.excess()
        if found:
            self.kill()
            raise OutOfMemory(
                f"the worker {found}, while it was to {job}", f"try a smaller batch, or set {watchdog.MEMORY_VARIABLE}"
            )
        if left_s <= 0:
            self.kill()
            raise WorkerTimeout(f"no answer within {timeout_s:g} s while it was to {job}", "allow more with --timeout")
        if self._printed() > LOG_BYTES:
            raise self._distrusted(job, f"printed more than {LOG_BYTES >> 20} MB")

    def _printed(self) -> int:
        """Bytes that were added to the log since this worker began."""
        with suppress(OSError):
            return self.log.stat().st_size - self._log_begin
        return 0

    def _distrusted(self, job: str, what: str) -> WorkerDied:
        self.kill()
        return WorkerDied(f"the worker {what} while it was to {job}", "it was ended")

    def _death(self, job: str) -> WorkerDied:
        code = self._process.wait()
        end_group(self._process.pid)
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
        """End the process now, and what it forked."""
        end_group(self._process.pid)
        self._process.kill()
        self._process.wait()

    def dismiss(self) -> None:
        """End a process that holds nothing worth waiting for."""
        self.kill()
        self.close()

    def close(self) -> None:
        """Let the process end by itself, for at most GRACE_S seconds; then what it forked is ended."""
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()

    def __enter__(self) -> ProcessWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.close()
