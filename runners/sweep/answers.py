"""Answers of timed calls: fetched when a cell ends, and compared with the reference by the limit of the row.

Loads no framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from ...evidence import Answered, Distance, Verified
from ...results.store.verdict import badness
from ...spec import Concurrency
from ..pool.context import Context
from ..worker.jobs import CompareTimed, Here, TimedAnswer, TimedAnswers
from ..worker.verify import array_folder
from .cells import ActiveCell
from .parity import settle


def has_answers(active: ActiveCell) -> bool:
    """True if the answers of the cell's timed calls can be compared: it has a reference, and it is no instrument."""
    return active.verified and active.reference is not None


def answered(active: ActiveCell, context: Context, ask: Callable[[CompareTimed], TimedAnswers]) -> Answered | None:
    """The worst answer of the cell's last timed calls; None if the worker kept none."""
    job = CompareTimed(
        key=active.slot,
        reference=Here(path=active.reference or ""),
        random=active.compared.random if active.compared else (),
        concurrency=active.concurrency or Concurrency(),
    )
    answers = ask(job).answers
    if not answers:
        return None
    settled = {(answer.parts, answer.array): _settled(active, answer, context) for answer in answers}
    worst = max(answers, key=lambda answer: badness(active.planned.cell.precision, settled[answer.parts, answer.array]))
    worst_settled = settled[worst.parts, worst.array]
    return Answered(answers=len(answers), worst=worst_settled, part=worst.part, lane=worst.lane, array=worst.array)


def _settled(active: ActiveCell, answer: TimedAnswer, context: Context) -> Verified:
    """The answer with the floors that it needs, which are measured on its own array."""
    own = replace(active, inputs=str(array_folder(Path(active.inputs), answer.array)))
    return settle(own, _verified(answer), context)


def _verified(answer: TimedAnswer) -> Verified:
    return Verified(**{item.name: getattr(answer, item.name) for item in fields(Distance)})
