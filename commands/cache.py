"""`bench cache`: what the user's cache holds."""

from __future__ import annotations

import click

from .options import debug_option, group


@click.command()
@group(click.option("--clear", is_flag=True, help="Remove everything: checkpoints too."), debug_option)
def cache(clear: bool, debug: bool) -> None:
    """Print the size of the cache, or clear the cache."""
    from ..exporters import cache as store

    if clear:
        store.clear()
    click.echo(f"{store.root()}")
    for kind, nbytes in store.sizes().items():
        click.echo(f"{kind:<14} {nbytes / 1e6:.1f} MB")
