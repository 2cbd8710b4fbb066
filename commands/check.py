"""`bench check`: parity with FP32 and accuracy on labels, without timing."""

from __future__ import annotations

from typing import Any

import click

from .clusters import CLUSTER_OPTIONS, cluster_options, on_cluster, toured
from .help import Command
from .options import (
    RUN_FOLDER,
    debug_option,
    format_option,
    group,
    images_option,
    limit_options,
    out_option,
    selectors,
    track_option,
)
from .runs import RUNS, RunRequest, carry_out, sweep_of


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
    cluster_options,
    out_option(RUN_FOLDER),
    track_option,
    format_option(),
    debug_option,
)
@click.pass_context
def check(ctx: click.Context, /, format: str, debug: bool, **_: Any) -> None:
    """Compare the outputs with FP32 outputs, and with labels.

    Prints parity and top-1 accuracy of every precision on every backend here, without timing. Exits with 1 if a row is a
    mismatch, or if a row breaks --max or --min.
    """
    carry_out(requested(ctx), format, debug)


def requested(ctx: click.Context) -> RunRequest:
    """Request of the parsed options. Raises `BadInput` before any work."""
    from ..results import trackers
    from ..results.store.head import CHECK
    from ..results.table import conditions
    from ..results.table.values import checked
    from ..runners.check import check as work
    from ..runners.worker.clock import Clock

    options = {name: value for name, value in ctx.params.items() if name not in ("format", "debug", *CLUSTER_OPTIONS)}
    on_nodes = on_cluster(ctx.params) is not None
    most, least, out, explain = (options.pop(name) for name in ("most", "least", "out", "explain"))
    trackers.check(names := options.pop("track"))
    limits = [*conditions.parse(most, most=True), *conditions.parse(least, most=False)]
    sweep, folder = sweep_of({**options, "budget": "thorough"}, replicas=True), out or RUNS / f"{Clock().stamp()}-{CHECK}"
    request = RunRequest(
        sweep=sweep,
        out=folder,
        work=lambda sweep, around: work(sweep, around, limits, explain),
        result=lambda: checked(folder, limits, sweep),
        trackers=names,
    )
    return toured(request, ctx.params, CHECK, most, least, explain) if on_nodes else request
