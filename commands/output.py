"""Output that several commands share: tables on stdout, notes on stderr, trackers, and a folder for workers' logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..results.table.table import Table
    from ..results.trackers.logged import LoggedRun


def plain(text: str) -> str:
    """`text` without characters that a terminal or a log would act on."""
    from ..results.table.render import plain

    return plain(text)


def print_table(table: Table, format: str) -> None:
    """Print `table` on stdout in one of options.TABLE_FORMATS."""
    from ..results.table.render import render

    click.echo(render(table, format), nl=False)


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
