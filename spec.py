"""Frozen values that pass through the whole tool. Standard library only.

    Sweep -> Artifact -> Cell -> (a backend's Session) -> records

`to_wire` and `from_wire` (wire.py) encode and decode every value here, for worker processes and files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .budgets import BUDGETS, Budget
from .budgets import Load as Load
from .devices import Device as Device
from .devices import gpu_count as gpu_count
from .errors import BadInput
from .errors import nearest as nearest
from .loop import Program
from .wire import digest as digest
from .wire import from_wire as from_wire
from .wire import set_fields as set_fields
from .wire import to_wire as to_wire

Shape = tuple[int, ...]
Shapes = tuple[tuple[str, Shape], ...]
Options = tuple[tuple[str, str], ...]
KEY_DIGITS = 16  # hexadecimal digits of a SHA-256: 64 bits, so equal keys of different cells do not occur in practice


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """A precision: the file that runs, the requested arithmetic, and the least parity.

    `layers_only`: only layers that multiply by weights or activations use `arithmetic`; other nodes compute in `rest`.
    `floor_db`: least SQNR against the FP32 reference, in dB. A model whose own rounding errors are larger may relax it.
    """

    name: str
    file: str
    arithmetic: str
    floor_db: float
    rest: str = "fp32"
    layers_only: bool = False

    @classmethod
    def parse(cls, name: str) -> Precision:
        """Return the precision called `name`. `BadInput`, with the nearest name, if there is none."""
        if name not in PRECISIONS:
            raise BadInput(f"{name!r} is not a precision", nearest(name, PRECISIONS))
        return PRECISIONS[name]


PRECISIONS: Mapping[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision(name="fp32", file="fp32", arithmetic="fp32", floor_db=80.0),
        Precision(name="tf32", file="fp32", arithmetic="tf32", layers_only=True, floor_db=55.0),
        Precision(name="bf16", file="fp32", arithmetic="bf16", floor_db=35.0),
        Precision(name="fp16", file="fp16", arithmetic="fp16", floor_db=50.0),
        Precision(name="int8", file="int8", arithmetic="int8", layers_only=True, floor_db=20.0),
        Precision(name="int8+fp16", file="int8", arithmetic="int8", layers_only=True, rest="fp16", floor_db=20.0),
    )
}


ALL = "all"  # in place of a backend's name: every backend on which a model can be deployed


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A backend in one of its environments.

    `ort-cpu@old` has another interpreter, or other options, than `ort-cpu`, whose environment has an empty name.
    """

    backend: str
    environment: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse `ort-cpu` or `ort-cpu@old`. `BadInput` for other texts."""
        match = re.fullmatch(r"([^@]+)(?:@([A-Za-z0-9_-]+))?", text)
        if not match:
            raise BadInput(f"{text!r} is not BACKEND or BACKEND@ENV", "use letters, digits, _ and - for ENV")
        return cls(backend=match[1], environment=match[2] or "")

    def __str__(self) -> str:
        return f"{self.backend}@{self.environment}" if self.environment else self.backend


INTEGER_HIGH = 10  # bound of random integers where the graph gives none
WARM, COLD = CACHES = ("warm", "cold")  # states of the caches before a call
SAMPLE_RATE = 16_000  # Hz: most speech models expect this rate


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input or output of a graph.

    - `dtype`: NumPy's name, such as `float32`. `ranked`: False where the file does not give the number of dimensions.
    - `shape`: each dimension is a size, the name of a symbol, or None for an open dimension without a name.
    - `high`: integers are below this bound, the length of the smallest table that they index.
    - `of`: name and axis of another input; integers are below the size of that axis.
    - `role`: `mask` (all ones), `length` (the size of `of`), `positive` (above 0) or `rate` (samples per second).
      Axis 0 of a `sequence` is time, axis 1 its batch.
    - `setting`: parameter of an operator that the input sets, for which random values are wrong.
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
        """The least plausible integer, and the bound above the largest one. `shapes`: those of all inputs, by name."""
        shape, axis = shapes.get(self.of[0], ()) if self.of else (), self.of[1] if self.of else 0
        size = shape[axis] if -len(shape) <= axis < len(shape) else None
        # An image of bytes has values up to 255; other integers without a table are more often small ids or counts.
        default = 256 if self.dtype == "uint8" else INTEGER_HIGH
        high = min((bound for bound in (self.high, size) if bound), default=default)
        if self.role == "length":
            size = size or max((dims[1] for dims in shapes.values() if len(dims) > 1), default=1)
        fixed = {"mask": 1, "rate": SAMPLE_RATE, "length": size}.get(self.role)
        return (int(self.role == "positive"), max(1, high)) if fixed is None else (fixed, fixed + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The PyTorch source of a model: an importable `module:factory` or a library's model, and the path of its safetensors.

    `random`: the weights are random ones, from which no accuracy is claimed.
    """

    factory: str
    weights: str | None = None
    random: bool = False


