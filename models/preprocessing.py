"""Preprocessing of image files, as `--preprocess` gives it, and the full name of a dataset with it. Standard library only.

A full name is `images:PATH?size=224,...`: one text says which pixels the model sees, in every record and cache key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import BadInput, nearest
from ..factories import library_of

IMAGES, QUERY = "images", "?"
OWN = "own"  # in place of steps: those of the model's library, which only a worker can read
INPUT_EXAMPLE = "--preprocess size=224,crop=center,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,layout=NCHW"
CHOICES: Mapping[str, tuple[str, ...]] = {
    "crop": ("center", "none"),
    "interpolation": ("bilinear", "bicubic", "nearest"),
    "channels": ("RGB", "BGR", "L"),
    "layout": ("NCHW", "NHWC"),
    "dtype": ("float32", "uint8"),
}
LARGEST_SIDE = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Steps from a decoded image to an input of the model.

    - `size`: height and width. `crop`: `center` resizes the shorter side to `resize` (0: so that the crop just fits) and cuts
      the centre; `none` stretches the whole image.
    - A value x from 0 to 255 becomes (x / scale - mean) / std. `mean` and `std` have one number, or one for each channel.
    - `dtype` uint8 leaves values from 0 to 255 as they are.
    """

    size: tuple[int, int] = (224, 224)
    resize: int = 0
    crop: str = "center"
    interpolation: str = "bilinear"
    channels: str = "RGB"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NCHW"
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """Read `size=224,mean=0.5,0.5,0.5,...`. `BadInput` for an unknown key, or a value that its key does not take."""
        made = cls(**{key: _READERS[key](key, value) for key, value in _pairs(text).items()})
        made._check()
        return made

    def __str__(self) -> str:
        """The size, and every other value that is not the default, in the form of `--preprocess`."""
        default = Preprocessing()
        names = [item.name for item in fields(self)]
        return ",".join(
            f"{name}={_text(getattr(self, name))}"
            for name in names
            if name == "size" or getattr(self, name) != getattr(default, name)
        )

    @property
    def depth(self) -> int:
        """Number of channels."""
        return 1 if self.channels == "L" else 3

    @property
    def geometry(self) -> tuple[Any, ...]:
        """The steps that choose pixels. The others compute with their values, and need no new decoding."""
        return self.size, self.resize, self.crop, self.interpolation, self.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input of the model, without the batch."""
        return (*self.size, self.depth) if self.layout == "NHWC" else (self.depth, *self.size)

    def _check(self) -> None:
        """Raise `BadInput` for values that contradict each other."""
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, self.depth):
                problem = f"--preprocess {name} has {count} numbers, and images in {self.channels} have {self.depth} channels"
                raise BadInput(problem, f"write one number, or {self.depth}")
        if self.resize and (self.crop != "center" or self.resize < max(self.size)):
            problem = f"--preprocess resize={self.resize} leaves no room to cut {_text(self.size)} from the centre"
            raise BadInput(problem, f"write resize={max(self.size)} or more with crop=center, or leave resize out")
        if self.dtype == "uint8" and (self.scale, self.mean, self.std) != (255.0, (0.0,), (1.0,)):
            raise BadInput(
                "--preprocess dtype=uint8 keeps the values 0 to 255, but scale, mean or std would change them",
                "leave these keys out, or write dtype=float32",
            )


def _pairs(text: str) -> dict[str, str]:
    """Keys and values. A part without an equals sign is a further number of the value before it."""
    pairs: dict[str, str] = {}
    key = ""
    for part in text.split(",") if text else ():
        left, equals, right = part.partition("=")
        if not equals:
            if key not in ("mean", "std"):
                raise BadInput(f"--preprocess has {part!r}, which is not KEY=VALUE", f"write for example {INPUT_EXAMPLE}")
            pairs[key] += f",{part}"
            continue
        key = left.strip()
        if key not in _READERS:
            raise BadInput(f"--preprocess has no key {key!r}", nearest(key, _READERS))
        if key in pairs:
            raise BadInput(f"--preprocess has {key} twice", f"write {key} once")
        pairs[key] = right.strip()
    return pairs


def _text(value: Any) -> str:
    if isinstance(value, tuple) and isinstance(value[0], int):
        return str(value[0]) if value[0] == value[1] else "x".join(map(str, value))
    return (
        ",".join(f"{item:g}" for item in value)
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _size(key: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})(?:[xX]([0-9]{1,5}))?", text)
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(0 < side <= LARGEST_SIDE for side in sides):
        hint = f"write one side, as size=224, or height x width, as size=224x160; a side has 1 to {LARGEST_SIDE} pixels"
        raise BadInput(f"--preprocess size={text} is not a size in pixels", hint)
    return sides


def _whole(key: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= LARGEST_SIDE:
        raise BadInput(f"--preprocess {key}={text} is not a number of pixels", f"write 1 to {LARGEST_SIDE}")
    return int(text)


def _numbers(key: str, text: str) -> tuple[float, ...]:
    """Finite numbers; above 0 unless they are means."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) and (key == "mean" or number > 0) for number in numbers):
        kind = "numbers" if key == "mean" else "numbers above 0"
        example = "255" if key == "scale" else "0.485,0.456,0.406"
        raise BadInput(f"--preprocess {key}={text} is not a list of {kind}", f"write for example {key}={example}")
    return numbers


