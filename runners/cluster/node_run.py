"""Run folder of a node, which its news fill. Standard library only.

A run folder of a node is that of an ordinary run, so that everything that reads runs reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ... import __version__
from ...errors import BadInput, BenchError, Interrupted, StorageFailed
from ...evidence import ROUND, Failed, StepFailed
from ...files import replace_file
from ...results.store import record
from ...results.store.head import RUN, SCHEMA, Head, Host, head_of_text
from ...results.store.journal import JOURNAL, SAMPLES, Event, event_of_line
from ...results.store.outcome import BROKEN
from ...spec import ALL, Cell, Settings, Sweep, Target
from ...untrusted import is_sample_name
from ..sweep.journal import Journal
from ..worker.clock import Clock
from .cluster import CHECK, FILES, FOLDER, OUT, News
from .nodes import Station


def stored_files(folder: Path) -> Mapping[str, bytes]:
    """Files of the run in `folder`, by their relative paths. Empty where a node listed no cell, and begins anew."""
    if not (folder / RUN).exists() or not any(item.cell.sha256 for item in record.read_run(folder).cells):
        return {}
    files = [folder / RUN, folder / JOURNAL, *sorted((folder / SAMPLES).glob("*.npz"))]
    return {str(file.relative_to(folder)): _plain(file) for file in files if file.is_file()}


def _plain(file: Path) -> bytes:
    content = file.read_bytes()
    # A killed run leaves an incomplete last line. The node begins its first line after a complete one.
    return content if file.name != JOURNAL else content[: content.rfind(b"\n") + 1]


def is_complete(folder: Path) -> bool:
    """True if every cell of the run in `folder` has an end that a new try would not change."""
    if not (folder / RUN).exists():
        return False
    cells = record.read_run(folder).cells
    return not any(item.interrupted or item.status in BROKEN or item.failed_steps or not item.cell.sha256 for item in cells)


class NodeRun:
    """Writer of the run folder of one node, until `finish`.

    `sweep`: the user's, with the paths of this machine. `models`: their names in rows. Raises the errors of `Journal`.
    """

    def __init__(self, folder: Path, station: Station, task: str, sweep: Sweep, models: Sequence[str]) -> None:
        self.folder, self.station, self.task, self.sweep, self.models = folder, station, task, sweep, models
        self._journal = Journal(folder).__enter__()

    def finish(self, error: BenchError | None) -> None:
        """End the writing. An interrupted run needs no reason in its rows: they tell how to continue."""
        try:
            if error and (not isinstance(error, Interrupted) or not (self.folder / RUN).exists()):
                self._fail(error)
        finally:
            self._journal.__exit__(None, None, None)

    def add(self, news: News) -> None:
        """Write `news`. Raises `StorageFailed`, and `BadInput` for data that no run has."""
        if news.head is not None:
            head, cells = head_of_text(self.local(news.head).encode(), self.folder)
            host = replace(head.host, name=self.station.name)
            self._journal.write_head(replace(head, host=host, sweep=self.sweep), cells)
        for name, content in news.samples:
            self._write_samples(name, content)
        for line in news.lines:
            if entry := self._event(line):
                self._journal.add(*entry)

    def _event(self, line: str) -> tuple[str, Event] | None:
        try:
            return event_of_line(self.local(line).encode())
        except TypeError as error:
            raise BadInput(f"the node {self.station.name} sent {error}", "use one version of onnxbench on all nodes") from error

    def _write_samples(self, name: str, content: bytes) -> None:
        if not is_sample_name(name, SAMPLES):
            raise BadInput(
                f"the node {self.station.name} named a file outside its run", "use one version of onnxbench on all nodes"
            )
        try:
            replace_file(self.folder / name, lambda scratch: scratch.write_bytes(content))
        except OSError as error:
            problem = f"cannot write to {self.folder} ({error.strerror})"
            raise StorageFailed(problem, "free some space, then go on with --resume") from error

    def local(self, text: str) -> str:
        """`text` of the node with the paths of this machine."""
        return local_text(text, self.folder)

    def _fail(self, error: BenchError) -> None:
        """Record that `error` ended the node's run. A cell with blocks keeps them, and a resumed run continues it."""
        if not (self.folder / RUN).exists():
            self._journal.write_head(self._empty_head(), {cell: cell.key for cell in self._expected()})
        for item in record.read_run(self.folder).cells:
            if item.interrupted and item.blocks:
                self._journal.add(item.key, StepFailed(step=ROUND, status=error.status, reason=str(error)))
            elif item.interrupted:
                self._journal.add(item.key, Failed(status=error.status, reason=str(error)))

    def _empty_head(self) -> Head:
        host = Host(name=self.station.name, cpu=self.station.node.cpu or None)
        kind = CHECK if self.task == CHECK else ""
        return Head(schema=SCHEMA, kind=kind, tool=__version__, began_unix_s=Clock().wall_s(), host=host, sweep=self.sweep)

    def _expected(self) -> Iterator[Cell]:
        """A cell for each model and named target. Without a hash, they stand until the node lists its own."""
        sweep = self.sweep
        for model in self.models:
            for name in sweep.named or (ALL,):
                target = Target.parse(name)
                yield Cell(
                    model=model,
                    sha256="",
                    backend=target.backend,
                    environment=target.environment,
                    device=sweep.device or "cpu",
                    precision=sweep.precisions[0] if sweep.precisions else "fp32",
                    batch=sweep.batches[0] if sweep.batches else 1,
                    shapes=(),
                    settings=Settings(threads=sweep.threads or 0),
                )


def local_text(text: str, folder: Path) -> str:
    """`text` of a node with the paths of this machine. `folder`: the run folder here."""
    places = ((f"{FOLDER}/{FILES}", ""), (f"{FOLDER}/{OUT}", str(folder)))
    for there, here in places:
        text = text.replace(there, json.dumps(here)[1:-1])
    return text
