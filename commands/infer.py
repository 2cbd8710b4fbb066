"""`bench infer`: measure a model on every runtime here."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..budgets import BUDGETS
from ..errors import BadInput
from ..spec import STOPPING_METRICS, Load
from .options import (
    RUN_FOLDER,
    Duration,
    Slo,
    baseline_option,
    debug_option,
    format_option,
    group,
    images_option,
    out_option,
    selectors,
    track_option,
)
from .output import logs, print_table, track
from .runs import RUNS, run, sweep_of

if TYPE_CHECKING:
    from ..spec import Sweep

OF_OUTPUT = {"out", "resume", "format", "debug", "baseline", "track"}  # options that do not say what to measure

load_options = group(
    click.option("--load", type=click.Choice(("poisson",)), help="Find the highest rate of arrivals that holds --slo."),
    click.option("--slo", type=Slo(), help="p99=10ms: a percentile of the responses, and the most that it may be."),
    click.option("--max-batch", type=click.IntRange(min=1), help="Under load: leave out batches above it."),
    click.option("--max-wait", "max_wait_ms", type=Duration(), help="Under load: how long a call waits to be full.  [2ms]"),
)


def load_of(options: dict[str, Any]) -> Load | None:
    """The load that `options` ask for, taken out of them; `BadInput` for half of one."""
    arrivals, slo, most, wait = (options.pop(name, None) for name in ("load", "slo", "max_batch", "max_wait_ms"))
    if not arrivals:
        if slo or most or wait is not None:
            raise BadInput("--slo, --max-batch and --max-wait need --load", "give --load poisson too")
        return None
    if not slo:
        raise BadInput("--load finds the highest rate that holds a limit, and no limit is given", "give --slo p99=10ms")
    given = {name: value for name, value in (("max_batch", most), ("max_wait_ms", wait)) if value is not None}
    return Load(arrivals=arrivals, percentile=slo[0], limit_ms=slo[1], **given)


@click.command()
@selectors
@group(
    click.option(
        "--budget",
        type=click.Choice(list(BUDGETS)),
        default="normal",
        show_default=True,
        help="quick: a first look, without intervals. normal: to 2 %, or 4.5 s a cell. thorough: to 1.5 %, or 45 s.",
    ),
    baseline_option,
    click.option(
        "--metric",
        type=click.Choice(STOPPING_METRICS),
        default="p50",
        show_default=True,
        help="Metric whose confidence interval decides when a cell is done, where there is no --baseline.",
    ),
    images_option,
    load_options,
    click.option("--cold", is_flag=True, help="Time fresh processes too, from their start to the first answer."),
    click.option("--dry-run", is_flag=True, help="Print the cells and an estimate of the time, and measure nothing."),
    out_option(RUN_FOLDER),
    click.option("--resume", is_flag=True, help="Resume the run in --out, or else the latest run."),
    track_option,
    format_option(),
    debug_option,
)
@click.pass_context
def infer(ctx: click.Context, /, out: Path | None, resume: bool, format: str, debug: bool, dry_run: bool, **asked: Any) -> None:
    """Measure a model on every runtime of this machine.

    Latency, throughput, parity and accuracy of the files in artifacts/, or of --model; trained and exported where it must be.
    """
    from ..results import trackers
    from ..results.store import outcome, record
    from ..results.table import table
    from ..results.trackers.logged import of_run
    from ..runners import infer as runner
    from ..runners.pool.progress import terminal
    from ..untrusted import understood

    asked["load"] = load_of(asked)
    trackers.check(names := asked.pop("track"))
    if dry_run:
        return _preview(sweep_of(asked), format, debug)
    folder = out or _latest_run(resume)
    with understood([folder]) if resume else nullcontext():
        sweep = runner.saved_sweep(folder) if resume and not _selects(ctx, folder) else sweep_of(asked)
        baseline = asked["baseline"] or sweep.baseline
        with terminal().live() as progress:
            around = runner.Surroundings(progress=progress, out=folder, resume=resume)
            interrupted = run(lambda: runner.infer(sweep, around), around, debug)
        measured = record.read_run(folder)
        print_table(table.build([measured], baseline), format)
    track(names, lambda: of_run(measured, baseline), interrupted)
    sys.exit(130 if interrupted else outcome.exit_code(measured, sweep))


def _preview(sweep: Sweep, format: str, debug: bool) -> None:
    from ..results.table import preview as tables
    from ..runners import preview as runner
    from ..runners.pool.pool import Local
    from ..runners.pool.progress import terminal

    with logs(debug) as folder, terminal().live() as progress:
        found = runner.preview(sweep, folder, Local(), progress)
    cells = sum(not row.refused for row in found.rows)
    span = dict.fromkeys(f"{seconds:.0f}" for seconds in (found.least_s, found.most_s))
    time = f"{cells} cells at {sweep.budget.name}: about {' to '.join(span)} s"
    facts = (
        f"{time}, more where one call takes longer than {sweep.budget.block_ms:g} ms, and what labelled images take",
        found.first,
    )
    print_table(tables.build([(row.cell, row.refused) for row in found.rows], facts), format)


def _selects(ctx: click.Context, folder: Path) -> bool:
    """True if the command line says what to measure; without that, a resumed run measures what it was begun with."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    return bool(given - OF_OUTPUT) or not (folder / "run.json").exists()


def _latest_run(resume: bool) -> Path:
    """The latest run, to `resume` it; else a new folder."""
    from ..results.store.head import is_measured
    from ..runners.worker.clock import Clock

    if not resume:
        return RUNS / Clock().stamp()
    found = [path for path in sorted(RUNS.glob("*/run.json")) if is_measured(path.parent)]
    if not found:
        raise BadInput(f"there is no run in {RUNS}/ to resume", "give its folder as --out")
    return found[-1].parent
