"""Progress of a long command on standard error. Imports rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from ...results.table.render import plain


class Progress(Protocol):
    """Listener for the progress of a command."""

    def note(self, text: str) -> None:
        """Print one line that stays."""

    def step(self, what: str, done: float, total: float) -> None:
        """Update the live line: the current step `what`, and `done` of `total` steps."""


class Silent:
    """Progress that prints nothing."""

    def note(self, text: str) -> None: ...

    def step(self, what: str, done: float, total: float) -> None: ...


class Notes(Silent):
    """Progress that keeps its notes as `lines`, and prints nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(plain(text))


class Terminal:
    """Progress as lines of notes and one live bar with the remaining time. The bar needs a terminal on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.fields[what]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,  # a thread that redraws would compute beside a timed cell
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", what="", total=None)

    def note(self, text: str) -> None:
        self._console.print(Text(plain(text)), soft_wrap=True)

    def step(self, what: str, done: float, total: float) -> None:
        self._bar.update(self._task, what=plain(what), completed=done, total=total, refresh=True)

    @contextmanager
    def live(self) -> Iterator[Terminal]:
        """Show the bar inside this context."""
        with self._bar:
            yield self


def terminal() -> Terminal:
    """Progress on standard error."""
    return Terminal(Console(stderr=True, highlight=False))
