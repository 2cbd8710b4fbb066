"""Base files of the opset that `bench export --opset` requests. Loads no framework."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...errors import BadInput
from ...exporters.manifest import relocate
from ...files import replace_file
from ...spec import Conversion, Source
from ..pool.context import Context
from ..worker.file_jobs import CacheEntry, Lower
from .request import ExportRequest, first_sizes, fixed_shapes


def lowered(entry: CacheEntry, request: ExportRequest, context: Context) -> tuple[CacheEntry, Source | None]:
    """The base file of `entry` in the opset of `request`, and the PyTorch source that it keeps.

    Raises `BadInput` for an opset above that of the file, and `Unsupported` where the file cannot be lowered.
    """
    exported, opset = entry.artifact, request.opset or entry.artifact.opset
    if opset > exported.opset:
        raise BadInput(
            f"{exported.model} has opset {exported.opset}, which --opset {opset} cannot raise",
            f"give --opset {exported.opset} or less",
        )
    if opset == exported.opset:
        return entry, None
    artifact = relocate(exported, entry.folder.path)
    if request.folder and artifact.source and artifact.source.weights:
        # The lowered file is in an entry of its own, which does not have the weights of the module.
        weights = Path(artifact.source.weights)
        replace_file(request.folder / weights.name, partial(shutil.copyfile, weights))
    job = Lower(
        artifact=replace(artifact, source=None),
        precision=artifact.precision,
        how=Conversion(),
        shapes=fixed_shapes(request.inputs),
        dims=first_sizes(request.dims),
        seed=request.seed,
        batches=request.batches,
        opset=opset,
    )
    return context.ask(job), artifact.source
