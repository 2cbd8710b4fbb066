"""Where trained weights are kept, and which are meant when nobody says. Standard library only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...errors import BadInput
from ...exporters import cache
from ...spec import digest

LENGTH_BYTES = 8  # a safetensors file begins with its header's length, https://huggingface.co/docs/safetensors


def absolute(dataset: str) -> str:
    """`dataset` with its path made absolute, so that it means the same from any folder."""
    kind, colon, place = dataset.partition(":")
    return f"{kind}:{Path(place).expanduser().resolve()}" if colon else dataset


def path_of(model: str, dataset: str) -> Path:
    """The checkpoint of `model` trained on `dataset`."""
    whole = absolute(dataset)
    name = re.sub(r"\W+", "-", whole)[-40:].strip("-")
    return cache.root() / "checkpoints" / model / f"{name}-{digest(whole)[:8]}.safetensors"


def place(model: str, dataset: str) -> Path:
    """The path (`path_of`) to write the checkpoint of `model` on `dataset` to; its folder is made."""
    path = path_of(model, dataset)
    cache.make_private(path.parent)
    return path


def find(model: str, dataset: str | None) -> Path | None:
    """The checkpoint of `model` on `dataset`; on whatever it was trained on last, where that is not said."""
    if dataset:
        path = path_of(model, dataset)
        return path if path.is_file() else None
    found = (cache.root() / "checkpoints" / model).glob("*.safetensors")
    return max((path for path in found if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime, default=None)


def record(path: Path) -> dict[str, Any]:
    """What the training wrote into the checkpoint at `path`."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(min(length, path.stat().st_size)))
        return dict(json.loads(header["__metadata__"]["onnxbench"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a checkpoint of this tool", "train again with bench train") from error
