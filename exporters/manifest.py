"""The folder `artifacts/`: ONNX files, and a manifest that describes each file. Standard library only.

Paths in the manifest are relative to its folder, and the user can move the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BadInput, StorageFailed, one_line, shown
from ..evidence import Parity
from ..files import replace_file
from ..spec import Artifact, Conversion, Derived, from_wire, to_wire
from ..untrusted import WRONG
from .calibration import RangeGrowth
from .searched import SearchPath

SCHEMA = 2  # 2: an artifact has `derived`; 1: an artifact had `conversion`
NAME, LAST = "manifest.json", "last_export"


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """The exporter of a file, the versions of its libraries, and the parity of the file with its source.

    `growth`: change of the calibrated ranges with the last half of the data. `search`: the search that chose the file.
    `in_float`: nodes that an FP16 file computes in FP32, because values are beyond FP16's range.
    """

    exporter: str
    versions: Mapping[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    growth: RangeGrowth | None = None
    search: SearchPath | None = None
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """One entry of the manifest: an artifact and its maker."""

    artifact: Artifact
    made: Maker


def read_manifest(folder: Path) -> list[Exported]:
    """Read the manifest of `folder`, with absolute paths. Empty without a manifest; `BadInput` for a damaged one."""
    return _read(folder)[0]


def read_last_export(folder: Path) -> list[Exported]:
    """Entries that the last `bench export` wrote; all entries of a manifest that does not say (version 0.1)."""
    items, last = _read(folder)
    return [item for item in items if last is None or _name(item.artifact) in last]


Name = tuple[str, ...]


def _name(artifact: Artifact) -> Name:
    """Model, precision and INT8 scheme, which name an entry in a manifest. Most entries have no scheme."""
    return tuple(filter(None, (artifact.model, artifact.precision, artifact.scheme)))


def _named(name: Sequence[Any], items: Sequence[Exported]) -> list[Name]:
    """Names of the entries that a stored `name` means. Older versions stored no scheme: they had one INT8 file of a model."""
    model, precision, *scheme = map(str, name)
    stored = (model, precision, *scheme)
    return [own for own in (_name(item.artifact) for item in items) if stored in (own, own[:2])]


def _read(folder: Path) -> tuple[list[Exported], list[Name] | None]:
    """All entries, and the names of those that the last `bench export` wrote; None where the manifest does not say."""
    path = folder / NAME
    if not path.is_file():
        return [], None
    try:
        data = json.loads(path.read_text())
        if data.get("schema", 0) > SCHEMA:
            raise BadInput(f"{path} was written by a newer onnxbench (schema {data['schema']})", "upgrade onnxbench")
        items = [exported_of(entry) for entry in data["artifacts"]]
        stored = data.get(LAST)
        last = None if stored is None else [own for name in stored for own in _named(name, items)]
    except (OSError, *WRONG) as error:
        raise BadInput(f"{path} is not a manifest ({one_line(error)})", "run bench export again") from error
    for item in items:
        _check_inside(path, item.artifact)
    return [replace(item, artifact=relocate(item.artifact, str(folder.absolute()))) for item in items], last


def exported_of(data: Mapping[str, Any]) -> Exported:
    """Decode one entry of a manifest, of this version or of version 0.1. `TypeError` for data of another type."""
    return Exported(artifact=artifact_of(data["artifact"]), made=from_wire(Maker, data["made"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Converted:
    """The description of a derived file in version 0.1."""

    origin: str
    scheme: str = ""
    method: str = ""
    exclude: tuple[str, ...] = ()
    data: str = ""
    samples: int = 0


def artifact_of(wire: Mapping[str, Any]) -> Artifact:
    """Decode the artifact of an entry, of this version or of version 0.1. `TypeError` for data of another type."""
    artifact = from_wire(Artifact, wire)
    if artifact.derived or wire.get("conversion") is None:
        return artifact
    old = from_wire(_Converted, wire["conversion"])
    options = Conversion(scheme=old.scheme, method=old.method, exclude=old.exclude).options
    data = (("data", old.data), ("samples", str(old.samples))) if old.scheme else ()
    # Revision 0 is no recipe's: the next export makes the file again.
    derived = Derived(origin=old.origin, recipe=artifact.precision, revision=0, tool="0.1", options=(*options, *data))
    return replace(artifact, derived=derived)


def _check_inside(manifest: Path, artifact: Artifact) -> None:
    """Raise `BadInput` for a path that leaves the manifest's folder: the manifest may come from an attacker."""
    weights = artifact.source.weights if artifact.source else None
    for name in filter(None, (artifact.path, weights)):
        try:
            inside = (manifest.parent / name).resolve().is_relative_to(manifest.parent.resolve())
        except (OSError, ValueError, RuntimeError):  # a name too long, a null byte, a link to itself
            inside = False
        if not inside or Path(name).is_absolute():
            raise BadInput(f"{manifest} names a file outside its folder, {shown(name)}", "run bench export again")


