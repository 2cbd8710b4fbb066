"""`bench infer --dry-run`: list the cells of a sweep and estimate its time. Trains and measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ..budgets import Budget
from ..models.shapes import dimension_names
from ..spec import COLD, Sweep, Target
from .infer import check_sweep, note_absent, rows_of
from .pool.context import Context
from .pool.pool import Pool, Worker
from .pool.progress import Progress
from .pool.survey import survey
from .prepare import model_files as prepare
from .prepare.model_files import ModelFiles
from .sweep import builds, capacity, cold, engine_files
from .sweep.cells import has_load
from .sweep.lowering import lowerings
from .sweep.plan import PlannedCell, schemes_of
from .sweep.tuned_targets import with_tuned
from .worker.jobs import Support

# Times of the CNN on two cores, which come on top of the budget's own lengths.
START_S = 4.0  # to probe all backends
FILE_S = 2.0  # to draw the inputs of one file
CREW_S = 0.5  # to start one worker
OPEN_S = 0.7  # to open and verify one cell
FRESH_PROCESS_S = 1.5
BUILD_S = 30.0  # of an engine that the cache lacks, on an H200
PART_S = 0.06  # of one part of a visit, latency or throughput, beside its blocks
COLD_VISIT_S = 1.0  # of one visit with cold caches: about ten flushes, each after a pause
WARM_UPS = 8.0  # a warm-up with its search for a concurrency, in the budget's warm-up times
TUNE_SHARE = 1.0  # of the time limit of a search, which most searches take
BLOCKS = 1.5  # of the latency part of a visit, in blocks: latency, end to end and device time


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The rows of a sweep, with the least and the most seconds that it takes.

    The times hold while no call is longer than a block. `first`: a sentence that names the files to make before measuring.
    `dims`: a sentence for each model that has open dimensions, with their names and places. `engines`: a sentence with the
    number of engines that are built before.
    """

    rows: Sequence[PlannedCell]
    least_s: float
    most_s: float
    first: str = ""
    dims: tuple[str, ...] = ()
    engines: str = ""


def preview(sweep: Sweep, logs: Path, pool: Pool, progress: Progress) -> Preview:
    """The preview of `sweep`. Raises the errors that `infer` raises before it measures."""
    interpreter_of = check_sweep(sweep)
    context = Context(logs=logs, progress=progress, timeout_s=sweep.timeout_s, pool=pool)
    with ExitStack() as stack:
        surveyed = survey(interpreter_of, logs, pool)
        stack.callback(surveyed.dismiss)
        note_absent(surveyed.backends, sweep, progress)
        backends = with_tuned(surveyed.backends, sweep, progress)
        models = prepare.find_files(replace(sweep, schemes=schemes_of(sweep, backends)), context)
        planned = rows_of(models, backends, context)
        first = "; ".join((*(item.first for item in models if item.first), *lowerings(planned)))
        engine_files.note_builds(planned, sweep, progress)
        rows = [_judged(row, surveyed.workers, sweep.timeout_s) for row in planned]
    sweep, planned = builds.with_lives(sweep, rows), [row for row in rows if not row.refused]
    least_s, most_s = time_range_s(planned, sweep)
    dims, engines = _open_dims(models), _engines(planned, sweep)
    return Preview(rows=rows, least_s=least_s, most_s=most_s, first=first, dims=dims, engines=engines)


def _engines(rows: Sequence[PlannedCell], sweep: Sweep) -> str:
    """Sentence with the number of engines to build and of files to convert; empty without any."""
    cells, converted = sum(row.builds for row in rows), sum(bool(row.converter) for row in rows)
    each = f", {sweep.builds} for each cell" if sweep.builds > 1 else ""
    engines = f"engines to build, if the cache lacks them: {cells * sweep.builds}{each}" if cells else ""
    files = f"cells whose file a converter writes, if the cache lacks it: {converted}" if converted else ""
    return "; ".join(filter(None, (engines, files)))


