"""Models of torchvision and timm that take images. torch and the libraries, inside functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, nearest
from ..spec import TensorSpec
from .library import LibraryModel, versions
from .preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

KINDS = ("torchvision.models", "torchvision.models.segmentation")  # modules of models that take one image tensor
PRETRAINED: Mapping[str, Mapping[str, Any]] = {
    # With weights, these two builders choose other arguments than their defaults.
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}


def image(side: tuple[int, int], channels: int = 3) -> tuple[TensorSpec, ...]:
    """The input of a model of images, with an open batch."""
    return (TensorSpec(name="input", dtype="float32", shape=("batch", channels, *side)),)


def steps(size: tuple[int, int], resize: int, interpolation: str, mean: Any, std: Any) -> str:
    """Preprocessing as `--preprocess` writes it. `resize` of 0 or less than the size leaves no step of its own."""
    return str(
        Preprocessing(
            size=size,
            resize=resize if resize >= max(size) else 0,
            interpolation=interpolation if interpolation in ("bilinear", "bicubic", "nearest") else "bilinear",
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
        )
    )


class Torchvision:
    """torchvision's classification and segmentation models."""

    def describe(self, name: str, *, random: bool) -> LibraryModel:
        from torchvision import models

        self._check(models, name)
        weights = models.get_model_weights(name).DEFAULT
        transforms = weights.transforms()
        crop, resize = (_side(getattr(transforms, key, None)) for key in ("crop_size", "resize_size"))
        size = (crop or resize or 224,) * 2
        method = str(getattr(transforms.interpolation, "value", "bilinear"))
        source = "random" if random else weights.url
        return LibraryModel(
            inputs=image(size),
            preprocessing=steps(size, resize, method, transforms.mean, transforms.std),
            identity=(name, source, *versions("torchvision").values()),
        )

    def build(self, name: str, config: str | None, *, pretrained: bool) -> nn.Module:
        from torchvision import models

        self._check(models, name)
        arguments = dict(json.loads(config)) if config else {}
        module: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained else None, **arguments)
        return module

    def config_of(self, module: nn.Module, name: str, *, pretrained: bool) -> str:
        from torchvision import models

        if not pretrained:
            return "{}"
        classes = len(models.get_model_weights(name).DEFAULT.meta["categories"])
        return json.dumps({"num_classes": classes, **PRETRAINED.get(name, {})})

    @staticmethod
    def _check(models: Any, name: str) -> None:
        names = [item for kind in KINDS for item in models.list_models(module=_module(models, kind))]
        if name not in names:
            raise BadInput(f"torchvision has no model {name!r} for one image tensor", nearest(name, names))


def _module(models: Any, kind: str) -> Any:
    return models.segmentation if kind.endswith("segmentation") else models


def _side(value: Any) -> int:
    """The side of a square, which torchvision gives as a list of one number, a number or None."""
    return int((value[0] if isinstance(value, (list, tuple)) else value) or 0)


class Timm:
    """timm's models, by name, with an optional tag of the weights: `resnet50.a1_in1k`."""

    def describe(self, name: str, *, random: bool) -> LibraryModel:
        import timm

        self._check(timm, name)
        source = timm.get_pretrained_cfg(name)
        data = timm.data.resolve_data_config({}, pretrained_cfg=source.to_dict())
        channels, height, width = data["input_size"]
        side, share = max(height, width), float(data.get("crop_pct") or 1)
        weights = "random" if random else json.dumps(source.to_dict(), sort_keys=True, default=str)
        return LibraryModel(
            inputs=image((height, width), channels),
            preprocessing=steps((height, width), int(side / share), data["interpolation"], data["mean"], data["std"]),
            identity=(name, weights, *versions("timm").values()),
        )

    def build(self, name: str, config: str | None, *, pretrained: bool) -> nn.Module:
        import timm

        self._check(timm, name)
        module: nn.Module = timm.create_model(name, pretrained=pretrained)
        return module

    def config_of(self, module: nn.Module, name: str, *, pretrained: bool) -> str:
        return "{}"

    @staticmethod
    def _check(timm: Any, name: str) -> None:
        if not timm.is_model(name):
            raise BadInput(f"timm has no model {name!r}", nearest(name, [*timm.list_models(), *timm.list_pretrained()]))
