"""Sweep -> cells: which rows the table will have, and which of them are refused before anything runs. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import BadInput
from ...models.shapes import BatchRule, batch_rule, cell_shapes, check_shapes
from ...spec import PRECISIONS, Artifact, Cell, Options, Precision, Settings, Shape, Shapes, Sweep, nearest
from ..pool.survey import ProbedBackend

DEFAULT_BATCHES = (1, 8, 32)


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, the file that it runs, the FP32 file that this was made from, if that is there, why the cell is refused
    (status and reason) where it is, and the interpreter of its workers. `builds`: something is compiled for it before it is
    opened. `stored_key`: the cell's key in the run folder, where that may be another than its own."""

    cell: Cell
    artifact: Artifact
    origin: Artifact | None = None
    refused: tuple[str, str] | None = None
    python: str = sys.executable
    builds: bool = False
    stored_key: str = ""

    @property
    def key(self) -> str:
        """The cell's key in the run folder."""
        return self.stored_key or self.cell.key

    @property
    def reference(self) -> Artifact:
        """The file whose answers are right."""
        return self.origin or self.artifact

    @property
    def listed_by_0_1(self) -> Cell:
        """The cell as version 0.1 listed it: with the hash of the file that it runs, and no scheme."""
        return replace(self.cell, sha256=self.artifact.sha256, scheme="")


