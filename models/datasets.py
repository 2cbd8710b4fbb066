"""Datasets of labelled images: loading, one preprocessing for all of them, and one fixed split.

Names: `digits` (scikit-learn's 1797 real 8x8 digits, no download), `idx:DIR` (the files of MNIST and Fashion-MNIST, gzip or
not), `npz:FILE` (images `x` and labels `y`), `tensors:FILE` (an .npz file too, whose `x` are inputs of any shape for the
model), and `images:DIR` (image files, which a worker decoded before). NumPy; scikit-learn for the digits only.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, installed, one_line, shown
from ..parity import ImageSet
from ..spec import TensorSpec, nearest
from ..untrusted import check_archive, is_plain, unpacked_most
from . import image_arrays, image_files
from .preprocessing import Preprocessing, split_name

SIDE, CHANNELS = 48, 3
# The mean of digits (0.305) and of Fashion-MNIST (0.286), and about half their standard deviation. With half of it the
# article's loop reaches 98 % on the digits in ten epochs with each of three seeds, with all of it 97 % (benchmarks/accuracy).
MEAN, SPREAD = 0.3, 0.2
SPLIT_SEED = 0
CALIBRATION_IMAGES = 128
TEST_SHARE = 0.2
LEAST_ITEMS = 10
DIGITS = "datasets/data/digits.csv.gz"  # in scikit-learn: 64 pixels and the label in each line
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
IDX_MAGIC = {1: 0x0801, 3: 0x0803}  # rank -> magic number of unsigned bytes, http://yann.lecun.com/exdb/mnist/

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images as stored, [N, H, W] or [N, C, H, W] with values 0..`peak`, labels int64 [N], and the split.

    With no `peak`, `images` are inputs of the model, of any shape and type, and are not preprocessed. With `how`, they are
    decoded image files, [N, H, W, channels]. `names`: class of each label, if the dataset has names.
    """

    name: str
    images: NDArray[np.generic]
    labels: Labels
    peak: float | None
    split: Mapping[str, Indices]
    how: Preprocessing | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    def batch(self, indices: Indices) -> tuple[NDArray[np.generic], Labels]:
        """The inputs for the images at `indices`, float32 [n, 3, 48, 48] unless `peak` is None, and the labels [n]."""
        images = self.images[indices]
        if self.how:
            return image_arrays.prepared(images, self.how), self.labels[indices]
        return images if self.peak is None else preprocess(images, self.peak), self.labels[indices]

    def check_fits(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Raise `BadInput` unless a model with these inputs and outputs can classify this dataset."""
        self.check_inputs(inputs)
        if len(outputs[0].shape) != 2:
            raise BadInput(
                f"the output {outputs[0].name!r} has the shape {list(outputs[0].shape)}, but labels need [batch, classes]",
                "leave out --dataset, or use a model whose first output is [batch, classes]",
            )
        classes = outputs[0].shape[1]
        if isinstance(classes, int):
            self.check_classes(classes)

    def check_inputs(self, inputs: Sequence[TensorSpec]) -> None:
        """Raise `BadInput` unless a model with these inputs takes the samples."""
        sample = self.batch(np.arange(1))[0]
        if len(inputs) == 1 and _takes(inputs[0], sample):
            return
        needed = " and ".join(f"{spec.name!r} {spec.dtype} {list(spec.shape)}" for spec in inputs)
        item = f"{sample.dtype} of shape {list(sample.shape[1:])}"
        hint = "use --dataset tensors:FILE, an .npz file with inputs of the model as x and labels as y"
        raise BadInput(
            f"an item of {self.name} is {item}, but the model takes {needed}", preprocess_hint(inputs) if self.how else hint
        )

    def check_classes(self, classes: int) -> None:
        """Raise `BadInput` for a label that a model of so many `classes` does not have."""
        label = int(self.labels.max())
        if label < classes:
            return
        if not self.names:
            problem = f"{self.name} has labels up to {label}, but the model has only {classes} classes"
            raise BadInput(problem, f"use labels from 0 to {classes - 1}")
        beyond = [name for number, name in sorted(self.names.items()) if number >= classes]
        more = ["..."] if len(beyond) > image_arrays.EXAMPLES else []
        first = ", ".join([*map(shown, beyond[: image_arrays.EXAMPLES]), *more])
        raise BadInput(
            f"{self.name} has labels up to {label}, but the model has only {classes} classes; beyond them: {first}",
            f"write the model's classes to {image_files.CLASSES_FILE} beside the images, one in each line, in its order",
        )

    def record(self) -> dict[str, object]:
        """The split as a checkpoint stores it: the sizes of its parts, and a digest of their indices."""
        order = b"".join(self.split[part].tobytes() for part in sorted(self.split))
        sizes = {part: len(indices) for part, indices in self.split.items()}
        return {"dataset": self.name, "split": sizes, "split_sha256": hashlib.sha256(order).hexdigest()}


def preprocess_hint(inputs: Sequence[TensorSpec]) -> str:
    """The preprocessing that makes images in the shape of a model's input, or a hint that none does."""
    shape = inputs[0].shape if len(inputs) == 1 and len(inputs[0].shape) == 4 else (None,) * 4
    for layout, depth, size in (("NCHW", shape[1], shape[2:]), ("NHWC", shape[3], shape[1:3])):
        if depth in (1, CHANNELS) and all(isinstance(side, int) for side in size):
            steps = [f"size={size[0]}" if size[0] == size[1] else f"size={size[0]}x{size[1]}", f"layout={layout}"]
            steps += ["channels=L"] if depth == 1 else []
            steps += ["dtype=uint8"] if inputs[0].dtype == "uint8" else []
            return f"write --preprocess {','.join(steps)}, and the other keys as before"
    return "images are inputs of models that take one array of the shape [N, 3, H, W] or [N, H, W, 3]"


def _takes(spec: TensorSpec, sample: NDArray[np.generic]) -> bool:
    """True if an input accepts batches of items like `sample`."""
    sizes = zip(spec.shape[1:], sample.shape[1:])
    fits = all(not isinstance(dim, int) or dim == size for dim, size in sizes)
    return spec.dtype == sample.dtype.name and len(spec.shape) == sample.ndim and fits


def load(name: str, place: Path | None = None) -> Dataset:
    """Load the dataset `name`, from `place` if its files are not at the path in its name.

    `BadInput` for a damaged dataset, `Unavailable` if a package is missing.
    """
    kind, path = _parsed(name)
    return LOADERS[kind](name, place or path)


def check(name: str) -> None:
    """Raise `BadInput` for a wrong name or a missing file, without reading the data."""
    kind, place = _parsed(name)
    if kind == "images":
        image_files.check_source(place)
    elif kind == "idx":
        for part in IDX_FILES.values():
            for file in part:
                _idx_path(place, file)
    elif kind in ("npz", "tensors") and not place.is_file():
        raise BadInput(f"there is no file {place}", f"write --dataset {kind}:FILE, an .npz file with arrays x and y")


def _parsed(name: str) -> tuple[str, Path]:
    kind, place, _ = split_name(name)
    if kind not in LOADERS or bool(place) != (kind != "digits") or name.endswith(":"):
        forms = ("digits", "idx:DIR", "npz:FILE", "tensors:FILE", "images:DIR")
        raise BadInput(f"{name!r} is not a dataset", nearest(name, forms))
    return kind, Path(place).expanduser()


def preprocess(images: NDArray[np.generic], peak: float) -> Images:
    """Resize and normalize images: [n, H, W] or [n, 1|3, H, W] with values 0..peak -> float32 [n, 3, 48, 48].

    A value x becomes (x / peak - MEAN) / SPREAD. The resize is bilinear between pixel centres (`align_corners=False` in
    PyTorch). A single channel is repeated three times.
    """
    scaled = (images.astype(np.float32) / np.float32(peak) - np.float32(MEAN)) / np.float32(SPREAD)
    planes = scaled[:, None] if scaled.ndim == 3 else scaled
    rows, columns = _bilinear(planes.shape[2], SIDE), _bilinear(planes.shape[3], SIDE)
    resized = np.matmul(np.matmul(rows, planes), columns.T)
    return np.ascontiguousarray(np.broadcast_to(resized, (len(resized), CHANNELS, SIDE, SIDE)))


def _bilinear(old: int, new: int) -> NDArray[np.float32]:
    """Matrix [new, old] that resizes one axis by linear interpolation between pixel centres."""
    centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(np.floor(centre).astype(int), max(old - 2, 0))
    matrix = np.zeros((new, old), np.float32)
    matrix[np.arange(new), low] = 1 - (centre - low)
    matrix[np.arange(new), np.minimum(low + 1, old - 1)] += centre - low
    return matrix


def _split(count: int, test: Indices | None = None) -> dict[str, Indices]:
    """Disjoint train, calibration and test indices of `count` images, equal at every call.

    `test`: test indices of the dataset's authors. Without them, a fifth of the images is drawn.
    """
    generator = np.random.default_rng(SPLIT_SEED)
    rest = np.setdiff1d(np.arange(count), [] if test is None else test)
    order = generator.permutation(rest).astype(np.int64)
    if test is None:
        cut = max(1, int(count * TEST_SHARE))
        test, order = order[:cut], order[cut:]
    cut = min(CALIBRATION_IMAGES, len(order) // 2)
    return {"train": order[cut:], "calibration": order[:cut], "test": test}


def _digits(name: str, _: Path) -> Dataset:
    images, labels = _read_digits() or _load_digits()
    return Dataset(
        name=name, images=images.reshape(-1, 8, 8), labels=labels.astype(np.int64), peak=16.0, split=_split(len(labels))
    )


def _read_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Pixels [n, 64] and labels [n] from scikit-learn's own file; None where it is not in its usual place."""
    # Importing scikit-learn takes seconds, and a sweep would wait for it each time.
    package = importlib.util.find_spec("sklearn")
    places = list(package.submodule_search_locations or ()) if package else []
    files = [file for place in places if (file := Path(place) / DIGITS).is_file()]
    if not files:
        return None
    with gzip.open(files[0], "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1], table[:, -1]


def _load_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with installed("scikit-learn, which the digits dataset needs,", "pip install 'onnxbench[torch]'"):
        from sklearn.datasets import load_digits
    return load_digits(return_X_y=True)  # type: ignore[no-any-return]


def _idx(name: str, folder: Path) -> Dataset:
    images, labels = [], []
    for image_file, label_file in IDX_FILES.values():
        images.append(_read_idx(_idx_path(folder, image_file), rank=3))
        labels.append(_read_idx(_idx_path(folder, label_file), rank=1))
        if len(images[-1]) != len(labels[-1]):
            raise BadInput(
                f"{folder} has {len(images[-1])} images in {image_file}, but {len(labels[-1])} labels in {label_file}",
                "use the image file and the label file of one dataset",
            )
    if images[0].shape[1:] != images[1].shape[1:]:
        raise BadInput(
            f"{folder} has training images of {images[0].shape[1:]}, but test images of {images[1].shape[1:]}",
            "use the training files and the test files of one dataset",
        )
    count = sum(map(len, labels))
    test = np.arange(len(labels[0]), count, dtype=np.int64)
    return _checked(name, np.concatenate(images), np.concatenate(labels), _split(count, test))


def _idx_path(folder: Path, file: str) -> Path:
    for path in (folder / file, folder / f"{file}.gz"):
        if is_plain(path):
            return path
    hint = "write --dataset idx:DIR, a folder with the four files of MNIST or Fashion-MNIST"
    raise BadInput(f"{folder} has neither {file} nor {file}.gz", hint)


def _read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            header = np.frombuffer(file.read(4 + 4 * rank).ljust(4 + 4 * rank, b"\0"), ">u4")
            shape = tuple(int(size) for size in header[1:])
            count = math.prod(shape)
            valid = header[0] == IDX_MAGIC[rank] and 0 < count <= unpacked_most(path)
            # One byte more than the header announces: enough to see that the file is longer, without unpacking all of it.
            data = file.read(count + 1) if valid else b""
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"cannot read {path} ({one_line(error)})", "download the file again") from error
    if not valid or len(data) != count:
        raise BadInput(
            f"{path} is not an IDX file of {rank} dimension(s), or its size differs from its header", "download the file again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _npz(name: str, path: Path) -> Dataset:
    x, y = _read_npz(path)
    return _checked(name, x, y, _split(len(y) if y.ndim else 0))


def _tensors(name: str, path: Path) -> Dataset:
    x, y = _read_npz(path)
    if not x.ndim or y.shape != (len(x),) or y.dtype.kind not in "iu" or len(y) < LEAST_ITEMS or y.min() < 0:
        raise BadInput(
            f"{path} has x of shape {x.shape} and y of type {y.dtype} and shape {y.shape}",
            f"store at least {LEAST_ITEMS} items in x, and one integer label (0 or above) for each item in y",
        )
    return Dataset(name=name, images=x, labels=y.astype(np.int64), peak=None, split=_split(len(y)))


def _read_npz(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Read the arrays `x` and `y` of the .npz file at `path`."""
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as arrays:
            x, y = np.asarray(arrays["x"]), np.asarray(arrays["y"])
    except KeyError as error:
        raise BadInput(f"{path} has no array {error.args[0].split()[0]}", "use an .npz file with arrays x and y") from error
    except Exception as error:  # NumPy's reader raises nearly any exception for a damaged file
        raise BadInput(f"cannot read {path} ({one_line(error)})", "use an .npz file with arrays x and y") from error
    if not (x.size and y.size):  # an array without data may claim any length, and the split would fill the memory
        raise BadInput(
            f"{path} has images of shape {x.shape} and labels of shape {y.shape}", f"store at least {LEAST_ITEMS} items"
        )
    return x, y


def _checked(name: str, x: NDArray[np.generic], y: NDArray[np.generic], split: dict[str, Indices]) -> Dataset:
    """Make a dataset. `BadInput` unless `x` are images of 1 or 3 channels, and `y` has an integer label 0..9 for each."""
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[1] not in (1, CHANNELS)) or min(x.shape, default=0) == 0:
        raise BadInput(f"{name} has images of shape {x.shape}", "use the shape [N, H, W], [N, 1, H, W] or [N, 3, H, W]")
    if x.dtype.kind not in "buif" or y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise BadInput(
            f"{name} has {x.dtype} images and {y.dtype} labels of shape {y.shape}",
            "use numbers as images, and one integer label for each image",
        )
    if len(y) < LEAST_ITEMS or y.min() < 0 or y.max() > 9:
        problem = f"{name} has {len(y)} labels from {y.min()} to {y.max()}"
        raise BadInput(problem, f"use at least {LEAST_ITEMS} images with labels 0 to 9")
    if x.dtype.kind == "f" and not (x.min() >= 0 and x.max() <= 1):
        raise BadInput(
            f"{name} has floating-point images with values from {x.min()} to {x.max()}",
            "use fractions from 0 to 1, or integers from 0 to 255",
        )
    if not all(len(indices) for indices in split.values()):
        raise BadInput(f"{name} has too few images for its train, calibration and test parts", "use more images")
    peak = 255.0 if x.dtype.kind in "iu" else 1.0
    return Dataset(name=name, images=x, labels=y.astype(np.int64), peak=peak, split=split)


def _images(name: str, folder: Path) -> Dataset:
    """Dataset of the images that a worker decoded into `folder`."""
    stored = image_arrays.read_entry(folder)
    return Dataset(
        name=name,
        images=stored.images,
        labels=stored.labels,
        peak=None,
        split=_split_by_content(name, stored),
        how=Preprocessing.parse(split_name(name)[2]),
        names=stored.names,
    )


def _split_by_content(name: str, stored: image_arrays.ImageArrays) -> dict[str, Indices]:
    """Disjoint parts of the decoded images. Images of equal pixels are in one part.

    The digest of its pixels places an image: neither its name nor the other files move it far.
    """
    decoded = np.flatnonzero(stored.labels != image_arrays.UNREADABLE)
    order = decoded[np.lexsort((decoded, stored.digests[decoded]))].astype(np.int64)
    different, first = np.unique(stored.digests[order], return_index=True)
    if len(different) < LEAST_ITEMS:
        problem = f"{name} has {len(order)} images, of which {len(different)} differ from each other"
        raise BadInput(problem, f"use at least {LEAST_ITEMS} different images")
    bounds = np.append(first, len(order))
    test = max(1, int(len(different) * TEST_SHARE))
    calibration = test + min(CALIBRATION_IMAGES, (len(different) - test) // 2)
    parts = np.split(order, [bounds[test], bounds[calibration]])
    return dict(zip(("test", "calibration", "train"), parts))


def image_set(name: str, folder: Path) -> ImageSet:
    """Facts of the images that a worker decoded into `folder`."""
    stored, data = image_arrays.read_entry(folder), _images(name, folder)
    decoded = stored.labels != image_arrays.UNREADABLE
    count = int(decoded.sum())
    return ImageSet(
        images=count,
        classes=len(np.unique(stored.labels[decoded])),
        unreadable=stored.unreadable,
        examples=stored.examples,
        duplicates=count - len(np.unique(stored.digests[decoded])),
        split_sha256=str(data.record()["split_sha256"]),
        **{part: len(indices) for part, indices in data.split.items()},
    )


LOADERS: Mapping[str, Callable[[str, Path], Dataset]] = {
    "digits": _digits,
    "idx": _idx,
    "npz": _npz,
    "tensors": _tensors,
    "images": _images,
}