def _scale(key: str, text: str) -> float:
    return _numbers(key, text)[0]  # `_pairs` gives several numbers to a mean or a deviation alone


def _choice(key: str, text: str) -> str:
    if text not in CHOICES[key]:
        raise BadInput(f"--preprocess {key}={text} is not a choice", nearest(text, CHOICES[key]))
    return text


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    "size": _size,
    "resize": _whole,
    "scale": _scale,
    "mean": _numbers,
    "std": _numbers,
    **dict.fromkeys(CHOICES, _choice),
}


def is_images(dataset: str) -> bool:
    """True for a dataset, or for calibration data, of image files."""
    return dataset.startswith(f"{IMAGES}:")


def full_name(dataset: str | None, preprocess: str | None, model: str | Sequence[str] = ()) -> str | None:
    """`dataset` with its preprocessing. `BadInput` for a preprocessing that is wrong, or without images.

    Without `preprocess`, a `model` of a library has its own steps, which `with_own_steps` fills in.
    """
    if dataset is None or not is_images(dataset):
        if preprocess is not None:
            raise BadInput("--preprocess is for image files, and there are none", "add --dataset images:DIR")
        return dataset
    if dataset == f"{IMAGES}:":
        raise BadInput(f"{dataset!r} names no folder", "write --dataset images:DIR or images:FILE.csv")
    models = (model,) if isinstance(model, str) else model
    if preprocess is None and any(map(library_of, models)):
        return f"{dataset}{QUERY}{OWN}"
    return f"{dataset}{QUERY}{Preprocessing.parse(preprocess or '')}"


def with_own_steps(dataset: str | None, steps: Callable[[], str]) -> str | None:
    """`dataset` with the model's `steps` in place of OWN; with the default steps where they are empty."""
    mark = f"{QUERY}{OWN}"
    if dataset is None or not is_images(dataset) or not dataset.endswith(mark):
        return dataset
    return f"{dataset.removesuffix(OWN)}{steps() or Preprocessing()}"


def full_names(dataset: str | None, calibration: str | None, preprocess: str | None, model: str = "") -> dict[str, str | None]:
    """Full names of a dataset and of calibration data, one of which has images. Raises the errors of `full_name`."""
    names = {"dataset": dataset, "calibration": calibration}
    images = {key: name for key, name in names.items() if name is not None and is_images(name)}
    if not images:
        full_name(dataset, preprocess)
    return names | {key: full_name(name, preprocess, model) for key, name in images.items()}


def split_name(dataset: str) -> tuple[str, str, str]:
    """Kind, path and preprocessing of a full name. Only images have a preprocessing."""
    kind, _, place = dataset.partition(":")
    if kind != IMAGES:
        return kind, place, ""
    path, mark, steps = place.rpartition(QUERY)
    return (kind, path, steps) if mark else (kind, place, "")


def absolute_name(dataset: str) -> str:
    """`dataset` with an absolute path. The name then means the same from any folder."""
    kind, place, steps = split_name(dataset)
    if not place:
        return dataset
    return f"{kind}:{Path(place).expanduser().resolve()}" + (f"{QUERY}{steps}" if steps else "")
