"""Exports in the user's cache: a folder with the files, and `entry.json` that says what they are. Standard library only."""

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
    """An export in the cache: its folder, whether it was there already, and what it holds (paths relative to the folder)."""

    folder: Path
    cached: bool
    exported: Exported


def entry(key: str, make: Callable[[Path], None], file_hash: Callable[[Path], str]) -> CachedExport:
    """Read the entry under `key`. Make it if it is missing, and again if its file has another `file_hash`."""
    for _ in range(ATTEMPTS):
        folder, cached = cache.entry(KIND, key, make)
        try:
            found = manifest.exported_of(json.loads((folder / cache.ENTRY).read_text()))
            if file_hash(folder / found.artifact.path) == found.artifact.sha256:
                return CachedExport(folder=folder, cached=cached, exported=found)
        except (OSError, *WRONG, BadInput):
            pass
        cache.drop(KIND, key)
    raise BadInput(f"the cache entry {key} cannot be written whole", "check the disk, or run bench cache --clear")


def write(folder: Path, found: Artifact, made: Maker) -> None:
    """Say in the cache entry `folder` what it holds: `found`, its path relative, and how it was `made`."""
    exported = Exported(artifact=replace(found, path=str(Path(found.path).relative_to(folder))), made=made)
    (folder / cache.ENTRY).write_text(json.dumps(to_wire(exported)))


def stem_of(model: str) -> str:
    """The first part of the names of the files of `model`."""
    return re.sub(r"\W+", "-", model).strip("-")
