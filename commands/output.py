"""Output that several commands share: tables on stdout, notes on stderr, trackers, and a folder for workers' logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import COLUMNS, WIDE

if TYPE_CHECKING:
    from ..results.table.layout import Screen
    from ..results.table.table import Table
    from ..results.trackers.logged import LoggedRun


def plain(text: str) -> str:
    """`text` without characters that a terminal or a log would act on."""
    from ..results.table.render import plain

    return plain(text)


def screen() -> Screen:
    """The screen that stdout is: its width and colours for a terminal, and neither for a pipe, a file or --wide.

    NO_COLOR (https://no-color.org) and TERM=dumb turn colours off.
    """
    import os
    import shutil

    from ..results.table.layout import PIPE, Screen

    if not sys.stdout.isatty():
        return PIPE
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    wide = click.get_current_context().meta.get(WIDE)
    return Screen(width=None if wide else shutil.get_terminal_size().columns, colour=colour)


def named_columns() -> tuple[str, ...]:
    """The names that --columns has; none without it."""
    return tuple(click.get_current_context().meta.get(COLUMNS) or ())


def rendered(table: Table, format: str) -> str:
    """`table` in one of options.TABLE_FORMATS, with the columns of --columns, for the screen that stdout is."""
    from ..results.table.render import render, with_columns

    names = named_columns()
    return render(with_columns(table, names) if names else table, format, screen())


def print_table(table: Table, format: str) -> None:
    """Print `table` on stdout in one of options.TABLE_FORMATS."""
    click.echo(rendered(table, format), nl=False)


def note(text: str) -> None:
    """Print one sentence on stderr."""
    click.echo(plain(text), err=True)


def track(names: Sequence[str], logged: Callable[[], LoggedRun], interrupted: bool = False) -> None:
    """Log what was printed to the trackers `names`; a tracker that fails is one sentence on stderr and no error."""
    from ..results import trackers

    if interrupted and names:
        note("bench: not logged, because the run was interrupted")
    elif names:
        trackers.track(names, logged(), note)


@contextmanager
def logs(debug: bool) -> Iterator[Path]:
    """A folder for workers' logs, removed at the end unless the user is debugging."""
    import tempfile

    if debug:
        folder = tempfile.mkdtemp(prefix="onnxbench-")
        note(f"workers' logs: {folder}")
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="onnxbench-") as folder:
        yield Path(folder)
