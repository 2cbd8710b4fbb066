"""Repeats of disturbed parts of visits: after throttled clocks of a GPU only after a pause. Loads no framework.

A GPU that is too hot stays hot while it is measured. So the pause before the next attempt grows, and the budget limits the
time of all pauses of a cell. The parts measured at throttled clocks are dropped, and the row gives their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import rounds
from .cells import ActiveCell, RunContext

MAX_REPEATS = 2  # of one disturbed visit in its round
GROWTH = 2.0  # of the pause
STEP_S = 1.0  # of a pause, between two looks at the user's request to stop

Attempt = Callable[[Sequence[ActiveCell]], None]


def measure_undisturbed(run: RunContext, cells: Sequence[ActiveCell], attempt: Attempt, *, together: bool) -> None:
    """Do one part of each visit with `attempt`, and repeat disturbed ones within the budget, up to MAX_REPEATS times.

    Repeats after a pause do not count. `together`: repeat all of `cells` for one disturbed cell, since a round's ratios need
    parts of the same minute.
    """
    attempt(cells)
    repeats, pause_s = 0, run.sweep.budget.throttle_pause_s
    while again := _again(cells, together):
        hot = [active for active in again if active.throttled and active.cooled_s + pause_s <= run.sweep.budget.throttle_s]
        if hot:
            _cool(run, hot, pause_s)
            pause_s *= GROWTH
        else:
            again = _allowed(run, again, together) if repeats < MAX_REPEATS else []
            repeats += 1
        if not again:
            return
        attempt(again)


def _again(cells: Sequence[ActiveCell], together: bool) -> list[ActiveCell]:
    """Cells to measure again: the disturbed ones, or with `together` all of them if one is disturbed."""
    left = [active for active in cells if not active.out]
    dirty = [active for active in left if active.dirty]
    return left if together and dirty else dirty


def _allowed(run: RunContext, again: Sequence[ActiveCell], together: bool) -> list[ActiveCell]:
    """Cells of `again` whose budget has another repeat, and count it. None of them if `together` and one has no repeat left."""
    allowed = [active for active in again if rounds.repeats_left(active, run.sweep)]
    if together and len(allowed) < len(again):
        return []
    for active in allowed:
        active.repeats += 1
    return allowed


def _cool(run: RunContext, hot: Sequence[ActiveCell], pause_s: float) -> None:
    """Drop the parts of `hot`, and pause. Raises `Interrupted` if the user requests to stop."""
    names = ", ".join(active.planned.cell.id for active in hot)
    run.context.progress.note(f"{names}: the clocks of the GPU were throttled; measuring again after {pause_s:g} s")
    for active in hot:
        active.dropped, active.cooled_s = active.dropped + 1, active.cooled_s + pause_s
    left_s = pause_s
    while left_s > 0:
        run.check_stop()
        run.context.clock.sleep_s(min(STEP_S, left_s))
        left_s -= STEP_S
