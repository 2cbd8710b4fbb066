"""`bench show`: the table of stored runs."""

from __future__ import annotations

from pathlib import Path

import click

from .help import Command
from .options import baseline_option, debug_option, format_option, group, runs_argument
from .output import print_table
from .runs import stored


@click.command(
    cls=Command,
    examples=(
        ("bench show runs/mine", "Print the table of a run again"),
        ("bench show runs/a runs/b --baseline ort-cpu --format csv", "Print two runs in one table, with speed-ups, as CSV"),
    ),
)
@group(runs_argument, baseline_option, format_option(), debug_option)
def show(runs: tuple[Path, ...], baseline: str | None, format: str, debug: bool) -> None:
    """Print stored runs in any format, without measuring."""
    from ..results.table import table
    from ..untrusted import understood

    with understood(runs):
        print_table(table.build(stored(runs), baseline), format)
