"""Exports in the user's cache: a folder with the files, and `entry.json` that says what they are. Standard library only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..spec import Artifact, to_wire
from ..untrusted import WRONG
from . import cache, manifest

KIND = "exports"
ATTEMPTS = 2


def entry(key: str, make: Callable[[Path], None], file_hash: Callable[[Path], str]) -> dict[str, Any]:
    """What the entry under `key` holds. It is made if it is missing, and made again if its file has another `file_hash`."""
    for _ in range(ATTEMPTS):
        folder, cached = cache.entry(KIND, key, make)
        try:
            content = json.loads((folder / cache.ENTRY).read_text())
            found, made = manifest.artifact_of(content["artifact"]), content["made"]
            whole = isinstance(made, dict) and file_hash(folder / found.path) == found.sha256
        except (OSError, *WRONG, BadInput):
            whole = False
        if whole:
            return {"folder": str(folder), "cached": cached, "artifact": to_wire(found), "made": made}
        cache.drop(KIND, key)
    raise BadInput(f"the cache entry {key} cannot be written whole", "check the disk, or run bench cache --clear")


def write(folder: Path, found: Artifact, made: Mapping[str, Any]) -> None:
    """Say in the cache entry `folder` what it holds: `found`, its path relative, and how it was `made`."""
    wire = {**to_wire(found), "path": str(Path(found.path).relative_to(folder))}
    (folder / cache.ENTRY).write_text(json.dumps({"artifact": wire, "made": made}))


def stem_of(model: str) -> str:
    """What files of `model` are called."""
    return re.sub(r"\W+", "-", model).strip("-")
