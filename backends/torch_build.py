"""The build of PyTorch that is installed, without an import of torch. Standard library only."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """Version of PyTorch, and the version of CUDA that it was built for; None for a build without CUDA."""

    version: str
    cuda: str | None


def torch_build() -> TorchBuild | None:
    """Read the file torch/version.py: `import torch` takes two seconds. None where there is no such file."""
    package = importlib.util.find_spec("torch")
    path = Path(package.origin).with_name("version.py") if package and package.origin else Path("none")
    spec = importlib.util.spec_from_file_location("torch_version", path)
    if not path.is_file() or spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return TorchBuild(version=module.__version__, cuda=module.cuda)
