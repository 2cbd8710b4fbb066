"""What a finished run's journal and samples come to, in one file beside them, so that large runs are read in a moment.

    digest.npz      rules      of this format, and those behind what is in it
                    marks      of the run's two files: inode, bytes, and when they were changed
                    kinds      names of kinds of events
                    event      kind, begin and end of each line of the journal that counts, `event_counts` of them for each cell
                    block      round, begin and end of each block's line, `block_counts` of them for each cell
                    files      the names of all files of samples, a line each
                    NAME       series.figures of that name, `NAME_counts` of each cell
                    samples    of each cell and each of series.KINDS, how many and series.NOTED in ns (NaN: too few)

It holds nothing that the run does not, and can be removed: `bench infer` writes it at its end, and readers never do. It is
used where the run's files have its marks and no file of samples is missing. A copy of the folder has other marks, so a run
that somebody passes on is read from its journal: nobody can forge figures in a digest. What a column needs of the journal
beyond the digest is read when it is asked for.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...untrusted import WRONG, check_archive, read_bytes
from ..stats.intervals import LEAST_ROUNDS
from ..stats.percentiles import percentile, samples_needed
from . import noise, record, series
from .record import CHECK, JOURNAL, RUN, CellRecord, Data, Digested, Run

DIGEST = "digest.npz"
FORMAT = 2
"""To be raised with every change of what is in the file, or of which of a journal's events count."""

UNFIT = (OSError, EOFError, zipfile.BadZipFile, *WRONG)
NAMES = (*series.MEDIANS, "throughput")

Key = TypeVar("Key")
Arrays = Mapping[str, NDArray[Any]]


class Late(Mapping[Key, Any]):
    """A mapping that is not empty, and is made when it is first looked into."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], dict[Key, Any]]) -> None:
        self._make = make
        self._made: dict[Key, Any] | None = None

    @property
    def _known(self) -> dict[Key, Any]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: Key) -> Any:
        return self._known[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __bool__(self) -> bool:
        return True


class Journal:
    """A run's journal, read when it is first asked for. What is in it stays where it is, since it only grows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL

    @cached_property
    def text(self) -> bytes:
        """All of it."""
        return read_bytes(self._path)


def read(folder: Path) -> Run:
    """What record.read says of the run in `folder`, with less work where its digest fits. Raises what that raises."""
    with suppress(*UNFIT), _stored(folder / DIGEST) as stored:
        return _digested(folder, dict(stored))
    return record.read(folder)


def _stored(path: Path) -> Any:
    """The arrays of the file at `path`; one of UNFIT where it unpacks to more than a digest has."""
    check_archive(path, ratio=0)
    return np.load(path, allow_pickle=False)


def write(folder: Path) -> None:
    """Leave the digest of the run in `folder`, whose writer is gone; nothing where that cannot be done."""
    with suppress(*UNFIT):
        marks, journal = _marks(folder), Journal(folder)  # in this order: a file that changes
        arrays: dict[str, Any] = {  # meanwhile has other marks and another hash than these
            **{"rules": np.array(_rules()), "marks": np.array(marks)},
            **_arrays(folder, journal.text),
        }
        scratch = folder / f".{DIGEST}.{os.getpid()}"
        try:
            with scratch.open("wb") as file:
                np.savez(file, **arrays)
            scratch.replace(folder / DIGEST)
        finally:
            scratch.unlink(missing_ok=True)


def _rules() -> str:
    thresholds = [[part, item.what, item.most] for part, of in noise.THRESHOLDS.items() for item in of]
    needed = [samples_needed(which) for which in series.NOTED]
    return json.dumps([FORMAT, NAMES, series.KINDS, series.NOTED, needed, LEAST_ROUNDS, thresholds])


def _marks(folder: Path) -> list[list[int]]:
    """What cannot stay the same when a file is changed; nobody can set when its inode was."""
    found = [(folder / name).stat() for name in (RUN, JOURNAL)]
    return [[one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns] for one in found]


