"""The exception tree that everybody shares; standard library only.

Every error says in one sentence what was found and, as its hint, what to do. An error that belongs to one
cell of a sweep becomes a row: its class says with which status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

FULL = re.compile(
    r"out.?of.?memory|bad_alloc|(failed|unable) to allocate|can(not|'t) allocate memory|could not be allocated"
    r"|status_alloc_failed|is smaller than requested bytes",
    re.IGNORECASE,
)
"""What runtimes say when memory is used up: CUDA's CUDA_ERROR_OUT_OF_MEMORY, torch's OutOfMemoryError, ONNX Runtime's arena."""

CODE = re.compile(
    r"/\S+\.(?:h|cc|cpp|cuh?):\d+ \w[^()]*\(.*?\)(?: const)?(?: \[with [^\]]*\])?(?=\s)"
    r"|Exception from src/\S+:\d+:| failed at src/\S+:\d+(?=:)"
)
"""Where in its sources a runtime raised, with the function's whole signature: often longer than what it has to say."""


class BenchError(Exception):
    """What was found (`message`) and what to do about it (`hint`, may be empty).

    `spoils_worker`: the worker that it came from is gone, or holds what it will not give back.
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
    """A file, an option or a value that the user gave cannot be taken."""

    exit_code = 2


class Unavailable(BenchError):
    """A runtime or a device is not on this machine."""

    status = "unavailable"


class Unsupported(BenchError):
    """A backend cannot do what a cell asks, however well it is installed."""

    status = "unsupported"


class RuntimeFailed(BenchError):
    """A runtime raised; the message carries its own words."""


class OutOfMemory(BenchError):
    """Memory of the machine or of a device was used up; what the process holds of it is freed by its end alone."""

    spoils_worker = True


class WorkerDied(BenchError):
    """A worker process ended before it answered."""

    spoils_worker = True


class WorkerTimeout(BenchError):
    """A worker process did not answer in time and was killed."""

    status = "timeout"
    spoils_worker = True


class StorageFailed(BenchError):
    """A disk is full or a folder cannot be written any more."""


class Interrupted(BenchError):
    """The user asked to stop."""

    exit_code = 130


def encode_error(error: BenchError) -> dict[str, str]:
    """`error` as JSON data, for a pipe between processes."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def decode_error(data: dict[str, str]) -> BenchError:
    """The error that `encode_error` made `data` from; an unknown type comes back as `BenchError`."""
    kinds = {kind.__name__: kind for kind in BenchError.__subclasses__()}
    return kinds.get(data["type"], BenchError)(data["message"], data["hint"])


def failure(what: str, error: BaseException) -> BenchError:
    """A runtime's own exception as one of ours: `what` went wrong, in its words."""
    if isinstance(error, MemoryError) or FULL.search(f"{type(error).__name__} {error}"):
        return OutOfMemory(f"{what}: {one_line(error) if str(error) else 'out of memory'}", "try a smaller batch")
    return RuntimeFailed(f"{what}: {one_line(error)}")


@contextmanager
def installed(what: str, install: str) -> Iterator[None]:
    """Inside, `what` is imported; where that fails it is `Unavailable`, and `install` is what to do."""
    try:
        yield
    except ImportError as error:
        raise Unavailable(f"{what} is not installed ({one_line(error)})", install) from error


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """An exception's words on one line of at most `limit` characters, for a row's reason; its type if it has none."""
    text = " ".join(CODE.sub("", " ".join(str(error).split())).split()) or type(error).__name__
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, with a sign where it was longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(name: str, limit: int = 80) -> str:
    """A name from a file as it may stand in a sentence: quoted, on one line, of at most `limit` characters."""
    return repr(cut(name, limit))
