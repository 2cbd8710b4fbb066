"""Options of the command line: the types of their values, and the options that several commands share. click and spec only.

Each option is declared once: here where several commands have it, else in its command's module. `bench import` describes
rows that another tool measured. Its `--model`, `--precision`, `--batch`, `--backend` and `--device` are its own.
`help` has the section in which each option stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..spec import PRECISIONS
from .model_list import Models
from .schemes import int8_option
from .tensors import Sizes, Tensor

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
    ChoiceType = click.Choice[str]
else:
    # not generic before click 8.5 and 8.2
    ParamType, ChoiceType = click.ParamType, click.Choice

# The modules that define these three load NumPy, which help must not load. A test compares the names.
TRACKER_NAMES = ("mlflow", "wandb", "tensorboard")
TABLE_FORMATS = ("table", "markdown", "csv", "json")
MEANINGS = {
    "github": "annotations for GitHub Actions",
    "github-action-benchmark": "the last run, for its customSmallerIsBetter",
    "bencher": "the last run, as Bencher Metric Format",
    "chrome-trace": "a trace for Perfetto or chrome://tracing",
    "folded": "stacks for a flame graph",
    "speedscope": "a flame graph for speedscope.app",
}
OBJECTIVE_NAMES = ("latency", "throughput", "memory", "energy", "slo_rate", "cost")

Function = TypeVar("Function", bound=Callable[..., Any])
Pairs = tuple[tuple[str, str], ...]


class Numbers(ParamType):
    """List of whole numbers from 1 up, such as `1,8,32`; each number once."""

    name = "N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers; write for example 1,8,32", param, ctx)
        if min(numbers) < 1:
            self.fail(f"{min(numbers)} is less than 1; write numbers from 1 up", param, ctx)
        return tuple(dict.fromkeys(numbers))


class Whole(click.IntRange):
    """Whole number from `min` up."""

    def __init__(self, min: int) -> None:
        super().__init__(min=min)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number; write a number from {self.min} up", param, ctx)
        if number < (self.min or 0):
            self.fail(f"{number} is less than {self.min}; write a number from {self.min} up", param, ctx)
        return number


class Names(ParamType):
    """List of names, such as `a,b`; each name once."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))
        if not names:
            self.fail("the list is empty; write a name, or leave the option out", param, ctx)
        return names


class Choice(ChoiceType):
    """One of a few names. A mistake is answered with all names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(f"{value!r} is not a choice; choose from: {', '.join(self.choices)}", param, ctx)
        return str(value)


class KeyValue(ParamType):
    """Pair of two texts, `KEY=VALUE`."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, right = str(value).partition("=")
        if not equals or not name:
            form = (param.metavar if param else None) or self.name
            self.fail(f"{value!r} is not of the form {form}", param, ctx)
        return name, right


class Finite(click.FloatRange):
    """Number in a range, without NaN and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number; write for example {param.default if param else 1}", param, ctx)
        return number


def group(*declared: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Combine several options into one decorator, in the order in which help lists them."""

    def decorate(function: Function) -> Function:
        for option in reversed(declared):
            function = option(function)
        return function

    return decorate


def model_option(default: str | None = None, *, several: bool = False) -> Callable[[Function], Function]:
    """`--model`: one model for export and train, `several` for infer and check."""
    one: dict[str, Any] = {"metavar": "MODEL", "default": default, "show_default": bool(default)}
    many: dict[str, Any] = {"metavar": "MODEL,...", "default": (), "type": Models()}
    return click.option(
        "--model",
        "models" if several else "model",
        **(many if several else one),
        help="Use this model: cnn (the named model), FILE.onnx, torchvision:NAME, timm:NAME, hf:NAME or hf:FOLDER of"
        " transformers, or MODULE:FACTORY that returns a PyTorch nn.Module. Only a named model can be trained. infer and check"
        " take several models in one run: a.onnx,b.onnx. recommend decides for models of these names.",
    )


random_option = click.option(
    "--random-weights",
    is_flag=True,
    help="Give models of torchvision, timm and transformers random weights, so that nothing is downloaded. Their speed is"
    " measured, and no accuracy.",
)


