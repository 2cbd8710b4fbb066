"""Answers of timed calls, fetched after the clock has stopped, and their distance from the reference. NumPy and a runtime only.

A runtime that answers otherwise while it is timed, or in one lane only, shows here (docs/adr/0033, and MLPerf's TEST01).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...backends.protocol import Array, Session
from ...backends.recurrence import starter
from ...evidence import LATENCY, THROUGHPUT, Distance
from ...spec import Concurrency
from . import measure
from .jobs import CompareTimed, Reporter, TimedAnswer, TimedAnswers
from .serve import State
from .verify import array_folder, distance, figures_of, load_arrays
from .walk import PARITY_STEPS, last_step_names, walk_names

if TYPE_CHECKING:
    from .cell_jobs import OpenCell


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneAnswer:
    """Outputs of one lane's last call, by name, and the number of the array that the call had."""

    outputs: Mapping[str, Array]
    array: int = 0


def keep(open_cell: OpenCell, part: str, sessions: Sequence[Session]) -> None:
    """Fetch the outputs of the last call of each of `sessions`, in place of those of an earlier block.

    Not for a model with a state: its last step may be any, and the reference has the first ones.
    """
    if not open_cell.cell.feedback:
        open_cell.last_answers[part] = [_fetch(session) for session in sessions]


def _fetch(session: Session) -> LaneAnswer:
    session.enter()
    return LaneAnswer(outputs=session.fetch(), array=session.rotation.last if session.rotation else 0)


def compare_timed(state: State, report: Reporter, job: CompareTimed) -> TimedAnswers:
    """Distances of the last answers from the reference, and forget the answers.

    A model with a state makes the reference's steps first: all lanes at the same time, each from the initial state.
    """
    open_cell = state.open_cells[job.key]
    names = [spec.name for spec in open_cell.artifact.outputs]
    if open_cell.cell.feedback:
        walk_lanes(open_cell, job.concurrency)
    comparison = _Comparison(job, names, bool(open_cell.cell.feedback), open_cell.cell.batch)
    lane_answers = [(part, lane, each) for part, lanes in open_cell.last_answers.items() for lane, each in enumerate(lanes, 1)]
    open_cell.last_answers.clear()
    answers = (
        TimedAnswer(**figures_of(comparison.of(each)), part=part, lane=lane, array=each.array)
        for part, lane, each in lane_answers
    )
    return TimedAnswers(answers=tuple(answers))


class _Comparison:
    """Distances from the reference's answers in the folder of `job`. Equal answers are compared once."""

    def __init__(self, job: CompareTimed, names: Sequence[str], feedback: bool, batch: int) -> None:
        self._job, self._names, self._batch = job, names, batch
        # With a state, the reference has the outputs of each step. The last ones are those of the last step.
        self._own = dict(zip(names, last_step_names(names))) if feedback else {name: name for name in names}
        self._stored = walk_names(names, {"": ""} if feedback else {})
        self._expected: dict[int, dict[str, Array]] = {}
        self._done: list[tuple[LaneAnswer, Distance]] = []

    def of(self, own: LaneAnswer) -> Distance:
        """Distance of one answer."""
        for other, measured in self._done:
            if other.array == own.array and _are_equal(other.outputs, own.outputs):
                return measured
        outputs = {self._own[name]: array for name, array in own.outputs.items()}
        random = [self._own[name] for name in self._job.random]
        measured = distance(outputs, self._reference(own.array), self._batch, random)
        self._done.append((own, measured))
        return measured

    def _reference(self, array: int) -> dict[str, Array]:
        if array not in self._expected:
            stored = load_arrays(array_folder(Path(self._job.reference.path), array), self._stored)
            self._expected[array] = {name: stored[name] for name in self._own.values()}
        return self._expected[array]


def _are_equal(left: Mapping[str, Array], right: Mapping[str, Array]) -> bool:
    return all(left[name].shape == right[name].shape and np.array_equal(left[name], right[name]) for name in left)


def walk_lanes(open_cell: OpenCell, concurrency: Concurrency) -> None:
    """Keep the answers of the reference's last step: of the session with one call in flight, and of all lanes together."""
    for part, sessions in ((LATENCY, [open_cell.session]), (THROUGHPUT, open_cell.lanes(concurrency))):
        for session in sessions:
            measure.restart(session)
        (_walk_in_turn if sessions[0].asynchronous else _walk_in_threads)(sessions)
        open_cell.last_answers[part] = [_fetch(session) for session in sessions]
        for session in sessions:
            measure.restart(session)


def _walk_in_turn(sessions: Sequence[Session]) -> None:
    for _ in range(PARITY_STEPS):
        for session in sessions:
            session.enter()
            starter(session)()
        for session in sessions:
            session.wait()


def _walk_in_threads(sessions: Sequence[Session]) -> None:
    errors: list[BaseException] = []

    def walk(session: Session) -> None:
        try:
            session.enter()
            start: Callable[[], None] = starter(session)
            for _ in range(PARITY_STEPS):
                start()
                session.wait()
        except BaseException as error:  # the caller's thread raises it again
            errors.append(error)

    threads = [threading.Thread(target=walk, args=(session,), daemon=True) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
