"""`bench report`: runs as one file that others can open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput, StorageFailed, one_line
from ..files import replace_file
from .help import Command
from .metrics import wanted_options
from .options import Choice, baseline_option, debug_option, group, out_option, runs_argument
from .output import note, plain
from .runs import stored

if TYPE_CHECKING:
    from ..results.store.record import Run

SUFFIXES = {".html": "html", ".md": "markdown", ".csv": "csv", ".parquet": "parquet", ".png": "png", ".svg": "svg"}
PRINTED = ("markdown", "csv")


@click.command(
    cls=Command,
    examples=(
        ("bench report runs/mine --out report.html", "Write one HTML page that needs no network"),
        ("bench report runs/old runs/new --out table.csv", "Write the table of two runs with every column"),
        ("bench report runs/mine --out plots.svg", "Write one image for each plot: plots-latency.svg and others"),
    ),
)
@group(
    runs_argument,
    out_option("Write this file. PNG and SVG are one file for each plot: report-latency.png.", metavar="FILE"),
    click.option("--format", type=Choice(list(SUFFIXES.values())), help="Write this format. Default: by the suffix of --out."),
    baseline_option,
    wanted_options,
    debug_option,
)
@click.pass_context
def report(ctx: click.Context, /, **_: Any) -> None:
    """Write runs into one file that you can read and share.

    HTML is one page that needs no network, with the recommendation, the table, plots, hosts and settings. Markdown, CSV and
    Parquet have the table alone, PNG and SVG the plots. --max, --min, --objective and --price mean the same as for recommend.
    """
    files, notes = made(ctx.params, stored)
    for sentence in notes:
        note(f"bench: {sentence}")
    for path, content in files.items():
        if ctx.params["out"]:
            write(path, content)
        click.echo(plain(str(path)) if ctx.params["out"] else content.decode(), nl=bool(ctx.params["out"]))


def made(
    params: Mapping[str, Any], read: Callable[[Iterable[Path]], Sequence[Run]]
) -> tuple[Mapping[Path, bytes], Sequence[str]]:
    """Contents of the files of the report by path, and the sentences for stderr. `read` reads the runs in some folders."""
    from ..results.recommend.candidates import parse_request
    from ..results.report import exports
    from ..untrusted import understood

    out, runs, baseline = (params[name] for name in ("out", "runs", "baseline"))
    format = _format(out, params["format"])
    request = parse_request(*(params[name] for name in ("objective", "most", "least", "prices")))
    exports.require(format)
    with understood(runs):
        return exports.export(read(dict.fromkeys(runs)), format, out or Path(), request, baseline)


def _format(out: Path | None, format: str | None) -> str:
    """Format of the file. `BadInput` for an --out that names none, or that cannot be written."""
    if out is None:
        if format in PRINTED:
            return format
        raise BadInput("--out is missing", f"write --out FILE with one of the endings {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder", f"write the name of a file, such as {out / 'report.html'}")
    if not out.parent.is_dir():
        raise BadInput(
            f"there is no folder {out.parent} for --out {out.name}", f"run mkdir -p {out.parent}, or write another --out"
        )
    if format is None and out.suffix.lower() not in SUFFIXES:
        raise BadInput(f"the ending of --out {out.name} is no format", f"use one of {', '.join(SUFFIXES)}, or add --format")
    return format or SUFFIXES[out.suffix.lower()]


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content`. An old file stays until the new one is complete.

    A device or a pipe is written into. `BadInput` for a link to a file: the user may mean either of the two.
    """
    try:
        if path.exists() and not path.resolve().is_file():
            path.resolve().write_bytes(content)
            return
        if path.is_symlink():
            raise BadInput(f"{path} is a link, and is not replaced", f"write --out {path.resolve()}, the file behind it")
        replace_file(path, lambda scratch: scratch.write_bytes(content))
    except OSError as error:
        raise StorageFailed(f"cannot write {path} ({one_line(error)})", "write another --out") from error
