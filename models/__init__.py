"""Models to measure: named models, datasets, ONNX files and users' modules. Standard library only.

Only this file names the models. A new model is one entry here and one factory (CONTRIBUTING).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import BadInput
from ..spec import TensorSpec, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """A model that this package can train: its importable factory, its tensors and its default dataset."""

    name: str
    factory: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    dataset: str


MODELS: Mapping[str, NamedModel] = {
    model.name: model
    for model in (
        NamedModel(
            name="cnn",
            factory="onnxbench.models.cnn:cnn",
            inputs=(TensorSpec(name="input", dtype="float32", shape=("batch", 3, 48, 48)),),
            outputs=("logits",),
            dataset="digits",
        ),
    )
}


def kind_of(model: str) -> str:
    """Return the kind of model that a `--model` text names: `named`, `file` or `factory`. `BadInput` for other texts."""
    if model in MODELS:
        return "named"
    if model.lower().endswith(".onnx"):
        return "file"
    module, colon, factory = model.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), factory)):
        return "factory"
    raise BadInput(
        f"{model!r} is not a model", f"{nearest(model, MODELS)} (or write FILE.onnx, or MODULE:FACTORY for an nn.Module)"
    )
