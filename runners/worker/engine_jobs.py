"""The worker's jobs for engines: build one, find the one that was measured, copy it for its user. NumPy and a runtime only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ... import backends
from ...backends import protocol
from ...backends.protocol import Backend, Workshop
from ...errors import RuntimeFailed, Unsupported
from ...evidence import Built
from ...exporters import cache
from ...files import replace_file
from ...spec import Artifact, Cell
from .jobs import Build, Copied, CopyEngine, EngineChoice, Open, Reporter
from .serve import State

ENGINES = "engines"  # folder of built engines in the user's cache


def backend_for(cell: Cell, artifact: Artifact) -> Backend:
    """Backend of the cell; `Unsupported` with the backend's reason if it cannot run the cell."""
    backend = backends.get(cell.backend)
    reason = backend.supports(cell, artifact)
    if reason:
        raise Unsupported(reason)
    return backend


def build(state: State, report: Reporter, job: Build) -> Built:
    """Compile the engine of a cell, or find it in the cache."""
    return built_of(find_engine(state, backend_for(job.cell, job.artifact), job), job.engine)


def find_engine(state: State, backend: Backend, job: Build | CopyEngine | Open) -> protocol.Engine | None:
    """The chosen engine, compiled if the cache lacks it. `RuntimeFailed` if it is not the one that was measured before."""
    folder, choice = cache.root() / ENGINES, job.engine
    workshop = Workshop(
        folder=cache.make_private(folder) if backend.builds else folder,
        now_ns=state.clock.now_ns,
        build=choice.build,
        file=Path(choice.file.path) if choice.file else None,
        record=Path(choice.record.path) if choice.record else None,
        without_timings=isinstance(job, Build) and job.without_timings,
    )
    engine = backend.build(job.artifact, job.cell, workshop)
    if engine and choice.sha256 and engine.sha256 != choice.sha256:
        raise RuntimeFailed(
            "its engine is another one than this run built before, and its rounds would not mean the same",
            "measure it again in another --out",
        )
    return engine


def built_of(engine: protocol.Engine | None, choice: EngineChoice) -> Built:
    """Facts of the engine for the record."""
    if engine is None:
        return Built()
    return Built(
        build_s=engine.seconds,
        engine_cached=engine.cached,
        remark=engine.remark,
        build=choice.build,
        engine_sha256=engine.sha256 or None,
    )


def copy_engine(state: State, report: Reporter, job: CopyEngine) -> Copied:
    """Copy an engine out of the cache, with the record that a later build of the same cell checks."""
    engine = find_engine(state, backend_for(job.cell, job.artifact), job)
    if engine is None:
        return Copied()
    record = {"maker": engine.maker, "recipe": engine.recipe, "seconds": engine.seconds, "sha256": engine.sha256}
    replace_file(Path(job.file.path), lambda scratch: shutil.copyfile(engine.path, scratch))
    # The record comes last: an engine without a record is not used.
    replace_file(Path(job.record.path), lambda scratch: scratch.write_text(json.dumps(record)))
    return Copied(sha256=engine.sha256, maker=engine.maker)
