"""What a long job tells people while it runs, on standard error. rich, when it is used."""

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
    """Somebody who is told how far a job is."""

    def note(self, text: str) -> None:
        """One line that stays."""

    def step(self, what: str, done: float, total: float) -> None:
        """The live line: `what` is being done, `done` of `total` are behind us."""


class Silent:
    """Tells nobody."""

    def note(self, text: str) -> None: ...

    def step(self, what: str, done: float, total: float) -> None: ...


class Terminal:
    """Notes as lines, and one live bar with the time left where standard error is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.fields[what]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,  # a thread that redraws would compute while others are measured
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", what="", total=None)

    def note(self, text: str) -> None:
        self._console.print(Text(plain(text)), soft_wrap=True)

    def step(self, what: str, done: float, total: float) -> None:
        self._bar.update(self._task, what=plain(what), completed=done, total=total, refresh=True)

    @contextmanager
    def live(self) -> Iterator[Terminal]:
        """Show the bar while inside."""
        with self._bar:
            yield self


def terminal() -> Terminal:
    """Progress on standard error."""
    return Terminal(Console(stderr=True, highlight=False))
