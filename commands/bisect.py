"""`bench bisect`: the first version of a runtime that is slower."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput
from ..spec import Sweep
from .help import Command
from .metrics import budget_option, metric_option
from .options import ParamType, debug_option, format_option, group, out_option, selectors
from .output import logs, print_table
from .runs import RUNS, run, sweep_of

if TYPE_CHECKING:
    from ..runners.bisect import Bisector
    from ..runners.infer import Surroundings
    from ..runners.pool.progress import Progress

FOLDER = "Write a run for each step below this folder. Default: a new folder under runs/."


class Share(ParamType):
    """Share such as `3%`, as a number: 0.03."""

    name = "SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(str(value).strip().removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not (0 <= share < 100 and str(value).strip().endswith("%")):
            self.fail(f"{value!r} is not a share from 0 % up; write for example 3%", param, ctx)
        return share


@click.command(
    cls=Command,
    examples=(
        ("bench bisect --backend ort-cpu --good 1.28 --bad 1.31 --model net.onnx", "Find the release that made a file slower"),
        (
            "bench bisect --backend openvino-cpu --good 2025.1 --bad 2026.1 --model net.onnx --batch 8 --threshold 3%",
            "Count a loss of over 3 % as slower, at batch 8",
        ),
    ),
)
@selectors
@group(
    click.option("--good", required=True, metavar="VERSION", help="Compare with this version, which is not slower."),
    click.option("--bad", required=True, metavar="VERSION", help="End at this newer version, which is slower."),
    click.option(
        "--threshold",
        type=Share(),
        metavar="SHARE",
        help="Call a version slower if its loss is certainly above this, such as 3%. Default: half of the loss of --bad.",
    ),
    click.option("--package", metavar="NAME", help="Install this package of pip. Default: the package of --backend."),
    budget_option,
    metric_option(),
    out_option(FOLDER),
    format_option(),
    debug_option,
)
@click.pass_context
def bisect(ctx: click.Context, /, format: str, debug: bool, **_: Any) -> None:
    """Find the first version of a runtime that is slower.

    Makes an environment for each version with pip, in the user's cache, and measures it in turns with --good. Halves the range
    of versions until the first slower one is left. A step without a decision is measured longer, in up to 5 runs. Exits with 1
    if --bad is not shown to be slower, or if versions stay undecided.
    """
    from ..results.bisect.steps import tabulate
    from ..runners.pool.progress import terminal

    with logs(debug) as place, terminal().live() as progress:
        bisector, around = requested(ctx.params, place, progress)
        interrupted = run(bisector.run, around, debug)
    if bisector.result:
        print_table(tabulate(bisector.result), format)
    decided = bisector.result is not None and bisector.result.is_found
    sys.exit(130 if interrupted else 0 if decided else 1)


def requested(params: Mapping[str, Any], log_folder: Path, progress: Progress) -> tuple[Bisector, Surroundings]:
    """Bisector that the parsed options request, and the surroundings of its runs.

    Raises `BadInput` for a bad model or option, before an environment is installed.
    """
    from ..runners.bisect import Bisector, Question, Runs
    from ..runners.infer import Surroundings
    from ..runners.pool.pool import Local
    from ..runners.preview import preview
    from ..runners.worker.clock import Clock

    options = {name: value for name, value in params.items() if name not in ("format", "debug")}
    out, package = options.pop("out"), options.pop("package")
    versions = {name: options.pop(name) for name in ("good", "bad", "threshold", "metric")}
    sweep = sweep_of(options)
    around = Surroundings(progress=progress, out=out or RUNS / f"{Clock().stamp()}-bisect")
    bisector = Bisector(
        sweep=sweep,
        question=Question(package=package or _package(sweep), **versions),
        progress=progress,
        measurer=Runs(sweep=sweep, metric=versions["metric"], surroundings=around),
    )
    preview(bisector.check(), log_folder, Local(), progress)
    return bisector, around


def _package(sweep: Sweep) -> str:
    """Package of pip that the backend of `sweep` belongs to; empty without a backend. `BadInput` if none is known."""
    from .. import backends

    if not sweep.backends:
        return ""
    name = backends.package(sweep.backends[0].partition("@")[0])
    if not name:
        raise BadInput(f"{sweep.backends[0]} belongs to no package that onnxbench knows", "add --package NAME")
    return name
