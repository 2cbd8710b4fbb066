"""Builds of engines before the first measurement, and the choice among several builds of one cell. Loads no framework.

A fresh process then does not wait for a build, and no build runs beside a timed cell. Engines of one file have different
kernels. `--builds N` makes N of them, times each in fresh processes, and the rounds measure the middle one (docs/adr/0031).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...budgets import Budget
from ...errors import WorkerDied, WorkerTimeout
from ...evidence import Built, KeptEngine, TimedBuild
from ...results.store.builds import middle_build, p50_of_builds
from ...results.store.noise import disturbed
from ...spec import Concurrency, Sweep
from ..pool.pool import Worker
from ..worker.jobs import Build, There, TimeLatency, WarmUp
from .cells import ActiveCell, RunContext
from .group import block_size
from .opening import Hire, engine_choice, open_job
from .plan import PlannedCell
from .repeats import MAX_REPEATS

LEAST_BLOCKS = 3  # of a build in one process


def with_lives(sweep: Sweep, rows: Sequence[PlannedCell]) -> Sweep:
    """`sweep` with a life for each of `--builds`, where a runtime of `rows` builds anew at every opening."""
    if sweep.builds == 1 or not any(row.searches and not row.refused for row in rows):
        return sweep
    return replace(sweep, budget=sweep.budget.with_lives(sweep.builds))


def build_count(active: ActiveCell, sweep: Sweep) -> int:
    """Number of builds of a cell: one where the user keeps its engine."""
    return 1 if active.engine_file else sweep.builds


def turn_count(budget: Budget) -> int:
    """Number of fresh processes in which each build is timed."""
    return 2 if budget.life_rounds else 1


def block_count(budget: Budget) -> int:
    """Number of blocks of a build in one process: as many as a life has rounds."""
    return max(LEAST_BLOCKS, budget.life_rounds)


def build_engines(run: RunContext, cells: Sequence[ActiveCell], hire: Hire) -> None:
    """Build the engines that `cells` need and the cache lacks. One worker for each target builds one engine after the other.

    A worker that crashes while it builds is replaced once, and builds without the kernel times of earlier builds.
    """
    missing = [active for active in cells if active.planned.builds and not active.built]
    run.total += sum(build_count(active, run.sweep) for active in missing)
    for target in dict.fromkeys(active.planned.cell.target for active in missing):
        _build_all(run, [active for active in missing if active.planned.cell.target == target], hire)


def _build_all(run: RunContext, cells: Sequence[ActiveCell], hire: Hire) -> None:
    workers: list[Worker] = []  # one at most; a list, since a lost worker leaves none until the next cell hires another

    def on_loss(_: ActiveCell) -> None:
        workers.pop().dismiss()

    try:
        for active in cells:
            for number in range(build_count(active, run.sweep)):
                run.check_stop()
                if not workers:
                    workers.append(hire(active))
                run.attempt(active, partial(_build, run, workers, partial(hire, active), number), on_loss)
            active.built = not active.out
    finally:
        for worker in workers:
            worker.dismiss()


def _build(run: RunContext, workers: list[Worker], replacement: Callable[[], Worker], number: int, active: ActiveCell) -> None:
    planned, name = active.planned, active.planned.cell.id + (f" (build {number})" if number else "")
    job = Build(cell=active.cell.alone, artifact=planned.artifact, engine=engine_choice(active, number))
    try:
        built = _ask_builder(run, workers[0], job)
    except WorkerDied as error:
        run.context.progress.note(f"{name}: its builder crashed, and builds once more without earlier kernel times ({error})")
        workers.pop().dismiss()
        workers.append(replacement())
        again = _ask_builder(run, workers[0], replace(job, without_timings=True))
        crash = f"the first build crashed ({error.message}), and the second one had no kernel times of earlier builds"
        built = replace(again, remark="; ".join(filter(None, (crash, again.remark))))
    if built.engine_sha256:
        active.engines[number] = built.engine_sha256
    if active.engine_file and built.engine_sha256:
        # Before the build: a run that is killed in between finds the file again, and not a build of its own.
        run.journal.add(active.key, KeptEngine(file=active.engine_file, sha256=built.engine_sha256, reused=True))
    run.journal.add(active.key, built)
    if built.build_s is not None and not built.engine_cached:
        run.context.progress.note(f"built {name} in {built.build_s:.1f} s")
    if built.remark:
        run.context.progress.note(f"{name}: {built.remark}")


def _ask_builder(run: RunContext, worker: Worker, job: Build) -> Built:
    limit_s = run.sweep.build_timeout_s or run.sweep.timeout_s
    try:
        return worker.ask(job, limit_s)
    except WorkerTimeout as error:
        raise WorkerTimeout(f"its engine was not built within {limit_s:g} s", "give a larger --build-timeout") from error


def time_builds(run: RunContext, cells: Sequence[ActiveCell], hire: Hire) -> None:
    """Time the builds of `cells` that the journal lacks, each in fresh processes, and choose the middle one of each cell."""
    several = [active for active in cells if build_count(active, run.sweep) > 1 and len(active.engines) > 1]
    left = [(active, _turns_left(active, run.sweep)) for active in several]
    run.total += sum(map(len, (turns for _, turns in left)))
    for active, turns in left:
        for number, turn in turns:
            run.check_stop()
            run.attempt(active, partial(_time_build, run, hire, number, turn))
        active.build = middle_build(active.timed) or 0
        if turns and not active.out:
            run.context.progress.note(_choice_text(active))


def _turns_left(active: ActiveCell, sweep: Sweep) -> list[tuple[int, int]]:
    """Pairs of build and turn that are not timed yet. Every second turn is in reverse order, which cancels a drift."""
    numbers, done = range(build_count(active, sweep)), {(item.build, item.turn) for item in active.timed}
    turns = range(turn_count(sweep.budget))
    pairs = [(number, turn) for turn in turns for number in (reversed(numbers) if turn % 2 else numbers)]
    return [pair for pair in pairs if pair not in done]


def _choice_text(active: ActiveCell) -> str:
    p50_ms = {build: ns / 1e6 for build, ns in p50_of_builds(active.timed).items()}
    each = ", ".join(f"{value:.4g}" for value in p50_ms.values())
    return f"{active.planned.cell.id}: p50 of its {len(p50_ms)} builds is {each} ms; build {active.build} is measured"


def _time_build(run: RunContext, hire: Hire, number: int, turn: int, active: ActiveCell) -> None:
    """Open one build in a fresh process, warm it up, and measure blocks of single calls."""
    budget = run.sweep.budget
    single = Concurrency(threads=active.planned.cell.settings.threads)
    warm = WarmUp(key=active.slot, least_ms=budget.warmup_ms, limit_ms=budget.warmup_limit_ms, passes=1, concurrency=single)
    with hire(active) as worker:
        ask = partial(worker.ask, timeout_s=run.sweep.timeout_s)
        opened = ask(open_job(active, number))
        ask(warm)
        p50_ns = tuple(_block_ns(run, active, ask) for _ in range(block_count(budget)))
    event = TimedBuild(build=number, turn=turn, p50_ns=p50_ns, engine_sha256=opened.engine_sha256)
    active.timed.append(event)
    run.journal.add(active.key, event)


def _block_ns(run: RunContext, active: ActiveCell, ask: Callable[..., Any]) -> float:
    """Median of a block of single calls, in ns. A disturbed block is measured again."""
    block_ms, calls = block_size(run.sweep)
    samples = There(path=str(run.journal.scratch / "build.npz"))
    for _ in range(1 + MAX_REPEATS):
        timed = ask(TimeLatency(key=active.slot, block_ms=block_ms, calls=calls, samples=samples))
        if not disturbed("latency", timed.noise):
            break
    # At least 1 ns: a clock with coarse steps can report 0, which has no logarithm.
    return max(1.0, float(timed.p50_ns["latency"] or 0))
