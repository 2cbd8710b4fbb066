"""Parts of the opening of a session: a backend marks them, and the worker times them. Standard library only.

A backend reads no clock. Without a recorder a mark does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..profiles import OpeningPart

CLOCK = "clock"  # source of the parts that the worker times
_recorders: ContextVar[tuple[Callable[[], int], list[OpeningPart]] | None] = ContextVar("recorders", default=None)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Mark the work inside as the part `name` of an opening. A part has no other part inside."""
    recorder = _recorders.get()
    if recorder is None:
        yield
        return
    now_ns, parts = recorder
    begin_ns = now_ns()
    try:
        yield
    finally:
        parts.append(OpeningPart(name=name, ns=now_ns() - begin_ns, source=CLOCK))


@contextmanager
def recorded(now_ns: Callable[[], int]) -> Iterator[list[OpeningPart]]:
    """List of the parts that are marked inside, with their times by `now_ns`."""
    parts: list[OpeningPart] = []
    token = _recorders.set((now_ns, parts))
    try:
        yield parts
    finally:
        _recorders.reset(token)