def add(folder: Path, exported: Exported, entry: Path, files: list[Path], export: str = "") -> Exported:
    """Copy `files` of the cache entry `entry` into `folder`, add `exported` to the manifest, and return it with absolute paths.

    The new artifact replaces that of the same model, precision and scheme, and all files derived from the old one. `export`:
    `first` or `next` file of a `bench export`; empty for a file that a sweep needs, which no plain `bench infer` measures.
    """
    new = exported.artifact
    items, last = _read(folder)
    last = _last_export(items, last, exported, export)
    others = [item for item in items if not _outdated(item.artifact, new)]
    _check_free(
        [item for item in others if item.artifact.sha256 != new.sha256],
        [folder.absolute() / file.relative_to(entry) for file in files],
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            replace_file(folder / file.relative_to(entry), partial(shutil.copyfile, file))
        relative = [replace(item, artifact=_relative(item.artifact, folder)) for item in others]
        data = {"schema": SCHEMA, "artifacts": [to_wire(item) for item in (*relative, exported)]}
        data |= {} if last is None else {LAST: last}
        # After the files: a manifest never names a file that is not there yet.
        replace_file(folder / NAME, lambda scratch: scratch.write_text(json.dumps(data, indent=1)))
    except OSError as error:
        raise StorageFailed(
            f"cannot write to {folder} ({error.strerror})", "free some space, or write another folder as --out"
        ) from error
    return replace(exported, artifact=relocate(new, str(folder.absolute())))


def portion(folder: Path, paths: Collection[str]) -> str:
    """Text of a manifest with those entries of `folder` whose files have `paths`. All of them count as the last export.

    Raises the errors of `read_manifest`.
    """
    items = [item for item in read_manifest(folder) if item.artifact.path in paths]
    entries = [to_wire(replace(item, artifact=_relative(item.artifact, folder))) for item in items]
    return json.dumps({"schema": SCHEMA, "artifacts": entries, LAST: [_name(item.artifact) for item in items]}, indent=1)


def _last_export(items: Sequence[Exported], last: list[Name] | None, new: Exported, export: str) -> list[Name] | None:
    """Names of the last export's files, after `new` joins `items`. None: all files of the folder."""
    if export:
        return [*(last or () if export == "next" else ()), _name(new.artifact)]
    if last is None and items and new.artifact.model not in {item.artifact.model for item in items}:
        return [_name(item.artifact) for item in items]
    return last


def _check_free(others: Sequence[Exported], targets: Sequence[Path]) -> None:
    """Raise `BadInput` if `targets` include a file of another artifact."""
    for item in others:
        if Path(item.artifact.path) in targets:
            problem = f"{item.artifact.path} is {item.artifact.model} in {item.artifact.precision}, and would be overwritten"
            raise BadInput(problem, "write another folder as --out, or rename the model's file")


def _outdated(old: Artifact, new: Artifact) -> bool:
    """True if `new` replaces `old`, or the file from which `old` was derived."""
    of_another_source = old.derived is not None and new.precision == "fp32" and old.derived.origin != new.sha256
    # Older versions gave the INT8 files of all schemes one file name.
    same = old.precision == new.precision and (old.scheme == new.scheme or Path(old.path).name == Path(new.path).name)
    return old.model == new.model and (same or of_another_source)


def check_writable(folder: Path) -> None:
    """Raise `BadInput`, before any long work, if `folder` cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".onnxbench-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(f"cannot write to {folder} ({error.strerror})", "use another folder") from error


def relocate(artifact: Artifact, folder: str) -> Artifact:
    """Return `artifact` with its relative paths under `folder`, the folder of a manifest."""
    source = artifact.source
    if source and source.weights:
        source = replace(source, weights=f"{folder}/{source.weights}")
    return replace(artifact, path=f"{folder}/{artifact.path}", source=source)


def _relative(artifact: Artifact, folder: Path) -> Artifact:
    root = folder.absolute()
    source = artifact.source
    if source and source.weights:
        source = replace(source, weights=str(Path(source.weights).relative_to(root)))
    return replace(artifact, path=str(Path(artifact.path).relative_to(root)), source=source)
