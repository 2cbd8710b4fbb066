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
from .visits import Desk, Visit


def draw(desk: Desk, visits: Sequence[Visit]) -> None:
    """Give every visit its folders. Without inputs no cell of a file can be measured, which is then each row's reason."""
    for file in dict.fromkeys(visit.planned.reference.sha256 for visit in visits):
        desk.check_stop()
        desk.context.progress.step("drawing inputs", 0, desk.total)
        of_file = [visit for visit in visits if visit.planned.reference.sha256 == file]
        try:
            _draw(desk, of_file)
        except (StorageFailed, BadInput):
            raise
        except BenchError as error:
            for visit in of_file:
                desk.end(visit, error)


def _draw(desk: Desk, visits: Sequence[Visit]) -> None:
    artifact = visits[0].planned.reference
    folder = desk.journal.scratch / artifact.sha256[:16]
    jobs = {visit.planned.cell.shapes: visit.planned.cell.batch for visit in visits}
    places = {shapes: folder / digest(shapes)[:16] for shapes in jobs}
    with desk.context.pool.start(desk.context.logs / "prepare.log", network=JOBS[Draw].network) as worker:
        for shapes, place in places.items():
            worker.ask(_drawing(desk, artifact, shapes, place), desk.sweep.timeout_s)
        calls = tuple(
            ReferenceCall(shapes=shapes, batch=batch, inputs=Here(path=str(place)), outputs=There(path=str(_reference(place))))
            for (shapes, batch), place in zip(jobs.items(), places.values())
        )
        known = _refer(desk, worker, artifact, calls, folder / "samples")
        network = worker.network
    for visit in visits:
        desk.journal.add(visit.key, Drawn(network=network, referred=known))
    for visit in visits:
        place = places[visit.planned.cell.shapes]
        visit.inputs, visit.reference = str(place), str(_reference(place)) if known else None
        visit.samples = str(folder / "samples") if known and artifact.dataset else None


def _reference(place: Path) -> Path:
    """The folder of the reference's outputs for the inputs in `place`."""
    return place.with_name(f"{place.name}-reference")


def _drawing(desk: Desk, artifact: Artifact, shapes: Shapes, place: Path) -> Draw:
    given = tuple((name, Here(path=str(Path(path).absolute()))) for name, path in desk.sweep.inputs)
    folder, data = There(path=str(place)), Data.of(artifact.dataset)
    return Draw(artifact=artifact, shapes=shapes, seed=desk.sweep.seed, given=given, data=data, folder=folder)


def _refer(desk: Desk, worker: Worker, artifact: Artifact, calls: tuple[ReferenceCall, ...], samples: Path) -> bool:
    """Whether the FP32 reference could be computed; a model that it cannot run has no parity, which is said."""
    job = Refer(
        artifact=artifact,
        calls=calls,
        samples=There(path=str(samples)),
        images=desk.sweep.images or desk.sweep.budget.images,
        data=Data.of(artifact.dataset),
    )
    try:
        worker.ask(job, desk.sweep.timeout_s)
    except StorageFailed:
        raise
    except BenchError as error:
        desk.context.progress.note(f"no parity for {artifact.model}: its FP32 reference cannot be computed ({error})")
        return False
    return True
