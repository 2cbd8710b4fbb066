"""`bench report`: runs as one file to read and to pass on."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import BadInput, StorageFailed, one_line
from ..files import replace_file
from .options import Pairs, baseline_option, debug_option, group, out_option, runs_argument, wanted_options
from .output import note, plain
from .runs import stored

SUFFIXES = {".html": "html", ".md": "markdown", ".csv": "csv", ".parquet": "parquet", ".png": "png", ".svg": "svg"}
PRINTED = ("markdown", "csv")


@click.command()
@group(
    runs_argument,
    out_option("File to write. Images are one for each plot: report-latency.png."),
    click.option("--format", type=click.Choice(list(SUFFIXES.values())), help="Default: by the suffix of --out."),
    baseline_option,
    wanted_options,
    debug_option,
)
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    format: str | None,
    baseline: str | None,
    objective: str,
    **limits: Pairs,
) -> None:
    """Write runs into one file that you can read and share.

    An HTML page that needs no network: the recommendation, the table, plots, hosts and settings. Or the table alone as
    Markdown, CSV or Parquet, and the plots as PNG or SVG. --max, --min and --objective are those of recommend.
    """
    from ..results.recommend.candidates import parse_request
    from ..results.report import exports
    from ..untrusted import understood

    chosen = _format(out, format)
    request = parse_request(objective, limits["most"], limits["least"], limits["prices"])
    exports.require(chosen)
    with understood(runs):
        files, notes = exports.export(stored(dict.fromkeys(runs)), chosen, out or Path(), request, baseline)
    for sentence in notes:
        note(f"bench: {sentence}")
    for path, content in files.items():
        if out:
            _replace(path, content)
        click.echo(plain(str(path)) if out else content.decode(), nl=bool(out))


def _format(out: Path | None, format: str | None) -> str:
    """The format that is asked for. `BadInput` for an --out that says none, or that cannot be written."""
    if out is None:
        if format in PRINTED:
            return format
        raise BadInput("--out is missing", f"give a file that ends in one of {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise BadInput(f"{out} is a folder", "give a file")
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent}", "make it, or give another file")
    if format is None and out.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{out.name!r} says no format", f"end it in one of {', '.join(SUFFIXES)}, or give --format")
    return format or SUFFIXES[out.suffix.lower()]


def _replace(path: Path, content: bytes) -> None:
    """`content` in `path` as a whole: what was there before stays until all is written.

    A device or a pipe is written into. A link to a file is refused, since it is not clear which of both is meant.
    """
    try:
        if path.exists() and not path.resolve().is_file():
            path.resolve().write_bytes(content)
            return
        if path.is_symlink():
            raise BadInput(f"{path} is a link", f"give the file that it leads to, {path.resolve()}")
        replace_file(path, lambda scratch: scratch.write_bytes(content))
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written ({one_line(error)})", "give another file") from error
