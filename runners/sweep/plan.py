"""Plan of a sweep: the rows that the table will have, and the reasons that refuse some of them before anything runs. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ...errors import BadInput
from ...evidence import Lowered
from ...exporters.schemes import BEST
from ...loop import Program
from ...models.feedback import check_specs, feedback_of
from ...models.shapes import BatchRule, batch_rule, cell_shapes, check_dims, check_shapes, dimension_names, show
from ...models.symbols import Dims
from ...spec import PRECISIONS, WARM, Artifact, Cell, Options, Precision, Settings, Shapes, Sweep, has_any, nearest
from ...tuning import Tunable
from ..pool.survey import ProbedBackend
from .devices import cell_devices, check_gpus
from .tuned_targets import tunables_of

DEFAULT_BATCHES = (1, 8, 32)
INT8 = "int8"


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell of the plan, with the file that it runs.

    `origin`: the FP32 file that `artifact` derives from; None where it is not there. `refused`: status and reason of a cell
    that cannot run. `python`: the interpreter of its workers. `builds`: its backend compiles an engine before it opens the
    cell. `searches`: each opening of the cell times kernels and chooses the fastest. `stored_key`: the cell's key in the run
    folder; a run of an older version may use another key. `program`: the user's program that is measured in place of a backend.
    `opset`: the highest one that its backend takes; 0 without a limit. `fixes_shapes`: its backend gets files with the shapes
    of the cell where open ones do not run. `lowered`: facts of the lowering of its file, which was made from `lowered_from`.
    `converter`: name of the program that converts the file for its runtime; empty for a runtime that reads ONNX files.
    `calibrated`: that program needs calibration samples. `tunables`: options to search before the cell is measured.
    `beside`: the cell with the default options, for such a cell.
    """

    cell: Cell
    artifact: Artifact
    origin: Artifact | None = None
    refused: tuple[str, str] | None = None
    python: str = sys.executable
    builds: bool = False
    searches: bool = False
    stored_key: str = ""
    program: Program | None = None
    opset: int = 0
    fixes_shapes: bool = False
    lowered: Lowered | None = None
    lowered_from: Artifact | None = None
    converter: str = ""
    calibrated: bool = False
    tunables: tuple[Tunable, ...] = ()
    beside: Cell | None = None

    @property
    def source(self) -> Artifact:
        """The file of the plan, before it was lowered for its backend."""
        return self.lowered_from or self.artifact

    @property
    def key(self) -> str:
        """Key of the cell in the run folder."""
        return self.stored_key or self.cell.key

    @property
    def reference(self) -> Artifact:
        """The FP32 file, whose answers are the reference."""
        return self.origin or self.artifact

    @property
    def listed_by_0_1(self) -> Cell:
        """The cell as version 0.1 listed it: with the hash of the file that it runs, and no scheme."""
        return replace(self.cell, sha256=self.source.sha256, scheme="")


