"""`bench infer --dry-run`: the cells that would be measured and about how long it takes, with nothing trained or measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ..budgets import Budget
from ..spec import Sweep, Target
from .infer import checked_places, rows_of, tell_absent
from .pool.context import Context
from .pool.pool import Pool, Worker
from .pool.progress import Progress
from .pool.survey import survey
from .prepare import exports as prepare
from .sweep import capacity, cold
from .sweep.cells import loads
from .sweep.plan import PlannedCell
from .worker.jobs import Support

START_S, FILE_S, CREW_S = 4.0, 2.0, 0.5
OPEN_S, FRESH_PROCESS_S, VISIT_S = 0.7, 1.5, 0.15
WARM_UPS = 8.0
BLOCKS = 2.5
"""What was seen with the CNN on two cores beside the budget's own lengths: asking the backends, drawing a file's inputs,
starting a worker, opening and verifying a cell, a fresh process, what a visit takes beside its blocks; a warm-up with its
search in the budget's warm-up times; and a visit's parts in blocks."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The rows of a sweep, how many seconds it takes at least and at most where no call is longer than a block, and what
    would be made first."""

    rows: Sequence[PlannedCell]
    least_s: float
    most_s: float
    first: str = ""


def preview(sweep: Sweep, logs: Path, pool: Pool, progress: Progress) -> Preview:
    """What `sweep` would do. Raises what it would raise before it measures."""
    where = checked_places(sweep)
    context = Context(logs=logs, progress=progress, timeout_s=sweep.timeout_s, pool=pool)
    with ExitStack() as stack:
        surveyed = survey(where, logs, pool)
        stack.callback(surveyed.dismiss)
        tell_absent(surveyed.found, sweep, progress)
        artifacts, first = prepare.expected(sweep, prepare.held(sweep, context))
        planned = rows_of(sweep, artifacts, surveyed.found, context)
        rows = [_judged(row, surveyed.workers, sweep.timeout_s) for row in planned]
    least_s, most_s = seconds([row for row in rows if not row.refused], sweep)
    return Preview(rows=rows, least_s=least_s, most_s=most_s, first=first)


def _judged(row: PlannedCell, workers: Mapping[Target, Worker], timeout_s: float) -> PlannedCell:
    """`row`, refused if its backend says that it cannot run it."""
    if row.refused:
        return row
    reason = workers[row.cell.target].ask(Support(cell=row.cell, artifact=row.artifact), timeout_s).reason
    return replace(row, refused=("unsupported", reason)) if reason else row


def seconds(rows: Sequence[PlannedCell], sweep: Sweep) -> tuple[float, float]:
    """The least time that measuring `rows` takes, every interval narrow at the first look, and the most."""
    budget, cells = sweep.budget, len(rows)
    files, crews = len({row.cell.sha256 for row in rows}), len({(row.cell.target, row.cell.precision) for row in rows})
    warm_s = WARM_UPS * budget.warmup_ms / 1e3
    energy_s = sum(row.cell.device != "cpu" for row in rows) * budget.energy_ms / 1e3
    fixed_s = START_S + FILE_S * files + CREW_S * crews + energy_s + cells * (OPEN_S + warm_s + _fresh_s(sweep))
    least, most = (cells * count * _visit_s(budget) for count in (budget.looks[0], budget.looks[-1]))
    loaded = sum(loads(row, sweep) for row in rows)
    under_load = [loaded * each for each in capacity.seconds(budget)]
    return fixed_s + least + under_load[0], fixed_s + max(least, min(most, cells * budget.cell_s)) + under_load[1]


def _visit_s(budget: Budget) -> float:
    return BLOCKS * budget.block_ms / 1e3 + VISIT_S


def _fresh_s(sweep: Sweep) -> float:
    return cold.starts(sweep) * FRESH_PROCESS_S / (1 if sweep.cold else cold.SIDE_BY_SIDE)
