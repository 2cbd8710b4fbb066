"""Models of torchvision, timm and transformers, by names such as `timm:vit_base_patch16_224`. The libraries, inside functions.

Run in a worker: a library's code runs at its import. Weights are safetensors, or are loaded with weights_only; no code comes
from a hub. A worker without the network reads the caches that a worker with it filled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BadInput, BenchError, NotFetched, installed, one_line
from ..factories import library_of
from ..spec import TensorSpec

if TYPE_CHECKING:
    from torch import nn

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.load then refuses pickled code, whatever the library asks for
PACKAGES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
MODULES = {"torchvision": "vision_models:Torchvision", "timm": "vision_models:Timm", "hf": "hf_models:Transformers"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryModel:
    """Description of a library's model: inputs, names of outputs, and the preprocessing of images as `--preprocess` writes it.

    `identity`: versions, and the names of its weights. Equal identities give equal modules.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()
    preprocessing: str = ""
    identity: tuple[str, ...] = ()


class Library(Protocol):
    """Access to the models of one library. `name`: the model's name without the library's prefix."""

    def describe(self, name: str, *, random: bool) -> LibraryModel:
        """Describe the model. `BadInput`, with the nearest name, if there is none."""

    def build(self, name: str, config: str | None, *, pretrained: bool) -> nn.Module:
        """Make the module, untrained for `pretrained` False. `config`: text of an earlier `config_of`."""

    def config_of(self, module: nn.Module, name: str, *, pretrained: bool) -> str:
        """Text from which `build` makes an equal module without the network."""


def split(model: str) -> tuple[Library, str]:
    """The library of `model`, and the name of the model there. `Unavailable`, naming the extra, where it is missing."""
    prefix = library_of(model)
    file, _, kind = MODULES[prefix].partition(":")
    with installed(PACKAGES[prefix], f"pip install 'onnxbench[{prefix}]'"):
        import_module(PACKAGES[prefix])
    library: Library = getattr(import_module(f".{file}", __package__), kind)()
    return library, model.partition(":")[2]


def versions(prefix: str) -> dict[str, str]:
    """Versions of the packages that make models of the library with this prefix."""
    from importlib.metadata import version

    names = ("torch", PACKAGES[prefix])
    return {name: version(name) for name in names}


def describe(model: str, *, random: bool) -> LibraryModel:
    """Describe `model` from what is on this machine. `BadInput` for a bad name; `NotFetched` where a file is missing."""
    with _offline(model, network=False):
        library, name = split(model)
        return library.describe(name, random=random)


def fetch(model: str, *, random: bool) -> None:
    """Download what `describe` and `load` need, into the cache of the library. `BadInput` where that fails."""
    try:
        with _offline(model, network=True):
            library, name = split(model)
            if random:
                library.describe(name, random=random)
            else:
                library.build(name, None, pretrained=True)
    except NotFetched as error:
        if Path(model.partition(":")[2]).is_dir():
            raise BadInput(f"cannot load {model} ({error.hint})", "write a folder that save_pretrained wrote") from error
        hint = "check its name and the network" if random else "check the network, or measure speed alone with --random-weights"
        near = get_close_matches(model, _downloaded(), n=1) if library_of(model) == "hf" else []
        raise BadInput(
            f"cannot fetch {model} ({error.hint})", f"did you mean {near[0]!r}, which is here? Or {hint}" if near else hint
        ) from error


def _downloaded() -> list[str]:
    """Models of the hub that are in its cache on this machine."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = Path(HF_HUB_CACHE).glob("models--*")
    return ["hf:" + path.name.removeprefix("models--").replace("--", "/") for path in folders]


def load(model: str, *, random: bool) -> nn.Module:
    """The module of `model` in eval mode, with its weights or seeded random ones. `NotFetched` where a file is missing."""
    from .random_weights import animate, seeded

    with _offline(model, network=False):
        library, name = split(model)
        if not random:
            return library.build(name, None, pretrained=True).eval().float()
        with seeded():
            module = library.build(name, None, pretrained=False).float()
            animate(module, library.describe(name, random=True).inputs)
        return module.eval()


def write_config(module: nn.Module, model: str, path: Path, *, random: bool) -> None:
    """Write to `path` what `rebuild` needs."""
    library, name = split(model)
    path.write_text(library.config_of(module, name, pretrained=not random))


def config_path(weights: str) -> Path:
    """File beside the file `weights` with the configuration of its model."""
    return Path(weights).with_suffix(".config.json")


def rebuild(model: str, weights: str | None) -> nn.Module:
    """The module of `model` without its weights, from the configuration beside the file `weights`. Needs no network."""
    with _offline(model, network=False):
        library, name = split(model)
        file = config_path(weights) if weights else None
        return library.build(name, file.read_text() if file and file.is_file() else None, pretrained=False)


@contextmanager
def _offline(model: str, *, network: bool) -> Iterator[None]:
    """Environment of a library: no pickled code, and without `network` no request. Errors become one of this package."""
    if not network:
        # Read when the library is imported; without them it would repeat each request until its time limit.
        os.environ.update(dict.fromkeys(OFFLINE, "1"))
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    except BenchError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError) as error:  # urllib, requests and huggingface_hub share no base
        raise NotFetched(f"{model} cannot be loaded from this machine alone", one_line(error)) from error


def attribute(value: Any, *names: str, default: Any = None) -> Any:
    """First attribute of `value` among `names` that is set."""
    values = (getattr(value, name, None) for name in names)
    return next((item for item in values if item is not None), default)