def precisions_of(sweep: Sweep) -> tuple[str, ...]:
    """Precisions that the user named. Raises `BadInput` for an unknown one."""
    return tuple(Precision.parse(name).name for name in sweep.precisions)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Values of a sweep that the user did not set.

    `shapes`: by input, those that `--shape` or arrays give. `threads`: for each CPU backend. `batches`: for files with an open
    batch. `computed_only`: skip precisions that a backend accepts and computes in FP32.
    """

    shapes: Mapping[str, Dims]
    threads: int
    batches: tuple[int, ...] = DEFAULT_BATCHES
    computed_only: bool = True


def plan(
    sweep: Sweep, artifacts: Sequence[Artifact], backends: Sequence[ProbedBackend], defaults: Defaults
) -> list[PlannedCell]:
    """Every row of `sweep`, in the order of the table.

    Skips backends that cannot run here, unless the user named them. Raises `BadInput` for an unknown baseline, and for shapes
    or options that fit no input or backend.
    """
    usable = _usable(sweep, backends)
    if not usable:
        missing = f"no backend for {sweep.device}" if sweep.device else "no runtime"
        raise BadInput(f"{missing} is installed here", "run bench backends for the list, with the command that installs each")
    names = {str(item.target) for item in usable} | {program.name for program in sweep.programs}
    if sweep.baseline and sweep.baseline not in names:
        hint = nearest(sweep.baseline, names)
        raise BadInput(f"the baseline {sweep.baseline!r} is not among the backends of this run", hint)
    settings = {
        item.target: Settings(threads=sweep.threads or defaults.threads, options=_options(sweep.options, item, usable))
        for item in usable
    }
    _check_schemes(sweep, usable)
    check_gpus(sweep.device, usable)
    skipped = skipped_precisions(sweep, artifacts, usable, defaults)
    return [
        _rooted(replace(planned, origin=_origin(artifact, artifacts)), _root(artifact, artifacts))
        for artifact, precision in _files(sweep, artifacts)
        for backend in usable
        if (artifact.model, precision, str(backend.target)) not in skipped and _is_chosen(sweep, artifact, backend)
        for planned in _cells(sweep, (artifact, precision), defaults, backend, settings[backend.target])
        if planned.tunables or backend.beside is None
    ]


def _rooted(planned: PlannedCell, sha256: str) -> PlannedCell:
    """`planned` with the hash of the file that the user gave or exported."""
    beside = planned.beside and replace(planned.beside, sha256=sha256)
    return replace(planned, cell=replace(planned.cell, sha256=sha256), beside=beside)


def skipped_precisions(
    sweep: Sweep, artifacts: Sequence[Artifact], backends: Sequence[ProbedBackend], defaults: Defaults
) -> list[tuple[str, str, str]]:
    """Triples of model, precision and target that get no row.

    Applies where the user named no precision and the model has an FP32 file. A target is skipped for a precision that it does
    not have, or that it would compute in FP32.
    """
    if sweep.precisions:
        return []
    # A file in FP16 or INT8 without FP32 beside it is all that the user has: it is measured as it is.
    with_fp32 = {item.model for item in artifacts if item.precision == "fp32"}
    pairs = [(artifact.model, precision) for artifact, precision in _files(sweep, artifacts) if artifact.model in with_fp32]
    return [(*pair, str(item.target)) for pair in pairs for item in backends if not is_default(item, pair[1], defaults)]


def is_default(backend: ProbedBackend, precision: str, defaults: Defaults) -> bool:
    """True if `backend` runs `precision` in a sweep that names no precision."""
    return precision in backend.precisions and not (defaults.computed_only and precision in backend.on_request)


def _origin(artifact: Artifact, artifacts: Sequence[Artifact]) -> Artifact | None:
    """The file that `artifact` derives from, None where it is not there."""
    made = artifact.derived
    return next((item for item in artifacts if made and item.sha256 == made.origin), None)


def _root(artifact: Artifact, artifacts: Sequence[Artifact]) -> str:
    """Hash of the file that the user gave or exported, from which `artifact` derives in one step or in several."""
    # Without the file itself: a manifest may come from anybody, and name a file as its own origin.
    others = [item for item in artifacts if item.sha256 != artifact.sha256]
    origin = _origin(artifact, others)
    if origin:
        return _root(origin, others)
    return artifact.derived.origin if artifact.derived else artifact.sha256


def _usable(sweep: Sweep, backends: Sequence[ProbedBackend]) -> list[ProbedBackend]:
    """Targets that get rows: those that the user named; without any, the backends that can run here, on the sweep's device.

    Where no backend can run on that device, the result holds its unavailable backends. Their rows then give the reasons.
    """
    if sweep.backends:
        return [item for item in backends if str(item.home) in sweep.named or not item.instrument]
    kind = sweep.device.partition(":")[0] if sweep.device else None
    named = {item.target for item in backends if str(item.home) in sweep.named}
    targets = [item for item in backends if item.target in named or (not item.instrument and kind in (None, item.device_kind))]
    available = [item for item in targets if item.available or item.target in named]
    return available if available or not kind else targets


def _files(sweep: Sweep, artifacts: Sequence[Artifact]) -> list[tuple[Artifact, str]]:
    """Each artifact with each precision of its model in this sweep."""
    pairs: list[tuple[Artifact, str]] = []
    for model in dict.fromkeys(artifact.model for artifact in artifacts):
        files = [artifact for artifact in artifacts if artifact.model == model]
        for precision in precisions_of(sweep) or dict.fromkeys(item.precision for item in files):
            own = [item for item in files if item.precision == PRECISIONS[precision].file]
            pairs += [(file, precision) for file in own or files[:1]]
    return pairs


def schemes_of(sweep: Sweep, backends: Sequence[ProbedBackend]) -> tuple[str, ...]:
    """INT8 schemes of the sweep's files: those that the user named, or BEST and the schemes that the backends choose."""
    if BEST not in sweep.schemes:
        return sweep.schemes
    choosing = [item for item in _usable(sweep, backends) if item.available and INT8 in item.precisions]
    return BEST, *dict.fromkeys(item.int8_scheme for item in choosing if item.int8_scheme)


