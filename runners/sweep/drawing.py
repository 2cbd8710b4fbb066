"""Input arrays that all backends share, and the answers of the FP32 reference to them. Loads no framework.

A worker makes both once for each FP32 file. The files that derive from the FP32 file use the same arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import BadInput, BenchError, StorageFailed
from ...evidence import Drawn
from ...spec import Artifact, Shapes, digest
from ..pool.pool import Worker
from ..worker.file_jobs import Draw, Refer, ReferenceCall, Referred
from ..worker.jobs import Data, Here, There
from ..worker.tasks import JOBS
from .cells import ActiveCell, RunContext


def draw_inputs(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Draw the inputs of `cells` and set each cell's folders. Without inputs, every cell of the file ends with the error.

    Raises `BadInput` for arrays that do not fit the model, and `StorageFailed`.
    """
    for file in dict.fromkeys(active.planned.reference.sha256 for active in cells):
        run.check_stop()
        run.context.progress.step("drawing inputs", 0, run.total)
        members = [active for active in cells if active.planned.reference.sha256 == file]
        try:
            _draw(run, members)
        except (StorageFailed, BadInput):  # a full disk or the user's arrays: the same error for every file
            raise
        except BenchError as error:
            for active in members:
                run.end(active, error)


def _draw(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    artifact = cells[0].planned.reference
    folder = run.journal.scratch / artifact.sha256[:16]
    jobs = {active.planned.cell.shapes: active.planned.cell.batch for active in cells}
    input_folders = {shapes: folder / digest(shapes)[:16] for shapes in jobs}
    # One worker for all shapes: it loads the FP32 reference once.
    with run.context.pool.start(run.context.logs / "prepare.log", network=JOBS[Draw].network) as worker:
        for shapes, inputs_folder in input_folders.items():
            worker.ask(_drawing(run, artifact, shapes, inputs_folder), run.sweep.timeout_s)
        calls = tuple(
            ReferenceCall(
                shapes=shapes,
                batch=batch,
                inputs=Here(path=str(inputs_folder)),
                outputs=There(path=str(_reference(inputs_folder))),
            )
            for (shapes, batch), inputs_folder in zip(jobs.items(), input_folders.values())
        )
        referred = _refer(run, worker, artifact, calls, folder / "samples")
        network = worker.network
    for active in cells:
        run.journal.add(active.key, Drawn(network=network, referred=referred is not None))
        inputs_folder = input_folders[active.planned.cell.shapes]
        active.inputs, active.reference = str(inputs_folder), str(_reference(inputs_folder)) if referred else None
        active.samples = str(folder / "samples") if referred and artifact.dataset else None
        active.random = referred.random if referred else ()


def _reference(inputs_folder: Path) -> Path:
    """Folder of the reference's outputs for the inputs in `inputs_folder`."""
    return inputs_folder.with_name(f"{inputs_folder.name}-reference")


def _drawing(run: RunContext, artifact: Artifact, shapes: Shapes, inputs_folder: Path) -> Draw:
    names = {spec.name for spec in artifact.inputs}
    given = tuple((name, Here(path=str(Path(path).absolute()))) for name, path in run.sweep.inputs if name in names)
    folder, data = There(path=str(inputs_folder)), Data.of(artifact.dataset)
    return Draw(artifact=artifact, shapes=shapes, seed=run.sweep.seed, given=given, data=data, folder=folder)


def _refer(
    run: RunContext, worker: Worker, artifact: Artifact, calls: tuple[ReferenceCall, ...], samples: Path
) -> Referred | None:
    """Compute the FP32 reference. None, after a note, where the reference runtime cannot run the model."""
    job = Refer(
        artifact=artifact,
        calls=calls,
        samples=There(path=str(samples)),
        images=run.sweep.images or run.sweep.budget.images,
        data=Data.of(artifact.dataset),
    )
    try:
        return worker.ask(job, run.sweep.timeout_s)
    except StorageFailed:
        raise
    except BenchError as error:
        run.context.progress.note(f"{artifact.model}: answers are not compared, because the FP32 reference failed ({error})")
        return None
