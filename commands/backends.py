"""`bench backends`: what can run here."""

from __future__ import annotations

import click

from ..spec import Sweep
from .options import Pairs, debug_option, group, python_option
from .output import logs, plain


@click.command()
@group(python_option, debug_option)
def backends(pythons: Pairs, debug: bool) -> None:
    """List the backends of this machine, and how to install the missing ones."""
    from .. import backends as registry
    from ..runners.pool.environments import places
    from ..runners.pool.pool import Local
    from ..runners.pool.survey import survey

    everything = Sweep(backends=(*registry.registrations(), *(label for label, _ in pythons)), pythons=pythons)
    with logs(debug) as folder:
        surveyed = survey(places(everything), folder, Local())
        surveyed.dismiss()
    width = max(14, *(len(str(item.target)) for item in surveyed.found))
    for item in surveyed.found:
        what = f"{item.version}  {', '.join(item.devices)}" if item.available else f"not here: {item.reason}"
        install = f"  ({item.install})" if item.install and not item.available else ""
        instrument = "  (an instrument, no target)" if item.instrument else ""
        click.echo(plain(f"{item.target!s:<{width}} {what}{install}{instrument}"))
