"""Writing a file as a whole. Standard library only.

A reader sees the old content or the new one, and never a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory


def replace_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a new file and put it at `path` in one step. The folder of `path` is made where it is missing.

    Its mode is that of any new file (the umask). A link at `path` is replaced and not followed. After an error or Ctrl-C `path`
    is as it was, and nothing lies beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:  # the same disk, and nobody else's
        scratch = Path(folder) / path.name
        fill(scratch)
        scratch.replace(path)
