"""Commands that decide on what was measured: click, and the pure functions of results. Nothing is measured here."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import Pair, Pairs, debug_option, format_option, group

OBJECTIVES = ("throughput", "latency", "memory", "energy", "cost")


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@group(
    click.option("--max", "most", type=Pair(), multiple=True, metavar="METRIC=LIMIT", help="Take no row above it: p99=10ms."),
    click.option("--min", "least", type=Pair(), multiple=True, metavar="METRIC=LIMIT", help="Take no row below it: top1=97."),
    click.option("--objective", type=click.Choice(OBJECTIVES), default="throughput", show_default=True, help="What is best."),
    click.option(
        "--price",
        "prices",
        type=Pair(),
        multiple=True,
        metavar="BACKEND|HOST=AMOUNT",
        help="Currency an hour, for a BACKEND[@ENV], or a host by (a part of) its name.",
    ),
    format_option,
    debug_option,
)
def recommend(
    runs: tuple[Path, ...], most: Pairs, least: Pairs, objective: str, prices: Pairs, format: str, debug: bool
) -> None:
    """Which row to deploy, and how: the best within limits.

    With the settings and a program to paste, the runner-up, what binds, and why rows are left out. Exits with 1 if no row is
    feasible, and says which limit to relax.
    """
    from .errors import BadInput
    from .results import advice, conditions, record
    from .results import recommend as decisions
    from .results.candidates import Wanted
    from .results.objective import OBJECTIVES as KNOWN

    if objective == "cost" and not prices:
        raise BadInput("--objective cost needs a price", "give --price BACKEND=AMOUNT, in currency an hour")
    limits = (*conditions.parse(most, most=True), *conditions.parse(least, most=False))
    wanted = Wanted(objective=KNOWN[objective], conditions=limits, prices=prices)
    decision = decisions.decide([record.read(run) for run in dict.fromkeys(runs)], wanted)
    click.echo(advice.advise(decision, format), nl=False)
    sys.exit(advice.exit_code(decision))
