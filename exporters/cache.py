"""The user's cache: files that can be made again, under a key of the content of their sources. Standard library only.

An entry is a folder whose name is its key. A rename puts the whole folder in place. Only the user may enter the folders.
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
ENTRY = "entry.json"  # description of an export, beside the files of the export


def root() -> Path:
    """`$ONNXBENCH_CACHE`, else `onnxbench` in the user's cache folder (XDG)."""
    folder = os.environ.get("ONNXBENCH_CACHE")
    return Path(folder) if folder else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxbench"


def make_private(folder: Path) -> Path:
    """Make `folder`, the root or a folder below it, and give it and the folders up to the root the mode PRIVATE.

    Folders of other users and shared folders such as `/tmp` keep their mode.
    """
    above = [folder, *folder.parents]
    try:
        root().parent.mkdir(parents=True, exist_ok=True)
        for place in reversed(above[: above.index(root()) + 1]):
            place.mkdir(mode=PRIVATE, exist_ok=True)
            _restrict(place)
    except OSError as error:
        raise _unwritable(error) from error
    return folder


def _restrict(place: Path) -> None:
    """Give the folder `place` the mode PRIVATE if the user owns it and it is not shared."""
    status = place.stat()
    # The sticky bit marks a folder that everybody may write to by design.
    if status.st_uid == os.getuid() and not status.st_mode & stat.S_ISVTX and stat.S_IMODE(status.st_mode) != PRIVATE:
        with suppress(OSError):  # a read-only disk, or a disk without modes
            place.chmod(PRIVATE)


def _unwritable(error: OSError) -> StorageFailed:
    return StorageFailed(
        f"cannot write to the cache {root()} ({error.strerror})", "set ONNXBENCH_CACHE to a folder that you can write to"
    )


def find_or_make(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """Return the folder of `kind`/`key`, and True if it existed before. Otherwise `make` fills a new folder."""
    final = root() / kind / key
    if final.is_dir():
        return make_private(final), True
    try:
        # On the same disk as `final`: a rename is atomic on one disk only.
        scratch = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=make_private(final.parent)))
    except OSError as error:
        raise _unwritable(error) from error
    try:
        make(scratch)
        for place in filter(Path.is_dir, scratch.rglob("*")):
            _restrict(place)
        _move(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final, False


def _move(scratch: Path, final: Path) -> None:
    try:
        scratch.rename(final)
    except OSError as error:
        if not final.is_dir():  # if it is there, another process made the same entry first
            raise _unwritable(error) from error


def drop(kind: str, key: str) -> None:
    """Remove one entry, for example a damaged one."""
    shutil.rmtree(root() / kind / key, ignore_errors=True)


def sizes() -> dict[str, int]:
    """Size of each kind of entry, in bytes."""
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
