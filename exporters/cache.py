"""The user's cache: what can be made again, found by the content that it was made from. Standard library only.

An entry is a folder named after its key; it appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import StorageFailed

ENTRY = "entry.json"  # what an export's entry says of itself; the files beside it are the export


def root() -> Path:
    """`$ONNXBENCH_CACHE`, else `onnxbench` in the user's cache folder (XDG)."""
    chosen = os.environ.get("ONNXBENCH_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxbench"


def entry(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder of `kind`/`key` and whether it was there already; `make` fills it when it was not."""
    final = root() / kind / key
    if final.is_dir():
        return final, True
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=final.parent))
    except OSError as error:
        raise _unwritable(error) from error
    try:
        make(scratch)
        _settle(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final, False


def _settle(scratch: Path, final: Path) -> None:
    try:
        scratch.rename(final)
    except OSError as error:
        if not final.is_dir():  # somebody else made the same entry first: theirs is as good
            raise _unwritable(error) from error


def _unwritable(error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot write to the cache {root()} ({error.strerror})", "set ONNXBENCH_CACHE")


def drop(kind: str, key: str) -> None:
    """Forget one entry (found damaged)."""
    shutil.rmtree(root() / kind / key, ignore_errors=True)


def sizes() -> dict[str, int]:
    """Bytes in each kind of entry."""
    if not root().is_dir():
        return {}
    return {
        kind.name: sum(file.stat().st_size for file in kind.rglob("*") if file.is_file())
        for kind in sorted(root().iterdir())
        if kind.is_dir()
    }


def clear() -> None:
    """Remove everything in the cache."""
    shutil.rmtree(root(), ignore_errors=True)
