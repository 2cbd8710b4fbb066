"""What goes to people and to other tools, and comes from these: the page, `--track`, and other tools' files as a run folder.

click; everything else is imported late.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import BadInput, StorageFailed, one_line
from .options import Pairs, debug_option, format_option, group, wanted_options
from .spec import PRECISIONS, Device, to_wire

if TYPE_CHECKING:
    from .results.trackers.logged import Logged

IMPORT = "import"  # the kind of a run that was not measured by this tool
SUFFIXES = {".html": "html", ".md": "markdown", ".csv": "csv", ".parquet": "parquet", ".png": "png", ".svg": "svg"}
PRINTED = ("markdown", "csv")
READABLE = 0o644


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@group(
    click.option("--out", type=click.Path(path_type=Path), help="The file. Images are one for each plot: report-latency.png."),
    click.option("--format", type=click.Choice(list(SUFFIXES.values())), help="Default: by the suffix of --out."),
    click.option("--baseline", help="Speed-ups against this BACKEND[@ENV]. Default: what all runs were measured against."),
    wanted_options,
    debug_option,
)
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    format: str | None,
    baseline: str | None,
    objective: str,
    **limits: Pairs,
) -> None:
    """Runs as one file to read and to pass on.

    An HTML page that needs no network: the recommendation, the table, plots, hosts and settings. Or the table alone as
    Markdown, CSV or Parquet, and the plots as PNG or SVG. --max, --min and --objective are those of recommend.
    """
    from .results.recommend.candidates import wanted
    from .results.report import exports
    from .results.store import digest
    from .results.table.render import plain
    from .untrusted import understood

    chosen = _format(out, format)
    asked = wanted(objective, limits["most"], limits["least"], limits["prices"])
    exports.require(chosen)
    with understood(runs):
        read = [digest.read(run) for run in dict.fromkeys(runs)]
        files, notes = exports.export(read, chosen, out or Path(), asked, baseline)
    for note in notes:
        click.echo(f"bench: {plain(note)}", err=True)
    for path, content in files.items():
        if out:
            _replace(path, content)
        click.echo(plain(str(path)) if out else content.decode(), nl=bool(out))


def _format(out: Path | None, format: str | None) -> str:
    """The format that is asked for. `BadInput` for an --out that says none, or that cannot be written."""
    if out is None:
        if format in PRINTED:
            return format
        raise BadInput("--out is missing", f"give a file that ends in one of {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise BadInput(f"{out} is a folder", "give a file")
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent}", "make it, or give another file")
    if format is None and out.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{out.name!r} says no format", f"end it in one of {', '.join(SUFFIXES)}, or give --format")
    return format or SUFFIXES[out.suffix.lower()]


def _replace(path: Path, content: bytes) -> None:
    """`content` in `path` as a whole: what was there before stays until all is written."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as scratch:
            scratch.write(content)
        try:
            Path(scratch.name).chmod(READABLE)
            Path(scratch.name).replace(path)
        finally:
            Path(scratch.name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written ({one_line(error)})", "give another file") from error


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
    from .results import imports
    from .results.store import record
    from .results.table import table
    from .results.table.render import render

    asked = imports.Asked(device=str(Device.parse(device)) if device else None, **said)
    _write(imports.rows(files, asked), out, host)
    click.echo(f"run: {out}", err=True)
    click.echo(render(table.build([record.read(out)]), format), nl=False)


def _write(rows: list[Any], out: Path, host: str) -> None:
    """A run folder of `rows`. `BadInput` if there is a run in `out`."""
    from . import __version__
    from .results import imports
    from .results.store import record
    from .runners.sweep.journal import Journal
    from .runners.worker.clock import Clock

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
    from .results.table.render import plain

    if interrupted and names:
        click.echo("bench: not logged, since the run was interrupted", err=True)
    elif names:
        trackers.track(names, logged(), lambda text: click.echo(plain(text), err=True))
