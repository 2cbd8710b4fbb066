"""Options of the command line: the types of their values, and the options that several commands share. click and spec only.

Each option is declared once: here where several commands have it, else in its command's module. `bench import` describes
rows that another tool measured, so it has its own `--model`, `--precision`, `--batch`, `--backend` and `--device`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from ..spec import PRECISIONS, TensorSpec

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic before click 8.5

INT8_HELP = "portable: one file for every runtime. ort, openvino: what that runtime likes best."
SLO_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")
# The modules that define these three load NumPy, which help must not load. A test compares the names.
TRACKER_NAMES = ("mlflow", "wandb", "tensorboard")
TABLE_FORMATS = ("table", "markdown", "csv", "json")
OBJECTIVE_NAMES = ("throughput", "latency", "slo_rate", "memory", "energy", "cost")

Function = TypeVar("Function", bound=Callable[..., Any])


class Numbers(ParamType):
    """`1,8,32`: whole numbers from 1 up."""

    name = "N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers; give for example 1,8,32", param, ctx)
        if min(numbers) < 1:
            self.fail(f"{min(numbers)} is less than 1; give numbers from 1 up", param, ctx)
        return tuple(dict.fromkeys(numbers))


class Names(ParamType):
    """`a,b`: names, each once."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))


Pairs = tuple[tuple[str, str], ...]


class KeyValue(ParamType):
    """`KEY=VALUE`."""

    name = "NAME=VALUE"
    last = False

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, right = str(value).rpartition("=") if self.last else str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        return name, right


