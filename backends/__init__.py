"""The registry of backends: one table here, and the entry points `onnxbench.backends` of other packages.

Standard library only. A new backend is one file in this folder and one line in this table (CONTRIBUTING).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ..errors import BadInput, Unavailable, one_line
from ..spec import nearest
from .ort_providers import PROVIDERS

if TYPE_CHECKING:
    from .protocol import Backend

ENTRY_POINT_GROUP = "onnxbench.backends"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """The class of a backend, as `package.module:Class`, and facts that are needed before its import.

    `instrument`: the backend measures this tool, and nobody deploys on it. `network`: its workers may use the network, as
    plugins and factories may download. A runtime that only reads an ONNX file needs none (SECURITY.md). `package`: the name of
    its runtime for pip; empty for a backend without one. `default`: a sweep that names no backend measures it.
    """

    target: str
    instrument: bool = False
    network: bool = True
    package: str = ""
    default: bool = True


BUILT_IN: Mapping[str, Registration] = {
    "torch-cpu": Registration(target="onnxbench.backends.torch_eager:TorchCpu", package="torch"),
    "torch-cuda": Registration(target="onnxbench.backends.torch_eager:TorchCuda", package="torch"),
    "torch-compile-cpu": Registration(
        target="onnxbench.backends.torch_compile:TorchCompileCpu", package="torch", default=False
    ),
    "torch-compile-cuda": Registration(
        target="onnxbench.backends.torch_compile:TorchCompileCuda", package="torch", default=False
    ),
    "ort-cpu": Registration(target="onnxbench.backends.ort:OrtCpu", network=False, package="onnxruntime"),
    "ort-cuda": Registration(target="onnxbench.backends.ort_cuda:OrtCuda", package="onnxruntime-gpu"),
    "tensorrt": Registration(target="onnxbench.backends.trt:TensorRt", package="tensorrt"),
    "openvino-cpu": Registration(target="onnxbench.backends.openvino_cpu:OpenVinoCpu", network=False, package="openvino"),
    "ncnn-cpu": Registration(target="onnxbench.backends.ncnn_cpu:NcnnCpu", network=False, package="ncnn", default=False),
    "mnn-cpu": Registration(target="onnxbench.backends.mnn_cpu:MnnCpu", network=False, package="mnn", default=False),
    **{
        name: Registration(target=f"onnxbench.backends.ort_ep:{name}", network=False, package=entry.package, default=False)
        for name, entry in PROVIDERS.items()
    },
    "litert-cpu": Registration(
        target="onnxbench.backends.litert_cpu:LitertCpu", network=False, package="ai-edge-litert", default=False
    ),
    "null": Registration(target="onnxbench.backends.null:Null", instrument=True, network=False),
}


@cache
def registrations() -> Mapping[str, Registration]:
    """Map every backend's name to its registration; built-in backends win over plugins of the same name.

    This scans all installed packages. `--help` does not call it, because the scan is slow.
    """
    from importlib.metadata import entry_points

    plugins = {point.name: Registration(target=point.value) for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**plugins, **BUILT_IN}


def targets() -> tuple[str, ...]:
    """List the names that `--backend all` stands for: every backend except instruments."""
    return tuple(name for name, registration in registrations().items() if not registration.instrument)


def defaults() -> tuple[str, ...]:
    """List the names that a sweep without `--backend` measures where they can run."""
    return tuple(name for name in targets() if registrations()[name].default)


def converters() -> tuple[str, ...]:
    """List the names of all converters. Imports the files of the backends, but no runtime."""
    names: dict[str, None] = {}
    for name in registrations():
        with suppress(Unavailable):  # a plugin that cannot be imported
            names |= {converter.name: None for converter in (get(name).converter,) if converter}
    return tuple(names)


def check_name(name: str) -> str:
    """Return `name` if a backend has it. Raise `BadInput`, with the nearest name as the hint, if none has."""
    # BUILT_IN first: a built-in name needs no scan of the installed packages
    if name not in BUILT_IN and name not in registrations():
        raise BadInput(f"{name!r} is not a backend", nearest(name, _equally_near(name) or registrations()))
    return name


def _equally_near(name: str) -> list[str]:
    """Names of default backends that are as near to `name` as the nearest of all; none if another one is nearer."""
    neighbours = get_close_matches(name, registrations(), n=len(registrations()))
    ratios = {backend: SequenceMatcher(None, backend, name).ratio() for backend in neighbours}
    return [backend for backend in neighbours if ratios[backend] == ratios[neighbours[0]] and registrations()[backend].default]


def _registration(name: str) -> Registration:
    return BUILT_IN.get(name) or registrations()[name]


def network(name: str) -> bool:
    """Tell if workers of the backend `name` may use the network."""
    return _registration(name).network


def package(name: str) -> str:
    """Return the name of the runtime of the backend `name` for pip; empty for a backend without one."""
    return _registration(check_name(name)).package


def get(name: str) -> Backend:
    """Import the file of the backend `name`, but not its runtime. Raise `Unavailable` if the import fails."""
    check_name(name)
    module, _, attribute = _registration(name).target.partition(":")
    try:
        return cast("Backend", getattr(import_module(module), attribute)())
    except Exception as error:  # a plugin may raise anything at import
        raise Unavailable(f"the backend {name} cannot be imported ({type(error).__name__}: {one_line(error)})") from error
