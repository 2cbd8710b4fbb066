"""Input arrays that all backends share, and the answers of the FP32 reference to them. Loads no framework.

A worker makes both once for each FP32 file. The files that derive from the FP32 file use the same arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import DRAWN, BadInput, BenchError, StorageFailed
from ...evidence import Drawn
from ...spec import Artifact, Shapes, digest
from ..pool.pool import Worker
from ..worker.file_jobs import Draw, Refer, ReferenceCall, Referred
from ..worker.jobs import Here, There
from ..worker.tasks import task_of
from .cells import ActiveCell, RunContext
from .parity import Reference, compare_files, of_array
from .plan import PlannedCell

SMALLER = (2, 1)  # bounds of integers for inputs that the model refuses: ids of small tables, then zeros


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
    artifact, is_roof = cells[0].planned.reference, bool(cells[0].planned.cell.roof)
    folder = run.journal.scratch / artifact.sha256[:16]
    first = {cell.shapes: cell for cell in (active.planned.cell for active in cells)}
    input_folders = {shapes: folder / digest(shapes)[:16] for shapes in first}
    # One worker for all shapes: it loads the FP32 reference once.
    with run.context.pool.start(run.context.logs / "prepare.log", network=task_of(Draw).network) as worker:
        for shapes, inputs_folder in input_folders.items():
            drawing = _drawing(run, artifact, shapes, inputs_folder)
            worker.ask(replace(drawing, arrays=1) if is_roof else drawing, run.sweep.timeout_s)
        calls = tuple(
            ReferenceCall(
                shapes=shapes,
                batch=cell.batch,
                dims=cell.dims,
                inputs=Here(path=str(inputs_folder)),
                outputs=There(path=str(_reference(inputs_folder))),
            )
            for (shapes, cell), inputs_folder in zip(first.items(), input_folders.values())
        )
        # Nobody needs the answers of a roof.
        referred = None if is_roof else _refer(run, worker, cells[0].planned, calls, folder / "samples")
        refused = (
            {calls[item.call].inputs.path for item in referred.refused} if referred else {call.inputs.path for call in calls}
        )
        answered = [
            of_array(call, number)
            for call in calls
            if call.inputs.path not in refused
            for number in range(run.sweep.input_count)
        ]
        compared = Reference.of(artifact, answered, referred, cells[0].planned.cell.feedback)
        if compared:
            compare_files(compared, worker, (active.planned.artifact for active in cells if not active.verified), run.context)
        network = worker.network
    for active in cells:
        active.inputs, active.drawn = str(input_folders[active.planned.cell.shapes]), _is_drawn(run, artifact)
        has_reference = active.inputs not in refused
        run.journal.add(active.key, Drawn(network=network, referred=has_reference))
        active.reference = str(_reference(Path(active.inputs))) if has_reference else None
        sampled = referred is not None and not referred.no_samples and artifact.labelled
        active.samples = str(folder / "samples") if has_reference and sampled else None
        active.compared = compared


def _is_drawn(run: RunContext, artifact: Artifact) -> bool:
    """True if some inputs of `artifact` are generated: neither arrays of the user nor samples of its dataset."""
    names = {spec.name for spec in artifact.inputs}
    given = names & {name for name, _ in run.sweep.inputs}
    return given != names and not (artifact.dataset and not given)


def _reference(inputs_folder: Path) -> Path:
    """Folder of the reference's outputs for the inputs in `inputs_folder`."""
    return inputs_folder.with_name(f"{inputs_folder.name}-reference")


def _drawing(run: RunContext, artifact: Artifact, shapes: Shapes, inputs_folder: Path, high: int | None = None) -> Draw:
    names = {spec.name for spec in artifact.inputs}
    given = tuple((name, Here(path=str(Path(path).absolute()))) for name, path in run.sweep.inputs if name in names)
    folder, data = There(path=str(inputs_folder)), run.context.data_of(artifact.dataset)
    source: dict[str, Any] = {"seed": run.sweep.seed, "given": given, "data": data, "high": high}
    return Draw(artifact=artifact, shapes=shapes, folder=folder, arrays=run.sweep.input_count, **source)


def _refer(
    run: RunContext, worker: Worker, planned: PlannedCell, calls: tuple[ReferenceCall, ...], samples: Path
) -> Referred | None:
    """Compute the FP32 reference. None, after a note, where the reference runtime cannot run the model.

    Where the model refuses inputs that were drawn, they are drawn again, with smaller integers. Raises `BadInput` for a state
    that cannot be fed back.
    """
    artifact = planned.reference
    job = Refer(
        artifact=artifact,
        feedback=planned.cell.feedback,
        arrays=run.sweep.input_count,
        calls=calls,
        samples=There(path=str(samples)),
        images=run.sweep.images or run.sweep.budget.images,
        data=run.context.data_of(artifact.labelled),
    )
    try:
        referred = worker.ask(job, run.sweep.timeout_s)
        for high in SMALLER if _is_drawn(run, artifact) else ():
            referred = _retry(run, worker, job, referred, high)
    except StorageFailed:
        raise
    except BenchError as error:
        run.context.progress.note(f"{artifact.model}: answers are not compared, because the FP32 reference failed ({error})")
        return None
    if referred.unlike:
        raise BadInput(*referred.unlike)
    _check_dims(run, artifact, calls, referred)
    _note_refused(run, artifact, calls, referred)
    return referred


def _check_dims(run: RunContext, artifact: Artifact, calls: Sequence[ReferenceCall], referred: Referred) -> None:
    """Raise `BadInput` if the model refuses sizes of `--dim` at every batch: no row of these sizes could run."""
    reasons = {item.call: item.reason for item in referred.refused if item.running}
    for dims in dict.fromkeys(call.dims for call in calls if call.dims):
        numbers = [number for number, call in enumerate(calls) if call.dims == dims]
        if all(number in reasons for number in numbers):
            sizes = " ".join(f"--dim {name}={size}" for name, size in dims)
            hint = DRAWN if _is_drawn(run, artifact) else "leave out this size"
            raise BadInput(f"{artifact.model} refuses {sizes} ({reasons[numbers[0]]})", hint)


def _retry(run: RunContext, worker: Worker, job: Refer, referred: Referred, high: int) -> Referred:
    """The reference with the inputs of refused calls drawn again, their integers below `high`."""
    numbers = [item.call for item in referred.refused if item.running]
    calls = tuple(job.calls[number] for number in numbers)
    if not calls:
        return referred
    for call in calls:
        worker.ask(_drawing(run, job.artifact, call.shapes, Path(call.inputs.path), high), run.sweep.timeout_s)
    again = worker.ask(replace(job, calls=calls, data=job.data if referred.no_samples else None), run.sweep.timeout_s)
    others = (item for item in referred.refused if not item.running)
    refused = (*others, *(replace(item, call=numbers[item.call]) for item in again.refused))
    return replace(again, refused=refused, no_samples=referred.no_samples and again.no_samples)


def _note_refused(run: RunContext, artifact: Artifact, calls: Sequence[ReferenceCall], referred: Referred) -> None:
    """Note the batches without a reference, once for each reason."""
    batches: dict[str, list[str]] = {}
    for item in referred.refused:
        hint = f"; {DRAWN}" if item.running and _is_drawn(run, artifact) else ""
        batches.setdefault(f"{item.reason}{hint}", []).append(str(calls[item.call].batch))
    for reason, names in batches.items():
        where = "" if len(referred.refused) == len(calls) else f" at batch {', '.join(sorted(names, key=int))}"
        run.context.progress.note(
            f"{artifact.model}: answers are not compared{where}, because the FP32 reference failed: {reason}"
        )
