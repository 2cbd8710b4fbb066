"""`artifacts/`: ONNX files with a manifest that says what each is. Standard library only.

Paths in the manifest are relative to its folder, so the folder can be moved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BadInput, StorageFailed, one_line, shown
from ..evidence import Parity
from ..files import replace_file
from ..spec import Artifact, Conversion, Derived, from_wire, relocate, to_wire
from ..untrusted import WRONG

SCHEMA = 2  # since 2 an artifact has `derived`; in 1 it was `conversion`
NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """The exporter of a file, the versions of its libraries, and how far the file is from what it was made from."""

    exporter: str
    versions: Mapping[str, str] = field(default_factory=dict)
    parity: Parity | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """One line of the manifest: the artifact, and how it came to be."""

    artifact: Artifact
    made: Maker


def read_manifest(folder: Path) -> list[Exported]:
    """What `folder` holds, paths made absolute; nothing if it has no manifest; `BadInput` if that is damaged."""
    path = folder / NAME
    if not path.is_file():
        return []
    try:
        data = json.loads(path.read_text())
        if data.get("schema", 0) > SCHEMA:
            raise BadInput(f"{path} was written by a newer onnxbench (schema {data['schema']})", "upgrade onnxbench")
        found = [exported_of(entry) for entry in data["artifacts"]]
    except (OSError, *WRONG) as error:
        raise BadInput(f"{path} is not a manifest ({one_line(error)})", "run bench export again") from error
    for item in found:
        _check_inside(path, item.artifact)
    return [replace(item, artifact=relocate(item.artifact, str(folder.absolute()))) for item in found]


def exported_of(data: Mapping[str, Any]) -> Exported:
    """One line of a manifest, of this version or an older one. `TypeError` for data of another type."""
    return Exported(artifact=artifact_of(data["artifact"]), made=from_wire(Maker, data["made"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Converted:
    """The form in which version 0.1 described a file that it made from another."""

    origin: str
    scheme: str = ""
    method: str = ""
    exclude: tuple[str, ...] = ()
    data: str = ""
    samples: int = 0


def artifact_of(wire: Mapping[str, Any]) -> Artifact:
    """The artifact in an entry of a manifest or of the cache, also of version 0.1. `TypeError` for data of another type."""
    found = from_wire(Artifact, wire)
    if found.derived or wire.get("conversion") is None:
        return found
    told = from_wire(_Converted, wire["conversion"])
    how = Conversion(scheme=told.scheme, method=told.method, exclude=told.exclude).options
    data = (("data", told.data), ("samples", str(told.samples))) if told.scheme else ()
    made = Derived(origin=told.origin, recipe=found.precision, revision=0, tool="0.1", options=(*how, *data))
    return replace(found, derived=made)


def _check_inside(manifest: Path, artifact: Artifact) -> None:
    """`BadInput` for a path that leaves the manifest's folder."""
    weights = artifact.source.weights if artifact.source else None
    for name in filter(None, (artifact.path, weights)):
        try:
            inside = (manifest.parent / name).resolve().is_relative_to(manifest.parent.resolve())
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, a link to itself
            inside = False
        if not inside or Path(name).is_absolute():
            raise BadInput(f"{manifest} names a file outside its folder, {shown(name)}", "run bench export again")


def add(folder: Path, exported: Exported, entry: Path, files: list[Path]) -> Exported:
    """Copy `files` of the cache entry `entry` into `folder`, and write the artifact (paths relative) into its manifest.

    An artifact of the same model and precision is replaced, and so is what was made from it. Returns it with absolute paths.
    """
    new = exported.artifact
    others = [item for item in read_manifest(folder) if not _outdated(item.artifact, new)]
    _check_free(
        [item for item in others if item.artifact.sha256 != new.sha256],
        [folder.absolute() / file.relative_to(entry) for file in files],
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            replace_file(folder / file.relative_to(entry), partial(shutil.copyfile, file))
        kept = [replace(item, artifact=_relative(item.artifact, folder)) for item in others]
        data = {"schema": SCHEMA, "artifacts": [to_wire(item) for item in (*kept, exported)]}
        replace_file(folder / NAME, lambda scratch: scratch.write_text(json.dumps(data, indent=1)))
    except OSError as error:
        raise StorageFailed(f"cannot write to {folder} ({error.strerror})", "free some space or give another --out") from error
    return replace(exported, artifact=relocate(new, str(folder.absolute())))


def _check_free(others: Sequence[Exported], targets: Sequence[Path]) -> None:
    """`BadInput` if a file of another artifact would be overwritten."""
    for item in others:
        if Path(item.artifact.path) in targets:
            found = f"{item.artifact.path} is {item.artifact.model} in {item.artifact.precision}, and would be overwritten"
            raise BadInput(found, "give another --out, or a file of another name")


def _outdated(old: Artifact, new: Artifact) -> bool:
    """Whether `new` takes the place of `old`, or of the file that `old` was made from."""
    made_from_another = old.derived is not None and new.precision == "fp32" and old.derived.origin != new.sha256
    return old.model == new.model and (old.precision == new.precision or made_from_another)


def check_writable(folder: Path) -> None:
    """`BadInput`, before any long work, if `folder` cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".onnxbench-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(f"cannot write to {folder} ({error.strerror})", "give another folder") from error


def _relative(artifact: Artifact, folder: Path) -> Artifact:
    root = folder.absolute()
    source = artifact.source
    if source and source.weights:
        source = replace(source, weights=str(Path(source.weights).relative_to(root)))
    return replace(artifact, path=str(Path(artifact.path).relative_to(root)), source=source)
