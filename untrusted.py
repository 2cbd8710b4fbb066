"""Safe reading of files that an attacker may have written: bounded, from regular files only, never as code. NumPy only.

A run folder or a dataset may come from another machine, an archive or a cache of a CI. A defect in its data is `BadInput`.
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
from numpy.lib.format import read_array
from numpy.typing import NDArray

from .errors import BadInput, one_line

TEXT_BYTES, ARRAYS_BYTES = 1 << 29, 1 << 28
"""Size limits of a text file, and of the arrays of one archive after unpacking. Both are far above what a run needs."""

PACKED_RATIO = 100
"""Highest ratio of unpacked to packed size, for archives above ARRAYS_BYTES. Real images and tensors reach a tenth of it."""

WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""Exceptions that code raises when its data has unexpected types or values."""

DECODER = json.JSONDecoder()


def is_plain(path: Path) -> bool:
    """True for a regular file, which a reader can read to its end: no pipe, no device, no folder."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return False


def open_plain(path: Path, flags: int) -> IO[bytes]:
    """Open the regular file at `path` for writing, unbuffered, with the `flags` of os.open.

    `OSError` for anything that is not a regular file. The content stays: the caller truncates if needed.
    """
    # O_NOFOLLOW refuses a link to a file elsewhere; O_NONBLOCK keeps a named pipe from blocking `open` for ever.
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a pipe without a reader
            raise OSError(error.errno, f"{path.name} is not a regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is not a regular file", str(path))
    return os.fdopen(descriptor, "ab" if flags & os.O_APPEND else "wb", buffering=0)


def read_bytes(path: Path) -> bytes:
    """Read a whole regular file. `OSError` for anything else, and for a file of more than TEXT_BYTES."""
    if not is_plain(path):
        raise OSError(f"{path.name} is not a regular file" if path.exists() else f"{path.name} does not exist")
    size = path.stat().st_size
    if size > TEXT_BYTES:
        raise OSError(f"{path.name} has {size} bytes; the limit is {TEXT_BYTES}")
    return path.read_bytes()


def parse(text: bytes) -> Any:
    """Parse JSON. `ValueError` for other text, and for data that is nested too deep."""
    try:
        return _parse_line(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _parse_line(text: bytes) -> Any:
    # json.loads guesses the encoding and looks for spaces first, which takes a third of its time for a line of a journal.
    try:
        line = text.decode()
        data, end = DECODER.raw_decode(line)
    except ValueError:
        return json.loads(text)
    return data if end == len(line) else json.loads(text)


def is_sample_name(name: str, inside: str) -> bool:
    """True if `name` names a file directly in the folder `inside` of a run folder."""
    first, _, last = name.partition("/")
    return first == inside and last not in ("", ".", "..") and os.sep not in last and "\0" not in last


def load_times(path: Path, kind: str) -> NDArray[np.int64]:
    """Read the array `kind` of an .npz file: times in ns, int64 [N], empty if it is not there. `BadInput` for anything else."""
    name = f"{kind}.npy"
    try:
        with checked_archive(path, ratio=0) as archive:
            if name not in archive.namelist():
                return np.array([], np.int64)
            with archive.open(name) as file:
                times: NDArray[np.int64] = read_array(file, allow_pickle=False)
    except Exception as error:  # NumPy's reader raises nearly any exception for a damaged file
        raise BadInput(f"cannot read {path} ({one_line(error)})", "measure again, or remove the file") from error
    if times.dtype != np.int64 or times.ndim != 1 or (times < 0).any():
        raise BadInput(f"{path} contains data that are not times", "measure again, or remove the file")
    return times


def unpacked_most(path: Path, ratio: float = PACKED_RATIO) -> float:
    """Largest number of bytes that the file at `path` may have after unpacking."""
    return max(ARRAYS_BYTES, ratio * path.stat().st_size)


def check_archive(path: Path, ratio: float = PACKED_RATIO) -> None:
    """Refuse a zip bomb. Raises the errors of `checked_archive`."""
    with checked_archive(path, ratio):
        pass


@contextmanager
def checked_archive(path: Path, ratio: float) -> Iterator[zipfile.ZipFile]:
    """Open the archive at `path`. `ValueError` if it unpacks to more than ARRAYS_BYTES and `ratio` times its size.

    `OSError` if `path` is not a regular file.
    """
    if not is_plain(path):
        raise OSError(f"{path.name} is not a regular file")
    # The directory of the archive can be trusted here: zipfile reads no more bytes of a member than the directory says.
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > unpacked_most(path, ratio):
            packed = path.stat().st_size
            raise ValueError(f"it would unpack from {packed / 1e6:.1f} MB to {size / 1e6:.0f} MB, beyond the limit")
        yield archive


@contextmanager
def understood(folders: Sequence[Path]) -> Iterator[None]:
    """Turn the exceptions WRONG into `BadInput` about `folders`, whose data the code inside reads."""
    try:
        yield
    except WRONG as error:
        names = ", ".join(map(str, folders))
        raise BadInput(
            f"{names} has data that bench infer did not write ({type(error).__name__}: {one_line(error)})",
            "measure again, or add --debug to see the place in the code",
        ) from error