def _open_dims(models: Sequence[ModelFiles]) -> tuple[str, ...]:
    """The open dimensions of each model, as `--dim` names them."""
    names = {item.artifacts[0].model: dimension_names(item.artifacts[0].inputs, {}) for item in models if item.artifacts}
    texts = {model: [f"{name} ({', '.join(places)})" for name, places in dims.items()] for model, dims in names.items()}
    return tuple(f"open dimensions of {model}: {'; '.join(text)}" for model, text in texts.items() if text)


def _judged(row: PlannedCell, workers: Mapping[Target, Worker], timeout_s: float) -> PlannedCell:
    """`row`, refused where its backend cannot run the cell."""
    if row.refused:
        return row
    target = (row.beside or row.cell).target  # the worker of a tuned row is that of the row beside
    reason = workers[target].ask(Support(cell=row.cell, artifact=row.artifact), timeout_s).reason
    return replace(row, refused=("unsupported", reason)) if reason else row


def time_range_s(rows: Sequence[PlannedCell], sweep: Sweep) -> tuple[float, float]:
    """Least and most seconds to measure `rows`: every cell ends at the first look, or every cell at the last."""
    budget, cells = sweep.budget, len(rows)
    files, crews = len({row.cell.sha256 for row in rows}), len({(row.cell.target, row.cell.precision) for row in rows})
    warm_s = WARM_UPS * budget.warmup_ms / 1e3
    energy_s = sum(row.cell.device != "cpu" for row in rows) * budget.energy_ms / 1e3
    life_s = CREW_S * crews + cells * (OPEN_S + budget.warmup_ms / 1e3)
    fixed_s = START_S + FILE_S * files + CREW_S * crews + energy_s + cells * (OPEN_S + warm_s + _fresh_s(sweep))
    fixed_s += (budget.openings - 1) * life_s
    visits = _visits_a_round(budget)
    least, most = (cells * count * visits * _visit_s(budget) for count in (budget.looks[0], budget.looks[-1]))
    flushed = sum(row.cell.cache == COLD for row in rows)
    least, most = (
        time + flushed * count * COLD_VISIT_S for time, count in ((least, budget.looks[0]), (most, budget.looks[-1]))
    )
    loaded = sum(has_load(row, sweep) for row in rows)
    under_load = [loaded * each for each in capacity.time_range_s(budget)]
    fixed_s += _timed_builds_s(rows, sweep) + TUNE_SHARE * budget.tune_s * sum(bool(row.tunables) for row in rows)
    built_s = BUILD_S * sweep.builds * sum(row.builds for row in rows)
    return fixed_s + least + under_load[0], fixed_s + max(least, min(most, cells * budget.cell_s)) + under_load[1] + built_s


def _timed_builds_s(rows: Sequence[PlannedCell], sweep: Sweep) -> float:
    """Seconds to time the builds of each cell that has several."""
    processes = builds.turn_count(sweep.budget) * sweep.builds * sum(row.builds for row in rows) if sweep.builds > 1 else 0
    block_s = BLOCKS * sweep.budget.block_ms / 1e3 + PART_S
    return processes * (FRESH_PROCESS_S + sweep.budget.warmup_ms / 1e3 + builds.block_count(sweep.budget) * block_s)


def _visit_s(budget: Budget) -> float:
    return BLOCKS * budget.block_ms / 1e3 + PART_S + (budget.throughput_ms / 1e3 + PART_S) / budget.rate_rounds


def _visits_a_round(budget: Budget) -> float:
    """Visits of a cell for each round that the looks count. A life of short visits has more rounds than these."""
    if not budget.life_rounds:
        return 1.0
    return max(1.0, min(budget.most_life_rounds, budget.life_ms / budget.block_ms) / budget.life_rounds)


def _fresh_s(sweep: Sweep) -> float:
    if cold.are_lives(sweep):  # a crew has fewer batches than lives, mostly
        return 0.0
    return cold.start_count(sweep) * FRESH_PROCESS_S / (1 if sweep.cold else cold.SIDE_BY_SIDE)
