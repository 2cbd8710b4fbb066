"""`bench import`: other tools' files as a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import BadInput
from ..spec import PRECISIONS, Device
from .options import debug_option, format_option, group, out_option
from .output import print_table

IMPORT = "import"  # the kind of a run that another tool measured


@click.command(name="import")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@group(
    out_option("Run folder to write.", required=True),
    click.option("--backend", help="The runtime that was measured, where the file does not say it."),
    click.option("--model", help="What the model is called; the same name as in another run stands beside it."),
    click.option("--precision", help=f"Of {', '.join(PRECISIONS)}: what it ran in, which no file tells."),
    click.option("--batch", type=click.IntRange(min=1), help="Items a query, where the file does not say it."),
    click.option("--device", help="cpu, cuda or cuda:N, where the file does not say it."),
    click.option("--host", default="unknown", help="The machine, as the table of your own runs has it."),
    format_option(),
    debug_option,
)
def take(files: tuple[Path, ...], out: Path, device: str | None, host: str, format: str, debug: bool, **said: Any) -> None:
    """Import files of other tools into the same table.

    One row each for benchmark_app's report (JSON or CSV), LoadGen's mlperf_log_summary.txt, and trtexec's --exportTimes file
    or log. The row's environment is the tool, and its notes say how the tool's definitions differ.
    """
    from ..results import imports
    from ..results.store import record
    from ..results.table import table

    options = imports.ImportOptions(device=str(Device.parse(device)) if device else None, **said)
    _write(imports.read_rows(files, options), out, host)
    click.echo(f"run: {out}", err=True)
    print_table(table.build([record.read_run(out)]), format)


def _write(rows: list[Any], out: Path, host: str) -> None:
    """A run folder of `rows`. `BadInput` if there is a run in `out`."""
    from .. import __version__
    from ..results import imports
    from ..results.store.head import RUN, SCHEMA, Head, Host
    from ..runners.sweep.journal import Journal
    from ..runners.worker.clock import Clock

    if (out / RUN).exists():
        raise BadInput(f"{out} holds a run already", "give another --out")
    head = Head(
        schema=SCHEMA,
        kind=IMPORT,
        tool=__version__,
        began_unix_s=Clock().wall_s(),
        host=Host(cpu=host),
        versions=imports.versions(rows),
    )
    with Journal(out) as journal:
        journal.write_head(head, {row.cell: row.cell.key for row in rows})
        for row in rows:
            journal.add(row.cell.key, row.event)
