"""`bench recommend`: the row to deploy, its settings and its reasons."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .help import Command
from .metrics import host_option, wanted_options
from .options import Finite, backend_option, debug_option, format_option, group, model_option, runs_argument
from .output import named_columns, screen
from .runs import stored

if TYPE_CHECKING:
    from ..results.recommend.sections import Decisions
    from ..results.store.record import Run


@click.command(
    cls=Command,
    examples=(
        ("bench recommend runs/mine --max p99=10ms", "Find the highest throughput with p99 of one call within 10 ms"),
        ("bench recommend runs/mine --objective latency --max top1_drop=0.5", "Find the fastest row that keeps the accuracy"),
        ("bench recommend runs/mine --backend ort-cpu,openvino-cpu", "Choose among two backends"),
        ("bench recommend runs/* --objective cost --price ort-cpu=0.1", "Find the cheapest row, over several runs"),
    ),
)
@group(
    runs_argument,
    backend_option,
    model_option(several=True),
    host_option(several=True),
    wanted_options,
    click.option(
        "--demand",
        type=Finite(min=0, min_open=True),
        metavar="RATE",
        help="Compute the number of machines that serve this many items per second.",
    ),
    format_option(),
    debug_option,
)
@click.pass_context
def recommend(ctx: click.Context, /, runs: tuple[Path, ...], format: str, **_: Any) -> None:
    """Recommend the best row within limits, and show how to deploy it.

    Prints its settings, a program that runs it, the runner-up, the limits that bind, and why rows are left out. Runs of several
    models have a section for each model. Exits with 1 if no row of a model keeps the limits, and names the limit to relax.
    """
    from ..results.recommend import sections
    from ..results.recommend.advice import Look
    from ..untrusted import understood

    with understood(runs):
        decisions = decided(stored(dict.fromkeys(runs)), ctx.params)
        click.echo(sections.advise_models(decisions, format, Look(screen=screen(), columns=named_columns())), nl=False)
    sys.exit(sections.exit_code_of_models(decisions))


def decided(runs: Sequence[Run], params: Mapping[str, Any]) -> Decisions:
    """Decisions on `runs` by the parsed options. Raises the errors of `parse_request` and `decide_models`."""
    from ..results.recommend.by_model import decide_models
    from ..results.recommend.candidates import parse_request
    from ..results.recommend.selection import Selection

    selection = Selection(**{name: params[name] for name in ("backends", "models", "hosts")})
    request = {name: params[name] for name in ("objective", "most", "least", "prices", "demand")}
    return decide_models(runs, parse_request(**request), selection)
