"""Modules of PyTorch with their weights. Imports safetensors, inside a function."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput
from ..factories import make_module
from ..spec import Artifact
from .opening import part


def load_module(artifact: Artifact) -> Any:
    """The module of `artifact`, with its weights, for inference. `BadInput` for an ONNX file alone."""
    from safetensors.torch import load_model

    source = artifact.source
    if source is None:
        raise BadInput("PyTorch needs the model's code; this model is an ONNX file only", "give --model MODULE:FACTORY")
    with part("make the module"):
        module = make_module(source.factory, source.weights)
    with part("read the weights"):
        if source.weights:
            load_model(module, source.weights)
    return module.eval()
