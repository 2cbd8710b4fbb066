"""Job that opens a cell with the engine that was chosen for it. Loads no framework."""

from __future__ import annotations

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
    # A cache that was emptied would give a new engine with other kernels. The hash refuses it.
    return EngineChoice(
        build=number, file=Here(path=active.engine_file) if active.engine_file else None, sha256=active.engines.get(number, "")
    )
