"""`bench show`: the table of runs, again."""

from __future__ import annotations

from pathlib import Path

import click

from .options import baseline_option, debug_option, format_option, group, runs_argument
from .output import print_table
from .runs import stored


@click.command()
@group(runs_argument, baseline_option, format_option(), debug_option)
def show(runs: tuple[Path, ...], baseline: str | None, format: str, debug: bool) -> None:
    """Print stored runs in any format, without measuring."""
    from ..results.table import table
    from ..untrusted import understood

    with understood(runs):
        print_table(table.build(stored(runs), baseline), format)
