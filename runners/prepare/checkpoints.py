"""Paths of trained weights, their records, and the choice of a checkpoint without a dataset. Loads no framework."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...errors import BadInput
from ...exporters import cache
from ...models.preprocessing import absolute_name
from ...spec import digest
from ...untrusted import WRONG, parse

LENGTH_BYTES = 8  # a safetensors file begins with its header's length, https://huggingface.co/docs/safetensors


def checkpoint_path(model: str, dataset: str) -> Path:
    """Path of the checkpoint of `model` for `dataset`, whether or not it exists."""
    dataset_path = absolute_name(dataset)
    name = re.sub(r"\W+", "-", dataset_path)[-40:].strip("-")
    return cache.root() / "checkpoints" / model / f"{name}-{digest(dataset_path)[:8]}.safetensors"


def prepare_path(model: str, dataset: str) -> Path:
    """Make the folder of the checkpoint, and return `checkpoint_path`."""
    path = checkpoint_path(model, dataset)
    cache.make_private(path.parent)
    return path


def find_checkpoint(model: str, dataset: str | None) -> Path | None:
    """Checkpoint of `model` for `dataset`, or the newest of `model` without a dataset. None where it does not exist."""
    if dataset:
        path = checkpoint_path(model, dataset)
        return path if path.is_file() else None
    paths = (cache.root() / "checkpoints" / model).glob("*.safetensors")
    # A name with a leading dot is a file that a training is writing.
    return max((path for path in paths if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime, default=None)


def read_record(path: Path) -> dict[str, Any]:
    """Metadata that the training wrote into the checkpoint at `path`. Raises `BadInput` for another file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            return _record(file.read(min(length, path.stat().st_size)))
    except (OSError, *WRONG) as error:
        raise BadInput(f"{path} is not a checkpoint of this tool", "run bench train again") from error


def record_of(content: bytes) -> dict[str, Any]:
    """Metadata of a checkpoint with that `content`. Raises the exceptions WRONG for other data."""
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    return _record(content[LENGTH_BYTES : LENGTH_BYTES + length])


def _record(header: bytes) -> dict[str, Any]:
    return dict(parse(parse(header)["__metadata__"]["onnxbench"].encode()))