def _is_chosen(sweep: Sweep, artifact: Artifact, backend: ProbedBackend) -> bool:
    """True if `backend` gets a row of `artifact`: with BEST, an INT8 file of the scheme that it chooses."""
    return BEST not in sweep.schemes or artifact.scheme in ("", backend.int8_scheme)


def _check_schemes(sweep: Sweep, usable: Sequence[ProbedBackend]) -> None:
    """Raise `BadInput` if a backend that the user named has INT8 and does not take a scheme of the sweep."""
    named = [item for item in usable if str(item.target) in sweep.named and item.available and INT8 in item.precisions]
    for scheme in sweep.schemes if BEST not in sweep.schemes else ():
        for item in named:
            if scheme not in item.int8_schemes:
                problem = f"{item.target} does not take the INT8 scheme {scheme}"
                raise BadInput(problem, f"it takes {', '.join(item.int8_schemes)}; or write --int8 {BEST}")


def dims_of(sweep: Sweep, artifact: Artifact, shapes: Mapping[str, Dims]) -> list[dict[str, int]]:
    """Every combination of the sweep's sizes, for the dimensions that `artifact` has. One empty combination without any."""
    names = dimension_names(artifact.inputs, shapes)
    lists = [[(name, size) for size in sizes] for name, sizes in sweep.dims if name in names]
    return [dict(combination) for combination in product(*lists)]


def _cells(
    sweep: Sweep, file: tuple[Artifact, str], defaults: Defaults, backend: ProbedBackend, settings: Settings
) -> list[PlannedCell]:
    """One cell for each batch and each combination of dimensions of one file. `file`: the artifact and the precision."""
    artifact, precision = file
    given = defaults.shapes
    check_shapes(artifact.inputs, given)
    check_specs(artifact, sweep.feedback)
    combinations = dims_of(sweep, artifact, given)
    rule = batch_rule(artifact.inputs, given, artifact.outputs, combinations[0])
    for dims in combinations:
        check_dims(artifact.inputs, given, dims, rule)
    planned = []
    batches = sweep.batches or ((rule.fixed,) if rule.fixed else defaults.batches)
    every = product(combinations, batches, sweep.caches or (WARM,))
    on_devices = ((*each, device) for each in every for device in cell_devices(sweep.device, backend, each[2]))
    for dims, batch, cache, device in on_devices:
        refused = _refusal(artifact, precision, backend) or _batch_refusal(batch, rule, given)
        # A refused batch has no shapes: the rule's batch would contradict the row's.
        shapes: Shapes = () if rule.fixed not in (None, batch) else cell_shapes(artifact.inputs, batch, rule, given, dims)
        cell = Cell(
            model=artifact.model,
            sha256=artifact.sha256,
            scheme=artifact.scheme,
            backend=backend.name,
            environment=backend.environment,
            device=device,
            precision=precision,
            batch=batch,
            shapes=shapes,
            settings=settings,
            dims=tuple(sorted(dims.items())),
            feedback=feedback_of(artifact, sweep.feedback),
            inputs=sweep.input_count,
            cache=cache,
        )
        rest: dict[str, Any] = {"refused": refused, "python": backend.python, "builds": backend.builds}
        rest["opset"], rest["fixes_shapes"] = backend.opset, backend.fixes_shapes
        rest["converter"], rest["calibrated"] = backend.converter, precision in backend.calibrated
        rest["searches"] = has_any(settings.options, backend.searches)
        rest["tunables"] = tunables_of(backend, artifact, settings.options)
        rest["beside"] = None if backend.beside is None else replace(cell, environment=backend.beside)
        planned.append(PlannedCell(cell=cell, artifact=artifact, **rest))
    return planned


