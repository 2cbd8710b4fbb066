"""`bench export --max top1_drop=0.5`: the search for an INT8 file within bounds. Loads no framework.

bound_walk.py decides what to try. A worker makes and evaluates each candidate; it is replaced if a candidate ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from ... import backends
from ...errors import BadInput, BenchError, BoundMissed, StorageFailed, nearest
from ...exporters.manifest import relocate
from ...exporters.schemes import BEST, by_care
from ...exporters.searched import DataParts, Evaluated, FirstLook, NodeError, SearchPath, SearchStep
from ...models import MODELS, datasets
from ...models.preprocessing import absolute_name
from ...results.table.conditions import Condition
from ...spec import Artifact, Conversion, Derived, Sweep
from ..pool.context import Context
from ..pool.environments import interpreters
from ..pool.pool import Worker
from ..pool.survey import ProbedBackend, survey
from ..worker.file_jobs import CacheEntry, CountImages, Making
from ..worker.jobs import Data, Job
from ..worker.search_jobs import MOST_PROOF, CountParts, EvaluateInt8, Evaluation, RankNodes
from . import export_command, library_models, search_lines
from .bound_walk import Walk, WalkResult
from .bounds import LABELLED, Bound, bounds_of, check_data
from .exports import ExportResult, add_file, check_fp32, conversion_job, export_model, note_calibration
from .request import INT8, ExportRequest, files_of

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A request for an INT8 file within `bounds`. `backend`: the runtime that runs the files; empty for the default.

    `schemes`: those that the user named; empty for all that the backend takes.
    """

    bounds: tuple[Bound, ...]
    backend: str = ""
    schemes: tuple[str, ...] = ()


def search_request(
    conditions: Sequence[Condition], backend: tuple[str, ...], schemes: tuple[str, ...], precisions: Sequence[str]
) -> SearchRequest | None:
    """The request of the command line; None without bounds. `BadInput` for options that contradict each other."""
    if not conditions:
        if backend:
            raise BadInput("--backend is for a search within bounds", "add --max top1_drop=0.5, or leave it out")
        return None
    if precisions and INT8 not in files_of(precisions):
        raise BadInput(f"{conditions[0].text} is a bound for INT8, which --precision does not name", "add --precision int8")
    if len(backend) > 1 or any("@" in name for name in backend):
        raise BadInput(f"--backend {','.join(backend)}: a search is for one backend of this environment", "name one backend")
    if BEST in schemes:
        raise BadInput(f"--int8 {BEST} names one scheme, and a search tries several", f"leave out --int8 {BEST}")
    for name in backend:
        backends.check_name(name)
    return SearchRequest(bounds=bounds_of(conditions), backend="".join(backend), schemes=schemes)


def export_within(request: ExportRequest, search: SearchRequest, context: Context) -> list[ExportResult]:
    """Export `request`, with the first INT8 file whose bounds hold. Raises like `export_model`, and `BoundMissed`."""
    request = library_models.prepared(request, context)
    _check_early(request, search, context)
    backend = _backend(search, context)
    schemes = _schemes(search, backend)
    results = export_model(replace(request, without=(INT8,)), context)
    base = results[0].exported.artifact
    check_fp32(base, INT8)
    run = SearchRun(base=base, request=request, search_request=search, backend=backend, context=context)
    try:
        path, result = run.run(schemes)
    finally:
        run.dismiss()
    if result.proven is None:
        if result.nearest:
            context.progress.note(f"to write the nearest file all the same: {run.command(result.nearest, path.parts)}")
        raise BoundMissed(search_lines.unreachable_line(path, result))
    file = _write(run, path, result.proven)
    _note_end(run, path, result.proven)
    return [*results, file]


def _write(run: SearchRun, path: SearchPath, proven: SearchStep) -> ExportResult:
    """Add the proven file to the folder, with its search."""
    entry = run.converted[proven.scheme, proven.exclude]
    result = add_file(replace(entry, made=replace(entry.made, search=path)), run.request, run.base.source)
    note_calibration(result, run.request, run.context)
    return result


