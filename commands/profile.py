"""`bench profile`: the time of a call by layers, on several runtimes side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput
from .help import Command
from .metrics import roof_option
from .options import RUN_FOLDER, all_option, debug_option, format_option, group, out_option, selectors
from .output import print_table
from .runs import RUNS, run, stored, sweep_of

if TYPE_CHECKING:
    from ..results.store.record import Run

EXPORTS = ("chrome-trace", "folded", "speedscope")  # results.profile.exports has them; help loads no NumPy
NOT_OF_SWEEP = ("runs", "out", "everything", "format", "debug")


@click.command(
    cls=Command,
    examples=(
        ("bench profile --model net.onnx --backend ort-cpu,openvino-cpu", "Compare the layers of two runtimes"),
        (
            "bench profile --model net.onnx --backend ort-cpu,ort-cpu@old --python ort-cpu@old=old/bin/python",
            "Find the layers that became slower between two versions",
        ),
        (
            "bench profile --model net.onnx --backend ort-cpu,openvino-cpu --roof",
            "Compare each layer with what the machine attains",
        ),
        ("bench profile runs/a runs/b --all", "Compare the profiles of two runs, with every line"),
        ("bench profile runs/a --format speedscope > a.json", "Write a flame graph of a stored profile"),
    ),
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[RUN]...")
@selectors
@roof_option
@group(all_option, out_option(RUN_FOLDER), format_option(*EXPORTS), debug_option)
@click.pass_context
def profile(ctx: click.Context, /, runs: tuple[Path, ...], everything: bool, format: str, debug: bool, **_: Any) -> None:
    """Show where the time of a call goes, layer by layer, on several runtimes.

    Each runtime's own profiler times the kernels, in calls of their own. They are mapped to the nodes of the file. A line is a
    node, or a group of nodes that a runtime fused. With RUN, prints the profiles of stored runs, and measures nothing.
    """
    from ..results.profile import exports
    from ..results.profile.lines import cases_of
    from ..results.profile.table import tabulate
    from ..untrusted import understood

    folders, interrupted = list(runs), False
    if not folders:
        folders = [ctx.params["out"] or _new_folder()]
        interrupted = _measure(ctx.params, folders[0], debug)
    else:
        _check_stored(ctx)
    with understood(folders):
        measured = stored(folders)
        _check_kind(measured)
        cases = cases_of(measured)
        if format in EXPORTS:
            click.echo(exports.export(cases, format), nl=False)
        else:
            print_table(tabulate(cases, everything or format in ("csv", "json")), format)
    sys.exit(130 if interrupted else 0 if runs else _exit_code(measured))


def _new_folder() -> Path:
    from ..runners.worker.clock import Clock

    return RUNS / f"{Clock().stamp()}-profile"


def _measure(params: Mapping[str, Any], folder: Path, debug: bool) -> bool:
    """Profile what the options select, into `folder`. True if the user interrupted it."""
    from ..runners import profile as runner
    from ..runners.infer import Surroundings
    from ..runners.pool.progress import terminal

    options = {name: value for name, value in params.items() if name not in NOT_OF_SWEEP}
    sweep = sweep_of({**options, "budget": "quick"})
    with terminal().live() as progress:
        around = Surroundings(progress=progress, out=folder)
        return run(lambda: runner.profile(sweep, around), around, debug)


def _check_kind(runs: Sequence[Run]) -> None:
    """Raise `BadInput` for a run of another kind."""
    from ..results.store.head import PROFILE

    if other := next((run for run in runs if run.head.kind != PROFILE), None):
        raise BadInput(f"{other.folder} holds no profile", "give a folder that bench profile wrote")


def _check_stored(ctx: click.Context) -> None:
    """Raise `BadInput` for an option that selects what to measure, where stored runs are named."""
    shown = {"runs", "everything", "format", "debug"}
    selecting = [param for param in ctx.command.params if param.name not in shown]
    by_user = click.core.ParameterSource.COMMANDLINE
    given = (param for param in selecting if param.name and ctx.get_parameter_source(param.name) is by_user)
    if other := next(given, None):
        raise BadInput(f"RUN is a stored run, and {other.opts[0]} selects what to measure", "leave out one of them")


def _exit_code(measured: Any) -> int:
    from ..results.store import outcome

    (only,) = measured
    return outcome.exit_code(only, only.sweep)
