"""Image files of a dataset: folders by class, or a CSV of path and label. Reads names alone, and follows no link.

Standard library only.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import BadInput, nearest, one_line, quantity, shown
from ..untrusted import read_bytes

ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
CLASSES_FILE = "classes.txt"
PARTS = frozenset(("train", "val", "valid", "validation", "test"))
MOST_IMAGES, MOST_CLASSES = 200_000, 1_000_000
BY_CLASS = "put the images of each class into a folder of its name"
BY_LIST = "write --dataset images:FILE.csv, with lines of path,label"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Image files and the label of each, in a fixed order. `names`: class of each label that the files have."""

    source: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    names: Mapping[int, str]

    def shown(self, index: int) -> str:
        """Path of one file below the source, for a sentence."""
        path, folder = self.paths[index], self.source if self.source.is_dir() else self.source.parent
        return shown(str(path.relative_to(folder) if path.is_relative_to(folder) else path))

    def fingerprint(self) -> list[tuple[str, int, int, int]]:
        """Path, label, size and time of change of each file. A missing file has the size -1."""
        return [(str(path), label, *_stamp(path)) for path, label in zip(self.paths, self.labels)]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return -1, 0
    return status.st_size, status.st_mtime_ns


def check_source(source: Path) -> None:
    """Raise `BadInput` if `source` is neither a folder nor a CSV file."""
    if source.is_dir() or (source.is_file() and source.suffix.lower() == ".csv"):
        return
    if source.is_file():
        raise BadInput(f"{source} is neither a folder nor a .csv file", f"{BY_CLASS}, or {BY_LIST}")
    raise BadInput(
        f"there is no folder {source}", "write --dataset images:DIR, a folder of images by class, or images:FILE.csv"
    )


def find(source: Path, tick: Callable[[], None] = lambda: None, *, labelled: bool = True) -> Listing:
    """Find the image files of `source`. Calls `tick` for each class folder. `labelled` False: all files have the label 0.

    `BadInput` if there are none, or if their classes are not clear.
    """
    check_source(source)
    if source.is_dir() and not labelled:
        return _unlabelled(source)
    pairs = list(_in_folders(source, tick) if source.is_dir() else _in_csv(source))
    if len(pairs) > MOST_IMAGES:
        raise BadInput(f"{source} has more than {MOST_IMAGES} images", f"choose some of them: {BY_LIST}")
    given = _given_classes(source if source.is_dir() else source.parent)
    labels = _labels(source, [name for _, name in pairs], given, _folder_names(source) if source.is_dir() else ())
    names = {labels[name]: name for _, name in pairs}
    paths = tuple(path for path, _ in pairs)
    return Listing(source=source, paths=paths, labels=tuple(labels[name] for _, name in pairs), names=names)


def _unlabelled(source: Path) -> Listing:
    """All image files in the folder `source` and below."""
    paths = tuple(islice(_images_below(source), MOST_IMAGES))
    if not paths:
        raise BadInput(f"{source} has no image{_links(source)}", _endings())
    return Listing(source=source, paths=paths, labels=(0,) * len(paths), names={0: ""})


def _folder_names(source: Path) -> list[str]:
    """Sub-folders, without hidden ones and links, sorted as text."""
    with os.scandir(source) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in names if not name.startswith("."))


def _in_folders(source: Path, tick: Callable[[], None]) -> Iterator[tuple[Path, str]]:
    """Each image file and the name of its class, the folder directly in `source`. Raises `BadInput` without any."""
    folders = _folder_names(source)
    if not folders:
        raise BadInput(_without_folders(source), f"{BY_CLASS}, or {BY_LIST}")
    if all(name.lower() in PARTS for name in folders) and all(_folder_names(source / name) for name in folders):
        raise BadInput(
            f"{source} has the folders {', '.join(folders)}, which are parts of a dataset and not classes",
            f"write one part: --dataset images:{source / folders[-1]}",
        )
    count = 0
    for folder in folders:
        tick()
        for path in _images_below(source / folder):
            count += 1
            yield path, folder
            if count > MOST_IMAGES:
                return
    if not count:
        raise BadInput(f"{source} has {quantity(len(folders), 'folder')} and no image in them{_links(source)}", _endings())


def _images_below(folder: Path) -> Iterator[Path]:
    """Image files in `folder` and in its folders, sorted."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        paths = (Path(place) / name for name in sorted(files) if Path(name).suffix.lower() in ENDINGS)
        yield from (path for path in paths if not path.is_symlink())


def _without_folders(source: Path) -> str:
    count = sum(path.suffix.lower() in ENDINGS for path in source.iterdir())
    what = f"{quantity(count, 'image')} and no sub-folder" if count else "no sub-folder and no image"
    return f"{source} has {what}, so nothing says which classes the images have" if count else f"{source} has {what}"


def _links(source: Path) -> str:
    """Sentence part about links below `source`, which are not followed; empty without any."""
    linked = any(path.is_symlink() for path in source.rglob("*"))
    return "; it has links, which are not followed" if linked else ""


def _endings() -> str:
    return f"use files that end in {', '.join(sorted(ENDINGS))}"


def _in_csv(source: Path) -> Iterator[tuple[Path, str]]:
    """Each path and label of a CSV file. Relative paths are relative to its folder. A first line `path,label` is a header."""
    try:
        rows = list(csv.reader(read_bytes(source).decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read {source} ({one_line(error)})", "write lines of path,label in UTF-8") from error
    count = 0
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[0].strip().lower() == "path"):
            continue
        if len(row) != 2 or not all(field.strip() for field in row) or "\0" in row[0]:
            raise BadInput(f"line {number} of {source} is not path,label", "write two fields in each line")
        count += 1
        yield source.parent / row[0].strip(), row[1].strip()
    if not count:
        raise BadInput(f"{source} lists no image", "write lines of path,label")


def _given_classes(folder: Path) -> Sequence[str]:
    """Names of the classes in the order of the model's outputs, from CLASSES_FILE; empty without the file."""
    path = folder / CLASSES_FILE
    if not path.exists():
        return ()
    try:
        names = [line.strip() for line in read_bytes(path).decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path} ({one_line(error)})", "write one class in each line, in UTF-8") from error
    while names and not names[-1]:
        names.pop()
    return names


def _labels(source: Path, used: Sequence[str], given: Sequence[str], folders: Sequence[str]) -> dict[str, int]:
    """Label of each class: its line in CLASSES_FILE, else the number that is its name, else its place in sorted order.

    The sorted order counts `folders` without images too.
    """
    names = sorted({*used, *folders})
    if given:
        missing = next((name for name in sorted(set(used)) if name not in given), None)
        if missing is not None:
            raise BadInput(f"{source} has the class {shown(missing)}, and {CLASSES_FILE} does not", nearest(missing, given))
        return {name: given.index(name) for name in set(used)}
    if all(name.isascii() and name.isdecimal() and len(name) <= len(str(MOST_CLASSES)) for name in names):
        return {name: int(name) for name in names}
    return {name: index for index, name in enumerate(names)}
