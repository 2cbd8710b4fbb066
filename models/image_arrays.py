"""Decoding of image files into one array in the cache, and its reading. NumPy; Pillow inside functions, in a worker alone.

docs/adr has the rules: one frame, the rotation that EXIF gives, alpha dropped, 16 bits scaled to 8.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, installed, one_line, quantity
from ..untrusted import WRONG, is_plain
from .image_files import Listing
from .preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # decoders of files, none of which starts a program
IMAGES, LABELS, DIGESTS, FACTS = "images.npy", "labels.npy", "digests.npy", "facts.json"
MOST_UNREADABLE = 0.01  # share of the files
EXAMPLES = 3
UNREADABLE = -1  # label of a file that does not decode
ENDED = "its decoder ended the worker, or took too long"

Bytes = NDArray[np.uint8]


class Undecodable(ValueError):
    """The reason why a file is no image that this tool reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageArrays:
    """Decoded images, uint8 [N, H, W, channels] on disk, their labels (UNREADABLE for holes) and digests of their pixels."""

    images: Bytes
    labels: NDArray[np.int64]
    digests: NDArray[np.uint64]
    names: dict[int, str]
    unreadable: int
    examples: tuple[str, ...]


def write(folder: Path, listing: Listing, how: Preprocessing, skip: Sequence[int], tick: Callable[[int], None]) -> None:
    """Decode the files of `listing` into `folder`. `skip`: files that ended a decoder before. `tick`: called before each file.

    `BadInput` if more than MOST_UNREADABLE of the files do not decode.
    """
    count = len(listing.paths)
    labels, digests = np.array(listing.labels, np.int64), np.zeros(count, np.uint64)
    failures: dict[int, str] = {}
    with (folder / IMAGES).open("wb") as file:
        shape = (count, *how.size, how.depth)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for index, path in enumerate(listing.paths):
            tick(index)
            try:
                pixels = _decoded(path, how) if index not in skip else _refuse(ENDED)
            except (Undecodable, MemoryError) as error:
                failures[index], labels[index] = one_line(error), UNREADABLE
                pixels = np.zeros(shape[1:], np.uint8)
            digests[index] = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8], "little")
            # Not a memory map: on a full disk, writing to a map kills the process.
            file.write(pixels.tobytes())
    check_readable(listing, failures)
    np.save(folder / LABELS, labels)
    np.save(folder / DIGESTS, digests)
    facts = {"names": dict(listing.names), "unreadable": len(failures), "examples": _examples(listing, failures)}
    (folder / FACTS).write_text(json.dumps(facts))


def _examples(listing: Listing, failures: dict[int, str]) -> list[str]:
    return [f"{listing.shown(index)} ({reason})" for index, reason in list(failures.items())[:EXAMPLES]]


def check_readable(listing: Listing, failures: dict[int, str]) -> None:
    """Raise `BadInput`, with the first names, if too many files do not decode."""
    if len(failures) <= MOST_UNREADABLE * len(listing.paths):
        return
    more = ", ..." if len(failures) > EXAMPLES else ""
    verb = "does" if len(failures) == 1 else "do"
    problem = f"{len(failures)} of {quantity(len(listing.paths), 'image')} in {listing.source} {verb} not decode"
    raise BadInput(
        f"{problem}: {', '.join(_examples(listing, failures))}{more}",
        f"remove or repair them; up to {MOST_UNREADABLE:.0%} are left out",
    )


def _refuse(reason: str) -> Bytes:
    raise Undecodable(reason)


def _decoded(path: Path, how: Preprocessing) -> Bytes:
    """Pixels of the file at `path`, uint8 [H, W, channels]. `Undecodable` for anything that is no image."""
    with installed("Pillow", "pip install 'onnxbench[images]'"):
        from PIL import Image, ImageOps, UnidentifiedImageError
    if not is_plain(path):
        raise Undecodable("there is no such file")
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            # Pillow warns at its pixel limit, and refuses at twice the limit only.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                image.load()
                pixels = np.asarray(_cut(_in_channels(ImageOps.exif_transpose(image), how.depth), how))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Undecodable(f"it has more than {(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels") from error
    except UnidentifiedImageError as error:
        raise Undecodable(f"it is none of {', '.join(FORMATS)}") from error
    except (Undecodable, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly any exception for a damaged file
        raise Undecodable(one_line(error, 100)) from error
    pixels = pixels.reshape(*how.size, how.depth)
    return pixels[:, :, ::-1] if how.channels == "BGR" else pixels


def _in_channels(image: Image, depth: int) -> Image:
    """`image` in RGB, or in grey: 16 bits scaled to 8, palettes looked up, alpha dropped."""
    from PIL import Image as images

    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Undecodable("its values are not within 0 to 65535")
        image = images.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode == "F":
        raise Undecodable("its values are floating-point numbers, whose range is not known")
    if image.mode in ("PA", "La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if depth == 1:
        return image if image.mode == "L" else image.convert("RGB").convert("L")
    return image.convert("RGB")


def _cut(image: Image, how: Preprocessing) -> Image:
    """`image` in the size of `how`: the centre of the resized image, or all of it stretched."""
    from PIL import Image as images

    method = images.Resampling[how.interpolation.upper()]
    height, width = how.size
    if how.crop == "none":
        return image.resize((width, height), method)
    image = image.resize(_covering(image.width, image.height, how), method)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _covering(width: int, height: int, how: Preprocessing) -> tuple[int, int]:
    """Width and height of the resized image, of which the centre is cut.

    The shorter side becomes `resize`, and the longer one is rounded down, as in torchvision's Resize. Without `resize`, the
    image just covers the crop.
    """
    tall, wide = how.size
    if how.resize:
        short = min(width, height)
        return how.resize * width // short, how.resize * height // short
    if wide * height >= tall * width:
        return wide, max(tall, height * wide // width)
    return max(wide, width * tall // height), tall


def read_entry(folder: Path) -> ImageArrays:
    """Read what `write` wrote. The images stay on disk. `BadInput` for a damaged entry."""
    try:
        facts: Any = json.loads((folder / FACTS).read_text())
        return ImageArrays(
            images=np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False),
            labels=np.load(folder / LABELS, allow_pickle=False),
            digests=np.load(folder / DIGESTS, allow_pickle=False),
            names={int(label): str(name) for label, name in facts["names"].items()},
            unreadable=int(facts["unreadable"]),
            examples=tuple(map(str, facts["examples"])),
        )
    except (OSError, *WRONG) as error:
        raise BadInput(f"the decoded images in {folder} are damaged ({one_line(error)})", "run bench cache --clear") from error


def prepared(pixels: NDArray[np.generic], how: Preprocessing) -> NDArray[np.generic]:
    """Inputs of the model for decoded `pixels`, uint8 [n, H, W, channels]."""
    values = np.asarray(pixels)
    if how.dtype == "float32":
        scaled = values.astype(np.float32) / np.float32(how.scale)
        values = (scaled - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(values if how.layout == "NHWC" else values.transpose(0, 3, 1, 2))
