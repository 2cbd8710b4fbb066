"""The exception tree that everybody shares; standard library only.

Every error says in one sentence what was found and, as its hint, what to do. An error that belongs to one
cell of a sweep becomes a row: its class says with which status.
"""

from __future__ import annotations

from typing import ClassVar


class BenchError(Exception):
    """What was found (`message`) and what to do about it (`hint`, may be empty)."""

    exit_code: ClassVar[int] = 3
    status: ClassVar[str] = "failed"

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


class WorkerDied(BenchError):
    """A worker process ended before it answered."""


class WorkerTimeout(BenchError):
    """A worker process did not answer in time and was killed."""

    status = "timeout"


class StorageFailed(BenchError):
    """A disk is full or a folder cannot be written any more."""


class Interrupted(BenchError):
    """The user asked to stop."""

    exit_code = 130


def to_wire(error: BenchError) -> dict[str, str]:
    """`error` as JSON data, for a pipe between processes."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def from_wire(data: dict[str, str]) -> BenchError:
    """The error that `to_wire` made `data` from; an unknown type comes back as `BenchError`."""
    kinds = {kind.__name__: kind for kind in BenchError.__subclasses__()}
    return kinds.get(data["type"], BenchError)(data["message"], data["hint"])


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception's words on one line of at most `limit` characters, for a row's reason; its type if it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
