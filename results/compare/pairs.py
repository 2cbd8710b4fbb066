"""Pairs of the same cell on two sides, and the differences of the sides. Pure.

A side is one run or several. A cell is the same one on both sides even if the hash of its model differs, because a common
question is the effect of a new export.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...axes import AXES, Scalar, values
from ...spec import Cell, set_fields, to_wire
from ..store.record import CellRecord, Run
from ..table.findings import Finding
from ..table.row import MEASURED

IDENTITY = ("cpu", "cores", "machine", "isa", "gpus")  # a host that differs in one of these is another host
UNSTABLE = ("memory_gb",)  # one host reports different values from day to day
# version 0.1 did not store the scheme, so it cannot be part of the identity of a cell
OF_AXES = tuple(axis.of for axis in AXES.values() if axis.name != "scheme")
INTERRUPTED = "the run was interrupted before the cell was finished"

Key = tuple[Any, ...]
Records = Mapping[int, CellRecord]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One cell on both sides: its records with figures of rounds, by the number of their run."""

    cell: Cell
    base: Records
    new: Records

    @cached_property
    def case(self) -> tuple[Scalar, ...]:
        """Value of each axis, and the runtime's options as a text, None for none: the same in all rows of the pair."""
        options = " ".join(f"{name}={value}" for name, value in self.cell.settings.options)
        return (*values(self.cell).values(), options or None)


@dataclass(frozen=True, kw_only=True)
class Match:
    """Cells of both sides (`pairs`), findings on all other cells (`left`), and the differences of the sides (`changed`)."""

    pairs: tuple[Pair, ...]
    left: tuple[Finding, ...]
    changed: tuple[Finding, ...]
    same_host: bool

    def has_changed(self, what: str) -> bool:
        """True if `changed` has the fact of that name, such as `dataset`."""
        return any(("what", what) in finding.values for finding in self.changed)


def match(base: Sequence[Run], new: Sequence[Run]) -> Match:
    """Match the cells of `base` and `new`, in the order of their first run."""
    by_scheme = _with_schemes((*base, *new))
    sides = (records_by_cell(base, by_scheme), records_by_cell(new, by_scheme))
    keys = list(dict.fromkeys([*sides[0], *sides[1]]))
    cells = {key: next(iter((sides[0].get(key) or sides[1][key]).values())).cell for key in keys}
    usable = [{key: _usable(records, runs) for key, records in side.items()} for side, runs in zip(sides, (base, new))]
    pairs = [Pair(cell=cells[key], base=b, new=n) for key in keys if (b := usable[0].get(key)) and (n := usable[1].get(key))]
    left = [*_alone(sides, cells), *_unfinished(sides, cells, usable)]
    return Match(
        pairs=tuple(pairs),
        left=tuple(left),
        changed=(*differences(base, new), *_hashes(pairs)),
        same_host=len({host_identity(run) for run in (*base, *new)}) == 1,
    )


def records_by_cell(runs: Sequence[Run], by_scheme: Collection[Key] | None = None) -> dict[Key, dict[int, CellRecord]]:
    """Records of a side by cell and run. Cells of one run that differ only in their file get numbers in their order.

    `by_scheme`: identities of the cells that have several INT8 schemes, which tell them apart; those of `runs` by default.
    """
    by_scheme = _with_schemes(runs) if by_scheme is None else by_scheme
    side: dict[Key, dict[int, CellRecord]] = {}
    for number, run in enumerate(runs):
        # A roof is the machine's and no change of a model: a gate must not fail by it.
        for record in (record for record in run.cells if not record.cell.roof):
            own = _key(record.cell)
            key = (*own, record.cell.scheme if own in by_scheme else "", 0)
            # two files of one model in a run: the first of one run belongs to the first of the other
            while number in side.get(key, ()):
                key = (*key[:-1], key[-1] + 1)
            side.setdefault(key, {})[number] = record
    return side


def _key(cell: Cell) -> Key:
    """Identity of a cell across runs: its axes without the scheme, its shapes and its options."""
    return (*[of(cell) for of in OF_AXES], cell.shapes, tuple(sorted(cell.settings.options)))


def _with_schemes(runs: Sequence[Run]) -> set[Key]:
    """Identities of cells that a run has in several INT8 schemes. Other cells are the same ones in any scheme."""
    several: set[Key] = set()
    for run in runs:
        schemes: dict[Key, set[str]] = {}
        for record in run.cells:
            schemes.setdefault(_key(record.cell), set()).add(record.cell.scheme)
        several |= {key for key, names in schemes.items() if len(names) > 1}
    return several


def _usable(records: Records, runs: Sequence[Run]) -> dict[int, CellRecord]:
    measured = {n: item for n, item in records.items() if item.status in MEASURED and not item.imported}
    # rounds of an interrupted cell may end at a lucky interval, so they do not count
    return {n: item for n, item in measured.items() if not item.unfinished}


