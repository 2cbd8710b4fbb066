"""Reading what somebody else may have written: bounded, from plain files alone, and never as code. NumPy only.

A run folder or a dataset may come from another machine, an archive or a cache of a CI. What is wrong with it is `BadInput`,
one sentence.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, one_line

TEXT_BYTES, ARRAYS_BYTES = 1 << 29, 1 << 28
"""The most that a file of text, and the arrays of one archive after unpacking, may have: far more than a run has."""

PACKED_RATIO = 100
"""How many times larger than its file an archive may be beyond ARRAYS_BYTES; real images and tensors come to a tenth of it."""

WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What code meets that was promised other data than it got."""


def is_plain(path: Path) -> bool:
    """Whether there is a file at `path` that can be read to its end: no pipe, no device, no folder."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return False


def open_plain(path: Path, flags: int) -> IO[bytes]:
    """The plain file at `path`, opened to write with the `flags` of os.open, unbuffered.

    No link is followed, no pipe is waited for, and nothing is cut. `OSError` where there is anything but a plain file.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a pipe that nobody reads
            raise OSError(error.errno, f"{path.name} is no plain file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is no plain file", str(path))
    return os.fdopen(descriptor, "ab" if flags & os.O_APPEND else "wb", buffering=0)


def read_bytes(path: Path) -> bytes:
    """The whole of a plain file. `OSError` for anything else, and for one that is too large to be what it should be."""
    if not is_plain(path):
        raise OSError(f"{path.name} is no plain file" if path.exists() else f"there is no {path.name}")
    size = path.stat().st_size
    if size > TEXT_BYTES:
        raise OSError(f"{path.name} has {size} bytes, and {TEXT_BYTES} is the most that is read")
    return path.read_bytes()


def parse(text: bytes) -> Any:
    """JSON. `ValueError` for anything else, also for what is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def is_sample_name(name: str, inside: str) -> bool:
    """True if `name` is that of a file in the folder `inside` of a run folder, and leads nowhere else."""
    first, _, last = name.partition("/")
    return first == inside and last not in ("", ".", "..") and os.sep not in last and "\0" not in last


def load_times(path: Path) -> dict[str, NDArray[np.int64]]:
    """The arrays of an .npz file, each of times: int64, one axis. `BadInput` for anything else."""
    try:
        check_archive(path, ratio=0)
        with np.load(path, allow_pickle=False) as arrays:
            found = dict(arrays)
    except Exception as error:  # a damaged file makes NumPy's reader raise nearly anything
        raise BadInput(f"cannot read {path} ({one_line(error)})", "measure it again, or remove the file") from error
    if any(array.dtype != np.int64 or array.ndim != 1 or (array < 0).any() for array in found.values()):
        raise BadInput(f"{path} holds something else than times", "measure it again, or remove the file")
    return found


def unpacked_most(path: Path, ratio: float = PACKED_RATIO) -> float:
    """How many bytes the file at `path` may come to when it is unpacked."""
    return max(ARRAYS_BYTES, ratio * path.stat().st_size)


def check_archive(path: Path, ratio: float = PACKED_RATIO) -> None:
    """`ValueError` if the archive at `path` unpacks to more than ARRAYS_BYTES and `ratio` times its size, and `OSError` if
    it is no plain file. What it says of itself holds: zipfile reads no more of a member than its directory tells."""
    if not is_plain(path):
        raise OSError(f"{path.name} is no plain file")
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > unpacked_most(path, ratio):
        raise ValueError(f"it unpacks from {path.stat().st_size / 1e6:.1f} to {size / 1e6:.0f} MB, which no such file does")


@contextmanager
def understood(folders: Sequence[Path]) -> Iterator[None]:
    """Inside, run folders are read and computed with; data that is not what it should be is `BadInput`."""
    try:
        yield
    except WRONG as error:
        named = ", ".join(map(str, folders))
        raise BadInput(
            f"{named} holds what no bench infer wrote ({type(error).__name__}: {one_line(error)})",
            "measure it again; --debug shows where",
        ) from error
