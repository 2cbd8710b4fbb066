"""`bench backends`: the backends, and which of them can run here."""

from __future__ import annotations

import click

from ..spec import Sweep
from .help import Command
from .options import Pairs, debug_option, group, python_option
from .output import logs, plain


@click.command(
    cls=Command,
    examples=(
        ("bench backends", "List the backends, their versions and devices, and the command that installs each missing one"),
        ("bench backends --python ort-cuda=venvs/gpu", "Look for one backend in another virtual environment"),
    ),
)
@group(python_option, debug_option)
def backends(pythons: Pairs, debug: bool) -> None:
    """List the backends of this machine, and how to install the missing ones."""
    from .. import backends as registry
    from ..runners.pool.environments import interpreters
    from ..runners.pool.pool import Local
    from ..runners.pool.survey import survey

    everything = Sweep(backends=(*registry.registrations(), *(label for label, _ in pythons)), pythons=pythons)
    with logs(debug) as folder:
        surveyed = survey(interpreters(everything), folder, Local())
        surveyed.dismiss()
    width = max(14, *(len(str(item.target)) for item in surveyed.backends))
    for item in surveyed.backends:
        what = f"{item.version}  {', '.join(item.devices)}" if item.available else f"not here: {item.reason}"
        install = f"  ({item.install})" if item.install and not item.available else ""
        instrument = "  (an instrument, not for deployment)" if item.instrument else ""
        click.echo(plain(f"{item.target!s:<{width}} {what}{install}{instrument}"))
