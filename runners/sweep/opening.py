"""Job that opens a cell with the engine that was chosen for it. Loads no framework."""

from __future__ import annotations

from pathlib import Path

from ..worker.jobs import EngineChoice, Here, Open
from .cells import ActiveCell


def open_job(active: ActiveCell, build: int | None = None) -> Open:
    """Job to open a cell; with another `build` than the one that is measured, to time that build."""
    planned = active.planned
    return Open(
        cell=planned.cell,
        artifact=planned.artifact,
        inputs=Here(path=active.inputs),
        drawn=active.drawn,
        engine=engine_choice(active, build),
    )


def engine_choice(active: ActiveCell, build: int | None = None) -> EngineChoice:
    """Engine of a cell: the file that the user keeps, or a `build` of the cache; by default the build that is measured."""
    number = active.build if build is None else build
    file = Path(active.engine_file) if active.engine_file else None
    return EngineChoice(
        build=number,
        file=Here(path=str(file)) if file else None,
        record=Here(path=str(record_file(file))) if file else None,
        # A cache that was emptied would give a new engine with other kernels. The hash refuses it.
        sha256=active.engines.get(number, ""),
    )


def record_file(file: Path) -> Path:
    """File that tells how the engine in `file` was built."""
    return file.with_suffix(".json")