def artifacts_option(*also: str, default: Path | None = None) -> Callable[[Function], Function]:
    """`--artifacts`, which the spellings `also` mean too."""
    return click.option(
        "--artifacts",
        *also,
        "artifacts",
        type=click.Path(path_type=Path),
        metavar="DIR",
        default=default,
        help="Read and write the exported ONNX files and their manifest in this folder. Default: artifacts. Without the option,"
        " infer and check keep conversions of FILE.onnx in the cache.",
    )


def precision_option(verb: str, names: Sequence[str], default: str = "") -> Callable[[Function], Function]:
    """`--precision`: `verb` what the command does in precisions of `names`. No `default` means all that the files have."""
    text = f"{verb} these precisions: {', '.join(names)}." + (
        "" if default else " Default: all that the files have or can have."
    )
    shared: dict[str, Any] = {"type": Names(), "metavar": "NAME,...", "help": text}
    return click.option("--precision", "precisions", **shared, default=default or (), show_default=bool(default))


def device_option(*, several: bool = False) -> Callable[[Function], Function]:
    """`--device`: one device for a sweep, `several` for training."""
    more: dict[str, Any] = {"multiple": True, "default": ("cpu",), "show_default": True} if several else {}
    verb = "Train" if several else "Run"
    end = "Repeat the option to compare devices in one table." if several else "Default: each backend's own device."
    gpus = "" if several else ", or cuda:all or cuda:N-M for a replica on each of these GPUs"
    text = f"{verb} on this device: cpu, cuda or cuda:N{gpus}. {end}"
    return click.option("--device", "devices" if several else "device", metavar="DEVICE", **more, help=text)


def out_option(text: str, *, metavar: str = "DIR", required: bool = False) -> Callable[[Function], Function]:
    """`--out`: the folder or file that a command writes, as the help `text` says."""
    return click.option("--out", type=click.Path(path_type=Path), metavar=metavar, required=required, help=text)


WIDE, COLUMNS = "onnxbench.wide", "onnxbench.columns"
"""Keys of a click context's `meta`: every printed table depends on both options, and commands use them for nothing else."""


