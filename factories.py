"""Import of a user's or a model's factory by its name. Standard library only."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .errors import BadInput, nearest, one_line

LIBRARIES = ("torchvision", "timm", "hf")
"""Prefixes of models that a library makes, as in `torchvision:resnet50`. `hf` stands for transformers."""

REBUILD = "onnxbench.models.library:rebuild"


def library_of(model: str) -> str:
    """Prefix of LIBRARIES with which `model` begins; an empty text if it has none."""
    prefix, colon, name = model.partition(":")
    return prefix if colon and name and prefix in LIBRARIES else ""


def make_module(factory: str, weights: str | None) -> Any:
    """Make the module of `factory`, a callable's name or a library's model. The caller loads the file `weights` into it."""
    return resolve(REBUILD)(factory, weights) if library_of(factory) else resolve(factory)()


def set_fp32(torch: Any, tf32: bool) -> None:
    """Let operations of FP32 run in FP32, or in TF32 on a GPU, whatever the code of a model has set for the process.

    Call it after the model was made. Both interfaces of torch are set, since each fails to be read after the other alone was
    written (https://pytorch.org/docs/stable/notes/cuda.html), and parts that nobody set follow `torch.backends.fp32_precision`.
    """
    backends = torch.backends
    torch.set_float32_matmul_precision("high" if tf32 else "highest")  # of cuBLAS and of oneDNN
    backends.cudnn.allow_tf32 = tf32
    exact = [backends.mkldnn] if tf32 else [backends.mkldnn, backends.cudnn]
    operators: list[Any] = [getattr(library, name, None) for library in exact for name in ("conv", "rnn")]
    for operator in operators:
        if hasattr(operator, "fp32_precision"):  # since torch 2.9
            operator.fp32_precision = "ieee"


def resolve(reference: str) -> Callable[..., Any]:
    """Import the callable `package.module:name`. `BadInput` if the import fails, or if there is no such callable.

    For a user's module, the working folder joins `sys.path`.
    """
    module_name, _, attribute = reference.partition(":")
    if module_name.partition(".")[0] != __package__:
        _add_working_folder()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise BadInput(
            f"cannot import {module_name!r} ({type(error).__name__}: {one_line(error)})",
            "run bench in the folder of the module, or install the module",
        ) from error
    target: object = getattr(module, attribute, None)
    if not callable(target):
        raise BadInput(f"{module_name!r} has no callable {attribute!r}", nearest(attribute, dir(module)))
    return target


def _add_working_folder() -> None:
    """Append the working folder to `sys.path`: last, because a file there must not replace an installed module."""
    with suppress(OSError):  # the working folder was deleted
        if (folder := os.getcwd()) not in sys.path:  # noqa: PTH109 (sys.path holds texts)
            sys.path.append(folder)
