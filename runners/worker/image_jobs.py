"""The worker's job that decodes image files into the cache. The worker does nothing else, and has a memory limit of its own.

Imports NumPy; Pillow inside functions.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from ...errors import installed
from ...exporters import cache
from ...models import datasets, image_arrays, image_files
from ...models.preprocessing import Preprocessing, split_name
from ...spec import digest
from .file_jobs import Decoded, DecodeImages
from .jobs import ProgressReport, Reporter, There
from .serve import State

KIND, FORMAT = "images", 1  # increase FORMAT when an entry contains other arrays
MEMORY = 3 << 30  # bytes of private memory for images: one at Pillow's pixel limit needs a third of it


def decode(state: State, report: Reporter, job: DecodeImages) -> Decoded:
    """Folder with the decoded images of a dataset, from the cache if no file changed since."""
    with installed("Pillow", "pip install 'onnxbench[images]'"):
        import PIL
    _limit_memory()
    _, path, steps = split_name(job.data.name)
    how = Preprocessing.parse(steps)
    source = Path(job.data.place.path if job.data.place else path)
    listing = image_files.find(source, lambda: report(ProgressReport()), labelled=job.labelled)
    # The files that ended a worker are no part of the key: the next command then finds the entry at once.
    key = digest([FORMAT, PIL.__version__, how.geometry, listing.fingerprint()])
    total = len(listing.paths)

    def tick(index: int) -> None:
        report(ProgressReport(step=index, steps=total))

    folder, _ = cache.find_or_make(KIND, key, lambda scratch: image_arrays.write(scratch, listing, how, job.skip, tick))
    return Decoded(folder=There(path=str(folder)), images=datasets.image_set(job.data.name, folder))


def _limit_memory() -> None:
    """Let an allocation beyond MEMORY fail: the file that needs it does then not decode.

    NumPy's threads reserve memory for each core, which is no part of MEMORY.
    """
    with suppress(ValueError, OSError, StopIteration):  # a lower limit of the system; a system without /proc
        lines = Path("/proc/self/status").read_text().splitlines()
        reserved = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (reserved + MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
