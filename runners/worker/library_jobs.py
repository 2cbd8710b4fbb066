"""The worker's jobs for models of libraries: describe, fetch, export. Imports torch and the library, inside functions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...exporters import entries, torch_onnx
from ...exporters.manifest import Maker
from ...factories import library_of
from ...models import library, onnx_file
from ...models.library import LibraryModel
from ...spec import Source, digest
from .file_jobs import CacheEntry, DescribeLibrary, ExportLibrary, FetchLibrary
from .jobs import Done, Reporter
from .prepare_jobs import ENTRY_FORMAT, cache_entry, measure_parity
from .serve import State


def describe(state: State, report: Reporter, job: DescribeLibrary) -> LibraryModel:
    """Describe a model. No weights are read but those of a folder, whose hash is a part of its identity."""
    return library.describe(job.model, random=job.random)


def fetch(state: State, report: Reporter, job: FetchLibrary) -> Done:
    """Fill the library's own cache."""
    library.fetch(job.model, random=job.random)
    return Done()


def export(state: State, report: Reporter, job: ExportLibrary) -> CacheEntry:
    """Cache entry of a model. Its key needs no weights: a second export loads none."""
    described = library.describe(job.model, random=job.random)
    code = [onnx_file.digest_files([Path(file)]) for file in (torch_onnx.__file__, library.__file__)]
    wire = [described.identity, job.name, job.random, job.data and job.data.name, torch_onnx.OPSET, torch_onnx.versions()]
    key = digest([code, wire, ENTRY_FORMAT])
    return cache_entry(entries.find_or_make_export(key, lambda scratch: _export(scratch, described, job), onnx_file.file_hash))


def _export(folder: Path, described: LibraryModel, job: ExportLibrary) -> None:
    stem = entries.stem_of(job.name)
    path, weights = folder / f"{stem}.fp32.onnx", folder / f"{stem}.safetensors"
    module = library.load(job.model, random=job.random)
    torch_onnx.export(module, path, described.inputs, described.outputs or _output_names(module, described))
    torch_onnx.save_weights(module, weights)
    library.write_config(module, job.model, library.config_path(str(weights)), random=job.random)
    artifact = onnx_file.describe(path, model=job.name, full_check=True)
    versions = {**torch_onnx.versions(), **library.versions(library_of(job.model))}
    made = Maker(exporter="torch.onnx (dynamo)", versions=versions, parity=measure_parity(module, artifact, job.data))
    source = Source(factory=job.model, weights=weights.name, random=job.random)
    entries.write_entry(folder, replace(artifact, source=source, dataset=job.data.name if job.data else None), made)


def _output_names(module: Any, described: LibraryModel) -> tuple[str, ...]:
    """Names that the model itself gives to its outputs; empty for the exporter's names."""
    answer = getattr(module, "answer", None)
    return tuple(answer(*torch_onnx.sample_inputs(described.inputs))) if answer else ()
