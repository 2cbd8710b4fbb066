"""The arrays that every backend is given, and what the FP32 reference answers to them; made once for each FP32 file and
what was made from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, StorageFailed
from ...spec import Artifact, digest, to_wire
from ..pool.isolate import Worker
from ..worker.serve import JOBS
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
    with Worker(desk.context.logs / "prepare.log", desk.context.clock, network=JOBS["draw"].network) as worker:
        for shapes, place in places.items():
            worker.ask("draw", desk.sweep.timeout_s, **_drawing(desk, artifact, shapes, place))
        asked = [
            {"shapes": shapes, "batch": batch, "inputs": str(places[shapes]), "outputs": str(places[shapes] / "reference")}
            for shapes, batch in jobs.items()
        ]
        known = _refer(desk, worker, artifact, asked, folder / "samples")
        network = worker.network
    for visit in visits:
        desk.journal.add("drawn", visit.key, network=network, referred=known)
    for visit in visits:
        place = places[visit.planned.cell.shapes]
        visit.inputs, visit.reference = str(place), str(place / "reference") if known else None
        visit.samples = str(folder / "samples") if known and artifact.dataset else None


def _drawing(desk: Desk, artifact: Artifact, shapes: Any, place: Path) -> dict[str, Any]:
    given = {name: str(Path(path).absolute()) for name, path in desk.sweep.inputs}
    return {"artifact": to_wire(artifact), "shapes": shapes, "seed": desk.sweep.seed, "given": given, "folder": str(place)}


def _refer(desk: Desk, worker: Worker, artifact: Artifact, jobs: list[dict[str, Any]], samples: Path) -> bool:
    """Whether the FP32 reference could be computed; a model that it cannot run has no parity, which is said."""
    request: dict[str, Any] = {
        "artifact": to_wire(artifact),
        "jobs": jobs,
        "samples": str(samples),
        "images": desk.sweep.images or desk.sweep.budget.images,
    }
    try:
        worker.ask("reference", desk.sweep.timeout_s, **request)
    except StorageFailed:
        raise
    except BenchError as error:
        desk.context.progress.note(f"no parity for {artifact.model}: its FP32 reference cannot be computed ({error})")
        return False
    return True
