"""`bench history`: one metric over many runs, and the runs at which it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .help import Command
from .metrics import control_option, metric_option
from .options import Choice, KeyValue, debug_option, format_option, group, runs_argument
from .output import note, print_table
from .runs import stored

if TYPE_CHECKING:
    from ..results.history.history import Subject
    from ..results.history.order import Order

GITHUB_ACTION, BENCHER = "github-action-benchmark", "bencher"  # results.history.formats has them; help loads no NumPy
ORDER_NAMES = ("date", "commit", "version", "given")


@click.command(
    cls=Command,
    examples=(
        ("bench history runs/*", "Follow p50 of every case by date, and find the steps"),
        (
            "bench history runs/* --metric throughput --where backend=ort-cpu --by version",
            "Follow one backend over its versions",
        ),
        ("bench history runs/* --control null", "Divide out the drift of the machine"),
        ("bench history runs/new --format bencher", "Write the last run for Bencher"),
    ),
)
@group(
    runs_argument,
    metric_option(()),
    click.option(
        "--where",
        type=KeyValue(),
        multiple=True,
        metavar="COLUMN=VALUE",
        help="Keep the rows with this value: backend=ort-cpu, batch=8. Several conditions must all hold.",
    ),
    click.option(
        "--by",
        type=Choice(ORDER_NAMES),
        default="date",
        show_default=True,
        help="Order the runs by their date, by the commit of the repository in this folder, by the version of the runtime, or"
        " as given.",
    ),
    control_option,
    format_option(GITHUB_ACTION, BENCHER),
    debug_option,
)
@click.pass_context
def history(ctx: click.Context, /, runs: tuple[Path, ...], format: str, **_: Any) -> None:
    """Follow one metric over many runs, and find the runs at which it changed.

    Prints a line for each run of each case. A step is a change of the level that the scatter of the runs does not explain, with
    its size, its 95 % interval and its p-value. A level needs two runs. bench report draws the same history.
    """
    from ..results.history import formats
    from ..results.history.history import gather
    from ..results.history.timeline import tabulate
    from ..untrusted import understood

    exported, folders = format in formats.FORMATS, distinct(runs)
    with understood(folders):
        gathered = gather(stored(folders), subject_of(ctx.params), least=1 if exported else 2)
        text = formats.export(gathered, format) if exported else ""
        table = None if exported else tabulate(gathered)
    if table:
        return print_table(table, format)
    click.echo(text, nl=False)
    if format == GITHUB_ACTION:
        note(f"bench: use tool: {formats.tool_of(gathered)} in the workflow")
    return None


def distinct(runs: Sequence[Path]) -> list[Path]:
    """The folders, each once: the same folder twice would count as two runs."""
    return list({folder.resolve(): folder for folder in runs}.values())


def subject_of(params: Mapping[str, Any]) -> Subject:
    """Subject that the parsed options request."""
    from ..results.history.history import Subject

    control = (params["control"] or "").removeprefix("backend=") or None
    return Subject(metric=params["metric"], where=params["where"], control=control, order=_order(params["by"]))


def _order(by: str) -> Order:
    """Order by that name, with the commits of the repository around this folder if it needs them."""
    from ..results.history.order import COMMIT, Order, numbered
    from ..runners.pool.commits import all_commits

    return Order(by=by, commits=numbered(all_commits()) if by == COMMIT else {})
