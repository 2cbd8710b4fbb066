"""The exceptions that all modules share. Standard library only.

The message of an error says what is wrong, in one sentence. Its hint says what to type or to do. An error that belongs
to one cell of a sweep becomes a row with the `status` of its class.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, ClassVar

FULL = re.compile(
    r"out.?of.?memory|bad_alloc|(failed|unable) to allocate|can(not|'t) allocate memory|could not be allocated"
    r"|status_alloc_failed|is smaller than requested bytes",
    re.IGNORECASE,
)
"""Messages of runtimes without memory: CUDA's CUDA_ERROR_OUT_OF_MEMORY, torch's OutOfMemoryError, ONNX Runtime's arena."""

CODE = re.compile(
    r"/\S+\.(?:h|cc|cpp|cuh?):\d+ \w[^()]*\(.*?\)(?: const)?(?: \[with [^\]]*\])?(?=\s)"
    r"|Exception from src/\S+:\d+:| failed at src/\S+:\d+(?=:)"
)
"""Place in a runtime's sources, with the whole signature of a C++ function. `one_line` removes it, because it is often longer
than the message and would push the message beyond the limit of a reason."""


DRAWN = "inputs were drawn; give --input NAME=FILE.npy"
"""Hint of a call that failed on generated inputs: the graph may accept other values."""


class BenchError(Exception):
    """A problem (`message`) and what the user can do about the problem (`hint`, may be empty).

    `spoils_worker`: the worker in which the error happened has ended, or keeps memory that only its end frees.
    """

    exit_code: ClassVar[int] = 3
    status: ClassVar[str] = "failed"
    spoils_worker: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BadInput(BenchError):
    """A file, an option or a value of the user is wrong."""

    exit_code = 2


class BoundMissed(BenchError):
    """No file is within the bounds that the user set."""

    exit_code = 1


class Unavailable(BenchError):
    """A runtime or a device is not on this machine."""

    status = "unavailable"


class NotFetched(BenchError):
    """Weights or a configuration of a library's model are not on this machine, and the worker has no network."""

    exit_code = 2


class Unsupported(BenchError):
    """A backend cannot run a cell, even where the backend is fully installed."""

    status = "unsupported"


class RuntimeFailed(BenchError):
    """A runtime raised an exception; the message quotes the runtime."""


class OutOfMemory(BenchError):
    """Memory of the machine or of a device is used up. Only the end of the process frees its memory."""

    spoils_worker = True


class WorkerDied(BenchError):
    """A worker process ended before it answered."""

    spoils_worker = True


class WorkerTimeout(BenchError):
    """A worker process did not answer in time and was killed."""

    status = "timeout"
    spoils_worker = True


class NodeLost(BenchError):
    """A node of a cluster ended, left the cluster, or never became free."""


class PeerLost(BenchError):
    """A process of a parallel training waited in vain for another process, whose own error is the reason."""


class StorageFailed(BenchError):
    """A disk is full, or a folder cannot be written."""


class Interrupted(BenchError):
    """The user stopped the command."""

    exit_code = 130


def check_platform() -> None:
    """Raise `BadInput` on Windows, which lacks the process control and the file locks that a run needs."""
    if sys.platform == "win32":
        raise BadInput("bench does not run on Windows", "use Linux, or Linux in WSL 2")


def of_system(error: OSError) -> StorageFailed:
    """An error of the system that no module foresaw: the file and the system's message."""
    problem = f"{error.filename or 'a file'} cannot be used ({one_line(error.strerror or error)})"
    return StorageFailed(problem, "check the path, the free space of the disk and the limit of open files")


def encode_error(error: BenchError) -> dict[str, str]:
    """`error` as JSON data, for a pipe between processes."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def decode_error(data: dict[str, str]) -> BenchError:
    """The error that `encode_error` encoded; `BenchError` for an unknown type."""
    # Direct subclasses only: every error of the tree derives from BenchError itself.
    kinds = {kind.__name__: kind for kind in BenchError.__subclasses__()}
    return kinds.get(data["type"], BenchError)(data["message"], data["hint"])


def failure(step: str, error: BaseException) -> BenchError:
    """A runtime's exception as an error of this tool: the failed `step` and the runtime's message."""
    # Runtimes have no common class for this: the text is all that ONNX Runtime, OpenVINO and TensorRT give.
    if isinstance(error, MemoryError) or FULL.search(f"{type(error).__name__} {error}"):
        return OutOfMemory(f"{step}: {one_line(error) if str(error) else 'out of memory'}", "try a smaller batch")
    return RuntimeFailed(f"{step}: {one_line(error)}")


@contextmanager
def installed(library: str, install: str) -> Iterator[None]:
    """Turn an `ImportError` inside into `Unavailable`: `library` is missing, and `install` is the command that installs it."""
    try:
        yield
    except ImportError as error:
        raise Unavailable(f"{library} is not installed ({one_line(error)})", install) from error


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """The message of an exception on one line of at most `limit` characters; the type's name if the message is empty."""
    text = " ".join(CODE.sub("", " ".join(str(error).split())).split()) or type(error).__name__
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` characters; the last one is an ellipsis if `text` is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(name: str, limit: int = 80) -> str:
    """A name from a file, quoted for a sentence: on one line, of at most `limit` characters."""
    # repr also escapes control characters, which a hostile file could send to the terminal.
    return repr(cut(name, limit))


def quantity(number: int, noun: str) -> str:
    """A number with its noun, such as `1 call` or `8 calls`. The plural of `noun` ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nearest(name: str, valid: Any) -> str:
    """A hint: the valid name that is closest to `name`, or else all valid names."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1)
    return (
        f"did you mean {close[0]!r}?"
        if close
        else f"choose from: {', '.join(names)}"
        if names
        else "there is none to choose from"
    )


def distinct_names(names: Iterable[str]) -> list[str]:
    """`names`, with a number behind each name that occurred before: `y`, `y:2`."""
    distinct: dict[str, None] = {}
    for name in names:
        number, new = 1, name
        while new in distinct:
            number, new = number + 1, f"{name}:{number + 1}"
        distinct[new] = None
    return list(distinct)
