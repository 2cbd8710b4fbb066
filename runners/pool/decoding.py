"""Decoding of image files in workers that do nothing else, within limits. Standard library and the package only.

A file that ends its worker, or that takes too long, counts as one that does not decode: another worker goes on without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from ...errors import BadInput, OutOfMemory, WorkerDied, WorkerTimeout
from ...models.preprocessing import is_images
from ...parity import ImageSet
from ..worker.file_jobs import Decoded, DecodeImages
from ..worker.jobs import Data, Here, Job, ProgressReport
from .pool import Pool
from .progress import Progress

FILE_S = 60.0  # longest time for one file, and for the list of files
MOST_ENDED = 3  # workers that files may end
STEP = 50  # files between two steps of the progress bar

AnyJob = TypeVar("AnyJob", bound=Job[Any])


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Datasets of image files, each decoded once. `images`: facts by the dataset's name."""

    places: dict[tuple[str, bool], Here] = field(default_factory=dict)
    images: dict[str, ImageSet] = field(default_factory=dict)

    def with_arrays(self, job: AnyJob, logs: Path, pool: Pool, progress: Progress) -> AnyJob:
        """`job` with the folder of decoded images as the place of its dataset; other jobs as they are."""
        data = getattr(job, "data", None)
        if not isinstance(data, Data) or isinstance(job, DecodeImages):
            return job
        made = self.data_of(data, logs, pool, progress)
        return job if made is data else replace(cast(Any, job), data=made)  # every job with `data` is a dataclass

    def data_of(self, data: Data, logs: Path, pool: Pool, progress: Progress) -> Data:
        """`data` with its decoded images; other datasets as they are. `BadInput` if too many files do not decode."""
        return replace(data, place=self.place_of(data, logs, pool, progress)) if is_images(data.name) else data

    def place_of(self, data: Data, logs: Path, pool: Pool, progress: Progress, *, labelled: bool = True) -> Here:
        """Folder of the decoded images of `data`. `labelled` False: folders are no classes."""
        key = data.name, labelled
        if key not in self.places:
            decoded = _decode(DecodeImages(data=data, labelled=labelled), logs, pool, progress)
            self.places[key], self.images[data.name] = Here(path=decoded.folder.path), decoded.images
            if note := _note(data.name, decoded.images):
                progress.note(note)
        return self.places[key]


def _decode(job: DecodeImages, logs: Path, pool: Pool, progress: Progress) -> Decoded:
    """Ask one worker after the other, until one reaches the last file."""
    skip: tuple[int, ...] = ()
    while True:
        last: list[int] = []

        def on_report(report: ProgressReport, last: list[int] = last) -> None:
            if report.steps:
                last[:] = [report.step]
                if report.step % STEP == 0:
                    progress.step(f"decoding the images of {job.data.name}", report.step, report.steps)

        try:
            with pool.start(logs / "decode.log") as worker:
                return worker.ask(replace(job, skip=skip), FILE_S, on_report)
        except (WorkerDied, WorkerTimeout, OutOfMemory) as error:
            if not last or len(skip) == MOST_ENDED:
                raise BadInput(
                    f"the images of {job.data.name} cannot be decoded: {error.message}", "remove damaged files, and try again"
                ) from error
            skip = (*skip, *last)


def _note(name: str, images: ImageSet) -> str:
    """Sentence about files that are left out; empty without any."""
    if not images.unreadable:
        return ""
    more = ", ..." if images.unreadable > len(images.examples) else ""
    total = images.images + images.unreadable
    return f"left out {images.unreadable} of {total} images of {name} that do not decode: {', '.join(images.examples)}{more}"
