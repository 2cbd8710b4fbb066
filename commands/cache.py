"""`bench cache`: the user's cache of checkpoints, exports and engines."""

from __future__ import annotations

import click

from .help import Command
from .options import debug_option, group


@click.command(
    cls=Command,
    examples=(
        ("bench cache", "Print the cache's folder and the size of each kind of file"),
        ("bench cache --clear", "Free the space; the next run trains, exports and builds again"),
    ),
)
@group(click.option("--clear", is_flag=True, help="Remove all files of the cache, trained checkpoints too."), debug_option)
def cache(clear: bool, debug: bool) -> None:
    """Print the size of the cache, or clear the cache."""
    from ..exporters import cache as store

    if clear:
        store.clear()
    click.echo(f"{store.root()}")
    for kind, nbytes in store.sizes().items():
        click.echo(f"{kind:<14} {nbytes / 1e6:.1f} MB")