def _remember(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        ctx.meta[key] = value

    return callback


def format_option(*more: str) -> Callable[[Function], Function]:
    """`--format`: TABLE_FORMATS, and `more` that one command has; `--wide` and `--columns`."""
    text = "Print the result in this format." + "".join(f" {name}: {MEANINGS[name]}." for name in more)
    return group(
        click.option("--format", type=Choice((*TABLE_FORMATS, *more)), default="table", show_default=True, help=text),
        click.option(
            "--wide",
            is_flag=True,
            expose_value=False,
            callback=_remember(WIDE),
            help="Print every column of the table, even where the terminal is narrower.",
        ),
        click.option(
            "--columns",
            type=Names(),
            metavar="NAME,...",
            expose_value=False,
            callback=_remember(COLUMNS),
            help="Print these columns only; docs/columns.md lists all names.",
        ),
    )


RUN_FOLDER = "Write the run to this folder. Default: a new folder under runs/."

runs_argument = click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
dataset_option = click.option(
    "--dataset",
    metavar="KIND[:PATH]",
    help="Use this labelled data: images:DIR (image files, in a folder for each class), images:FILE.csv (lines of path,label),"
    " digits, idx:DIR (MNIST's files), npz:FILE (images x, labels y) or tensors:FILE (x as the model takes it, labels y).",
)
preprocess_option = click.option(
    "--preprocess",
    metavar="KEY=VALUE,...",
    help="Make inputs from image files in this way: size=224,resize=256,crop=center,mean=0.485,0.456,0.406,"
    "std=0.229,0.224,0.225,layout=NCHW. docs/datasets.md has all keys. Default: the steps of the model's library, else"
    " size=224 and values from 0 to 1.",
)
shape_option = click.option(
    "--shape",
    "signature",
    type=Tensor(),
    metavar="NAME=1x3x224x224",
    multiple=True,
    help="Set the shape of this input. A name in place of a number leaves that dimension open: ids=Nx128 with --batch 1,8."
    " Add :int64 or another type where it is not float32. Write NAME= for a scalar.",
)
dim_option = click.option(
    "--dim",
    "dims",
    type=Sizes(),
    metavar="NAME=N,...",
    multiple=True,
    help="Measure these sizes of an open dimension, each with every --batch. NAME is the file's, or INPUT.AXIS where the file"
    " has none; infer --dry-run prints all names.",
)
seed_option = click.option(
    "--seed",
    type=Whole(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed the random inputs, the training and the order of the cells with this number.",
)
threads_option = click.option(
    "--threads",
    type=Whole(1),
    metavar="N",
    help="Give every CPU backend this many compute threads. Default: all that this process may use.",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    default=300.0,
    show_default=True,
    help="Stop a worker that does not answer within this many seconds.",
)
images_option = click.option(
    "--images",
    type=Whole(1),
    metavar="N",
    help="Compute accuracy from at most this many labelled images. Default: 128, 2000 or 10000 by --budget; check uses all.",
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
        help="Set an upper limit: p99=10ms, top1_drop=0.5. A row above it fails the check, and is not recommended."
        " export searches for an INT8 file within it.",
    ),
    click.option(
        "--min",
        "least",
        type=KeyValue(),
        multiple=True,
        metavar="METRIC=LIMIT",
        help="Set a lower limit: top1=97, sqnr=30. A row below it fails the check, and is not recommended."
        " export searches for an INT8 file within it.",
    ),
)
all_option = click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Print everything: backends that a sweep measures by name only; equal and inconclusive rows on a terminal too; every"
    " line of a profile.",
)
backend_option = click.option(
    "--backend",
    "backends",
    type=Names(),
    metavar="BACKEND[@ENV],...",
    default=(),
    help="Run on these backends; `all` means all that bench backends --all lists. Default: those that bench backends lists,"
    " where they can run here. recommend chooses among rows of these. export takes one, which runs the files of a search;"
    " default: the first one with INT8 on the CPU.",
)
python_option = click.option(
    "--python",
    "pythons",
    type=KeyValue(),
    multiple=True,
    metavar="BACKEND[@ENV]=PATH",
    help="Run this backend in another interpreter, or in the virtual environment in the folder PATH. CONVERTER=PATH does the"
    " same for the converter of a backend.",
)
track_option = click.option(
    "--track",
    type=Choice(TRACKER_NAMES),
    multiple=True,
    help="Log the rows to this tracker too. Its own environment variables set the server. Nothing is sent by default.",
)
debug_option = click.option("--debug", is_flag=True, help="Show tracebacks, and print the folder of the workers' logs.")

selectors = group(
    model_option(several=True),
    random_option,
    artifacts_option(),
    shape_option,
    click.option(
        "--input",
        "inputs",
        type=KeyValue(),
        multiple=True,
        metavar="NAME=FILE.npy",
        help="Feed this array to the input, instead of generated values.",
    ),
    click.option(
        "--feedback",
        type=KeyValue(),
        multiple=True,
        metavar="OUTPUT=INPUT",
        help="Feed this output to this input of the next call. Each call in flight has its own state, reset every 256 calls.",
    ),
    dataset_option,
    preprocess_option,
    backend_option,
    python_option,
    device_option(),
    precision_option("Run", tuple(PRECISIONS)),
    int8_option(),
    click.option(
        "--batch",
        "batches",
        type=Numbers(),
        metavar="N,...",
        default=(),
        help="Send this many items in one call. Default: 1,8,32 (check, profile: 8; bisect: 1), or the batch that the file"
        " fixes.",
    ),
    dim_option,
    threads_option,
    click.option(
        "--option",
        "options",
        type=KeyValue(),
        multiple=True,
        metavar="[BACKEND[@ENV].]KEY=VALUE",
        help="Set an option of the backends that have it, of one BACKEND, or of one environment of it.",
    ),
    seed_option,
    timeout_option,
)
