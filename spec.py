"""The values that flow through the tool: frozen, keyword-only, standard library only.

    Sweep -> Artifact -> Cell -> (a backend's Session) -> records

Everything here can be sent to a worker process as JSON: `to_wire` and `from_wire` (wire.py) are the one way to do it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from .budgets import BUDGETS, Budget
from .errors import BadInput, one_line
from .wire import digest as digest
from .wire import from_wire as from_wire
from .wire import set_fields as set_fields
from .wire import to_wire as to_wire

Shape = tuple[int, ...]
Shapes = tuple[tuple[str, Shape], ...]
Options = tuple[tuple[str, str], ...]
KEY_DIGITS = 16  # of a SHA-256, in hexadecimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """What a precision means: the file it runs, the arithmetic asked for, and the parity it must keep.

    `layers_only`: the arithmetic is that of layers that multiply by weights or activations, and other nodes compute in
    `rest`. `floor_db`: the SQNR against the FP32 reference, in dB, under which a row is a `mismatch` (starting values).
    """

    name: str
    file: str
    arithmetic: str
    floor_db: float
    rest: str = "fp32"
    layers_only: bool = False

    @classmethod
    def parse(cls, name: str) -> Precision:
        """The precision called `name`; `BadInput` with the nearest one for a name that there is not."""
        if name not in PRECISIONS:
            raise BadInput(f"{name!r} is not a precision", nearest(name, PRECISIONS))
        return PRECISIONS[name]


PRECISIONS: Mapping[str, Precision] = {
    row.name: row
    for row in (
        Precision(name="fp32", file="fp32", arithmetic="fp32", floor_db=80.0),
        Precision(name="tf32", file="fp32", arithmetic="tf32", layers_only=True, floor_db=55.0),
        Precision(name="bf16", file="fp32", arithmetic="bf16", floor_db=35.0),
        Precision(name="fp16", file="fp16", arithmetic="fp16", floor_db=50.0),
        Precision(name="int8", file="int8", arithmetic="int8", layers_only=True, floor_db=20.0),
        Precision(name="int8+fp16", file="int8", arithmetic="int8", layers_only=True, rest="fp16", floor_db=20.0),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """`cpu`, or one accelerator by kind and index (`cuda:0`)."""

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """`cpu`, `cuda` or `cuda:1`; `BadInput` for anything else."""
        found = re.fullmatch(r"cpu|(?:cuda)(?::([0-9]+))?", text)
        if not found:
            raise BadInput(f"{text!r} is not a device", "use cpu, cuda or cuda:N")
        return cls(kind=text.partition(":")[0], index=int(found[1] or 0))

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


ALL = "all"  # every backend that one could deploy on, wherever a backend is named


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A backend and which of its environments, where several are compared: `ort-cpu@old` is another interpreter, or the
    same one with other options. The empty environment is the one that needs no name."""

    backend: str
    environment: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """`ort-cpu` or `ort-cpu@old`; `BadInput` for anything else."""
        found = re.fullmatch(r"([^@]+)(?:@([A-Za-z0-9_-]+))?", text)
        if not found:
            raise BadInput(f"{text!r} is no BACKEND or BACKEND@ENV", "an ENV has letters, digits, _ and -")
        return cls(backend=found[1], environment=found[2] or "")

    def __str__(self) -> str:
        return f"{self.backend}@{self.environment}" if self.environment else self.backend


