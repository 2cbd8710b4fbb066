"""Links in the cache of the Hugging Face hub, the only links to models and weights that are followed. Pure paths and `stat`.

The hub stores the content of a file once, in models--NAME/blobs. Each revision is a folder models--NAME/snapshots/REVISION of
links into blobs. A link of another tool may lead to any file of the machine.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from ..errors import shown
from ..untrusted import is_plain

SNAPSHOTS, BLOBS = "snapshots", "blobs"


def lexical(path: Path) -> Path:
    """The absolute form of `path` without `..`, and with its links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve follows links)


def find_root(path: Path) -> Path | None:
    """The folder models--NAME of a `path` below its snapshots/REVISION; None for other paths."""
    parents = lexical(path).parents
    pairs = pairwise(parents[1:])  # without the revision's own folder
    return next((root for snapshots, root in pairs if snapshots.name == SNAPSHOTS and root.name.startswith("models--")), None)


def find_link(file: Path, folder: Path) -> str | None:
    """Description of the first link on the way from `folder` to `file` that is not one of the hub's cache; None without one.

    Raises `OSError` and `ValueError` for a name that the system refuses.
    """
    file, folder = lexical(file), lexical(folder)
    inner = [parent for parent in reversed(file.parents) if parent.is_relative_to(folder) and parent != folder]
    link = next((place for place in (*inner, file) if place.is_symlink()), None)
    if link is None or (link == file and _leads_to_blob(file)):
        return None
    return f"a link to {shown(str(link.readlink()))}" if link == file else f"behind the link {shown(str(link))}"


def _leads_to_blob(link: Path) -> bool:
    """True if `link` leads from a snapshot to a regular file in the blobs of the same model."""
    root = find_root(link)
    if root is None:
        return False
    target = lexical(link.parent / link.readlink())
    if target.parent != lexical(root / BLOBS) or target.is_symlink() or target.parent.is_symlink() or not is_plain(target):
        return False
    # The kernel follows links in place of folders before it goes up, and may then end elsewhere.
    return target.resolve() == link.resolve()
