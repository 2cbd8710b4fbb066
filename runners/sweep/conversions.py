"""Files in the formats of runtimes that read no ONNX file, converted before anything is measured. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ... import backends
from ...errors import RuntimeFailed, Unsupported, WorkerTimeout
from ...evidence import Converted
from ...spec import Conversion
from ..pool import calibration_data
from ..pool.environments import interpreter
from ..pool.pool import Worker
from ..worker.file_jobs import ConvertFormat, WriteSamples
from ..worker.jobs import Data, Here, There
from .cells import ActiveCell, RunContext

SCRATCH, SAMPLES = "converted", "samples"  # folders in the run's scratch folder, which ends with the run


def is_unconverted(active: ActiveCell) -> bool:
    """True if the file of `active` has to be converted before its runtime can open it."""
    return bool(active.planned.converter) and not active.planned.artifact.converted and not active.out


def convert_files(run: RunContext, cells: Sequence[ActiveCell]) -> None:
    """Convert the files of `cells`, or find them in the cache. One worker for each target converts one file after the other.

    A converter that dies, or is stopped, costs the rows of its file.
    """
    waiting = [active for active in cells if is_unconverted(active)]
    run.total += len(waiting)
    for target in dict.fromkeys(active.planned.cell.target for active in waiting):
        _Conversions(run).convert([active for active in waiting if active.planned.cell.target == target])


class _Conversions:
    """Conversions of one target, in one worker after the other."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._worker: Worker | None = None
        self._late: dict[str, WorkerTimeout] = {}
        self._samples: dict[str, Here] = {}

    def convert(self, cells: Sequence[ActiveCell]) -> None:
        try:
            for active in cells:
                self._run.check_stop()
                self._run.attempt(active, self._convert, self._lose)
        finally:
            self._dismiss()

    def _dismiss(self) -> None:
        if self._worker:
            self._worker.dismiss()
        self._worker = None

    def _lose(self, _: ActiveCell) -> None:
        self._dismiss()

    def _start(self, active: ActiveCell) -> Worker:
        """Worker of the converter: in the interpreter that `--python CONVERTER=PATH` names, else in that of the backend."""
        planned, run = active.planned, self._run
        own = dict(run.sweep.converters).get(planned.converter)
        python = interpreter(own) if own else planned.python
        log = run.journal.logs / f"{planned.cell.target}-convert.log"
        return run.context.pool.start(log, python, network=backends.network(planned.cell.backend))

    def _convert(self, active: ActiveCell) -> None:
        planned, run = active.planned, self._run
        if planned.artifact.sha256 in self._late:  # the other shapes of the file would take as long
            raise self._late[planned.artifact.sha256]
        self._worker = self._worker or self._start(active)
        scratch = There(path=str(run.journal.scratch / SCRATCH))
        job = ConvertFormat(
            cell=planned.cell,
            artifact=planned.artifact,
            origin=planned.origin,
            scratch=scratch,
            samples=self._samples_of(active) if planned.calibrated else None,
        )
        limit_s = run.sweep.build_timeout_s or run.sweep.timeout_s
        try:
            made = self._worker.ask(job, limit_s)
        except WorkerTimeout as error:
            problem = f"{planned.converter} did not convert its file within {limit_s:g} s"
            self._late[planned.artifact.sha256] = WorkerTimeout(problem, "give a larger --build-timeout")
            raise self._late[planned.artifact.sha256] from error
        if made.converted is None or made.folder is None:
            raise RuntimeFailed(f"the worker of {planned.cell.target} has no converter")
        self._keep(active, made.converted)
        active.planned = replace(planned, artifact=replace(planned.artifact, converted=made.folder.path))

    def _samples_of(self, active: ActiveCell) -> Here:
        """The samples that calibrated the INT8 file of a cell, written once for each file."""
        planned, run = active.planned, self._run
        origin, derived = planned.origin, planned.source.derived
        if origin is None or derived is None:
            problem = f"{planned.converter} quantizes the FP32 file by itself, and this INT8 file has no FP32 file beside it"
            raise Unsupported(problem, "give the FP32 file to --model")
        name = planned.artifact.sha256
        if name not in self._samples:
            place, calibrated_on = calibration_data.locate(derived.calibration(origin.dataset), run.context)
            file = There(path=str(run.journal.scratch / SAMPLES / f"{name}.npz"))
            job = WriteSamples(
                artifact=origin,
                precision=planned.cell.precision,
                how=Conversion.of(derived.options),
                calibration=place,
                calibrated_on=calibrated_on,
                data=Data.of(origin.dataset),
                shapes=planned.cell.shapes,
                seed=run.sweep.seed,
                file=file,
            )
            run.context.ask(job)
            self._samples[name] = Here(path=file.path)
        return self._samples[name]

    def _keep(self, active: ActiveCell, converted: Converted) -> None:
        """Record the file of a cell. `RuntimeFailed` if earlier rounds of the run measured another one."""
        if active.converted and active.converted.sha256 != converted.sha256:
            problem = "its converted file is another one than this run had before, and its rounds would not mean the same"
            raise RuntimeFailed(problem, "measure it again in another --out")
        if active.converted is None:
            self._run.journal.add(active.key, converted)
            if not converted.cached:
                name, seconds = active.planned.cell.id, converted.convert_s
                self._run.context.progress.note(f"converted {name} with {converted.converter} in {seconds:.1f} s")
        active.converted = converted
