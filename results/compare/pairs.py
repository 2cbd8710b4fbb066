"""Which cells of two sides are the same question asked twice, and what is different about the sides. Pure.

A side is one or several runs. Cells are the same but for their model's hash: a new export is what is often compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...axes import values
from ...spec import Cell, set_fields, to_wire
from ..store.record import CellRecord, Run
from ..table.findings import Finding
from ..table.row import MEASURED

IDENTITY = ("cpu", "cores", "machine", "isa", "gpus")  # facts of a host that make it another one
UNSAID = ("memory_gb",)  # what a host says differently from one day to the next
INTERRUPTED = "its run was interrupted before the cell was finished"

Key = tuple[Any, ...]
Records = Mapping[int, CellRecord]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One cell on both sides: its records by the number of their run, those alone that have figures of rounds."""

    cell: Cell
    base: Records
    new: Records


@dataclass(frozen=True, kw_only=True)
class Match:
    """The cells of both sides; what is said of all others (`left`); and what is different (`changed`)."""

    pairs: tuple[Pair, ...]
    left: tuple[Finding, ...]
    changed: tuple[Finding, ...]
    same_host: bool

    def has_changed(self, what: str) -> bool:
        """True if `what` is another one on the new side."""
        return any(("what", what) in finding.values for finding in self.changed)


def match(base: Sequence[Run], new: Sequence[Run]) -> Match:
    """The cells of `base` and `new`, each in the order of its first run."""
    sides = (_side(base), _side(new))
    keys = list(dict.fromkeys([*sides[0], *sides[1]]))
    cells = {key: next(iter((sides[0].get(key) or sides[1][key]).values())).cell for key in keys}
    usable = [{key: _usable(records, runs) for key, records in side.items()} for side, runs in zip(sides, (base, new))]
    pairs = [Pair(cell=cells[key], base=b, new=n) for key in keys if (b := usable[0].get(key)) and (n := usable[1].get(key))]
    left = [*_alone(sides, cells), *_unfinished(sides, cells, usable)]
    return Match(
        pairs=tuple(pairs),
        left=tuple(left),
        changed=(*_changed(base, new), *_hashes(pairs)),
        same_host=len({_identity(run) for run in (*base, *new)}) == 1,
    )


def _side(runs: Sequence[Run]) -> dict[Key, dict[int, CellRecord]]:
    """The records of a side by cell and run; cells of one run that differ in their file alone stay apart by their order."""
    side: dict[Key, dict[int, CellRecord]] = {}
    for number, run in enumerate(runs):
        for record in run.cells:
            key = (*_key(record.cell), 0)
            while number in side.get(key, ()):
                key = (*key[:-1], key[-1] + 1)
            side.setdefault(key, {})[number] = record
    return side


def _key(cell: Cell) -> Key:
    """All that makes a cell the same one in two runs: not the file, and not the scheme, which version 0.1 did not tell."""
    told = tuple(value for name, value in values(cell).items() if name != "scheme")
    return (*told, cell.shapes, tuple(sorted(cell.settings.options)))


def _usable(records: Records, runs: Sequence[Run]) -> dict[int, CellRecord]:
    kept = {n: item for n, item in records.items() if item.status in MEASURED and not item.imported}
    return {n: item for n, item in kept.items() if not item.unfinished}


def _alone(sides: Sequence[Mapping[Key, Records]], cells: Mapping[Key, Cell]) -> Iterator[Finding]:
    base, new = sides
    for name, own, other in (("base", base, new), ("new", new, base)):
        found = [_said(cells[key]) for key in own if key not in other]
        if found:
            yield Finding.of("only_in", side=name, cells=", ".join(found))


def _unfinished(
    sides: Sequence[Mapping[Key, Records]], cells: Mapping[Key, Cell], usable: Sequence[Mapping[Key, Records]]
) -> Iterator[Finding]:
    """Cells of both sides that have no figures in a run, with the reason."""
    for name, side, known in zip(("base", "new"), sides, usable):
        about: dict[str, list[str]] = {}
        for key, records in side.items():
            left = records.keys() - known[key].keys()
            for number in left if left and all(key in other for other in sides) else ():
                about.setdefault(_why(records[number]), []).append(_said(cells[key]))
        for why, found in about.items():
            yield Finding.of("no_figures", side=name, why=why, cells=", ".join(dict.fromkeys(found)))


def _why(record: CellRecord) -> str:
    if record.imported:
        return f"but those of {record.imported.tool}, without rounds to compare"
    if record.status in MEASURED:
        return INTERRUPTED
    return f"{record.status} ({record.reason})"


def _said(cell: Cell) -> str:
    options = " ".join(f"{name}={value}" for name, value in cell.settings.options)
    return f"{cell.id} ({options})" if options else cell.id


def _changed(base: Sequence[Run], new: Sequence[Run]) -> list[Finding]:
    """What is said once about the two sides, old -> new."""
    about: dict[str, Callable[[Run], Any]] = {
        "kind": lambda run: run.head.kind or "measured",
        "tool": lambda run: run.head.tool,
        "schema": lambda run: run.head.schema,
        "budget": lambda run: run.sweep and run.sweep.budget.name,
        "threads": lambda run: run.sweep and run.sweep.threads,
        "dataset": lambda run: run.sweep and run.sweep.dataset,
        "GPU driver": lambda run: tuple(dict.fromkeys(gpu.driver for gpu in run.host.gpus or ())),
    }
    hosts = dict.fromkeys(name for run in (*base, *new) for name in set_fields(run.host) if name not in UNSAID)
    about |= {f"host {name}": _of(lambda run: to_wire(run.host), name) for name in hosts}
    both = dict.fromkeys(name for run in (*base, *new) for name in run.head.versions)
    about |= {f"version of {name}": _of(lambda run: run.head.versions, name) for name in both}
    told = {name: (_told(base, of), _told(new, of)) for name, of in about.items()}
    return [Finding.of("changed", what=name, old=old, new=now) for name, (old, now) in told.items() if old != now]


def _of(part: Callable[[Run], Mapping[str, Any]], name: str) -> Callable[[Run], Any]:
    return lambda run: part(run).get(name)


def _told(runs: Sequence[Run], of: Callable[[Run], Any]) -> str:
    """The different values of a side."""
    return ", ".join(dict.fromkeys(_text(of(run)) for run in runs))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item.get("name", item)) if isinstance(item, dict) else str(item) for item in value) or "none"
    return "not told" if value is None else str(value)


def _identity(run: Run) -> tuple[str, ...]:
    return tuple(_text(to_wire(run.host)[name]) for name in IDENTITY)


def _file(record: CellRecord) -> str:
    """The sha256 of the file that ran."""
    return (record.opened and record.opened.sha256) or record.cell.sha256


def _hashes(pairs: Sequence[Pair]) -> list[Finding]:
    """Models whose files are not the same."""
    about: dict[str, tuple[set[str], set[str]]] = {}
    for pair in pairs:
        old, new = about.setdefault(f"model {pair.cell.model} {pair.cell.precision}", (set(), set()))
        old.update(_file(record)[:12] for record in pair.base.values())
        new.update(_file(record)[:12] for record in pair.new.values())
    return [
        Finding.of("changed", what=name, old=f"file {', '.join(sorted(old))}", new=", ".join(sorted(new)))
        for name, (old, new) in about.items()
        if old != new
    ]
