"""`bench check`: parity with FP32 and accuracy on labels, without timing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .help import Command
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


@click.command(
    cls=Command,
    examples=(
        ("bench check --model net.onnx", "Compare the outputs of every backend here with the FP32 reference"),
        ("bench check --precision int8 --explain", "Find the nodes that cost the accuracy of the exported INT8 file"),
        ("bench check --dataset npz:data.npz --max top1_drop=0.5", "Exit with 1 if top-1 accuracy drops by over 0.5 points"),
    ),
)
@selectors
@group(
    limit_options,
    click.option("--explain", is_flag=True, help="Explain the speed of INT8, and list the nodes that cost accuracy."),
    images_option,
    out_option(RUN_FOLDER),
    track_option,
    format_option(),
    debug_option,
)
def check(most: Pairs, least: Pairs, out: Path | None, explain: bool, format: str, debug: bool, **options: Any) -> None:
    """Compare the outputs with FP32 outputs, and with labels.

    Prints parity and top-1 accuracy of every precision on every backend here, without timing. Exits with 1 if a row is a
    mismatch, or if a row breaks --max or --min.
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

    trackers.check(names := options.pop("track"))
    limits = [*conditions.parse(most, most=True), *conditions.parse(least, most=False)]
    sweep, folder = sweep_of({**options, "budget": "thorough"}), out or RUNS / f"{Clock().stamp()}-{CHECK}"
    with terminal().live() as progress:
        around = Surroundings(progress=progress, out=folder)
        interrupted = run(lambda: runner.check(sweep, around, limits, explain), around, debug)
    checked = record.read_run(folder)
    judged = conditions.judged(table.build([checked]), limits)
    print_table(judged, format)
    track(names, lambda: of_run(checked, None), interrupted)
    sys.exit(130 if interrupted else outcome.check_exit_code(checked, sweep, judged.head["broken"]))
