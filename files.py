"""Atomic replacement of a file. Standard library only.

A reader sees the old content or the new content, and never a part of either.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory


def replace_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a new file, then put that file at `path` in one step. Make the folder of `path` if it is missing.

    The umask gives the new file its mode. A symbolic link at `path` is replaced and not followed. An error or Ctrl-C leaves
    `path` unchanged and no scratch file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        # In a folder beside `path`: a rename is atomic on one disk only, and no other user can write in that folder.
        scratch = Path(folder) / path.name
        fill(scratch)
        scratch.replace(path)