def _refusal(artifact: Artifact, precision: str, backend: ProbedBackend) -> tuple[str, str] | None:
    if not backend.available:
        install = f"; {backend.install}" if backend.install else ""
        return "unavailable", f"{backend.reason}{install}"
    file_precision = PRECISIONS[precision].file
    if artifact.precision != file_precision:
        return (
            "unsupported",
            f"{artifact.model} has no {file_precision} file; write one with bench export --precision {file_precision}",
        )
    return None


def _batch_refusal(batch: int, rule: BatchRule, shapes: Mapping[str, Dims]) -> tuple[str, str] | None:
    if rule.fixed in (None, batch):
        return None
    if not rule.by_user:
        return "unsupported", f"the file fixes the batch at {rule.fixed}; export it with a dynamic batch"
    name, axis = min((name, axis) for name, axis in rule.axes if isinstance(shapes.get(name, (None,) * (axis + 1))[axis], int))
    free = show(tuple("N" if place == axis else dim for place, dim in enumerate(shapes[name])))
    hint = f"write --shape {name}={free} to sweep --batch"
    return "unsupported", f"the shape in --shape or --input fixes the batch at {rule.fixed}; {hint}"


def _options(options: Options, backend: ProbedBackend, among: Sequence[ProbedBackend]) -> Options:
    """Options of `backend`. Raises `BadInput` for an unknown option or prefix.

    An option without a prefix applies to every backend that has it. `NAME.KEY` overrides it, and `NAME@ENV.KEY` overrides both.
    """
    chosen_options: dict[str, str] = {}
    for name, value in sorted(options, key=_exactness):
        key = name.partition(".")[2] if "." in name else name
        users = _under(name, among) if "." in name else [item for item in among if name in item.options]
        _check_known(key, users, among)
        if backend in users:
            chosen_options[key] = value  # sorted by rank: a more exact prefix overrides
    return tuple(sorted(chosen_options.items()))


def _exactness(option: tuple[str, str]) -> int:
    """Rank of an option's prefix: 0 for none, 1 for a backend in all its environments, 2 for one target."""
    prefix, dot, _ = option[0].partition(".")
    return 1 + ("@" in prefix) if dot else 0


def _under(name: str, among: Sequence[ProbedBackend]) -> list[ProbedBackend]:
    """Targets of an option with a prefix: one target, or a backend in all its environments. Raises `BadInput` for none."""
    prefix = name.partition(".")[0]
    users = [item for item in among if prefix in (str(item.target), item.name)]
    if not users:
        hint = nearest(prefix, {name for item in among for name in (str(item.target), item.name)})
        raise BadInput(f"--option {name} names no backend of this run", f"add {prefix} to --backend" if "@" in prefix else hint)
    return users


def _check_known(key: str, users: Sequence[ProbedBackend], among: Sequence[ProbedBackend]) -> None:
    """Raise `BadInput` for an option that no backend has.

    A backend whose probe died lists no options. Then the check cannot decide, and passes.
    """
    options = {option: None for item in (users or among) for option in item.options}
    if key not in options and (not users or any(item.device_kind for item in users)):
        raise BadInput(f"no backend of this run has an option {key!r}", nearest(key, options))
