"""Sweep -> cells: which rows the table will have, and which of them are refused before anything runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import backends
from ..errors import BadInput
from ..models.shapes import BatchRule, batch_rule, cell_shapes, check_given
from ..spec import PRECISIONS, Artifact, Cell, Options, Settings, Shape, Shapes, Sweep, nearest

DEFAULT_BATCHES = (1, 8, 32)
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the probe of one backend told."""

    name: str
    available: bool
    device_kind: str
    instrument: bool = False
    version: str = ""
    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A cell, the file that it runs, and why it is refused (status and reason) where it is."""

    cell: Cell
    artifact: Artifact
    refused: tuple[str, str] | None = None


def chosen_backends(sweep: Sweep) -> tuple[str, ...]:
    """The names to probe: what the user named, or every target. `BadInput` for a name that there is not."""
    names = [backends.targets() if name == ALL else (backends.check_name(name),) for name in sweep.backends or (ALL,)]
    return tuple(dict.fromkeys(name for group in names for name in group))


def chosen_precisions(sweep: Sweep) -> tuple[str, ...]:
    """The precisions that the user named; `BadInput` for one that there is not."""
    for name in sweep.precisions:
        if name not in PRECISIONS:
            raise BadInput(f"{name!r} is not a precision", nearest(name, PRECISIONS))
    return sweep.precisions


def plan(
    sweep: Sweep, artifacts: Sequence[Artifact], found: Sequence[Found], given: Mapping[str, Shape], threads: int
) -> list[Planned]:
    """Every row of `sweep`, in the order of the table.

    `given`: shapes that the user fixed, by input. `threads`: what each CPU backend gets, unless the user said.

    Backends that the user did not name are left out where they cannot run. `BadInput` for shapes or options that fit
    nothing.
    """
    usable = _usable(sweep, found)
    if not usable:
        what = f"no backend for {sweep.device}" if sweep.device else "no runtime"
        raise BadInput(f"{what} is installed here", "run bench backends to see what there is and how to get it")
    if sweep.baseline and sweep.baseline not in {item.name for item in usable}:
        hint = nearest(sweep.baseline, {item.name for item in usable})
        raise BadInput(f"the baseline {sweep.baseline!r} is not among the backends of this run", hint)
    options = {item.name: _options(sweep.options, item, usable) for item in usable}
    return [
        planned
        for artifact, precision in _files(sweep, artifacts)
        for backend in usable
        for planned in _cells(sweep, artifact, precision, given, backend, _settings(sweep, threads, options[backend.name]))
    ]


def _usable(sweep: Sweep, found: Sequence[Found]) -> list[Found]:
    """The backends that rows are for: what the user named; else the targets that can run here, on the device named.

    Where nothing can run on that device, the targets that could are named with why not.
    """
    if sweep.backends:
        return [item for item in found if item.name in sweep.backends or not item.instrument]
    kind = sweep.device.partition(":")[0] if sweep.device else None
    targets = [item for item in found if not item.instrument and kind in (None, item.device_kind)]
    available = [item for item in targets if item.available]
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


def _settings(sweep: Sweep, threads: int, options: Options) -> Settings:
    return Settings(threads=sweep.threads or threads, options=options)


def _cells(
    sweep: Sweep, artifact: Artifact, precision: str, given: Mapping[str, Shape], backend: Found, settings: Settings
) -> list[Planned]:
    check_given(artifact.inputs, given)
    rule = batch_rule(artifact.inputs, given)
    planned = []
    for batch in sweep.batches or ((rule.fixed,) if rule.fixed else DEFAULT_BATCHES):
        refused = _refusal(artifact, precision, backend) or _batch_refusal(batch, rule)
        shapes: Shapes = () if rule.fixed not in (None, batch) else cell_shapes(artifact.inputs, batch, rule, given)
        cell = Cell(
            model=artifact.model,
            sha256=artifact.sha256,
            backend=backend.name,
            device=_device(sweep, backend),
            precision=precision,
            batch=batch,
            shapes=shapes,
            settings=settings,
        )
        planned.append(Planned(cell=cell, artifact=artifact, refused=refused))
    return planned


def _device(sweep: Sweep, backend: Found) -> str:
    known = {"cpu": "cpu", "": "unknown"}
    return sweep.device or known.get(backend.device_kind, f"{backend.device_kind}:0")


def _refusal(artifact: Artifact, precision: str, backend: Found) -> tuple[str, str] | None:
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


def _options(options: Options, backend: Found, among: Sequence[Found]) -> Options:
    """The options for `backend`: those under its name, and unprefixed ones that it knows. `BadInput` for unknown ones."""
    taken: dict[str, str] = {}
    names = {item.name: item for item in among}
    for name, value in options:
        prefix, dot, key = name.partition(".")
        if dot and prefix not in names:
            raise BadInput(f"--option {name} names no backend of this run", nearest(prefix, names))
        users = [names[prefix]] if dot else [item for item in among if name in item.options]
        key = key if dot else name
        if not users or key not in users[0].options:
            known = {option: None for item in (users or among) for option in item.options}
            raise BadInput(f"no backend of this run has an option {key!r}", nearest(key, known))
        if backend in users:
            taken[key] = value
    return tuple(sorted(taken.items()))


def found_from(name: str, answer: Mapping[str, Any]) -> Found:
    """What a probe's answer says."""
    return Found(name=name, **{**answer, "devices": tuple(answer["devices"])})