class Finite(click.FloatRange):
    """A number in a range; NaN and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


class Duration(ParamType):
    """`2ms`: a time in ms, where no unit is given."""

    name = "TIME"
    units: ClassVar[Mapping[str, float]] = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9.]+)\s*(\D*)", str(value).strip())
        number, unit = found.groups() if found else ("", "")
        try:
            return float(number) * self.units[unit]
        except (ValueError, KeyError):
            self.fail(f"{value!r} is not a time; give for example 2ms, 500us or 1s", param, ctx)


class Slo(KeyValue):
    """`p99=10ms`: a percentile of the responses, and the most that it may be, in ms."""

    name = "PERCENTILE=TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        name, limit = super().convert(value, param, ctx)
        if name not in SLO_PERCENTILES:
            self.fail(f"{name!r} is not one of {', '.join(SLO_PERCENTILES)}; give for example p99=10ms", param, ctx)
        limit_ms = Duration().convert(limit, param, ctx)
        if not limit_ms > 0:
            self.fail(f"{limit!r} is no time that a response could take", param, ctx)
        return float(name[1:]), limit_ms


class Tensor(KeyValue):
    """`NAME=1x3x224x224`, with an empty right side for a scalar and `:int64` for another type than float32."""

    name = "NAME=1x3x224x224"
    last = True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, right = super().convert(value, param, ctx)
        sizes, _, dtype = right.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.split("x")) if sizes else ()
        except ValueError:
            self.fail(f"{right!r} is not a shape; give for example 1x3x224x224, or nothing for a scalar", param, ctx)
        if min(shape, default=1) < 1:
            self.fail(f"{right!r} has a dimension of less than 1", param, ctx)
        return TensorSpec(name=name, dtype=dtype or "float32", shape=shape)


def group(*declared: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """One decorator of several options, in the order in which help lists them."""

    def decorate(function: Function) -> Function:
        for option in reversed(declared):
            function = option(function)
        return function

    return decorate


def model_option(default: str | None = None) -> Callable[[Function], Function]:
    """`--model` of what is measured, exported or trained."""
    return click.option(
        "--model",
        default=default,
        show_default=bool(default),
        help="A named model (cnn), FILE.onnx, or MODULE:FACTORY of an nn.Module. Only a named model can be trained.",
    )


def precision_option(names: Sequence[str], default: str = "") -> Callable[[Function], Function]:
    """`--precision`, of those in `names`; without a `default`, what the files have."""
    told = f"Precisions, of {', '.join(names)}." + ("" if default else " Default: all that the files have or can have.")
    return click.option("--precision", "precisions", type=Names(), default=default or (), show_default=bool(default), help=told)


def device_option(*, several: bool = False) -> Callable[[Function], Function]:
    """`--device`: one for a sweep, `several` for training."""
    more: dict[str, Any] = {"multiple": True, "default": ("cpu",), "show_default": True} if several else {}
    told = "Several give one table." if several else "Default: each backend's own."
    return click.option("--device", "devices" if several else "device", **more, help=f"cpu, cuda or cuda:N. {told}")


def out_option(what: str, *, default: Path | None = None, required: bool = False) -> Callable[[Function], Function]:
    """`--out`: where a command writes `what`."""
    kind = click.Path(path_type=Path)
    return click.option("--out", type=kind, default=default, show_default=bool(default), required=required, help=what)


def format_option(*more: str) -> Callable[[Function], Function]:
    """`--format`: TABLE_FORMATS, and `more` that one command has."""
    return click.option("--format", type=click.Choice((*TABLE_FORMATS, *more)), default="table", show_default=True)


RUN_FOLDER = "Run folder to write. Default: a new one under runs/."

runs_argument = click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
dataset_option = click.option(
    "--dataset", help="digits, idx:DIR (MNIST's files), npz:FILE (images x, labels y), tensors:FILE (x as the model takes it)."
)
shape_option = click.option(
    "--shape", "signature", type=Tensor(), multiple=True, help="An input's shape; an empty right side is a scalar."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Compute threads for every CPU backend. Default: all that this process may use.",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=Finite(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds to wait for one answer of a worker.",
)
images_option = click.option(
    "--images",
    type=click.IntRange(min=1),
    help="Most labelled images to compute accuracy from. Default: the budget's (128, 2000, 10000); for check all.",
)
baseline_option = click.option(
    "--baseline",
    metavar="BACKEND[@ENV]",
    help="Compute speed-ups against this backend. infer measures until their interval is narrow.",
)
limit_options = group(
    click.option(
        "--max",
        "most",
        type=KeyValue(),
        multiple=True,
        metavar="METRIC=LIMIT",
        help="Upper limit: p99=10ms, top1_drop=0.5. A row above it fails the check, and is not recommended.",
    ),
    click.option(
        "--min",
        "least",
        type=KeyValue(),
        multiple=True,
        metavar="METRIC=LIMIT",
        help="Lower limit: top1=97, sqnr=30. A row below it fails the check, and is not recommended.",
    ),
)
wanted_options = group(
    limit_options,
    click.option(
        "--objective", type=click.Choice(OBJECTIVE_NAMES), default="throughput", show_default=True, help="Metric to optimize."
    ),
    click.option(
        "--price",
        "prices",
        type=KeyValue(),
        multiple=True,
        metavar="BACKEND|HOST=AMOUNT",
        help="Currency an hour, for a BACKEND[@ENV], or for a host by (a part of) its name.",
    ),
)
python_option = click.option(
    "--python",
    "pythons",
    type=KeyValue(),
    multiple=True,
    metavar="BACKEND[@ENV]=PATH",
    help="Run a backend in this interpreter, or in the virtual environment in this folder.",
)
track_option = click.option(
    "--track",
    type=click.Choice(TRACKER_NAMES),
    multiple=True,
    help="Log the rows to this tracker too; its own environment variables set the server. Nothing is sent by default.",
)
debug_option = click.option("--debug", is_flag=True, help="Show tracebacks, and print where the workers' logs are.")

selectors = group(
    model_option(),
    click.option("--artifacts", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True),
    click.option(
        "--backend", "backends", type=Names(), default=(), help="BACKEND[@ENV],..., or all. Default: all that can run here."
    ),
    python_option,
    device_option(),
    precision_option(tuple(PRECISIONS)),
    click.option("--batch", "batches", type=Numbers(), default=(), help="Items a call. Default: 1,8,32, or the file's own."),
    threads_option,
    shape_option,
    click.option(
        "--input", "inputs", type=KeyValue(), multiple=True, metavar="NAME=FILE.npy", help="A real array for an input."
    ),
    dataset_option,
    click.option(
        "--option",
        "options",
        type=KeyValue(),
        multiple=True,
        metavar="[BACKEND[@ENV].]KEY=VALUE",
        help="A backend's own option.",
    ),
    seed_option,
    timeout_option,
)