def _arrays(folder: Path, journal: bytes) -> dict[str, NDArray[Any]]:
    """What is in the file, but for its stamp."""
    lines = list(record.whole_lines(journal, folder))
    where = {id(event): (begin, end) for event, begin, end in lines}
    found = list(record.gathered(folder, record.read_head(folder), [event for event, _, _ in lines]))
    kinds = list(dict.fromkeys(kind for _, told in found for kind in told))
    events = [[(kinds.index(kind), *where[id(one)]) for kind, same in told.items() for one in same] for _, told in found]
    blocks = [[(number, *where[id(block)]) for number, block in item.blocks.items()] for item, _ in found]
    files = {str(block["samples"]): None for item, _ in found for block in item.blocks.values()}
    figures = [series.figures(item) for item, _ in found]
    return {
        "kinds": np.array(kinds, np.str_),
        **_ragged("event", events, np.int64),
        **_ragged("block", blocks, np.int64),
        "files": np.frombuffer("\n".join(files).encode(), np.uint8),
        **{key: array for name in NAMES for key, array in _ragged(name, [f.get(name, ()) for f in figures], float).items()},
        "samples": np.array([[_of_samples(item, kind) for kind in series.KINDS] for item, _ in found], np.float64),
    }


def _ragged(name: str, rows: Sequence[Sequence[Any]], kind: Any) -> dict[str, NDArray[Any]]:
    """Rows of different lengths, one after the other, and their lengths."""
    return {name: np.array([item for row in rows for item in row], kind), f"{name}_counts": np.array([*map(len, rows)])}


def _of_samples(item: CellRecord, kind: str) -> list[float]:
    found = series.samples(item, kind)
    values = [percentile(found, which) for which in series.NOTED]
    return [float(len(found)), *(math.nan if value is None else value for value in values)]


def _digested(folder: Path, stored: Arrays) -> Run:
    """The run, from what is `stored`. Raises one of UNFIT where that is not of the run's files."""
    if str(stored["rules"]) != _rules() or stored["marks"].tolist() != _marks(folder):
        raise ValueError("it is of other files, or by other rules")
    if not all((stored[name] > 0).all() for name in NAMES):
        raise ValueError("it holds what no block comes to")
    journal = Journal(folder)
    _present(folder, stored["files"].tobytes().decode().split("\n"))
    head = record.read_head(folder)
    kinds = stored["kinds"].tolist()
    columns = [_rows(stored[name].tolist(), stored[f"{name}_counts"]) for name in ("event", *NAMES)]
    blocks = _rows(stored["block"], stored["block_counts"])
    samples = np.where(np.isnan(stored["samples"]), None, stored["samples"]).tolist()  # type: ignore[call-overload]
    cells = []
    listed = record.cells_of(head, folder).items()
    for (cell, key), events, places, *figures, of_samples in zip(
        listed, columns[0], blocks, *columns[1:], samples, strict=True
    ):
        told: dict[str, list[Data]] = {}
        for kind, *place in events:
            told.setdefault(kinds[kind], []).append(Late(partial(_event, journal, folder, place)))
        late: Mapping[int, Data] = Late(partial(_blocks, journal, folder, places)) if len(places) else {}
        known = Digested(figures={name: of for name, of in zip(NAMES, figures) if of}, samples=of_samples)
        cells.append(record.gather(cell, key, folder, head.get("kind") == CHECK, told, late, digested=known))
    return Run(folder=folder, head=head, cells=tuple(cells))


def _rows(items: Any, counts: NDArray[np.int64]) -> list[Any]:
    """What `_ragged` was made from."""
    ends = [0, *accumulate(counts.tolist())]
    return [items[begin:end] for begin, end in pairwise(ends)]


def _present(folder: Path, files: Sequence[str]) -> None:
    """`FileNotFoundError` if one of `files` is missing; each folder is looked into once."""
    places = {name.rpartition("/")[0] for name in files if name}
    found = {f"{place}/{name}" for place in places for name in os.listdir(folder / place)}  # noqa: PTH208 (names are enough)
    if not found.issuperset(filter(None, files)):
        raise FileNotFoundError


def _event(journal: Journal, folder: Path, place: Sequence[int]) -> dict[str, Any]:
    return record.checked(dict(json.loads(journal.text[slice(*place)])), folder)


def _blocks(journal: Journal, folder: Path, places: NDArray[np.int64]) -> dict[int, Any]:
    return {number: _event(journal, folder, place) for number, *place in places.tolist()}