INTEGER_HIGH = 10  # integers of which nothing is known are under that
SAMPLE_RATE = 16_000  # Hz: what most models of speech take


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input or output of a graph. A dimension is a size, a symbol's name, or None where it has neither.

    `dtype` is NumPy's name (`float32`, `int64`, `bool`, `bfloat16`); `ranked` is False where the file does not even say how
    many dimensions there are. The rest is what an input takes, where that is known: integers are under `high` (the length of
    the smallest table that they index), and under the size of an axis of another input, `of`. `role`: a `mask` is ones, a
    `length` the whole of `of`, `positive` above 0, `rate` that of samples. `setting`: what it sets, which no one can guess.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    high: int | None = None
    ranked: bool = True
    role: str = ""
    of: tuple[str, int] | None = None
    setting: str = ""

    def integers(self, shapes: Mapping[str, Shape]) -> tuple[int, int]:
        """The least integer that is plausible, and the one above the largest, where inputs by name have `shapes`."""
        shape, axis = shapes.get(self.of[0], ()) if self.of else (), self.of[1] if self.of else 0
        size = shape[axis] if -len(shape) <= axis < len(shape) else None
        high = min((bound for bound in (self.high, size) if bound), default=INTEGER_HIGH)
        if self.role == "length":
            size = size or max((dims[1] for dims in shapes.values() if len(dims) > 1), default=1)
        fixed = {"mask": 1, "rate": SAMPLE_RATE, "length": size}.get(self.role)
        return (int(self.role == "positive"), max(1, high)) if fixed is None else (fixed, fixed + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the same model exists in PyTorch: an importable `module:factory` and its weights (safetensors)."""

    factory: str
    weights: str | None = None


RANDOM = "random"  # what inputs are that nobody gave


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """Request for INT8: `scheme` and `method` are names of exporters/int8, `exclude` are nodes that stay in float."""

    scheme: str = ""
    method: str = ""
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Options) -> Conversion:
        """Read the request from the `options` of a derived file."""
        told = dict(options)
        exclude = tuple(value for name, value in options if name == "exclude")
        return cls(scheme=told.get("scheme", ""), method=told.get("method", ""), exclude=exclude)

    @property
    def options(self) -> Options:
        """The same as texts: one pair for each node that stays in float."""
        named = (("scheme", self.scheme), ("method", self.method))
        return (*(pair for pair in named if pair[1]), *(("exclude", name) for name in self.exclude))


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """Origin of a derived file: the sha256 of its source (`origin`), and the way in which it was made.

    `recipe` is a name of exporters/derive. `revision` is the recipe's, and is raised when what it makes changes. `tool` is the
    version of onnxbench that made the file, `versions` are those of its libraries. `options` are what the recipe was told, for
    INT8 also the `data` that it was calibrated on (a dataset, an .npz file, or RANDOM) and how many `samples` of it.
    """

    origin: str
    recipe: str
    revision: int
    tool: str
    versions: Options = ()
    options: Options = ()

    def option(self, name: str) -> str:
        """The text that the recipe was told under `name`; empty for none."""
        return dict(self.options).get(name, "")

    def calibration(self, dataset: str | None) -> str | None:
        """The user's file that it was calibrated on; None where that was the model's `dataset`, or random inputs."""
        data = self.option("data")
        return None if data in ("", RANDOM, dataset) else data

    def __str__(self) -> str:
        how = Conversion.of(self.options)
        made = f"{how.scheme}, {how.method} over {self.option('samples')} of {self.option('data')}" if how.scheme else ""
        return f"{made}, without {','.join(how.exclude)}" if how.exclude else made


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One ONNX file that can be measured. `sha256` covers the file and its external data; `derived` says what it was made from.

    `quantized` and `float_layers` count the nodes that multiply by weights or activations (Conv, Gemm, MatMul and their
    kin), in 8 bits and otherwise. `obstacle`: why runtimes that want symmetric INT8 (TensorRT) refuse the file; None
    where they do not.
    """

    model: str
    precision: str
    path: str
    sha256: str
    nbytes: int
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: int = 0
    source: Source | None = None
    dataset: str | None = None
    derived: Derived | None = None
    quantized_layers: int = 0
    float_layers: int = 0
    obstacle: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a cell asks of its runtime: compute threads for one call (0: not told), and the backend's own options."""

    threads: int
    options: Options = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row to be: everything that makes two measurements comparable, and nothing else.

    `sha256` is that of the file that the user gave or exported. What was made from that file has the same one, and `scheme`
    says how INT8 was made. The record has the hash of the file that ran.
    """

    model: str
    sha256: str
    backend: str
    device: str
    precision: str
    batch: int
    shapes: Shapes
    settings: Settings
    environment: str = ""
    scheme: str = ""

    @property
    def key(self) -> str:
        """The cell's identity, 16 hexadecimal digits. A field at its default is left out, so a new field changes no key.

        Equal cells have equal keys in runs of one schema. A run folder has the key that it uses beside each cell.
        """
        return digest(set_fields(self))[:KEY_DIGITS]

    @property
    def target(self) -> Target:
        return Target(backend=self.backend, environment=self.environment)

    @property
    def id(self) -> str:
        """A name for people; `key` is what tells cells apart."""
        return f"{self.model}/{self.target}/{self.device}/{self.precision}/b{self.batch}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Concurrency:
    """How calls run in parallel: `lanes` in flight at the same time, on a model compiled for `streams` of them at once
    (1 where the runtime has no such notion), each computed by `threads` threads."""

    lanes: int = 1
    streams: int = 1
    threads: int = 1


STOPPING_METRICS = ("p50", "p90", "p99", "e2e_p50", "throughput")


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Items that arrive one by one, whether the last ones are answered or not: at random (`poisson`).

    Looked for is the highest rate at which `percentile` of the responses, from when an item was due, is at most `limit_ms`. A
    call waits for its batch to fill, but `max_wait_ms` at most. Cells of more than `max_batch` items a call have no load.
    """

    percentile: float
    limit_ms: float
    arrivals: str = "poisson"
    max_batch: int | None = None
    max_wait_ms: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What the user asked to measure. None and empty mean: whatever there is.

    `signature` is what `--shape` says: the shape, and for a module from elsewhere the type, of inputs by name. `inputs`
    are paths of .npy files by input name. `pythons` are interpreters, or folders of virtual environments, by `Target`.
    `baseline` is the target that speed-ups are against. Without one, the stop rule watches `metric` (of STOPPING_METRICS).
    `cold` asks for cold starts, `load` for the rate that a limit of latency allows. `timeout_s` bounds every single answer of a
    worker. `images` is instead of the budget's number.
    """

    model: str | None = None
    dataset: str | None = None
    artifacts: str = "artifacts"
    backends: tuple[str, ...] = ()
    pythons: tuple[tuple[str, str], ...] = ()
    device: str | None = None
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    threads: int | None = None
    signature: tuple[TensorSpec, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    options: Options = ()
    budget: Budget = field(default=BUDGETS["normal"])
    baseline: str | None = None
    metric: str = "p50"
    cold: bool = False
    load: Load | None = None
    images: int | None = None
    seed: int = 0
    timeout_s: float = 300.0

    @property
    def named(self) -> tuple[str, ...]:
        """The targets that the user named, each of which has a row: by an interpreter too, where all are measured."""
        labels = [label for label, _ in self.pythons] if not self.backends or ALL in self.backends else []
        return tuple(dict.fromkeys(name for name in (*self.backends, *labels) if name != ALL))


def relocate(artifact: Artifact, folder: str) -> Artifact:
    """`artifact` with its relative paths under `folder` (a manifest's own)."""
    source = artifact.source
    if source and source.weights:
        source = replace(source, weights=f"{folder}/{source.weights}")
    return replace(artifact, path=f"{folder}/{artifact.path}", source=source)


def resolve(reference: str) -> Callable[..., Any]:
    """The callable that `package.module:name` names. `BadInput` says what could not be found in it.

    For a module of the user's the working folder is on the path from then on, after everything that is installed.
    """
    module_name, _, attribute = reference.partition(":")
    if module_name.partition(".")[0] != __package__:
        _reach_working_folder()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise BadInput(
            f"cannot import {module_name!r} ({type(error).__name__}: {one_line(error)})", "run where it can be imported"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise BadInput(f"{module_name!r} has no callable {attribute!r}", nearest(attribute, dir(module)))
    return found  # type: ignore[no-any-return]


def _reach_working_folder() -> None:
    with suppress(OSError):  # it was deleted
        if (folder := os.getcwd()) not in sys.path:  # noqa: PTH109 (sys.path holds texts)
            sys.path.append(folder)


def nearest(name: str, known: Any) -> str:
    """A hint that names what `name` was probably meant to be, or else everything there is."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"