def _note_end(run: SearchRun, path: SearchPath, proven: SearchStep) -> None:
    """Note the origin of the first looks, a file that is slower than FP32, and a drop that is not certain."""
    look = next((step.look for step in path.steps if (step.scheme, step.exclude) == (proven.scheme, proven.exclude)), None)
    lines = [search_lines.look_note(look, path.backend)] if look else []
    for line in (*lines, *search_lines.uncertain_lines(run.search_request.bounds, proven)):
        run.context.progress.note(line)


def _check_early(request: ExportRequest, search: SearchRequest, context: Context) -> None:
    """Raise `BadInput` before any long work, such as a training, for a bound that the dataset cannot show."""
    named = MODELS.get(request.model)
    dataset = request.dataset or (named.dataset if named else None)
    labelled = [bound for bound in search.bounds if bound.metric in LABELLED]
    if not labelled:
        return
    if not dataset:
        raise BadInput(f"{labelled[0].text} needs labels, and there is no dataset", "give --dataset, or use --min sqnr=20")
    datasets.check(dataset)
    counted = context.ask(CountImages(data=Data.named(absolute_name(dataset))))
    check_data(labelled, min(counted.images, MOST_PROOF), labelled=True, classes=True, data=dataset)


def _backend(search: SearchRequest, context: Context) -> ProbedBackend:
    """The named backend, else the first one here that computes INT8 on the CPU. `BadInput` if it cannot run."""
    places = interpreters(Sweep(backends=(search.backend,) if search.backend else ()))
    surveyed = survey(places, context.logs, context.pool)
    surveyed.dismiss()
    if search.backend:
        item = next(item for item in surveyed.backends if item.name == search.backend)
        if not item.available:
            raise BadInput(f"{item.name} cannot run here ({item.reason})", item.install)
        if INT8 not in item.precisions:
            raise BadInput(f"{item.name} does not support int8", "run bench backends, and name another one")
        return item
    usable = [item for item in surveyed.backends if item.available and not item.instrument and item.device_kind == "cpu"]
    for item in usable:
        if INT8 in item.precisions and INT8 not in item.on_request:
            return item
    raise BadInput("no runtime for INT8 on the CPU is installed here", "run bench backends for the list")


def _schemes(search: SearchRequest, backend: ProbedBackend) -> tuple[str, ...]:
    """The schemes to try, in their order. `BadInput` for a named one that the backend does not take."""
    for name in search.schemes:
        if name not in backend.int8_schemes:
            problem = f"{backend.name} does not take the INT8 scheme {name}"
            raise BadInput(problem, nearest(name, backend.int8_schemes))
    order = by_care(backend.int8_scheme, backend.int8_schemes)
    return tuple(sorted(search.schemes, key=lambda name: order.index(name) if name in order else -1)) or order


