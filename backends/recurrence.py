"""State that a session's calls hand on: outputs of one call are inputs of the next. NumPy only.

One object belongs to one session, because parallel calls never share a state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .protocol import Array, Session

RESET_STEPS = 256  # a long walk may drift to infinity or to denormal numbers, whose arithmetic is slow


@dataclass(kw_only=True)
class Recurrence:
    """Steps of one session. `feedback`: the input of each output that is fed back. `inputs`: the arrays of the first step.

    `steps` counts the calls since the state was last set to that of `inputs`.
    """

    feedback: Mapping[str, str]
    inputs: Mapping[str, Array]
    steps: int = 0

    def restart(self) -> None:
        """Begin the next call with the initial state."""
        self.steps = 0

    def advance(self, session: Session) -> None:
        """Prepare the session's next call: hand the state of the last call over, or set the initial state."""
        if self.steps % RESET_STEPS:
            session.feed(self.feedback, self.inputs)
        else:
            session.bind(self.inputs)
            self.steps = 0
        self.steps += 1

    def next_inputs(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """State of the next call, by input, from the `outputs` of the last call on the host."""
        self.steps = (self.steps + 1) % RESET_STEPS
        return self.fed(outputs) if self.steps else {name: self.inputs[name] for name in self.feedback.values()}

    def fed(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs that are fed back, by input."""
        return {target: outputs[source] for source, target in self.feedback.items()}


class Preparation(Protocol):
    """Work between two calls of a session, which no latency contains."""

    def advance(self, session: Session) -> None:
        """Prepare the session's next call."""


def step_of(session: Session) -> Preparation | None:
    """The state that `session` hands over between its calls, or the arrays that its calls get in turn; None without both."""
    return session.recurrence or session.rotation


def starter(session: Session) -> Callable[[], None]:
    """Function that begins a call of `session`, and before it does the session's step, if the session has one."""
    step, start = step_of(session), session.start
    if step is None:
        return start

    def begin() -> None:
        step.advance(session)
        start()

    return begin
