"""Process of the user's own program: its lines, within limits of time, memory and output. psutil and the standard library."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from ...errors import OutOfMemory, RuntimeFailed, WorkerDied, WorkerTimeout, one_line, shown
from ..worker.clock import Clock
from . import host, watchdog
from .process import LOG_BYTES, READ_SIZE, dies_with_parent, end_group, last_line, open_log
from .watchdog import Watchdog

OUTPUT_BYTES = 1 << 26  # of one block or one run
LINE_BYTES = 1 << 16


class ProgramProcess:
    """A started program. `name`: the program in errors. stderr goes to the file `log`; stdin and stdout are pipes.

    The program has a process group of its own. `kill` ends the group, and the processes that left the group.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, clock: Clock, variables: Mapping[str, str]) -> None:
        """Start `command` with the environment `variables`. Raises `RuntimeFailed` where it cannot be started."""
        self.name, self.log, self._clock = name, log, clock
        self._buffer, self._received, self._looked = bytearray(), 0, clock.now_ns()
        most_mb = watchdog.limit_mb()
        with open_log(log) as sink:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=sink,
                    bufsize=0,
                    env=dict(variables),
                    start_new_session=True,  # Ctrl-C in a terminal is for bench alone, and the group is ended whole
                    preexec_fn=dies_with_parent(),  # noqa: PLW1509 (one system call, which is safe after a fork)
                )
            except (OSError, ValueError) as error:
                reason = one_line(error.strerror or error) if isinstance(error, OSError) else one_line(error)
                raise RuntimeFailed(
                    f"{shown(command[0])} cannot be started ({reason})", "write the command after --, as in a shell"
                ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._watchdog = Watchdog(pid=self._process.pid, most_mb=most_mb)

    @property
    def pids(self) -> tuple[int, ...]:
        """The program's process, and all processes that it started."""
        try:
            return self._process.pid, *(child.pid for child in psutil.Process(self._process.pid).children(recursive=True))
        except psutil.Error:
            return (self._process.pid,)

    def resident_mb(self) -> float:
        """Resident memory of all its processes, in MB."""
        return sum(map(host.rss_mb, self.pids))

    def write(self, line: str) -> None:
        """Send `line`. Raises `WorkerDied`."""
        self._received = 0
        try:
            self._stdin.write(line.encode() + b"\n")
        except (BrokenPipeError, ValueError):
            raise self.death() from None

    def close_stdin(self) -> None:
        """End the program's stdin."""
        with suppress(OSError):
            self._stdin.close()

    def read(self, timeout_s: float, begin_ns: int) -> str | None:
        """Next line of stdout; None at its end. Raises `WorkerTimeout` where `timeout_s` are over since `begin_ns`."""
        while (end := self._buffer.find(b"\n")) < 0:
            left_s = timeout_s - self._clock.since_s(begin_ns)
            ready = bool(select.select([self._stdout], [], [], max(0.0, min(left_s, watchdog.LOOK_S)))[0])
            if not ready or self._clock.since_s(self._looked) > watchdog.LOOK_S:
                self._check(timeout_s, left_s)
            if not ready:
                continue
            data = os.read(self._stdout.fileno(), READ_SIZE)
            if not data:
                return self._rest()
            self._buffer += data
            self._count(len(data))
        line = self._buffer[:end].decode(errors="replace")
        del self._buffer[: end + 1]
        return line

    def _rest(self) -> str | None:
        """A last line without its end, once; then None."""
        rest = self._buffer.decode(errors="replace")
        self._buffer.clear()
        return rest or None

    def _count(self, nbytes: int) -> None:
        self._received += nbytes
        if self._received > OUTPUT_BYTES or len(self._buffer) > LINE_BYTES + READ_SIZE:
            self.kill()
            raise RuntimeFailed(
                f"{self.name} printed more than bench reads ({OUTPUT_BYTES >> 20} MB a block, {LINE_BYTES >> 10} KB a line)",
                "print one short line for each call",
            )

    def _check(self, timeout_s: float, left_s: float) -> None:
        """End a program above its limit of time, memory or log."""
        self._looked = self._clock.now_ns()
        if excess := self._watchdog.excess():
            self.kill()
            raise OutOfMemory(f"{self.name} {excess}", f"set {watchdog.MEMORY_VARIABLE} to more MB")
        if left_s <= 0:
            self.kill()
            raise WorkerTimeout(f"{self.name} did not answer within {timeout_s:g} s", "give a larger --timeout")
        with suppress(OSError):
            if self.log.stat().st_size > LOG_BYTES:
                self.kill()
                raise RuntimeFailed(f"{self.name} wrote more than {LOG_BYTES >> 20} MB to stderr", "let it write less")

    def exit_code(self, timeout_s: float) -> int:
        """Exit code of the program, whose stdout has ended. Raises `WorkerTimeout`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise WorkerTimeout(
                f"{self.name} closed its stdout, and did not end within {timeout_s:g} s", "let the program end"
            ) from None

    def death(self, timeout_s: float = 5.0) -> WorkerDied:
        """Error of a program that ended too early, with its signal or exit code, and the last line of its stderr."""
        code = self.exit_code(timeout_s)
        self.kill()
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        line = last_line(self.log)
        return WorkerDied(f"{self.name} {end}", f"its last message: {line}" if line else "it wrote nothing to stderr")

    def kill(self) -> None:
        """Kill the program and every process that it started, and close the pipes."""
        # A child that made a session of its own is no longer in the group.
        for pid in self.pids[1:]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        end_group(self._process.pid)
        self._process.kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):
                pipe.close()
