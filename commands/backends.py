"""`bench backends`: the backends, and which of them can run here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..spec import Sweep
from .help import Command
from .options import Pairs, all_option, debug_option, format_option, group, python_option
from .output import logs, print_table
from .runs import split_interpreters

if TYPE_CHECKING:
    from ..results.table.machine import Presence
    from ..runners.pool.survey import ProbedBackend


@click.command(
    cls=Command,
    examples=(
        ("bench backends", "List the backends, their versions and devices, and the command that installs each missing one"),
        ("bench backends --all", "List also the backends that a sweep measures only when --backend names them"),
        ("bench backends --python ort-cuda=venvs/gpu", "Look for one backend in another virtual environment"),
    ),
)
@group(
    all_option,
    python_option,
    format_option(),
    debug_option,
)
def backends(everything: bool, pythons: Pairs, format: str, debug: bool) -> None:
    """List the backends of this machine, and how to install the missing ones."""
    from .. import backends as registry
    from ..results.table import machine as table
    from ..runners.pool.environments import interpreters
    from ..runners.pool.pool import Local
    from ..runners.pool.survey import survey

    pythons, _ = split_interpreters(pythons)
    names = [name for name, entry in registry.registrations().items() if everything or entry.default]
    listed = Sweep(backends=(*names, *(label for label, _ in pythons)), pythons=pythons)
    with logs(debug) as folder:
        surveyed = survey(interpreters(listed), folder, Local())
        surveyed.dismiss()
    print_table(table.build([_presence(item) for item in surveyed.backends]), format)


def _presence(item: ProbedBackend) -> Presence:
    from .. import backends as registry
    from ..results.table.machine import Presence

    return Presence(
        backend=str(item.target),
        available=item.available,
        version=item.version if item.available else "",
        devices=tuple(item.devices),
        reason="" if item.available else item.reason,
        install="" if item.available else item.install,
        instrument=item.instrument,
        opset=item.opset if item.available else 0,
        default=item.name in registry.defaults(),
    )