RANDOM = "random"  # name of the data where the user gave none
LABELLED = "tensors:"  # prefix of an .npz file with x and y


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """A request for INT8: a `scheme` and a `method` of exporters, and the nodes to `exclude`, which stay in float.

    `images`: number of calibration samples; 0 for the default.
    """

    scheme: str = ""
    method: str = ""
    exclude: tuple[str, ...] = ()
    images: int = 0

    @classmethod
    def of(cls, options: Options) -> Conversion:
        """Read the request from the `options` of a derived file."""
        texts = dict(options)
        exclude = tuple(text for name, text in options if name == "exclude")
        images = int(texts.get("images", 0))
        return cls(scheme=texts.get("scheme", ""), method=texts.get("method", ""), exclude=exclude, images=images)

    @property
    def options(self) -> Options:
        """The request as names and texts, with one pair for each excluded node."""
        pairs = (("scheme", self.scheme), ("method", self.method), ("images", str(self.images or "")))
        return (*(pair for pair in pairs if pair[1]), *(("exclude", name) for name in self.exclude))


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """Origin of a file that was made from another file.

    - `origin`: sha256 of the source.
    - `recipe`, `revision`: name and revision of a recipe of exporters/derive.
    - `tool`: version of onnxbench that made the file. `versions`: those of the libraries.
    - `options`: for INT8 also the calibration `data` (a dataset, an .npz file, or RANDOM), and the number of `samples`.
    """

    origin: str
    recipe: str
    revision: int
    tool: str
    versions: Options = ()
    options: Options = ()

    def option(self, name: str) -> str:
        """The option `name` of the recipe; an empty text if it is not set."""
        return dict(self.options).get(name, "")

    def calibration(self, dataset: str | None) -> str | None:
        """The user's calibration file; None for the model's `dataset` and for random inputs."""
        data = self.option("data")
        return None if data in ("", RANDOM, dataset) else data

    def __str__(self) -> str:
        int8 = Conversion.of(self.options)
        text = f"{int8.scheme}, {int8.method} over {self.option('samples')} of {self.option('data')}" if int8.scheme else ""
        return f"{text}, without {','.join(int8.exclude)}" if int8.exclude else text


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One ONNX file that can be measured.

    - `sha256`, `nbytes`: hash and size of the file together with its external data.
    - `derived`: origin of the file, if this tool made it from another file.
    - `quantized_layers`, `float_layers`: numbers of nodes that multiply by weights or activations, as Conv and MatMul do.
    - `obstacle`: reason why runtimes with symmetric INT8 only (TensorRT) refuse the file; None if they accept it.
    - `invalid`: onnx.checker's reason to refuse the file, although a runtime loads it; None for a valid file.
    - `unsized`: inputs with a declared size of 0, which stands for an unknown size; runtimes do not agree about such sizes.
    - `converted`: folder with this file in the format of the cell's runtime; empty for a runtime that reads ONNX files.
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
    invalid: str | None = None
    unsized: tuple[str, ...] = ()
    converted: str = ""

    @property
    def labelled(self) -> str | None:
        """Dataset whose labels judge the answers: none for random weights."""
        return None if self.source and self.source.random else self.dataset

    @property
    def scheme(self) -> str:
        """INT8 scheme by which this tool made the file; empty for other files."""
        return self.derived.option("scheme") if self.derived else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a runtime: compute threads for one call (0: the runtime's default), and options of the backend."""

    threads: int
    options: Options = ()


def has_any(options: Options, values: Mapping[str, tuple[str, ...]]) -> bool:
    """True if one of `options` has one of its `values`. An empty text among them stands for an option that is not set."""
    given = dict(options)
    return any(given.get(name, "") in each for name, each in values.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row of the table before its measurement: the properties that make two measurements comparable.

    `sha256` is the hash of the file that the user gave or exported. Files derived from that file share the hash in their
    cells, and `scheme` names the INT8 scheme. The record has the hash of the file that ran. `dims`: sizes of `--dim`, by name.
    `feedback`: outputs that are fed back, each with its input. `inputs`: number of different arrays that the calls get in turn.
    `cache`: WARM, or COLD where the caches are flushed before each call. `roof`: kind of a graph that measures the machine.
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
    dims: tuple[tuple[str, int], ...] = ()
    feedback: Options = ()
    inputs: int = 1
    cache: str = WARM
    roof: str = ""

    @property
    def latency_only(self) -> bool:
        """True if single calls alone are measured."""
        return self.cache == COLD or bool(self.roof)

    @property
    def key(self) -> str:
        """The cell's identity, 16 hexadecimal digits, which a run folder stores. Equal cells of one schema have equal keys."""
        # Without the fields at their defaults: a new field with a default must not change the keys of stored cells.
        return digest(set_fields(self))[:KEY_DIGITS]

    @property
    def target(self) -> Target:
        return Target(backend=self.backend, environment=self.environment)

    @property
    def alone(self) -> Cell:
        """The cell on the first of its GPUs alone; itself for one device."""
        several = (gpu_count(self.device) or 1) > 1
        return replace(self, device=str(Device.parse(self.device).each[0])) if several else self

    def is_one_gpu_of(self, other: Cell) -> bool:
        """True if `other` is this cell on several GPUs."""
        return self != other and self == other.alone

    @property
    def id(self) -> str:
        """A readable name. It is not unique: `key` identifies a cell."""
        dims = "".join(f"/{name}={size}" for name, size in self.dims)
        inputs = f"/inputs={self.inputs}" if self.inputs > 1 else ""
        cold = f"/{self.cache}" if self.cache != WARM else ""
        scheme = f"-{self.scheme}" if self.scheme not in ("", "portable") else ""  # names of rows outlive a version
        return f"{self.model}/{self.target}/{self.device}/{self.precision}{scheme}/b{self.batch}{dims}{inputs}{cold}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Concurrency:
    """Parallel calls: `lanes` in flight on a model compiled for `streams` (or 1) calls at once, with `threads` threads each."""

    lanes: int = 1
    streams: int = 1
    threads: int = 1


STOPPING_METRICS = ("p50", "p90", "p99", "e2e_p50", "throughput")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The user's request for a measurement. None and empty fields mean: all that this machine has.

    - `model`: the model that the user named. `models`: the models where the user named several; `model` is then None.
    - `artifacts`: folder of exported files; empty for the default. `random_weights`: models of libraries get random weights.
    - `signature`: shapes from `--shape`, and for a user's module the types, of inputs by name.
    - `dims`: sizes to measure of dimensions, by name. `inputs`: paths of .npy files, by input name.
    - `input_count`: number of arrays for each input, which the calls get in turn. `caches`: those of CACHES to measure.
    - `feedback`: outputs that each call hands to the next, with their inputs. `step_seconds`: seconds of signal in one call.
    - `pythons`: interpreters, or folders of virtual environments, by `Target`. `converters`: those of converters, by name.
    - `baseline`: target that speed-ups are relative to. Without a baseline the stop rule uses `metric` (of STOPPING_METRICS).
    - `cold`: measure cold starts. `load`: find the highest rate within a limit. `tune`: search options. `roof`: and roofs.
    - `timeout_s`: longest time for one answer of a worker, in seconds. `build_timeout_s`: the same for one engine.
    - `lock_clocks`: clock in MHz at which the GPU is locked; 0 for its base clock, None for no lock.
    - `schemes`: INT8 schemes to measure, each in its file; `best` for the one that each backend chooses.
    - `images`: number of labelled images, in place of the budget's number. `programs`: programs of the user to measure.
    - `builds`: builds of each cell whose backend builds. `keep_engines`: folder for the measured engines; empty for none.
    """

    model: str | None = None
    models: tuple[str, ...] = ()
    dataset: str | None = None
    artifacts: str = "artifacts"
    backends: tuple[str, ...] = ()
    pythons: tuple[tuple[str, str], ...] = ()
    device: str | None = None
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    dims: tuple[tuple[str, tuple[int, ...]], ...] = ()
    threads: int | None = None
    signature: tuple[TensorSpec, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    input_count: int = 1
    caches: tuple[str, ...] = ()
    feedback: Options = ()
    step_seconds: float | None = None
    options: Options = ()
    budget: Budget = field(default=BUDGETS["normal"])
    baseline: str | None = None
    metric: str = "p50"
    cold: bool = False
    load: Load | None = None
    images: int | None = None
    seed: int = 0
    timeout_s: float = 300.0
    programs: tuple[Program, ...] = ()
    schemes: tuple[str, ...] = ()
    lock_clocks: int | None = None
    builds: int = 1
    keep_engines: str = ""
    random_weights: bool = False
    build_timeout_s: float | None = None
    converters: tuple[tuple[str, str], ...] = ()
    tune: bool = False
    roof: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """The targets that the user named. Each of them must have a row."""
        # With `--backend all`, an interpreter given by --python names its target too.
        labels = [label for label, _ in self.pythons] if not self.backends or ALL in self.backends else []
        return tuple(dict.fromkeys(name for name in (*self.backends, *labels) if name != ALL))
