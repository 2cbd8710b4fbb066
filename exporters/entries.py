"""Exports in the user's cache: a folder with the files, and their description in `entry.json`. Standard library only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BadInput
from ..spec import Artifact, to_wire
from ..untrusted import WRONG
from . import cache, manifest
from .manifest import Exported, Maker

KIND = "exports"
ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedExport:
    """An export in the cache: its folder and its artifact, with paths relative to the folder.

    `cached`: the export was in the cache before.
    """

    folder: Path
    cached: bool
    exported: Exported


def find_or_make_export(key: str, make: Callable[[Path], None], file_hash: Callable[[Path], str]) -> CachedExport:
    """Read the entry under `key`. Make it if it is missing, and again if its file has another `file_hash`."""
    # The first attempt may find a damaged entry, and the second one makes it.
    for _ in range(ATTEMPTS):
        folder, cached = cache.find_or_make(KIND, key, make)
        try:
            exported = manifest.exported_of(json.loads((folder / cache.ENTRY).read_text()))
            if file_hash(folder / exported.artifact.path) == exported.artifact.sha256:
                return CachedExport(folder=folder, cached=cached, exported=exported)
        except (OSError, *WRONG, BadInput):
            pass
        cache.drop(KIND, key)
    raise BadInput(
        f"the files of the cache entry {cache.root() / KIND / key} change after they are written",
        "check the disk, or run bench cache --clear",
    )


def write_entry(folder: Path, artifact: Artifact, maker: Maker) -> None:
    """Describe `artifact` and its `maker` in the cache entry `folder`. The stored path is relative to `folder`."""
    exported = Exported(artifact=replace(artifact, path=str(Path(artifact.path).relative_to(folder))), made=maker)
    (folder / cache.ENTRY).write_text(json.dumps(to_wire(exported)))


def stem_of(model: str) -> str:
    """First part of the file names of `model`: its name with `-` in place of special characters."""
    return re.sub(r"\W+", "-", model).strip("-")
