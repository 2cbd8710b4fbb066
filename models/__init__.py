"""Models to measure: named models, datasets, ONNX files and users' modules. Standard library only.

Only this file names the models. A new model is one entry here and one factory (CONTRIBUTING).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from ..errors import BadInput
from ..factories import LIBRARIES, library_of
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


EXAMPLES: Mapping[str, str] = {
    "torchvision": "torchvision:resnet50",
    "timm": "timm:vit_base_patch16_224",
    "hf": "hf:google-bert/bert-base-uncased or hf:FOLDER",
}
"""A model of each library, for hints."""


ALIASES = {"transformers": "hf", "huggingface": "hf"}  # other names of a library
NEAR = 0.8  # likeness of a misspelled name to a library's


def name_in_rows(model: str) -> str:
    """Name of a library's model in rows: its text, but for a folder the last part of the path."""
    prefix, _, name = model.partition(":")
    return f"{prefix}:{Path(name).resolve().name}" if prefix == "hf" and Path(name).is_dir() else model


def _near_library(module: str) -> str:
    """Prefix of LIBRARIES that `module` nearly is; empty for a module that is here."""
    prefix = ALIASES.get(module.lower(), "")
    near = get_close_matches(module.lower(), LIBRARIES, n=1, cutoff=NEAR) if module.isidentifier() else []
    is_here = Path(f"{module}.py").exists() or Path(module).is_dir()
    return prefix or (near[0] if near and not is_here and not find_spec(module) else "")


def kind_of(model: str) -> str:
    """Return the kind of model that a `--model` text names: `named`, `library`, `file` or `factory`. `BadInput` for others."""
    if model in MODELS:
        return "named"
    if library_of(model):
        return "library"
    if model.lower().endswith(".onnx"):
        return "file"
    module, colon, factory = model.partition(":")
    if colon and factory and (library := _near_library(module)):
        raise BadInput(f"{model!r} is not a model", f"did you mean {library}:{factory}?")
    if colon and all(part.isidentifier() for part in (*module.split("."), factory)):
        return "factory"
    if model.removesuffix(":") in LIBRARIES:
        raise BadInput(f"{model!r} names no model of the library", f"write for example {EXAMPLES[model.removesuffix(':')]}")
    raise BadInput(
        f"{model!r} is not a model", f"{nearest(model, MODELS)} (or write FILE.onnx, or MODULE:FACTORY for an nn.Module)"
    )
