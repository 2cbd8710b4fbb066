"""Export of a PyTorch module to ONNX in FP32, with a dynamic batch. torch, inside functions; run in a worker."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, installed, one_line
from ..factories import make_module
from ..spec import Source, TensorSpec, digest

if TYPE_CHECKING:
    import torch
    from torch import nn

OPSET = 20
SAMPLE_BATCH = 2  # torch.export treats sizes 0 and 1 as constants
SAMPLE_LENGTH, SAMPLE_SIGNAL = 16, 4000  # of other open dimensions: of a sequence, and of samples of sound
VERSIONS = ("torch", "onnx", "onnxscript")


def versions() -> dict[str, str]:
    """Versions of the libraries on which an exported file depends."""
    return {name: version(name) for name in VERSIONS}


def load_module(source: Source) -> nn.Module:
    """Load the module of `source` with its weights, in eval mode on the CPU."""
    with installed("PyTorch", "pip install 'onnxbench[torch]'"):
        from safetensors.torch import load_model
        from torch import nn
    module = make_module(source.factory, source.weights)
    if not isinstance(module, nn.Module):
        raise BadInput(
            f"{source.factory} returns {type(module).__name__}, not an nn.Module",
            "write MODULE:FACTORY of a function that returns an nn.Module",
        )
    if source.weights:
        load_model(module, source.weights)
    return module.eval()


def content_key(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> str:
    """Compute a key from the weights, the code of every class in the module, the inputs, the outputs and the exporter."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    files = {inspect.getsourcefile(type(part)) for part in module.modules()}
    for file in sorted(filter(None, files)):
        total.update(Path(file).read_bytes())
    # This file is the exporter: a change of its code changes the key too.
    total.update(Path(__file__).read_bytes() + str(module).encode())
    tensors = [(spec.name, spec.dtype, spec.shape) for spec in inputs]
    return digest([total.hexdigest(), tensors, list(outputs), OPSET, versions()])


def sample_inputs(inputs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """Make tensors for the trace: floats are normal, masks 1, other integers 0 or 1. Each open dimension has its own size."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size_of = _sample_sizes(inputs)
    sizes = [[dim if isinstance(dim, int) else size_of.get(dim, SAMPLE_BATCH) for dim in spec.shape] for spec in inputs]
    floats = [torch.randn(size, generator=generator) for size in sizes]
    kinds = [getattr(torch, spec.dtype) for spec in inputs]
    integers = [torch.ones_like(x) if spec.role == "mask" else x > 0 for spec, x in zip(inputs, floats)]
    return tuple(x.to(kind) if kind.is_floating_point else whole.to(kind) for x, whole, kind in zip(floats, integers, kinds))


def _sample_sizes(inputs: Sequence[TensorSpec]) -> dict[str | None, int]:
    """Size of each name of a dimension. Equal sizes could make the exporter take two dimensions for one."""
    names = dict.fromkeys(dim for spec in inputs for dim in spec.shape if isinstance(dim, str))
    lengths: dict[str | None, int] = {name: SAMPLE_LENGTH + number for number, name in enumerate(names)}
    # Layers over samples of sound have no output for a short signal.
    return {
        **lengths,
        **dict.fromkeys([*names][:1], SAMPLE_BATCH),
        **({"samples": SAMPLE_SIGNAL} if "samples" in names else {}),
    }


def export(module: nn.Module, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> None:
    """Write `module` to `path` as ONNX. A dimension of `inputs` that is a name is dynamic in the file, under that name.

    `outputs`: names of the outputs; empty for torch's names. `BadInput`, with torch's reason, if the export fails.
    """
    import torch

    dynamic = tuple({axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in inputs)
    options: dict[str, Any] = {"dynamic_shapes": dynamic, "opset_version": OPSET, "dynamo": True, "verbose": False}
    names = {"input_names": [spec.name for spec in inputs], "output_names": list(outputs) or None}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(module, sample_inputs(inputs), **names, **options)
    except Exception as error:  # the exporter has its own errors, and the user's module may raise anything
        cause = error.__cause__ or error
        raise BadInput(
            f"PyTorch cannot export this module ({one_line(cause)})",
            "see the documentation of torch.onnx.export, or write FILE.onnx as --model",
        ) from error
    assert program is not None
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    program.save(str(path), external_data=size > 1_900_000_000)  # protobuf's limit is 2 GB


def export_script(module: nn.Module, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[str], opset: int) -> None:
    """Write `module` to `path` as ONNX of a low `opset`, by torch's older exporter. Parameters and errors as in `export`."""
    import torch

    dynamic = {spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in inputs}
    names = {"input_names": [spec.name for spec in inputs], "output_names": list(outputs) or None}
    options: dict[str, Any] = {"dynamic_axes": dynamic, "opset_version": opset, "dynamo": False, "verbose": False}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, sample_inputs(inputs), str(path), **names, **options)
    except Exception as error:  # as in `export`
        raise BadInput(
            f"torch's TorchScript exporter cannot export this module at opset {opset} ({one_line(error)})",
            "use a runtime that takes a higher opset",
        ) from error


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the module's parameters and buffers to `path` as safetensors, since pickle files can run code."""
    from safetensors.torch import save_model

    save_model(module, str(path))
