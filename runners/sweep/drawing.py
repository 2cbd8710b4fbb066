"""The arrays that every backend is given, and what the FP32 reference answers to them; made once for each FP32 file and
what was made from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import BadInput, BenchError, StorageFailed
from ...evidence import Drawn
from ...spec import Artifact, Shapes, digest
from ..pool.pool import Worker
from ..worker.file_jobs import Draw, Refer, ReferenceCall
from ..worker.jobs import Data, Here, There
from ..worker.tasks import JOBS
from .cells import ActiveCell, RunContext


def draw(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Give every visit its folders. Without inputs no cell of a file can be measured, which is then each row's reason."""
    for file in dict.fromkeys(active.planned.reference.sha256 for active in cells):
        run.check_stop()
        run.context.progress.step("drawing inputs", 0, run.total)
        of_file = [active for active in cells if active.planned.reference.sha256 == file]
        try:
            _draw(run, of_file)
        except (StorageFailed, BadInput):
            raise
        except BenchError as error:
            for active in of_file:
                run.end(active, error)


def _draw(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    artifact = cells[0].planned.reference
    folder = run.journal.scratch / artifact.sha256[:16]
    jobs = {active.planned.cell.shapes: active.planned.cell.batch for active in cells}
    places = {shapes: folder / digest(shapes)[:16] for shapes in jobs}
    with run.context.pool.start(run.context.logs / "prepare.log", network=JOBS[Draw].network) as worker:
        for shapes, place in places.items():
            worker.ask(_drawing(run, artifact, shapes, place), run.sweep.timeout_s)
        calls = tuple(
            ReferenceCall(shapes=shapes, batch=batch, inputs=Here(path=str(place)), outputs=There(path=str(_reference(place))))
            for (shapes, batch), place in zip(jobs.items(), places.values())
        )
        known = _refer(run, worker, artifact, calls, folder / "samples")
        network = worker.network
    for active in cells:
        run.journal.add(active.key, Drawn(network=network, referred=known))
    for active in cells:
        place = places[active.planned.cell.shapes]
        active.inputs, active.reference = str(place), str(_reference(place)) if known else None
        active.samples = str(folder / "samples") if known and artifact.dataset else None


def _reference(place: Path) -> Path:
    """The folder of the reference's outputs for the inputs in `place`."""
    return place.with_name(f"{place.name}-reference")


def _drawing(run: RunContext, artifact: Artifact, shapes: Shapes, place: Path) -> Draw:
    given = tuple((name, Here(path=str(Path(path).absolute()))) for name, path in run.sweep.inputs)
    folder, data = There(path=str(place)), Data.of(artifact.dataset)
    return Draw(artifact=artifact, shapes=shapes, seed=run.sweep.seed, given=given, data=data, folder=folder)


def _refer(run: RunContext, worker: Worker, artifact: Artifact, calls: tuple[ReferenceCall, ...], samples: Path) -> bool:
    """Whether the FP32 reference could be computed; a model that it cannot run has no parity, which is said."""
    job = Refer(
        artifact=artifact,
        calls=calls,
        samples=There(path=str(samples)),
        images=run.sweep.images or run.sweep.budget.images,
        data=Data.of(artifact.dataset),
    )
    try:
        worker.ask(job, run.sweep.timeout_s)
    except StorageFailed:
        raise
    except BenchError as error:
        run.context.progress.note(f"no parity for {artifact.model}: its FP32 reference cannot be computed ({error})")
        return False
    return True
