"""SessionProfiler of a session: the interface that a backend implements. Standard library only.

A profiler never times a call. The worker makes the calls, in turns with calls of the session without a profiler, and asks the
profiler for what the runtime recorded. runners/worker/profiling.py computes the times, and results/profile maps the kernels.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ..profiles import Kernel, Links, OpeningPart

if TYPE_CHECKING:
    from .protocol import Session


class Ran(NamedTuple):
    """One run of a kernel in a call: its place in `Recorded.kernels`, its duration, and its begin on the runtime's clock."""

    kernel: int
    ns: float
    begin_ns: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Record of the runtime. `calls`: the runs of each call, in the order of the calls. `step_ns`: step of its clock.

    `graph`: file in the profiler's folder with the graph that the runtime made of the model, as ONNX; empty without one. Its
    nodes have the names of the kernels. `opening`: parts of the opening of the session that the runtime itself timed.
    """

    kernels: Sequence[tuple[Kernel, Links]]
    calls: Sequence[Sequence[Ran]]
    step_ns: float = 0
    graph: str = ""
    opening: tuple[OpeningPart, ...] = ()


class SessionProfiler(abc.ABC):
    """A session in which the runtime's own profiler is on, with inputs bound; a context manager that ends it.

    `most_calls`: largest number of calls in one turn, because a runtime keeps an event for each kernel of each call.
    """

    session: Session
    most_calls: ClassVar[int] = 40

    def turn(self) -> AbstractContextManager[object]:
        """Context of several calls in a row, for a profiler that is switched on and off."""
        return nullcontext()

    def collect(self) -> None:  # noqa: B027 (most runtimes record by themselves)
        """Read the times of the call that has just ended. It is called after each call, outside of the call's time."""

    @abc.abstractmethod
    def read(self) -> Recorded:
        """Read the record of all calls. No call follows."""

    def close(self) -> None:
        """Free the session."""
        self.session.close()

    def __enter__(self) -> SessionProfiler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
