"""`bench import`: files of other benchmark tools as a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import BadInput
from ..spec import PRECISIONS, Device
from .help import Command
from .metrics import host_option
from .options import Whole, debug_option, format_option, group, out_option
from .output import print_table

IMPORT = "import"  # the kind of a run that another tool measured


@click.command(
    name="import",
    cls=Command,
    examples=(
        (
            "bench import benchmark_report.json --precision fp32 --out runs/theirs",
            "Import a report of benchmark_app",
        ),
        ("bench import trtexec.log --out runs/trt", "Import what trtexec printed, which has its precision"),
        ("bench show runs/mine runs/theirs", "Print both in one table"),
    ),
)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@group(
    out_option("Write the run to this folder.", required=True),
    click.option("--backend", metavar="BACKEND", help="Name the runtime, if the file does not."),
    click.option(
        "--model",
        metavar="NAME",
        help="Name the model, if the file does not; OLD=NAME renames it. Rows of one name stand together in a table.",
    ),
    click.option("--precision", metavar="NAME", help=f"Name the precision, if the file does not: {', '.join(PRECISIONS)}."),
    click.option("--batch", type=Whole(1), metavar="N", help="Set the items in one query, if the file does not."),
    click.option("--device", metavar="DEVICE", help="Set the device, if the file does not: cpu, cuda or cuda:N."),
    host_option(),
    format_option(),
    debug_option,
)
def take(
    files: tuple[Path, ...], out: Path, device: str | None, host: str | None, format: str, debug: bool, **values: Any
) -> None:
    """Import files of other tools into the same table.

    The content of a file decides on its format: benchmark_app (its output, JSON or CSV), trtexec (its output or the
    --exportTimes file), onnxruntime_perf_test, perf_analyzer (CSV), mlperf_log_summary.txt of LoadGen, the benchmark table of
    Ultralytics, optimum-benchmark (JSON), or your own CSV or JSON (docs/sharing.md). The row's environment is the tool's name.
    Its notes say how the tool's definitions differ. An option that contradicts a file is refused.
    """
    from ..results import imports
    from ..results.store import record
    from ..results.table import table

    options = imports.ImportOptions(
        device=str(Device.one(device, "give one device, or a file for each")) if device else None, **values
    )
    _write(imports.read_rows(files, options), out, host)
    click.echo(f"run: {out}", err=True)
    print_table(table.build([record.read_run(out)]), format)


def _write(rows: list[Any], out: Path, host: str | None) -> None:
    """Write a run folder of `rows`. `BadInput` if there is a run in `out`."""
    from ..results import imports
    from ..results.store.head import RUN
    from ..runners.sweep.journal import Journal

    if (out / RUN).exists():
        raise BadInput(f"{out} already has a run, which stays as it is", "write another --out")
    processor, gpus = imports.machine(rows)
    head = _head(host or processor or "unknown", gpus, imports.versions(rows))
    with Journal(out) as journal:
        journal.write_head(head, {row.cell: row.cell.key for row in rows})
        for row in rows:
            journal.add(row.cell.key, row.event)


def _head(processor: str, gpus: dict[int, str], versions: dict[str, str]) -> Any:
    """Head of the run. It has no time of its begin: the rows ran at other times, which they contain."""
    from .. import __version__
    from ..results.store.head import SCHEMA, Gpu, Head, Host

    listed = tuple(Gpu(name=gpus.get(index)) for index in range(max(gpus, default=-1) + 1))
    return Head(schema=SCHEMA, kind=IMPORT, tool=__version__, host=Host(cpu=processor, gpus=listed or None), versions=versions)
