"""`bench recommend`: the row to deploy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import Finite, debug_option, format_option, group, runs_argument, wanted_options
from .runs import stored


@click.command()
@group(
    runs_argument,
    wanted_options,
    click.option("--demand", type=Finite(min=0, min_open=True), help="Items a second: how many machines take them."),
    format_option(),
    debug_option,
)
def recommend(runs: tuple[Path, ...], format: str, debug: bool, **what: Any) -> None:
    """Recommend the best row within limits, and show how to deploy it.

    With the settings and a program to paste, the runner-up, what binds, and why rows are left out. Exits with 1 if no row is
    feasible, and says which limit to relax.
    """
    from ..results.recommend import advice
    from ..results.recommend import recommend as decisions
    from ..results.recommend.candidates import parse_request
    from ..untrusted import understood

    with understood(runs):
        decision = decisions.decide(stored(dict.fromkeys(runs)), parse_request(**what))
        click.echo(advice.advise(decision, format), nl=False)
    sys.exit(advice.exit_code(decision))
