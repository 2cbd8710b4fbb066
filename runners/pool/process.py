"""Parent's side of a worker process: start it, send jobs, wait within limits, and report its end. Standard library.

A crash, a hang or an out-of-memory kill in a worker becomes an exception here and a row in the table. The parent trusts nothing
that a worker writes: messages, answers and logs have a size limit. It checks time and memory even while no bytes arrive.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
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
from ..worker.tasks import task_of
from . import host, watchdog
from .watchdog import Watchdog

BOOTSTRAP = Path(bootstrap.__file__)
READ_SIZE = 1 << 16
LINE_BYTES = 1 << 24  # of one message; the kernels of a model of 50,000 nodes are 10 MB
ANSWER_BYTES = 1 << 28  # of all messages of one answer
MESSAGE_BYTES = 1 << 8  # at least, for each message: a million of them are one answer, and 9,999 epochs report 400,000
LOG_BYTES = 1 << 27  # of the output of one worker
GRACE_S = 5.0
ISOLATED = "isolated"  # argument of the bootstrap for a worker without a network
TAIL_BYTES, LAST_LINE_CHARACTERS = 4096, 200  # of a dead worker's log
PYTHON_PATHS = ("PYTHONPATH", "PYTHONHOME")  # packages on these paths were installed for this interpreter alone
MESSAGE_KINDS = ("ok", "error", "event")
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

Answer = TypeVar("Answer")
OnReport = Callable[[ProgressReport], None]


def _environment(python: str, folder: str) -> dict[str, str]:
    """Environment variables of a worker, whose temporary files are in `folder`.

    Another interpreter than this one gets no PYTHON_PATHS.
    """
    variables = {**nvml.environment(os.environ), "TMPDIR": folder}
    if python == sys.executable:
        return variables
    return {name: value for name, value in variables.items() if name not in PYTHON_PATHS}


def open_log(log: Path) -> IO[bytes]:
    """Open the file `log` to append to it. Raises `StorageFailed`."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open_plain(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError as error:
        raise StorageFailed(f"cannot write {log} ({error.strerror})", "free some space, or give another --out") from error


