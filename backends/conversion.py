"""Converters: programs that write a file in the format of a runtime from an ONNX file. Standard library only.

A backend with a converter declares it as data, and runs it in `_convert`. The worker's job `convert_format` does the rest: the
cache, the times, the trial of the file (docs/adr/0044).
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import RuntimeFailed, Unavailable, one_line
from ..spec import Options

PR_SET_PDEATHSIG = 1  # linux/prctl.h
READ_BYTES, KEPT_BYTES = 1 << 16, 1 << 14  # of a program's output: at once, and its end for a reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Converter:
    """Facts of a converter.

    `name`: its name in a record, and in `--python NAME=PATH`. `packages`: installed packages on which its files depend, with
    their versions. `revision`: raise it when the backend runs the converter with other arguments. `fixes_shapes`: a file has
    the shapes of one row, and not open dimensions. `from_fp32`: precisions whose file the converter makes from the FP32 file
    by itself, where that is there. `calibrated`: those of them for which it needs calibration samples.
    """

    name: str
    packages: tuple[str, ...]
    install: str
    revision: int = 1
    fixes_shapes: bool = False
    from_fp32: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ()

    def versions(self) -> Options:
        """Versions of the packages. `Unavailable` if one is missing."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return tuple((name, version(name)) for name in self.packages)
        except PackageNotFoundError as error:
            raise Unavailable(f"the converter {self.name} is not installed (no package {error.name})", self.install) from error

    def packages_text(self) -> str:
        """The packages with their versions, as `name version`; the reason that one is missing, and how to install it."""
        try:
            return ", ".join(map(" ".join, self.versions()))
        except Unavailable as error:
            return str(error)


def run_program(command: Sequence[str | Path], folder: Path, name: str = "") -> str:
    """Run a converter in `folder`, and return the end of its output. All output also goes to the worker's log. `name`: that of
    the program for people, by default the first word of `command`.

    Raises `RuntimeFailed` for a program that cannot start, is killed, or ends with an error. It is in the process group of the
    worker, whose limits of time, memory and output it shares.
    """
    name = name or Path(command[0]).name
    output = b""
    try:
        with subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            preexec_fn=_dies_with_worker(),  # noqa: PLW1509 (one system call, which is safe after a fork)
        ) as process:
            while process.stdout and (data := process.stdout.read(READ_BYTES)):
                sys.stderr.buffer.write(data)
                sys.stderr.flush()
                output = (output + data)[-KEPT_BYTES:]
    except OSError as error:
        raise RuntimeFailed(f"{name} cannot be started ({one_line(error)})") from error
    text = output.decode(errors="replace")
    if process.returncode:
        raise RuntimeFailed(f"{name} {_end(process.returncode)}{_last_line(text)}")
    return text


def _dies_with_worker() -> Callable[[], None] | None:
    """Return a function that the program calls before it starts: the kernel ends it when the worker ends. None outside Linux.

    The parent ends the whole group of a worker. This is for a worker that ends because its parent was killed.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def request() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return request


def _end(code: int) -> str:
    """End of a program, for a sentence."""
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"ended with exit code {code}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {one_line(lines[-1])}" if lines else ""
