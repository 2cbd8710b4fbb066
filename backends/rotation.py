"""Different input arrays that a session's calls get in turn. NumPy only.

One object belongs to one session. It has the same place between two calls as a state that is fed back (recurrence.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .protocol import Array, Session

Inputs = Mapping[str, "Array"]


@dataclass(kw_only=True)
class Rotation:
    """Inputs of one session. `turn`: number of calls so far. `last`: number of the inputs that the last call got."""

    inputs: Sequence[Inputs]
    turn: int = 0
    last: int = 0

    def take(self) -> Inputs:
        """The inputs of the next call."""
        self.last = self.turn % len(self.inputs)
        self.turn += 1
        return self.inputs[self.last]

    def advance(self, session: Session) -> None:
        """Prepare the session's next call: begin to copy its inputs."""
        session.refill(self.take())
