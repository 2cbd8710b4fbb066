"""Engines that are kept: where they lie, whether they can still be used, and what was learned while they were built.

    engines/FILE-RECIPE/MAKER/engine.plan, engine.json      an engine, and its sha256, its maker and the seconds that it took
    engines/timings/MAKER                                   kernels' times, which make the next engine of this maker cheaper

The maker is TensorRT's version on a GPU: what another one built cannot be used, and stays where it is. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..spec import Artifact, Cell, digest
from .protocol import Engine, Workshop

ENGINE, ENTRY, TIMINGS = "engine.plan", "engine.json", "timings"

Make = Callable[[bytes], tuple[bytes, bytes]]


class Shelf:
    """The engines of one cell, by who made them."""

    def __init__(self, workshop: Workshop, artifact: Artifact, cell: Cell, maker: str) -> None:
        options = [pair for pair in cell.settings.options if pair[0] != "cuda_graph"]  # a matter of running, not of building
        recipe = digest([cell.precision, cell.shapes, options])[:12]
        self._workshop, self._maker = workshop, maker
        self._folder = workshop.folder / f"{artifact.sha256[:16]}-{recipe}"
        self._own = self._folder / digest(maker)[:12]
        self._timings = workshop.folder / TIMINGS / digest(maker)[:12]

    def engine(self, make: Make) -> Engine:
        """What this maker built, or builds now."""
        known = self._known()
        if known:
            return Engine(path=self._own / ENGINE, seconds=float(known["seconds"]), cached=True)
        remark = self._remark()
        begin = self._workshop.now_ns()
        plan, timings = make(self._timings.read_bytes() if self._timings.is_file() else b"")
        seconds = (self._workshop.now_ns() - begin) / 1e9
        for folder in (self._workshop.folder, self._timings.parent, self._folder, self._own):
            folder.mkdir(mode=0o700, exist_ok=True)  # a runtime loads what is in them
        replace_file(self._timings, lambda scratch: scratch.write_bytes(timings))
        replace_file(self._own / ENGINE, lambda scratch: scratch.write_bytes(plan))
        entry = {"maker": self._maker, "seconds": seconds, "sha256": hashlib.sha256(plan).hexdigest()}
        replace_file(self._own / ENTRY, lambda scratch: scratch.write_text(json.dumps(entry)))
        return Engine(path=self._own / ENGINE, seconds=seconds, remark=remark)

    def _known(self) -> dict[str, Any] | None:
        """What is said of this maker's engine, if it is whole."""
        entry = _entry(self._own)
        plan = self._own / ENGINE
        if entry is None or not plan.is_file() or hashlib.sha256(plan.read_bytes()).hexdigest() != entry["sha256"]:
            return None
        return entry

    def _remark(self) -> str:
        """What is on the shelf that cannot be used."""
        if self._own.exists():
            return "the engine in the cache was damaged, and was built again"
        others = [entry["maker"] for place in sorted(self._folder.glob("*")) if (entry := _entry(place))]
        return f"the cache had an engine of {others[0]}, and this is {self._maker}: built again" if others else ""


def _entry(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((place / ENTRY).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"maker", "seconds", "sha256"} <= set(found) else None
