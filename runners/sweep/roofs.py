"""Roofs of a sweep: rows that measure what the machine attains, in the same rounds as the models. Loads no framework.

The best runtime of the sweep gives each roof, so a roof is as high as the runtimes that are measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import BenchError, StorageFailed
from ...models.roofs import CHAIN_LENGTH, CPU_SIDE, GPU_SIDE, MEGABYTE, RoofGraph
from ...spec import PRECISIONS, Artifact, Cell, Settings, Sweep, Target
from ...work import COMPUTE, MEMORY, NODES, Workload
from ..pool.context import Context
from ..pool.pool import Worker
from ..pool.survey import ProbedBackend
from ..worker import flush
from ..worker.file_jobs import CountWork, MakeRoof
from ..worker.tasks import task_of
from .cells import ActiveCell, RunContext
from .plan import PlannedCell

FP32 = "fp32"
CACHES = 4  # times the last-level cache: little of such arrays is left in it from one call to the next
LEAST_BYTES, MOST_BYTES = 96 * MEGABYTE, 1024 * MEGABYTE
GPU_BYTES = 768 * MEGABYTE  # far above the last-level cache of a GPU, 50 MB on an H100


def roof_rows(
    sweep: Sweep,
    rows: Sequence[PlannedCell],
    backends: Sequence[ProbedBackend],
    context: Context,
    sum_bytes: Sequence[int] = (),
) -> list[PlannedCell]:
    """Rows of the roofs of `rows`, for a sweep that requests them. Makes their files. `BadInput` where none can be made.

    `sum_bytes`: more sizes of arrays on a CPU, beside those of the files.
    """
    if not sweep.roof:
        return []
    usable = [row for row in rows if not (row.refused or row.program or row.beside)]
    files: dict[RoofGraph, Artifact] = {}
    planned: dict[Cell, PlannedCell] = {}
    measured: set[tuple[str, RoofGraph, str]] = set()
    for backend in _runtimes(usable, backends):
        own = [row for row in usable if row.cell.target == backend.target]
        for row in {(row.cell.alone.device, row.cell.settings.threads): row for row in own}.values():
            for graph, precision in _graphs(backend, row.cell.alone.device, usable, sum_bytes):
                # An engine takes up to a minute to build, and no runtime needs one for a roof that another one measures.
                if backend.builds and (row.cell.alone.device, graph, precision) in measured:
                    continue
                if graph not in files:
                    files[graph] = _file(graph, context)
                one = _row(row, files[graph], graph, precision)
                planned[one.cell] = one
                if not backend.builds:
                    measured.add((one.cell.device, graph, precision))
    return list(planned.values())


def _runtimes(rows: Sequence[PlannedCell], backends: Sequence[ProbedBackend]) -> list[ProbedBackend]:
    """Runtimes of `rows` that open an ONNX file, or PyTorch's own form of it, as it is; those that build engines last."""
    targets: set[Target] = {row.cell.target for row in rows}
    own = [item for item in backends if item.target in targets and item.available and not (item.converter or item.instrument)]
    return sorted(own, key=lambda item: item.builds)


def _graphs(
    backend: ProbedBackend, device: str, rows: Sequence[PlannedCell], sum_bytes: Sequence[int]
) -> Iterator[tuple[RoofGraph, str]]:
    """Graphs that `backend` runs on `device`, each with the precision of its row."""
    requested = dict.fromkeys((FP32, *(row.cell.precision for row in rows if row.cell.alone.device == device)))
    side = CPU_SIDE if device == "cpu" else GPU_SIDE
    for precision in requested:
        file = PRECISIONS[precision].file
        if precision in backend.precisions and precision not in backend.on_request and "+" not in precision:
            yield RoofGraph(kind=COMPUTE, size=side, precision=file), precision
    if FP32 in backend.precisions:
        for nbytes in _array_bytes(device, rows, sum_bytes):
            yield RoofGraph(kind=MEMORY, size=nbytes), FP32
        yield RoofGraph(kind=NODES, size=CHAIN_LENGTH), FP32


def _array_bytes(device: str, rows: Sequence[PlannedCell], sum_bytes: Sequence[int]) -> list[int]:
    """Bytes of the arrays of each sum: those of each file on `device`, which a cache may hold, and far more than the caches.

    `sum_bytes`: more of them on a CPU. On a GPU, a call with arrays that small is mostly its start.
    """
    cached = int(flush.host_bytes() / flush.SHARE) * CACHES
    far = GPU_BYTES if device != "cpu" else min(max(cached, LEAST_BYTES), MOST_BYTES)
    sizes = {-(-row.artifact.nbytes // MEGABYTE) * MEGABYTE for row in rows if row.cell.alone.device == device}
    sizes |= set(sum_bytes) if device == "cpu" else set()
    return [*sorted(size for size in sizes if 0 < size < far), far]


def _file(graph: RoofGraph, context: Context) -> Artifact:
    entry = context.ask(MakeRoof(kind=graph.kind, size=graph.size, precision=graph.precision))
    return replace(entry.artifact, path=str(Path(entry.folder.path) / entry.artifact.path))


def _row(row: PlannedCell, file: Artifact, graph: RoofGraph, precision: str) -> PlannedCell:
    """Row of `graph` on the runtime and the device of `row`, with as many threads and no options."""
    cell = Cell(
        model=graph.name,
        sha256=file.sha256,
        backend=row.cell.backend,
        environment=row.cell.environment,
        device=row.cell.alone.device,
        precision=precision,
        batch=1,
        shapes=tuple((spec.name, tuple(dim for dim in spec.shape if isinstance(dim, int))) for spec in file.inputs),
        settings=Settings(threads=row.cell.settings.threads),
        roof=graph.kind,
    )
    return PlannedCell(cell=cell, artifact=file, python=row.python, builds=row.builds)


def count_work(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Record the work of one call of each of `cells`, where the sweep has roofs. A failure becomes a note."""
    uncounted = [active for active in cells if not active.work] if run.sweep.roof else []
    if not uncounted:
        return
    counted: dict[CountWork, Workload | None] = {}
    with run.context.pool.start(run.context.logs / "prepare.log", network=task_of(CountWork).network) as worker:
        for active in uncounted:
            job = CountWork(artifact=active.planned.source, shapes=active.planned.cell.shapes)
            if job not in counted:
                counted[job] = _counted(run, worker, job, active)
            if workload := counted[job]:
                run.journal.add(active.key, workload)
                active.work = True


def _counted(run: RunContext, worker: Worker, job: CountWork, active: ActiveCell) -> Workload | None:
    run.check_stop()
    try:
        return Workload.of(worker.ask(job, run.sweep.timeout_s))
    except StorageFailed:
        raise
    except BenchError as error:
        run.context.progress.note(f"{active.planned.cell.id}: its operations were not counted ({error})")
        return None
