"""The user's own file: its artifact, the files that an export made from it, and whether a file is still as it was exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BadInput
from ...exporters import manifest
from ...exporters.derive import OPSET
from ...models import hub_links
from ...spec import Artifact
from ..pool.context import Context
from ..worker.file_jobs import Adopt, Describe
from ..worker.jobs import Data, Here


def file_artifact(model: str, name: str, data: Data | None, context: Context) -> Artifact:
    """Artifact of the user's file.

    For a file of the hub's cache it is a copy in the cache, without links. For a file that declares sizes of 0, after a note,
    it is a copy in which those are open.
    """
    file = Here(path=str(Path(model).absolute()))
    artifact = None if hub_links.find_root(Path(model)) else context.ask(Describe(file=file, model=name, data=data))
    if artifact and not artifact.unsized:
        return replace(artifact, path=file.path)
    entry = context.ask(Adopt(file=file, model=name, data=data))
    copy = replace(entry.artifact, path=str(Path(entry.folder.path) / entry.artifact.path))
    if artifact:
        names = ", ".join(map(repr, artifact.unsized))
        context.progress.note(
            f"{name}: input {names} has a declared size of 0, which is measured as an open one in {copy.path}"
        )
    return copy


def exported_from(base: Artifact, folder: Path, context: Context) -> list[Artifact]:
    """Files in `folder` that `bench export` made from the user's file `base`, in the way that the user chose then."""
    # A file that `bench export --opset` lowered stands for the user's file in that folder, and not beside it.
    made = [item for item in manifest.read_manifest(folder) if item.artifact.derived and item.artifact.derived.recipe != OPSET]
    own = [item for item in made if item.artifact.derived and item.artifact.derived.origin == base.sha256]
    check_unchanged([item.artifact for item in own], context)
    return [replace(item.artifact, model=base.model) for item in own]


def check_unchanged(artifacts: Sequence[Artifact], context: Context) -> None:
    """Raise `BadInput` where the file of one of `artifacts` differs from its entry in the manifest."""
    jobs = [Describe(file=Here(path=artifact.path), model=artifact.model) for artifact in artifacts]
    for artifact, file in zip(artifacts, context.ask_all(jobs)):
        _check_unchanged(artifact, file)


def _check_unchanged(artifact: Artifact, file: Artifact) -> None:
    if file.sha256 != artifact.sha256:
        raise BadInput(f"{artifact.path} changed since its export", "run bench export again, or measure it with --model")
    if _interface(file) != _interface(artifact):
        entry, content = (f"{item.precision} with inputs {[spec.name for spec in item.inputs]}" for item in (artifact, file))
        raise BadInput(f"{artifact.path} is {content}, and the manifest lists {entry}", "run bench export again")


def _interface(artifact: Artifact) -> tuple[Any, ...]:
    """Precision, inputs and outputs, without the plausible values of inputs, about which a newer version may know more."""
    ends = (*artifact.inputs, *artifact.outputs)
    return artifact.precision, [(spec.name, spec.dtype, spec.shape, spec.ranked) for spec in ends]
