"""The worker's job that converts a file to the format of a runtime, into the user's cache.

Standard library, and what the backend's converter needs. The converter writes into a folder of the run, and a file that its
runtime cannot open does not get into the cache. A worker that is killed meanwhile leaves nothing there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...backends.conversion import Converter
from ...backends.protocol import Backend
from ...errors import RuntimeFailed
from ...evidence import Converted
from ...exporters import cache
from ...spec import Artifact, Cell, digest, from_wire, to_wire
from ...untrusted import WRONG
from .engine_jobs import backend_for
from .file_jobs import ConvertFormat, RuntimeFile
from .jobs import Reporter, There
from .serve import State

KIND, RECORD = "formats", "converted.json"  # folder of the cache, and the record beside the files of an entry
FILES = "files"  # folder of an entry


def convert_format(state: State, report: Reporter, job: ConvertFormat) -> RuntimeFile:
    """The file of a cell in the format of its runtime, converted if the cache lacks it."""
    return runtime_file(backend_for(job.cell, job.artifact), job, state.clock.now_ns)


def runtime_file(backend: Backend, job: ConvertFormat, now_ns: Callable[[], int]) -> RuntimeFile:
    """The file of `job` for `backend`, from the cache or from the backend's converter. `now_ns` times the conversion."""
    converter = backend.converter
    if converter is None:
        return RuntimeFile()
    shapes = _shapes_text(job.cell) if converter.fixes_shapes else ""
    key = _key(converter, job, shapes)
    stored = _find(key)
    if stored:
        return stored
    cache.drop(KIND, key)  # a damaged entry
    converted = replace(_make(backend, job, converter, now_ns), shapes=shapes)
    cache.find_or_make(KIND, key, partial(_fill, Path(job.scratch.path), converted))
    made = _find(key)
    if made is None:
        raise RuntimeFailed(f"the file of {converter.name} in the cache changes after it is written", "check the disk")
    return replace(made, converted=converted)


def _shapes_text(cell: Cell) -> str:
    return " ".join(f"{name}={'x'.join(map(str, shape)) or 'scalar'}" for name, shape in cell.shapes)


def _source(converter: Converter, job: ConvertFormat) -> Artifact:
    """The file that the converter reads."""
    return job.origin if job.origin and job.cell.precision in converter.from_fp32 else job.artifact


def _key(converter: Converter, job: ConvertFormat, shapes: str) -> str:
    """Key of the cache: the source, the converter with its versions, and what the file depends on."""
    cell = job.cell
    of_cell = [cell.backend, cell.precision, cell.settings.options, shapes]
    if job.samples:
        of_cell.append(job.artifact.sha256)  # which depends on the samples
    return digest([_source(converter, job).sha256, converter.name, converter.revision, converter.versions(), of_cell])


def _find(key: str) -> RuntimeFile | None:
    """The entry of `key`; None for a missing or damaged one."""
    folder = cache.root() / KIND / key
    try:
        converted = from_wire(Converted, json.loads((folder / RECORD).read_text()))
    except (OSError, *WRONG):
        return None
    if _content(folder / FILES) != (converted.sha256, converted.nbytes):
        return None
    return RuntimeFile(folder=There(path=str(folder / FILES)), converted=replace(converted, cached=True))


def _make(backend: Backend, job: ConvertFormat, converter: Converter, now_ns: Callable[[], int]) -> Converted:
    """Convert the file, and try to open the result. An empty result is an error of the converter."""
    scratch = Path(job.scratch.path)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    versions = dict(converter.versions())
    begin = now_ns()
    backend.convert(_source(converter, job), job.cell, scratch, Path(job.samples.path) if job.samples else None)
    seconds = (now_ns() - begin) / 1e9
    sha256, nbytes = _content(scratch)
    if not nbytes:
        raise RuntimeFailed(f"{converter.name} wrote no file")
    _try(backend, replace(job.artifact, converted=str(scratch)), job.cell)
    return Converted(converter=converter.name, convert_s=seconds, cached=False, sha256=sha256, nbytes=nbytes, versions=versions)


def _try(backend: Backend, artifact: Artifact, cell: Cell) -> None:
    """Open the converted file once, where its runtime is in this environment: half a file must not get into the cache."""
    if backend.probe().available:
        backend.open(artifact, cell).close()


def _fill(scratch: Path, converted: Converted, folder: Path) -> None:
    """Put the files of `scratch`, and the record, into the cache entry `folder`."""
    shutil.copytree(scratch, folder / FILES)
    shutil.rmtree(scratch)
    (folder / RECORD).write_text(json.dumps(to_wire(converted)))


def _content(folder: Path) -> tuple[str, int]:
    """Hash and size of all files in `folder`, with their names."""
    total, nbytes = hashlib.sha256(), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        total.update(json.dumps([str(path.relative_to(folder)), size]).encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
        nbytes += size
    return total.hexdigest(), nbytes
