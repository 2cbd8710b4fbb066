"""Models of transformers, from a folder or by their name on the hub. torch and transformers, inside functions.

The class is the one that the configuration names, and must be a class of transformers itself: code of a repository never runs.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Unsupported, nearest
from ..spec import TensorSpec
from .library import LibraryModel, attribute, versions
from .vision_models import steps

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = "batch"
TEXTS: Mapping[str, str] = {"input_ids": "", "attention_mask": "mask", "token_type_ids": ""}
MOST_INPUTS = 5
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
CHUNK = 1 << 20
RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling


class Transformers:
    """Models of transformers that take token ids, images, or samples of sound."""

    def describe(self, name: str, *, random: bool) -> LibraryModel:
        config = _config(name)
        inputs = tuple(_inputs(config, _class_of(config)))
        return LibraryModel(
            inputs=inputs,
            outputs=(),
            preprocessing=_preprocessing(name, config) if inputs[0].name == "pixel_values" else "",
            identity=(
                *versions("hf").values(),
                json.dumps({**config.to_dict(), "_name_or_path": ""}, sort_keys=True, default=str),
                *([] if random else _revision(name, config)),
            ),
        )

    def build(self, name: str, config: str | None, *, pretrained: bool) -> nn.Module:
        read = _parsed(config) if config else _config(name)
        kind = _class_of(read)
        read.use_cache = False  # a cache of earlier tokens would be an output
        if not pretrained:
            return _wrapped(kind(read), [spec.name for spec in _inputs(read, kind)])
        if Path(name).is_dir() and not any(_weights(name)):
            raise BadInput(
                f"hf:{name} has a configuration and no weights (*.safetensors)",
                "measure its speed with --random-weights, or save the weights there with save_pretrained",
            )
        module = kind.from_pretrained(name, config=read, trust_remote_code=False)
        return _wrapped(module, [spec.name for spec in _inputs(read, kind)])

    def config_of(self, module: nn.Module, name: str, *, pretrained: bool) -> str:
        config: Any = module.model.config
        config.architectures = [type(module.model).__name__]
        return str(config.to_json_string(use_diff=False))


def _config(name: str) -> Any:
    """The configuration in the folder `name`, or that of the hub's model `name`."""
    from transformers import AutoConfig

    folder = Path(name)
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        near = [str(path) for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        raise BadInput(f"there is no folder {name}", nearest(name, near))
    if folder.is_dir() and not (folder / CONFIG).is_file():
        raise BadInput(f"{name} has no {CONFIG}", "write a folder that save_pretrained wrote")
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    config.use_cache = False
    return config


def _parsed(text: str) -> Any:
    """The configuration in `text`. transformers reads one from a file alone."""
    from transformers import AutoConfig

    with TemporaryDirectory(prefix="onnxbench-") as folder:
        (Path(folder) / CONFIG).write_text(text)
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def _class_of(config: Any) -> Any:
    """The class of the model: the one that the configuration names, else the plain one of its type."""
    import transformers

    for name in config.architectures or ():
        kind = getattr(transformers, name, None)
        if not inspect.isclass(kind) or not issubclass(kind, transformers.PreTrainedModel):
            raise BadInput(
                f"transformers {transformers.__version__} has no model class {name!r}", "install a version that has it"
            )
        return kind
    kinds = transformers.AutoModel._model_mapping
    if type(config) not in kinds:
        raise BadInput(f"the configuration of type {config.model_type!r} names no model class", "add `architectures` to it")
    return kinds[type(config)]


def _inputs(config: Any, kind: Any) -> Iterator[TensorSpec]:
    """Inputs of the model in the order of its `forward`. Sizes that a caller chooses are names."""
    parameters = inspect.signature(kind.forward).parameters
    main = kind.main_input_name
    if main == "pixel_values" or ("pixel_values" in parameters and "input_ids" not in parameters):
        side = attribute(config, "image_size", default=224)
        height, width = (side, side) if isinstance(side, int) else tuple(side)
        channels = int(attribute(config, "num_channels", default=3))
        yield TensorSpec(name="pixel_values", dtype="float32", shape=(BATCH, channels, int(height), int(width)))
    elif main == "input_ids" and "pixel_values" not in parameters:
        yield from _texts(config, parameters)
    elif main == "input_values":
        yield TensorSpec(name="input_values", dtype="float32", shape=(BATCH, "samples"))
    else:
        raise Unsupported(
            f"inputs of {kind.__name__} ({main}) cannot be made from its configuration",
            "export it with transformers, and write FILE.onnx as --model",
        )


def _texts(config: Any, parameters: Mapping[str, Any]) -> Iterator[TensorSpec]:
    for name, role in TEXTS.items():
        if name == "token_type_ids" and int(attribute(config, "type_vocab_size", default=0)) < 2:
            continue
        if name in parameters:
            high = {"input_ids": attribute(config, "vocab_size"), "token_type_ids": attribute(config, "type_vocab_size")}
            yield TensorSpec(name=name, dtype="int64", shape=(BATCH, "sequence"), role=role, high=high.get(name))
    if config.is_encoder_decoder:
        high_id = attribute(config, "vocab_size")
        yield TensorSpec(name="decoder_input_ids", dtype="int64", shape=(BATCH, "decoder_sequence"), high=high_id)


def _wrapped(model: Any, names: list[str]) -> nn.Module:
    """Module that takes the inputs `names` in order, and returns the tensors of the model's answer as a tuple."""
    from torch import nn

    # mypy does not follow torch, so the base class has the type Any
    class Wrapped(nn.Module):  # type: ignore[misc]
        """A model of transformers, called by position."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            first: torch.Tensor,
            second: torch.Tensor | None = None,
            third: torch.Tensor | None = None,
            fourth: torch.Tensor | None = None,
            fifth: torch.Tensor | None = None,
        ) -> tuple[torch.Tensor, ...]:
            given = (first, second, third, fourth, fifth)
            return tuple(self.answer(*given).values())

        def answer(self, *given: torch.Tensor | None) -> dict[str, torch.Tensor]:
            """Tensors of the model's answer, by name."""
            answer = self.model(**dict(zip(names, given)), return_dict=True)
            return {name: value for name, value in answer.items() if hasattr(value, "dtype")}

    assert len(names) <= MOST_INPUTS
    return Wrapped()


def _preprocessing(name: str, config: Any) -> str:
    """Steps of the model's preprocessor_config.json; without one the size alone, with values from 0 to 1."""
    from transformers.utils.hub import cached_file

    side = attribute(config, "image_size", default=224)
    size = (side, side) if isinstance(side, int) else tuple(side)
    data: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # a model without one
        path = cached_file(name, PROCESSOR)
        data = json.loads(Path(path).read_text()) if path else {}
    crop, whole = _sides(data.get("crop_size")), _sides(data.get("size"))
    size = crop if crop and data.get("do_center_crop") else size
    shortest = (data.get("size") or {}).get("shortest_edge", 0) if isinstance(data.get("size"), dict) else 0
    resize = int(shortest / float(data["crop_pct"])) if shortest and data.get("crop_pct") and shortest < 384 else int(shortest)
    normal = data.get("do_normalize", False)
    method = RESAMPLING.get(data.get("resample", 2), "bilinear")
    mean, std = (data.get(key) if normal else plain for key, plain in (("image_mean", (0.0,)), ("image_std", (1.0,))))
    return steps(size if crop else whole or size, resize, method, mean or (0.0,), std or (1.0,))


def _sides(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    return (int(value["height"]), int(value["width"])) if isinstance(value, dict) and "height" in value else None


def _weights(name: str) -> Iterator[Path]:
    folder = Path(name)
    yield from sorted(folder.glob("*.safetensors"))
    yield from sorted(folder.glob("pytorch_model*.bin"))  # loaded with weights_only


def _revision(name: str, config: Any) -> list[str]:
    """The weights' identity: hashes of a folder's files, or the commit of the hub."""
    if not Path(name).is_dir():
        return [name, str(getattr(config, "_commit_hash", ""))]
    totals = []
    for path in _weights(name):
        total = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
        totals.append(total.hexdigest())
    return totals
