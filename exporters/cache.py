"""The user's cache: what can be made again, found by the content that it was made from. Standard library only.

An entry is a folder named after its key; it appears whole, by a rename, or not at all. Folders are for their user alone.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import StorageFailed

PRIVATE = 0o700
ENTRY = "entry.json"  # what an export's entry says of itself; the files beside it are the export


def root() -> Path:
    """`$ONNXBENCH_CACHE`, else `onnxbench` in the user's cache folder (XDG)."""
    chosen = os.environ.get("ONNXBENCH_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxbench"


def private(folder: Path) -> Path:
    """`folder`, which is the root or below it, made where it is missing. It and those above it are for their user alone.

    Folders of somebody else's stay as they are, and so does one that everybody may write to by design (`/tmp`).
    """
    above = [folder, *folder.parents]
    try:
        root().parent.mkdir(parents=True, exist_ok=True)
        for place in reversed(above[: above.index(root()) + 1]):
            place.mkdir(mode=PRIVATE, exist_ok=True)
            _close(place)
    except OSError as error:
        raise _unwritable(error) from error
    return folder


def _close(place: Path) -> None:
    """Give `place` the mode PRIVATE, where it is ours and has another."""
    found = place.stat()
    if found.st_uid == os.getuid() and not found.st_mode & stat.S_ISVTX and stat.S_IMODE(found.st_mode) != PRIVATE:
        with suppress(OSError):  # a disk that is read-only, or has no modes
            place.chmod(PRIVATE)


def _unwritable(error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot write to the cache {root()} ({error.strerror})", "set ONNXBENCH_CACHE")


def entry(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder of `kind`/`key` and whether it was there already; `make` fills it when it was not."""
    final = root() / kind / key
    if final.is_dir():
        return private(final), True
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=private(final.parent)))
    except OSError as error:
        raise _unwritable(error) from error
    try:
        make(scratch)
        for place in filter(Path.is_dir, scratch.rglob("*")):
            _close(place)
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
