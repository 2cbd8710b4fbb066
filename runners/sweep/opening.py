"""Workers of a life, and the job that opens a cell with the engine that was chosen for it. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BenchError, WorkerDied
from ...evidence import Layers, Opened
from ...exporters.derive import other_maker
from ...spec import RANDOM
from ..pool.pool import Worker
from ..worker.jobs import EngineChoice, Here, Open, Probe
from .cells import ActiveCell
from .plan import PlannedCell

Hire = Callable[[ActiveCell], Worker]


def start_together(cells: Iterable[ActiveCell], hire: Hire, timeout_s: float) -> dict[tuple[Any, ...], Worker]:
    """Workers of the crews of `cells` in which their runtimes are loaded, by crew.

    A crew whose worker does not start or answer is left out: its opening starts another and reports the failure.
    """
    # Importing PyTorch takes seconds, and a life of every crew would wait for it. All imports run at the same time.
    started: dict[tuple[Any, ...], tuple[Worker, Probe]] = {}
    for active in cells:
        if active.crew not in started and not active.planned.program:
            with suppress(BenchError, OSError):
                worker, probe = hire(active), Probe(backend=active.planned.cell.backend)
                started[active.crew] = worker, probe
                with suppress(WorkerDied):  # `receive` raises it again
                    worker.send(probe)
    return {crew: worker for crew, (worker, probe) in started.items() if _is_ready(worker, probe, timeout_s)}


def _is_ready(worker: Worker, probe: Probe, timeout_s: float) -> bool:
    try:
        worker.receive(probe, timeout_s)
    except BenchError:
        worker.dismiss()
        return False
    return True


def open_job(active: ActiveCell, build: int | None = None) -> Open:
    """Job to open a cell; with another `build` than the one that is measured, to time that build."""
    planned = active.planned
    return Open(
        cell=active.cell,
        artifact=planned.artifact,
        inputs=Here(path=active.inputs),
        drawn=active.drawn,
        engine=engine_choice(active, build),
        parallel=active.parallel,
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


def with_file(opened: Opened, planned: PlannedCell) -> Opened:
    """`opened` with the facts of its file that a row shows; as it is for a program, whose files nobody knows."""
    if opened.program:
        return opened
    artifact, made = planned.artifact, planned.source.derived
    return replace(
        opened,
        artifact_mb=artifact.nbytes / 1e6,
        file=artifact.path,
        sha256=artifact.sha256,
        made_by=other_maker(made),
        invalid=artifact.invalid,
        layers=Layers(quantized=artifact.quantized_layers, float=artifact.float_layers),
        conversion=str(made or "") or None,
        random_calibration=bool(made and made.option("data") == RANDOM),
        random_weights=bool(artifact.source and artifact.source.random),
        lowered=planned.lowered,
        own_reference=planned.origin is None and artifact.precision != "fp32",
    )
