"""The cache of engines on disk, and of the kernel times that make builds faster. Standard library only.

    engines/FILE-RECIPE/MAKER/engine.plan, engine.json      an engine; its sha256, its maker and the seconds of its build
    engines/FILE-RECIPE/MAKER/build-N/                      the same of further builds, which `--builds` asks for
    engines/timings/MAKER                                   times of kernels, for the next build by the same maker (TensorRT)

The maker is a version of a runtime on a model of GPU or CPU. No other maker can load its engines; they stay in the cache. A
user may keep an engine outside of the cache too, with its record beside it: FILE.engine and FILE.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Unsupported
from ..files import replace_file
from ..spec import Artifact, Cell, digest
from .protocol import Engine, Workshop

ENGINE_FILE, RECORD_FILE, TIMINGS_FOLDER = "engine.plan", "engine.json", "timings"
RECORD_SUFFIX = ".json"

BuildEngine = Callable[[bytes], tuple[bytes, bytes]]


class Shelf:
    """Engines of one cell, one for each maker.

    `more`: values beside the file, the precision, the shapes and the options that decide the engine.
    """

    def __init__(
        self, workshop: Workshop, artifact: Artifact, cell: Cell, maker: str, more: tuple[str | int, ...] = ()
    ) -> None:
        options = [pair for pair in cell.settings.options if pair[0] != "cuda_graph"]  # it does not change the engine
        # `more` is left out where it is empty: records of engines that users keep have this digest
        recipe = digest([cell.precision, cell.shapes, options, *([more] if more else [])])[:12]
        self._workshop, self._maker = workshop, maker
        self._recipe = f"{artifact.sha256[:16]}-{recipe}"
        self._folder = workshop.folder / self._recipe
        own = self._folder / digest(maker)[:12]
        self._own = own / f"build-{workshop.build}" if workshop.build else own
        self._timings = workshop.folder / TIMINGS_FOLDER / digest(maker)[:12]

    def engine(self, build: BuildEngine) -> Engine:
        """Find the engine of this maker, or build it and keep it. `Unsupported` if the user's own engine cannot be used."""
        if self._workshop.file:
            return self._users_engine(self._workshop.file)
        record = self._valid_record()
        if record:
            return self._as_engine(record, cached=True)
        remark = self._remark()
        begin = self._workshop.now_ns()
        plan, timings = build(self._known_timings())
        seconds = (self._workshop.now_ns() - begin) / 1e9
        for folder in (self._workshop.folder, *([self._timings.parent] if timings else []), self._folder, *self._below()):
            folder.mkdir(mode=0o700, exist_ok=True)  # private: an engine is native code
        if timings and not self._workshop.build:
            replace_file(self._timings, lambda scratch: scratch.write_bytes(timings))
        replace_file(self._own / ENGINE_FILE, lambda scratch: scratch.write_bytes(plan))
        record = {"maker": self._maker, "seconds": seconds, "sha256": hashlib.sha256(plan).hexdigest()}
        # the record comes last: an engine without it, after a kill in between, does not count
        replace_file(self._own / RECORD_FILE, lambda scratch: scratch.write_text(json.dumps(record)))
        return self._as_engine(record, remark=remark)

    def _known_timings(self) -> bytes:
        """Timings of earlier builds; none for a further build, which would choose the same kernels by them."""
        anew = self._workshop.build or self._workshop.without_timings
        return self._timings.read_bytes() if self._timings.is_file() and not anew else b""

    def _below(self) -> list[Path]:
        """The folder of the engine, and the folders between it and the folder of the file."""
        return [*reversed([path for path in self._own.parents if self._folder in path.parents]), self._own]

    def _as_engine(self, record: dict[str, Any], **traits: Any) -> Engine:
        return Engine(
            path=self._own / ENGINE_FILE,
            seconds=float(record["seconds"]),
            sha256=str(record["sha256"]),
            maker=self._maker,
            recipe=self._recipe,
            **traits,
        )

    def _users_engine(self, path: Path) -> Engine:
        """The engine that the user keeps at `path`. `Unsupported` for a damaged one, or for one of another maker or file."""
        record = _record_at(self._workshop.record or path.with_suffix(RECORD_SUFFIX))
        remedy = "remove it, or give another --keep-engines"
        if record is None or not path.is_file():
            raise Unsupported(
                f"{path} has no record {path.with_suffix(RECORD_SUFFIX).name} that tells how it was built", remedy
            )
        if record["maker"] != self._maker:
            raise Unsupported(f"{path} was built by {record['maker']}, and this is {self._maker}", remedy)
        if record.get("recipe") != self._recipe:
            raise Unsupported(f"{path} was built from another ONNX file, or with other settings", remedy)
        if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise Unsupported(f"{path} is damaged: its SHA-256 is not the one in its record", remedy)
        return replace(self._as_engine(record, cached=True), path=path)

    def _valid_record(self) -> dict[str, Any] | None:
        """Record of this maker's engine, None if the engine is missing or its hash differs."""
        record = _read_record(self._own)
        plan = self._own / ENGINE_FILE
        if record is None or not plan.is_file() or hashlib.sha256(plan.read_bytes()).hexdigest() != record["sha256"]:
            return None
        return record

    def _remark(self) -> str:
        """Reason that the cache has an engine which cannot be used; empty if it has none."""
        if any((self._own / name).exists() for name in (ENGINE_FILE, RECORD_FILE)):
            return "rebuilt the engine: the file in the cache was damaged"
        records = map(_read_record, sorted(self._folder.glob("*")))
        makers = [record["maker"] for record in records if record and record["maker"] != self._maker]
        return f"rebuilt the engine: the cache has one of {makers[0]}, and this is {self._maker}" if makers else ""


def _read_record(folder: Path) -> dict[str, Any] | None:
    return _record_at(folder / RECORD_FILE)


def _record_at(path: Path) -> dict[str, Any] | None:
    """Record of an engine; None for a file that is none."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"maker", "seconds", "sha256"} <= set(record) else None
