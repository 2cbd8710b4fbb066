"""The cache of engines on disk, and of the kernel times that make builds faster. Standard library only.

    engines/FILE-RECIPE/MAKER/engine.plan, engine.json      an engine; its sha256, its maker and the seconds of its build
    engines/timings/MAKER                                   TensorRT's timing cache, for the next build by the same maker

The maker is a version of TensorRT on a model of GPU. No other maker can load its engines; they stay in the cache.
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

ENGINE_FILE, RECORD_FILE, TIMINGS_FOLDER = "engine.plan", "engine.json", "timings"

BuildEngine = Callable[[bytes], tuple[bytes, bytes]]


class Shelf:
    """Engines of one cell, one for each maker."""

    def __init__(self, workshop: Workshop, artifact: Artifact, cell: Cell, maker: str) -> None:
        options = [pair for pair in cell.settings.options if pair[0] != "cuda_graph"]  # it does not change the engine
        recipe = digest([cell.precision, cell.shapes, options])[:12]
        self._workshop, self._maker = workshop, maker
        self._folder = workshop.folder / f"{artifact.sha256[:16]}-{recipe}"
        self._own = self._folder / digest(maker)[:12]
        self._timings = workshop.folder / TIMINGS_FOLDER / digest(maker)[:12]

    def engine(self, build: BuildEngine) -> Engine:
        """Find the engine of this maker, or build it and keep it."""
        record = self._valid_record()
        if record:
            return Engine(path=self._own / ENGINE_FILE, seconds=float(record["seconds"]), cached=True)
        remark = self._remark()
        begin = self._workshop.now_ns()
        plan, timings = build(self._timings.read_bytes() if self._timings.is_file() else b"")
        seconds = (self._workshop.now_ns() - begin) / 1e9
        for folder in (self._workshop.folder, self._timings.parent, self._folder, self._own):
            folder.mkdir(mode=0o700, exist_ok=True)  # private: an engine is native code
        replace_file(self._timings, lambda scratch: scratch.write_bytes(timings))
        replace_file(self._own / ENGINE_FILE, lambda scratch: scratch.write_bytes(plan))
        record = {"maker": self._maker, "seconds": seconds, "sha256": hashlib.sha256(plan).hexdigest()}
        # the record comes last: an engine without it, after a kill in between, does not count
        replace_file(self._own / RECORD_FILE, lambda scratch: scratch.write_text(json.dumps(record)))
        return Engine(path=self._own / ENGINE_FILE, seconds=seconds, remark=remark)

    def _valid_record(self) -> dict[str, Any] | None:
        """Record of this maker's engine, None if the engine is missing or its hash differs."""
        record = _read_record(self._own)
        plan = self._own / ENGINE_FILE
        if record is None or not plan.is_file() or hashlib.sha256(plan.read_bytes()).hexdigest() != record["sha256"]:
            return None
        return record

    def _remark(self) -> str:
        """Reason that the cache has an engine which cannot be used; empty if it has none."""
        if self._own.exists():
            return "rebuilt the engine: the file in the cache was damaged"
        records = map(_read_record, sorted(self._folder.glob("*")))
        makers = [record["maker"] for record in records if record]
        return f"rebuilt the engine: the cache has one of {makers[0]}, and this is {self._maker}" if makers else ""


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / RECORD_FILE).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"maker", "seconds", "sha256"} <= set(record) else None
