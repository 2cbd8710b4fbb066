"""`bench check`: answers against FP32's, and against labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import (
    RUN_FOLDER,
    Pairs,
    debug_option,
    format_option,
    group,
    images_option,
    limit_options,
    out_option,
    selectors,
    track_option,
)
from .output import print_table, track
from .runs import RUNS, run, sweep_of


@click.command()
@selectors
@group(
    limit_options,
    click.option("--explain", is_flag=True, help="Say why INT8 is as fast as it is, and which nodes cost the accuracy."),
    images_option,
    out_option(RUN_FOLDER),
    track_option,
    format_option(),
    debug_option,
)
def check(most: Pairs, least: Pairs, out: Path | None, explain: bool, format: str, debug: bool, **asked: Any) -> None:
    """Compare the outputs with FP32 outputs, and with labels.

    Parity and labelled accuracy of every precision on every runtime here; no time is measured. Exits with 1 if a row is a
    mismatch, or a limit is broken.
    """
    from ..results import trackers
    from ..results.store import outcome, record
    from ..results.store.head import CHECK
    from ..results.table import conditions, table
    from ..results.trackers.logged import of_run
    from ..runners import check as runner
    from ..runners.infer import Surroundings
    from ..runners.pool.progress import terminal
    from ..runners.worker.clock import Clock

    trackers.check(names := asked.pop("track"))
    limits = [*conditions.parse(most, most=True), *conditions.parse(least, most=False)]
    sweep, folder = sweep_of({**asked, "budget": "thorough"}), out or RUNS / f"{Clock().stamp()}-{CHECK}"
    with terminal().live() as progress:
        around = Surroundings(progress=progress, out=folder)
        interrupted = run(lambda: runner.check(sweep, around, limits, explain), around, debug)
    checked = record.read_run(folder)
    judged = conditions.judged(table.build([checked]), limits)
    print_table(judged, format)
    track(names, lambda: of_run(checked, None), interrupted)
    sys.exit(130 if interrupted else outcome.check_exit_code(checked, sweep, judged.head["broken"]))