def _alone(sides: Sequence[Mapping[Key, Records]], cells: Mapping[Key, Cell]) -> Iterator[Finding]:
    base, new = sides
    for name, own, other in (("base", base, new), ("new", new, base)):
        alone = [cell_name(cells[key]) for key in own if key not in other]
        if alone:
            yield Finding.of("only_in", side=name, cells=", ".join(alone))


def _unfinished(
    sides: Sequence[Mapping[Key, Records]], cells: Mapping[Key, Cell], usable: Sequence[Mapping[Key, Records]]
) -> Iterator[Finding]:
    """Findings on cells of both sides without figures in a run, one for each side and reason."""
    for name, side, measured in zip(("base", "new"), sides, usable):
        by_reason: dict[str, list[str]] = {}
        for key, records in side.items():
            left = records.keys() - measured[key].keys()
            for number in left if left and all(key in other for other in sides) else ():
                by_reason.setdefault(_reason(records[number]), []).append(cell_name(cells[key]))
        for reason, names in by_reason.items():
            yield Finding.of("no_figures", side=name, why=reason, cells=", ".join(dict.fromkeys(names)))


def _reason(record: CellRecord) -> str:
    if record.imported:
        return f"figures of {record.imported.tool} have no rounds to compare"
    if record.status in MEASURED:
        return INTERRUPTED
    return f"{record.status}: {record.reason}"


def cell_name(cell: Cell) -> str:
    """Name of a cell for people, with its options."""
    options = " ".join(f"{name}={value}" for name, value in cell.settings.options)
    return f"{cell.id} ({options})" if options else cell.id


def differences(base: Sequence[Run], new: Sequence[Run]) -> list[Finding]:
    """Differences of the two sides in their heads, sweeps and hosts, old -> new."""
    facts: dict[str, Callable[[Run], Any]] = {
        "kind": lambda run: run.head.kind or "measured",
        "tool": lambda run: run.head.tool,
        "schema": lambda run: run.head.schema,
        "budget": lambda run: run.sweep and run.sweep.budget.name,
        "threads": lambda run: run.sweep and run.sweep.threads,
        "lock of the GPU's clock": lambda run: _lock(run.sweep.lock_clocks if run.sweep else None),
        "dataset": lambda run: run.sweep and run.sweep.dataset,
        "GPU driver": lambda run: tuple(dict.fromkeys(gpu.driver for gpu in run.host.gpus or ())),
    }
    hosts = dict.fromkeys(name for run in (*base, *new) for name in set_fields(run.host) if name not in UNSTABLE)
    facts |= {f"host {name}": _of(lambda run: to_wire(run.host), name) for name in hosts}
    both = dict.fromkeys(name for run in (*base, *new) for name in run.head.versions)
    facts |= {f"version of {name}": _of(lambda run: run.head.versions, name) for name in both}
    texts = {name: (_distinct(base, of), _distinct(new, of)) for name, of in facts.items()}
    return [Finding.of("changed", what=name, old=old, new=now) for name, (old, now) in texts.items() if old != now]


def _lock(mhz: int | None) -> str:
    return "none" if mhz is None else f"{mhz} MHz" if mhz else "base clock"


def _of(part: Callable[[Run], Mapping[str, Any]], name: str) -> Callable[[Run], Any]:
    return lambda run: part(run).get(name)


def _distinct(runs: Sequence[Run], of: Callable[[Run], Any]) -> str:
    """Distinct values of a side, as one text."""
    return ", ".join(dict.fromkeys(_text(of(run)) for run in runs))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item.get("name", item)) if isinstance(item, dict) else str(item) for item in value) or "none"
    return "not reported" if value is None else str(value)


def host_identity(run: Run) -> tuple[str, ...]:
    """Facts of the run's host in the order of IDENTITY. Two hosts that differ in one are different hosts."""
    return tuple(_text(to_wire(run.host)[name]) for name in IDENTITY)


def _file(record: CellRecord) -> str:
    """sha256 of the file that ran: a runtime may run a file derived from that of the cell."""
    return (record.opened and record.opened.sha256) or record.cell.sha256


def _hashes(pairs: Sequence[Pair]) -> list[Finding]:
    """Models with different files on the two sides."""
    files: dict[str, tuple[set[str], set[str]]] = {}
    for pair in pairs:
        old, new = files.setdefault(f"model {pair.cell.model} {pair.cell.precision}", (set(), set()))
        # 12 digits tell files apart, and a person can compare them
        old.update(_file(record)[:12] for record in pair.base.values())
        new.update(_file(record)[:12] for record in pair.new.values())
    return [
        Finding.of("changed", what=name, old=f"file {', '.join(sorted(old))}", new=", ".join(sorted(new)))
        for name, (old, new) in files.items()
        if old != new
    ]
