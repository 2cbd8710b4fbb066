"""What comes from other tools and goes to them: the command that takes their files into a run folder, and what `--track` does.

click; everything else is imported late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import debug_option, format_option, group
from .spec import PRECISIONS, Device, to_wire

if TYPE_CHECKING:
    from .results.trackers.logged import Logged

IMPORT = "import"  # the kind of a run that was not measured by this tool


@click.command(name="import")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@group(
    click.option("--out", type=click.Path(path_type=Path), required=True, help="The run folder to write."),
    click.option("--backend", help="The runtime that was measured, where the file does not say it."),
    click.option("--model", help="What the model is called; the same name as in another run stands beside it."),
    click.option("--precision", help=f"Of {', '.join(PRECISIONS)}: what it ran in, which no file tells."),
    click.option("--batch", type=click.IntRange(min=1), help="Items a query, where the file does not say it."),
    click.option("--device", help="cpu, cuda or cuda:N, where the file does not say it."),
    click.option("--host", default="unknown", help="The machine, as the table of your own runs has it."),
    format_option,
    debug_option,
)
def take(files: tuple[Path, ...], out: Path, device: str | None, host: str, format: str, debug: bool, **said: Any) -> None:
    """Take files of other tools into the same table.

    One row each for benchmark_app's report (JSON or CSV), LoadGen's mlperf_log_summary.txt, and trtexec's --exportTimes file
    or log. The row's environment is the tool, and its notes say how the tool's definitions differ.
    """
    from .results import imports, record, table
    from .results.render import render

    asked = imports.Asked(device=str(Device.parse(device)) if device else None, **said)
    _write(imports.rows(files, asked), out, host)
    click.echo(f"run: {out}", err=True)
    click.echo(render(table.build([record.read(out)]), format), nl=False)


def _write(rows: list[Any], out: Path, host: str) -> None:
    """A run folder of `rows`. `BadInput` if there is a run in `out`."""
    from . import __version__
    from .errors import BadInput
    from .results import imports, record
    from .runners.clock import Clock
    from .runners.journal import Journal

    if (out / record.RUN).exists():
        raise BadInput(f"{out} holds a run already", "give another --out")
    head = {
        "schema": record.SCHEMA,
        "kind": IMPORT,
        "tool": __version__,
        "began_unix_s": Clock().wall_s(),
        "host": {"cpu": host},
        "versions": imports.versions(rows),
        "instruments": [],
        "cells": [to_wire(row.cell) for row in rows],
    }
    with Journal(out) as journal:
        journal.write_head(head)
        for row in rows:
            journal.add("imported", row.cell.key, **row.event)


def track(names: Sequence[str], logged: Callable[[], Logged], interrupted: bool = False) -> None:
    """Log what was printed to the trackers `names`, and tell what comes of it; nothing of that is an error."""
    from .results import trackers
    from .results.render import plain

    if interrupted and names:
        click.echo("bench: not logged, since the run was interrupted", err=True)
    elif names:
        trackers.track(names, logged(), lambda text: click.echo(plain(text), err=True))