def chosen_precisions(sweep: Sweep) -> tuple[str, ...]:
    """The precisions that the user named; `BadInput` for one that there is not."""
    return tuple(Precision.parse(name).name for name in sweep.precisions)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a sweep has where the user said nothing: shapes of inputs that arrays fix, threads for each CPU backend, and
    batches for files that leave them open. `computed_only`: precisions that a backend takes and computes in FP32 are
    left out."""

    given: Mapping[str, Shape]
    threads: int
    batches: tuple[int, ...] = DEFAULT_BATCHES
    computed_only: bool = True


def plan(sweep: Sweep, artifacts: Sequence[Artifact], found: Sequence[ProbedBackend], defaults: Defaults) -> list[PlannedCell]:
    """Every row of `sweep`, in the order of the table.

    Backends that the user did not name are left out where they cannot run. `BadInput` for shapes or options that fit
    nothing.
    """
    usable = _usable(sweep, found)
    if not usable:
        what = f"no backend for {sweep.device}" if sweep.device else "no runtime"
        raise BadInput(f"{what} is installed here", "run bench backends to see what there is and how to get it")
    if sweep.baseline and sweep.baseline not in {str(item.target) for item in usable}:
        hint = nearest(sweep.baseline, {str(item.target) for item in usable})
        raise BadInput(f"the baseline {sweep.baseline!r} is not among the backends of this run", hint)
    settings = {
        item.target: Settings(threads=sweep.threads or defaults.threads, options=_options(sweep.options, item, usable))
        for item in usable
    }
    aside = left_out(sweep, artifacts, usable, defaults)
    return [
        replace(planned, origin=_origin(artifact, artifacts))
        for artifact, precision in _files(sweep, artifacts)
        for backend in usable
        if (artifact.model, precision, str(backend.target)) not in aside
        for planned in _cells(sweep, (artifact, precision), defaults, backend, settings[backend.target])
    ]


def left_out(
    sweep: Sweep, artifacts: Sequence[Artifact], found: Sequence[ProbedBackend], defaults: Defaults
) -> list[tuple[str, str, str]]:
    """Models, precisions and targets without rows, since nobody named the precision, there is FP32 beside it, and the backend
    does not have it, or would compute in FP32 all the same."""
    if sweep.precisions:
        return []
    both = {item.model for item in artifacts if item.precision == "fp32"}
    pairs = [(artifact.model, precision) for artifact, precision in _files(sweep, artifacts) if artifact.model in both]
    return [(*pair, str(item.target)) for pair in pairs for item in found if not takes(item, pair[1], defaults)]


def takes(backend: ProbedBackend, precision: str, defaults: Defaults) -> bool:
    """True if `backend` is measured in a precision that nobody named."""
    return precision in backend.precisions and not (defaults.computed_only and precision in backend.on_request)


def _origin(artifact: Artifact, artifacts: Sequence[Artifact]) -> Artifact | None:
    """The file that `artifact` was made from, if it is there."""
    made = artifact.derived
    return next((item for item in artifacts if made and item.sha256 == made.origin), None)


def _usable(sweep: Sweep, found: Sequence[ProbedBackend]) -> list[ProbedBackend]:
    """The targets that rows are for: what the user named; else the backends that can run here, on the device named.

    Where nothing can run on that device, the targets that could are named with why not.
    """
    if sweep.backends:
        return [item for item in found if str(item.target) in sweep.named or not item.instrument]
    kind = sweep.device.partition(":")[0] if sweep.device else None
    named = {item.target for item in found if str(item.target) in sweep.named}
    targets = [item for item in found if item.target in named or (not item.instrument and kind in (None, item.device_kind))]
    available = [item for item in targets if item.available or item.target in named]
    return available if available or not kind else targets


def _files(sweep: Sweep, artifacts: Sequence[Artifact]) -> list[tuple[Artifact, str]]:
    """Each artifact with each precision that is wanted of its model."""
    pairs: list[tuple[Artifact, str]] = []
    for model in dict.fromkeys(artifact.model for artifact in artifacts):
        files = {artifact.precision: artifact for artifact in artifacts if artifact.model == model}
        for precision in chosen_precisions(sweep) or tuple(files):
            any_file = next(iter(files.values()))
            pairs.append((files.get(PRECISIONS[precision].file, any_file), precision))
    return pairs


def _cells(
    sweep: Sweep, file: tuple[Artifact, str], defaults: Defaults, backend: ProbedBackend, settings: Settings
) -> list[PlannedCell]:
    """A cell for each batch of one file in one precision."""
    artifact, precision = file
    made = artifact.derived
    check_shapes(artifact.inputs, defaults.given)
    rule = batch_rule(artifact.inputs, defaults.given)
    planned = []
    for batch in sweep.batches or ((rule.fixed,) if rule.fixed else defaults.batches):
        refused = _refusal(artifact, precision, backend) or _batch_refusal(batch, rule)
        shapes: Shapes = () if rule.fixed not in (None, batch) else cell_shapes(artifact.inputs, batch, rule, defaults.given)
        cell = Cell(
            model=artifact.model,
            sha256=made.origin if made else artifact.sha256,
            scheme=made.option("scheme") if made else "",
            backend=backend.name,
            environment=backend.environment,
            device=_device(sweep, backend),
            precision=precision,
            batch=batch,
            shapes=shapes,
            settings=settings,
        )
        how: dict[str, Any] = {"refused": refused, "python": backend.python, "builds": backend.builds}
        planned.append(PlannedCell(cell=cell, artifact=artifact, **how))
    return planned


def _device(sweep: Sweep, backend: ProbedBackend) -> str:
    known = {"cpu": "cpu", "": "unknown"}
    return sweep.device or known.get(backend.device_kind, f"{backend.device_kind}:0")


def _refusal(artifact: Artifact, precision: str, backend: ProbedBackend) -> tuple[str, str] | None:
    if not backend.available:
        install = f"; {backend.install}" if backend.install else ""
        return "unavailable", f"{backend.reason}{install}"
    wanted = PRECISIONS[precision].file
    if artifact.precision != wanted:
        return "unsupported", f"{precision} runs a file in {wanted}, and there is only one in {artifact.precision}"
    return None


def _batch_refusal(batch: int, rule: BatchRule) -> tuple[str, str] | None:
    if rule.fixed in (None, batch):
        return None
    who = "the given shape" if rule.by_user else "the file"
    hint = "" if rule.by_user else "; export it with a dynamic batch"
    return "unsupported", f"{who} fixes the batch at {rule.fixed}{hint}"


def _options(options: Options, backend: ProbedBackend, among: Sequence[ProbedBackend]) -> Options:
    """The options for `backend`: unprefixed ones that it knows, over them those under its name, and over all those under its
    name and environment. `BadInput` for unknown ones."""
    taken: dict[str, str] = {}
    for name, value in sorted(options, key=_exactness):
        key = name.partition(".")[2] if "." in name else name
        users = _under(name, among) if "." in name else [item for item in among if name in item.options]
        _check_known(key, users, among)
        if backend in users:
            taken[key] = value
    return tuple(sorted(taken.items()))


def _exactness(option: tuple[str, str]) -> int:
    """How few an option is for: 0 for all that know it, 1 for a backend in all its environments, 2 for one target."""
    prefix, dot, _ = option[0].partition(".")
    return 1 + ("@" in prefix) if dot else 0


def _under(name: str, among: Sequence[ProbedBackend]) -> list[ProbedBackend]:
    """Whom an option with a prefix is for: one target, or a backend in all of its environments."""
    prefix = name.partition(".")[0]
    users = [item for item in among if prefix in (str(item.target), item.name)]
    if not users:
        hint = nearest(prefix, {found for item in among for found in (str(item.target), item.name)})
        raise BadInput(f"--option {name} names no backend of this run", f"add {prefix} to --backend" if "@" in prefix else hint)
    return users


def _check_known(key: str, users: Sequence[ProbedBackend], among: Sequence[ProbedBackend]) -> None:
    """`BadInput` for an option that no backend has; one that did not answer at all cannot tell."""
    known = {option: None for item in (users or among) for option in item.options}
    if key not in known and (not users or any(item.device_kind for item in users)):
        raise BadInput(f"no backend of this run has an option {key!r}", nearest(key, known))
