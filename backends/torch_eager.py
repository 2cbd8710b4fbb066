"""PyTorch eager, on the CPU and on CUDA: the device is data. torch, inside functions.

Arithmetic is pinned: TF32 is off for fp32 in cuDNN convolutions (where torch has it on) and in matmuls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..errors import BadInput, RuntimeFailed, Unavailable, one_line
from ..spec import Artifact, Cell, Concurrency, Device, TensorSpec, resolve
from .protocol import Array, Backend, Probe, Session, SessionInfo

NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


class TorchSession(Session):
    """A module on a device. Inputs are passed by position, in the file's order; outputs are matched likewise."""

    def __init__(self, module: Any, dtype: Any, artifact: Artifact, cell: Cell, threads: int, info: SessionInfo) -> None:
        import torch

        self._torch, self._module, self._dtype, self._artifact, self._cell = torch, module, dtype, artifact, cell
        self._threads = threads
        self._on_gpu = Device.parse(cell.device).kind == "cuda"
        self._stream = torch.cuda.Stream(cell.device) if self._on_gpu else None
        self._inputs: Sequence[Any] = ()
        self._result: Any = None
        self.info = info

    def enter(self) -> None:
        """Threads belong to the process, and to each thread that calls: sessions for other numbers may have been here."""
        if self._torch.get_num_threads() != self._threads:
            self._torch.set_num_threads(self._threads)

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = [self._tensor(spec, inputs[spec.name]) for spec in self._artifact.inputs]
        if self._on_gpu:
            self._torch.cuda.synchronize(self._cell.device)

    def _tensor(self, spec: TensorSpec, array: Array) -> Any:
        tensor = self._torch.tensor(array)
        return tensor.to(self._cell.device, self._dtype if tensor.is_floating_point() else None)

    def start(self) -> None:
        with self._torch.inference_mode(), self._torch.cuda.stream(self._stream):
            self._result = self._module(*self._inputs)

    def wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    def fetch(self) -> dict[str, Array]:
        from torch.utils._pytree import tree_leaves

        tensors = tree_leaves(self._result)
        if len(tensors) != len(self._artifact.outputs):
            raise RuntimeFailed(f"the module returns {len(tensors)} tensors and its file {len(self._artifact.outputs)}")
        pairs = zip(self._artifact.outputs, tensors)
        return {spec.name: tensor.to("cpu", getattr(self._torch, spec.dtype), copy=True).numpy() for spec, tensor in pairs}

    def fork(self) -> Session:
        return TorchSession(self._module, self._dtype, self._artifact, self._cell, self._threads, self.info)


class TorchCpu(Backend):
    """PyTorch eager on the CPU."""

    name = "torch-cpu"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32", "bf16": "bfloat16"}
    install = "pip install 'onnxbench[torch]'"

    def _probe(self) -> Probe:
        torch = _import_torch()
        return Probe(available=True, version=torch.__version__, devices=("cpu",))

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None if artifact.source else "no PyTorch source"

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        torch = _import_torch()
        _set_threads(torch, concurrency.threads)
        self._pin(torch, cell)
        dtype = getattr(torch, self.precisions[cell.precision])
        module = _load(artifact).to(cell.device, dtype)
        return TorchSession(module, dtype, artifact, cell, concurrency.threads, self._info(torch, module, cell))

    def deploy(self, concurrency: Concurrency) -> str:
        return f"torch.set_num_threads({concurrency.threads}) · {concurrency.lanes} threads calling the module"

    def _pin(self, torch: Any, cell: Cell) -> None:
        """Set the process-wide flags that this device's arithmetic depends on."""
        torch.set_float32_matmul_precision("highest")  # "medium" would multiply in BF16

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        weights = list(module.parameters()) + list(module.buffers())
        floats = {str(weight.dtype).removeprefix("torch.") for weight in weights if weight.is_floating_point()}
        executed = "+".join(sorted(NAMES.get(name, name) for name in floats)) or cell.precision
        settings = (
            ("threads", str(torch.get_num_threads())),
            ("interop_threads", str(torch.get_num_interop_threads())),
            ("omp_wait_policy", os.environ.get("OMP_WAIT_POLICY", "default")),
            ("float32_matmul_precision", torch.get_float32_matmul_precision()),
        )
        return SessionInfo(executed=executed, settings=settings)


class TorchCuda(TorchCpu):
    """PyTorch eager on an NVIDIA GPU, on a stream of its own."""

    name = "torch-cuda"
    device_kind = "cuda"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}

    def _probe(self) -> Probe:
        torch = _import_torch()
        if not torch.cuda.is_available():
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
            raise Unavailable(f"PyTorch {torch.__version__} ({built}) finds no CUDA device")
        devices = tuple(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count()))
        return Probe(available=True, version=torch.__version__, devices=devices)

    def deploy(self, concurrency: Concurrency) -> str:
        return f"{concurrency.lanes} threads calling the module, each on a CUDA stream"

    def _pin(self, torch: Any, cell: Cell) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cell.precision == "tf32"

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        base = super()._info(torch, module, cell)
        tf32 = torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
        return SessionInfo(executed="tf32" if tf32 else base.executed, settings=(*base.settings, ("tf32", str(tf32).lower())))


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise Unavailable(f"PyTorch is not installed ({one_line(error)})", TorchCpu.install) from error
    return torch


def _set_threads(torch: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)


def _load(artifact: Artifact) -> Any:
    from safetensors.torch import load_model

    source = artifact.source
    if source is None:
        raise BadInput("the model has no PyTorch source")
    module = resolve(source.factory)()
    if source.weights:
        load_model(module, source.weights)
    return module.eval()