def last_line(log: Path) -> str:
    """Last line of the file `log` that is not empty."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:LAST_LINE_CHARACTERS]
    return ""


def end_group(leader: int) -> None:
    """Kill the process group of `leader`. A child that it forked is in the group, unless the child left it."""
    signal_group(leader, signal.SIGKILL)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to the process group of `leader`, if there still is one."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(leader, number)


def dies_with_parent() -> Callable[[], None] | None:
    """Return a function that a child calls before its program starts: the kernel then kills the child when this process ends.

    None outside Linux. The bootstrap makes the same call, since an interpreter may be a script that starts another process.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(bootstrap.PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask


class ProcessWorker:
    """One worker process of this machine, as a context manager. Leaving it ends the process.

    `network`: the worker's report of its network (`isolated` or `open`), empty before its first answer. `begin_ns`: start of
    the process on the machine's monotonic clock. The process shares the parent's folders: files need no transfer. Its temporary
    files are in a folder of its own, which ends with it: a compiler that is killed leaves hundreds of megabytes otherwise.
    """

    def __init__(self, log: Path, clock: Clock, python: str = sys.executable, *, network: bool = True) -> None:
        """Start a worker of the interpreter `python`. Its output goes to the file `log`.

        `network` False: the worker has no network where the system can isolate it; elsewhere it keeps the network.
        Raises `StorageFailed` for the log, and OSError where `python` cannot be run.
        """
        self.log, self.network, self._clock = log, "", clock
        self._buffer, self._received, self._looked = bytearray(), 0, clock.now_ns()
        self.begin_ns = self._looked
        most_mb = watchdog.limit_mb()
        scratch = tempfile.mkdtemp(prefix="onnxbench-worker-")
        self._remove_scratch = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)  # at the latest at our exit
        with open_log(log) as sink:
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
                    env=_environment(python, scratch),
                    start_new_session=True,  # Ctrl-C in a terminal is for the parent alone, and the group is ended whole
                    preexec_fn=dies_with_parent(),  # noqa: PLW1509 (one system call, which is safe after a fork)
                )
            finally:
                os.close(request_read)
                os.close(answer_write)
        self._watchdog = Watchdog(pid=self._process.pid, most_mb=most_mb)
        self._paused = False

    @property
    def can_pause(self) -> bool:
        """True where `pause` stops the process. On Linux alone: a stopped process must not outlive its parent."""
        return sys.platform == "linux"

    def pause(self) -> None:
        """Stop the process and its children until the next job, however busy their threads are."""
        self._paused = self.can_pause
        if self._paused:
            signal_group(self._process.pid, signal.SIGSTOP)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            signal_group(self._process.pid, signal.SIGCONT)

    def resident_mb(self) -> float:
        """Resident memory of the process now, in MB."""
        return host.rss_mb(self._process.pid)

    def ask(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """Send `job` and return its answer. Raises the worker's `BenchError`, `WorkerDied`, `WorkerTimeout`, `OutOfMemory`."""
        self.send(job)
        return self.receive(job, timeout_s, on_report)

    def send(self, job: Job[Any]) -> None:
        """Send `job` without waiting for its answer. Raises `WorkerDied`."""
        name = task_of(type(job)).name
        line = json.dumps({"job": name, "asked": to_wire(job)}).encode() + b"\n"
        self._resume()
        try:
            while line:
                line = line[os.write(self._requests, line) :]
        except BrokenPipeError:
            raise self._death(name) from None

    def receive(self, job: Job[Answer], timeout_s: float, on_report: OnReport | None = None) -> Answer:
        """Wait for the answer to a sent `job`. Raises like `ask`.

        Each progress report restarts the time limit. All messages of an answer together have at most ANSWER_BYTES.
        """
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
        """Read one message. Ends a worker whose message breaks the protocol."""
        name = task_of(type(job)).name
        line = self._line(name, timeout_s)
        try:
            message = json.loads(line)
            (kind,) = [kind for kind in MESSAGE_KINDS if kind in message]
            self.network = str(message.get("network", self.network))
            if kind == "error":
                return decode_error(message[kind])
            return from_wire(ProgressReport, message[kind]) if kind == "event" else from_wire(job.answer(), message[kind])
        except MALFORMED as error:
            raise self._distrusted(name, f"broke the message protocol ({one_line(error, 120)})") from None

    def _line(self, job: str, timeout_s: float) -> bytes:
        """Read one line, and check the worker's limits every LOOK_S seconds."""
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
        self._count(job, max(0, MESSAGE_BYTES - len(line)))
        return line

    def _read(self, job: str) -> None:
        """Read the bytes that have arrived. Raises `WorkerDied` for a closed pipe, and for a message over LINE_BYTES."""
        data = os.read(self._answers, READ_SIZE)
        if not data:
            raise self._death(job)
        self._buffer += data
        self._count(job, len(data))
        if len(self._buffer) > LINE_BYTES:
            raise self._distrusted(job, f"wrote a message of more than {LINE_BYTES >> 20} MB")

    def _count(self, job: str, nbytes: int) -> None:
        """Add `nbytes` to the answer's size. Ends the worker above ANSWER_BYTES."""
        self._received += nbytes
        if self._received > ANSWER_BYTES:
            raise self._distrusted(job, f"wrote more than {ANSWER_BYTES >> 20} MB of messages")

    def _wait(self, limit_s: float) -> bool:
        """Wait up to `limit_s` for bytes to read. True if there are some."""
        return bool(select.select([self._answers], [], [], max(0.0, limit_s))[0])

    def _check(self, job: str, timeout_s: float, left_s: float, ready: bool) -> None:
        """End a worker that is dead, or above its limit of time, memory or output."""
        self._looked = self._clock.now_ns()
        # A child of a dead worker may hold the pipe open: then no end of file shows the death.
        if not ready and self._process.poll() is not None:
            raise self._death(job)
        excess = self._watchdog.excess()
        if excess:
            self.kill()
            hint = f"try a smaller batch, or set {watchdog.MEMORY_VARIABLE} to more MB"
            raise OutOfMemory(f"the worker {excess}, during the job {job!r}", hint)
        if left_s <= 0:
            self.kill()
            raise WorkerTimeout(f"no answer within {timeout_s:g} s to the job {job!r}", "give a larger --timeout")
        if self._printed() > LOG_BYTES:
            raise self._distrusted(job, f"printed more than {LOG_BYTES >> 20} MB")

    def _printed(self) -> int:
        """Bytes in the log since the start of this worker."""
        with suppress(OSError):
            return self.log.stat().st_size - self._log_begin
        return 0

    def _distrusted(self, job: str, fault: str) -> WorkerDied:
        """Kill a worker that breaks a rule, and return the error."""
        self.kill()
        return WorkerDied(f"the worker {fault} during the job {job!r}", "bench ended the worker")

    def _death(self, job: str) -> WorkerDied:
        """Error of a dead worker, with the signal or exit code, and the last line of its log."""
        code = self._process.wait()
        end_group(self._process.pid)
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        line = last_line(self.log)
        output = f"its last output: {line}" if line else "it printed nothing"
        # A kill by this class raises another error: this SIGKILL is the kernel's or a user's.
        hint = "out of memory, or killed from outside" if code == -signal.SIGKILL else output
        return WorkerDied(f"the worker {end} during the job {job!r}", hint)

    def kill(self) -> None:
        """Kill the process and its children now. The pipes stay open: another thread may wait for an answer."""
        end_group(self._process.pid)
        self._process.kill()
        self._process.wait()

    def dismiss(self) -> None:
        """End the process without waiting for its work."""
        self.kill()
        self.close()

    def close(self) -> None:
        """Close the pipes and wait up to GRACE_S seconds for the process to end. Then kill it and its children."""
        self._resume()
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()
        self._remove_scratch()

    def __enter__(self) -> ProcessWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.close()
