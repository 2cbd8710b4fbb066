"""Rows among which a recommendation chooses, by backend, model and host. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ...errors import BadInput
from ...spec import nearest
from ..store.record import CellRecord, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Names that the user gave; an empty tuple selects every row.

    `backends`: names of backends or BACKEND@ENV. `models`: names of models. `hosts`: parts of hosts' names, in any case.
    """

    backends: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def of(self, runs: Sequence[Run]) -> list[Run]:
        """Reduce `runs` to the selected rows. `BadInput` for a name that no run has, and if no row is left."""
        if not (self.backends or self.models or self.hosts):
            return list(runs)
        cells = [record.cell for run in runs for record in run.cells]
        backends = {str(cell.target) for cell in cells} | {cell.backend for cell in cells}
        _check("--backend", self.backends, backends, lambda name: name in backends)
        models = {cell.model for cell in cells}
        _check("--model", self.models, models, lambda name: name in models)
        hosts = {_host(run) for run in runs}
        _check("--host", self.hosts, hosts, lambda part: any(_is_part(part, host) for host in hosts))
        reduced = [replace(run, cells=tuple(self._records(run))) for run in runs]
        if not any(run.cells for run in reduced):
            raise BadInput(f"no row has {self.text} together", "leave one of these options out")
        return [run for run in reduced if run.cells]

    def _records(self, run: Run) -> Iterable[CellRecord]:
        if self.hosts and not any(_is_part(part, _host(run)) for part in self.hosts):
            return ()
        return (record for record in run.cells if self._has(record))

    def _has(self, record: CellRecord) -> bool:
        cell = record.cell
        named = not self.backends or cell.backend in self.backends or str(cell.target) in self.backends
        return named and (not self.models or cell.model in self.models)

    @property
    def text(self) -> str:
        """The options as the user may write them."""
        names = {"--backend": self.backends, "--model": self.models, "--host": self.hosts}
        return " and ".join(f"{option} {','.join(own)}" for option, own in names.items() if own)


def _check(option: str, names: Iterable[str], choices: Collection[str], matches: Callable[[str], bool]) -> None:
    """`BadInput` for the first of `names` that matches nothing, with the nearest of `choices`."""
    for name in names:
        if not name or not matches(name):
            raise BadInput(f"{option} {name!r} is in none of these runs", nearest(name, choices))


def _host(run: Run) -> str:
    return run.host.label


def _is_part(part: str, host: str) -> bool:
    return part.lower() in host.lower()
