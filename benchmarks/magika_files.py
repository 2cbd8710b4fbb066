"""A labelled set for Magika, the file classifier, from files of this machine, by extensions with one meaning.

    pip download magika==1.0.3 --no-deps && unzip magika-*.whl -d magika
    python benchmarks/magika_files.py magika FILES.npz [FOLDER ...]
    bench check --model magika/magika/models/standard_v3_3/model.onnx --dataset tensors:FILES.npz --precision fp32,int8

`FILES.npz` has what the model takes: `x` with the bytes of each file as Magika reads them, and `y` with the label of its
extension. At most PER_LABEL files have one label, so that the set is not Python alone. Nothing of the files is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

FOLDERS = ("/usr", "/opt", "/home", "/etc")
PER_LABEL, CANDIDATES = 900, 3000
LEAST_BYTES = 8  # Magika answers for smaller files without its model

# Extensions that name one kind of content here. Not among them: txt, log and in (any text), o and so (formats differ by
# system), m, h, pl, ts and bin (several kinds), cfg and conf (no label), onnx and pkl (many are test data of other kinds).
LABEL_OF = {
    **{"py": "python", "pyi": "python", "pyc": "pythonbytecode", "js": "javascript", "mjs": "javascript", "c": "c"},
    **{"cc": "cpp", "cpp": "cpp", "php": "php", "sh": "shell", "sql": "sql", "css": "css", "tcl": "tcl", "proto": "proto"},
    **{"f90": "fortran", "ps1": "powershell", "bat": "batch", "go": "go", "awk": "awk", "cmake": "cmake", "html": "html"},
    **{"xml": "xml", "svg": "svg", "json": "json", "yaml": "yaml", "yml": "yaml", "toml": "toml", "rst": "rst", "srt": "srt"},
    **{"md": "markdown", "csv": "csv", "gz": "gzip", "bz2": "bzip", "xz": "xz", "jar": "jar", "png": "png", "gif": "gif"},
    **{"jpg": "jpeg", "ico": "ico", "wav": "wav", "pdf": "pdf", "ttf": "ttf", "npy": "npy", "npz": "npz", "exe": "pebin"},
}


def files_in(folders: Sequence[str]) -> Iterator[Path]:
    """Ordinary files below `folders` with an extension of LABEL_OF."""
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                if path.suffix[1:].lower() in LABEL_OF and path.is_file() and not path.is_symlink():
                    yield path


def features(path: Path, config: dict[str, int]) -> tuple[int, ...] | None:
    """First and last bytes of a file, stripped of white space and padded, as Magika's own package reads them."""
    size, block, padding = path.stat().st_size, config["block_size"], config["padding_token"]
    if size < LEAST_BYTES:
        return None
    with path.open("rb") as file:
        first = file.read(block).lstrip()[: config["beg_size"]]
        file.seek(max(0, size - block))
        last = file.read(block).rstrip()[-config["end_size"] :]
    if len(first) < LEAST_BYTES:
        return None
    before, after = config["end_size"] - len(last), config["beg_size"] - len(first)
    return (*first, *[padding] * after, *[padding] * before, *last)


def labelled(paths: Sequence[Path], config: dict[str, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Label and features of files with different features, at most PER_LABEL of each label."""
    seen: set[bytes] = set()
    counts: Counter[str] = Counter()
    for path in paths:
        label = LABEL_OF[path.suffix[1:].lower()]
        try:
            row = features(path, config) if counts[label] < PER_LABEL else None
        except OSError:  # a file that may not be read, or that is gone
            continue
        mark = hashlib.sha256(np.array(row, np.int32).tobytes()).digest() if row else b""
        if row and mark not in seen:
            seen.add(mark)
            counts[label] += 1
            yield label, row


def main() -> None:
    model = next(Path(sys.argv[1]).rglob("config.min.json"))
    config = json.loads(model.read_text())
    by_label: dict[str, list[Path]] = defaultdict(list)
    for path in files_in(sys.argv[3:] or FOLDERS):
        by_label[LABEL_OF[path.suffix[1:].lower()]].append(path)
    generator = random.Random(0)
    chosen = [generator.sample(sorted(paths), min(len(paths), CANDIDATES)) for _, paths in sorted(by_label.items())]
    rows = list(labelled([path for paths in chosen for path in paths], config))
    names = config["target_labels_space"]
    x, y = np.array([row for _, row in rows], np.int32), np.array([names.index(label) for label, _ in rows], np.int64)
    np.savez_compressed(sys.argv[2], x=x, y=y)
    print(f"{len(y)} files of {len(set(y.tolist()))} labels: {dict(Counter(label for label, _ in rows).most_common())}")


if __name__ == "__main__":
    main()
