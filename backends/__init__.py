"""The registry of backends: one lazy table, and the entry points `onnxbench.backends` of other packages.

Standard library only. Adding a backend is one file beside this one and one line here (CONTRIBUTING).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ..errors import BadInput, Unavailable, one_line
from ..spec import nearest

if TYPE_CHECKING:
    from .protocol import Backend

GROUP = "onnxbench.backends"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """Where a backend's class is (`package.module:Class`), whether it is an instrument and no target, and whether its
    workers keep the network: code of somebody else's may need it, and what reads data alone does not."""

    target: str
    instrument: bool = False
    network: bool = True


BUILT_IN: Mapping[str, Registration] = {
    "torch-cpu": Registration(target="onnxbench.backends.torch_eager:TorchCpu"),
    "torch-cuda": Registration(target="onnxbench.backends.torch_eager:TorchCuda"),
    "ort-cpu": Registration(target="onnxbench.backends.ort:OrtCpu", network=False),
    "ort-cuda": Registration(target="onnxbench.backends.ort_cuda:OrtCuda"),
    "tensorrt": Registration(target="onnxbench.backends.trt:TensorRt"),
    "openvino-cpu": Registration(target="onnxbench.backends.openvino_cpu:OpenVinoCpu", network=False),
    "null": Registration(target="onnxbench.backends.null:Null", instrument=True, network=False),
}


@cache
def registrations() -> Mapping[str, Registration]:
    """Every backend by name: the built-in ones, then those of installed packages (a scan, so not for `--help`)."""
    from importlib.metadata import entry_points

    plugins = {point.name: Registration(target=point.value) for point in entry_points(group=GROUP)}
    return {**plugins, **BUILT_IN}


def targets() -> tuple[str, ...]:
    """The names that `all` means: every backend that one could deploy on."""
    return tuple(name for name, registration in registrations().items() if not registration.instrument)


def check_name(name: str) -> str:
    """`name` if it is a backend's; `BadInput` with the nearest one otherwise."""
    if name not in BUILT_IN and name not in registrations():
        raise BadInput(f"{name!r} is not a backend", nearest(name, registrations()))
    return name


def _registration(name: str) -> Registration:
    return BUILT_IN.get(name) or registrations()[name]


def network(name: str) -> bool:
    """Whether workers of the backend called `name` keep the network."""
    return _registration(name).network


def get(name: str) -> Backend:
    """The backend called `name`. Imports its file but not its runtime; a plugin that cannot is `Unavailable`."""
    check_name(name)
    module, _, attribute = _registration(name).target.partition(":")
    try:
        return cast("Backend", getattr(import_module(module), attribute)())
    except Exception as error:  # a plugin may raise anything at import
        raise Unavailable(f"{name} cannot be imported ({type(error).__name__}: {one_line(error)})") from error
