"""Steps of a model with a state, which the reference and each row make alike. NumPy and the package only.

An error of one step grows in the next ones, so parity compares several steps from the same initial state (docs/adr/0027).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ...backends.protocol import Array, Session
from ...backends.recurrence import RESET_STEPS, Recurrence
from ...models.feedback import check_arrays

PARITY_STEPS = 8
WALK_LIMIT_NS = 2_000_000_000  # of the search for a state that is not finite


def walk_names(names: Iterable[str], feedback: Mapping[str, str]) -> list[str]:
    """Names of the outputs that `answers` returns, for a model with the outputs `names`."""
    own = list(names)  # each step reads the names, and an iterator has them once
    return [_name_at(name, step) for step in range(1, PARITY_STEPS + 1) for name in own] if feedback else own


def last_step_names(names: Iterable[str]) -> list[str]:
    """Names of the outputs of the last step in `answers`."""
    return [_name_at(name, PARITY_STEPS) for name in names]


def _name_at(name: str, step: int) -> str:
    return f"{name}, step {step}"


def answer_all(session: Session, inputs: Mapping[str, Array], feedback: Mapping[str, str]) -> dict[str, Array]:
    """Outputs of one call on `inputs`; with feedback, those of each step from there."""
    session.bind(inputs)
    if feedback:
        session.recurrence = Recurrence(feedback=feedback, inputs=inputs)
    else:
        session.start()
        session.wait()
    return answers(session)


def answers(session: Session) -> dict[str, Array]:
    """Outputs of the last call; for a session with a state, those of each step from its initial state.

    `BadInput` for a state whose output has another shape or type than its input.
    """
    recurrence = session.recurrence
    if recurrence is None:
        return session.fetch()
    recurrence.restart()
    outputs: dict[str, Array] = {}
    for step in range(1, PARITY_STEPS + 1):
        fetched = _step(session, recurrence)
        check_arrays(recurrence.feedback, recurrence.inputs, fetched)
        outputs |= {_name_at(name, step): array for name, array in fetched.items()}
    return outputs


def find_divergence(session: Session, now: Callable[[], int]) -> tuple[str, int] | None:
    """First output whose fed-back state is not finite, and its step, up to the reset or WALK_LIMIT_NS; None without one."""
    recurrence = session.recurrence
    if recurrence is None:
        return None
    recurrence.restart()
    end, wrong = now() + WALK_LIMIT_NS, ""
    while not wrong and recurrence.steps < RESET_STEPS and now() < end:
        outputs = _step(session, recurrence)
        wrong = next((name for name in recurrence.feedback if not np.isfinite(outputs[name]).all()), "")
    steps = recurrence.steps
    recurrence.restart()
    return (wrong, steps) if wrong else None


def _step(session: Session, recurrence: Recurrence) -> dict[str, Array]:
    recurrence.advance(session)
    session.start()
    session.wait()
    return session.fetch()
