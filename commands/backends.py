"""`bench backends`: the backends, and which of them can run here."""

from __future__ import annotations

from dataclasses import replace
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
        ("bench backends --all", "List also the backends that are measured by name only, with all facts of each"),
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
    pool = Local()
    with logs(debug) as folder:
        surveyed = survey(interpreters(listed), folder, pool)
        surveyed.dismiss()
    present = [_presence(item) for item in surveyed.backends]
    if everything:
        present = [_with_facts(fact, item, pool.threads()) for fact, item in zip(present, surveyed.backends)]
    print_table(table.build(present, everything), format)


def _with_facts(presence: Presence, item: ProbedBackend, threads: int) -> Presence:
    from .. import backends as registry
    from ..backends.packages import licence

    # a probe that died knows no precisions
    precisions = item.precisions if item.device_kind else ()
    return replace(
        presence,
        install=item.install,
        precisions=tuple(f"({name})" if name in item.on_request else name for name in precisions),
        options=tuple(item.options),
        threads=threads if item.device_kind == "cpu" and not item.instrument else 0,
        converter=item.converter_packages,
        licence=licence(registry.registrations()[item.name].package),
    )


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