@dataclass(kw_only=True)
class SearchRun:
    """A search in progress, and the worker that evaluates. It is the walk's Evaluator."""

    base: Artifact
    request: ExportRequest
    search_request: SearchRequest
    backend: ProbedBackend
    context: Context
    worker: Worker | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    converted: dict[tuple[str, tuple[str, ...]], CacheEntry] = field(default_factory=dict)

    def run(self, schemes: tuple[str, ...]) -> tuple[SearchPath, WalkResult]:
        """Walk through `schemes`. `BadInput` for a bound that the data cannot show."""
        bounds, parts = self.search_request.bounds, self._ask(CountParts(**self._making(self.request.conversion)))
        shape = self.base.outputs[0].shape
        check_data(bounds, parts.proof, labelled=parts.labelled, classes=len(shape) == 2, data=parts.proof_data)
        self.request = replace(self.request, conversion=replace(self.request.conversion, images=parts.images or self._images))
        path = SearchPath(
            bounds=tuple(bound.text for bound in bounds),
            backend=f"{self.backend.name} {self.backend.version}".rstrip(),
            device=self._device,
            schemes=schemes,
            parts=parts,
            seed=self.request.seed,
        )
        self.context.progress.note(search_lines.data_line(path))
        result = Walk(schemes=schemes, bounds=bounds, evaluator=self, proof_items=parts.proof).run()
        return replace(path, steps=result.steps), result

    @property
    def _images(self) -> int:
        return self.request.conversion.images

    @property
    def _device(self) -> str:
        """Device as a cell names it; `cuda:0 NVIDIA H100` is that of a probe."""
        return self.backend.devices[0].split()[0] if self.backend.devices else self.backend.device_kind

    def rank(self, scheme: str) -> Sequence[NodeError]:
        self._show(f"testing each node of {scheme}")
        try:
            return self._ask(RankNodes(**self._making(self._how(scheme, ())))).nodes
        except BenchError as error:
            if not error.spoils_worker:
                raise
            return ()

    def search(self, scheme: str, exclude: tuple[str, ...]) -> tuple[Evaluated, FirstLook | None]:
        self._show(f"searching: {search_lines.candidate_text(scheme, exclude)}")
        evaluation = self._evaluate(scheme, exclude)
        return evaluation.figures, evaluation.look

    def prove(self, scheme: str, exclude: tuple[str, ...]) -> Evaluated:
        self._show(f"proving {search_lines.candidate_text(scheme, exclude)}")
        try:
            request = replace(self.request, conversion=self._how(scheme, exclude))
            entry = self.context.ask(conversion_job(self.base, INT8, request, self.context))
        except StorageFailed:
            raise
        except BenchError as error:
            return Evaluated(failed=str(error))
        self.converted[scheme, exclude] = entry
        return self._evaluate(scheme, exclude, relocate(entry.artifact, entry.folder.path)).figures

    def record(self, step: SearchStep) -> None:
        self.context.progress.note(search_lines.step_line(step, self.search_request.bounds))

    def command(self, step: SearchStep, parts: DataParts) -> str:
        """The export that makes the file of `step`."""
        request, how = self.request, self._how(step.scheme, step.exclude)
        options = (*how.options, ("data", parts.calibration_data))
        sweep = Sweep(model=request.model, artifacts=str(request.folder or ""), signature=request.inputs, dims=request.dims)
        derived = Derived(origin=self.base.sha256, recipe=INT8, revision=0, tool="", options=options)
        return export_command.excluding(sweep, self.base, derived, ())

    def dismiss(self) -> None:
        """End the worker, which then removes its files."""
        self.stack.close()
        self.worker = None

    def _show(self, text: str) -> None:
        self.context.progress.step(text, 0, 1)

    def _how(self, scheme: str, exclude: tuple[str, ...]) -> Conversion:
        how = self.request.conversion
        return replace(how, scheme=scheme, exclude=(*how.exclude, *exclude))

    def _making(self, how: Conversion) -> dict[str, Any]:
        """Fields that all jobs of the search share."""
        job = conversion_job(self.base, INT8, replace(self.request, conversion=how), self.context)
        return {item.name: getattr(job, item.name) for item in fields(Making)}

    def _evaluate(self, scheme: str, exclude: tuple[str, ...], made: Artifact | None = None) -> Evaluation:
        """Figures of a candidate, or of the file `made` on the proof part. A candidate that ends the worker has none."""
        making = self._making(self._how(scheme, exclude))
        proof = made is not None
        job = EvaluateInt8(**making, backend=self.backend.name, device=self._device, made=made, proof=proof)
        try:
            return self._ask(job)
        except BenchError as error:
            if not error.spoils_worker:
                raise
            return Evaluation(figures=Evaluated(failed=str(error)))

    def _ask(self, job: Job[Answer]) -> Answer:
        """Answer of the search's worker, which keeps the prepared file from job to job."""
        context = self.context
        job = context.decoder.with_arrays(job, context.logs, context.pool, context.progress)
        if self.worker is None:
            network = backends.network(self.backend.name)
            self.worker = self.stack.enter_context(context.pool.start(context.logs / "search.log", network=network))
        try:
            return self.worker.ask(job, context.timeout_s)
        except BenchError as error:
            if error.spoils_worker:
                self.dismiss()
            raise
