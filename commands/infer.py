"""`bench infer`: measure a model on every runtime here."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput, quantity
from ..spec import Load
from .clusters import CLUSTER_OPTIONS, cluster_options, on_cluster, toured
from .help import Command
from .metrics import budget_option, metric_option, roof_option
from .options import (
    RUN_FOLDER,
    Choice,
    Finite,
    Names,
    Whole,
    baseline_option,
    debug_option,
    format_option,
    group,
    images_option,
    out_option,
    selectors,
    track_option,
)
from .output import logs, print_table
from .runs import RUNS, RunRequest, carry_out, sweep_of
from .times import BASE, Duration, Megahertz, Slo

if TYPE_CHECKING:
    from ..results.table.values import Measurement
    from ..runners.infer import Surroundings
    from ..spec import Sweep

# not about which cells to measure
OUTPUT_OPTIONS = {"out", "resume", "format", "debug", "baseline", "track", "builds", "keep_engines", "build_timeout_s"}
OUTPUT_OPTIONS |= {*CLUSTER_OPTIONS}
NOT_OF_SWEEP = ("out", "resume", "format", "debug", "dry_run", *CLUSTER_OPTIONS)

build_options = group(
    click.option(
        "--builds",
        type=Whole(1),
        metavar="N",
        help="Build each engine N times, time each build in its own processes, and measure the one with the median p50."
        " Default: 1.",
    ),
    click.option(
        "--keep-engines",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Keep each measured engine in this folder. A cell whose engine is there already is measured with it. The program"
        " of bench recommend loads the file.",
    ),
    click.option(
        "--build-timeout",
        "build_timeout_s",
        type=Finite(min=0, min_open=True),
        metavar="SECONDS",
        help="Stop a builder or a converter that has no file within this many seconds. Default: --timeout.",
    ),
)

load_options = group(
    click.option(
        "--load", type=Choice(("poisson",)), help="Find the highest rate of randomly arriving items that keeps --slo."
    ),
    click.option(
        "--slo",
        type=Slo(),
        metavar="PERCENTILE=TIME",
        help="Limit this percentile of the response times under --load, for example p99=10ms.",
    ),
    click.option("--max-batch", type=Whole(1), metavar="N", help="Leave out larger batches under --load."),
    click.option(
        "--max-wait",
        "max_wait_ms",
        type=Duration(),
        metavar="TIME",
        help="Send a call that is not full after this time under --load. Default: 2ms.",
    ),
)


def load_of(options: dict[str, Any]) -> Load | None:
    """Take the load that is requested out of `options`. `BadInput` for --load without --slo, or the reverse."""
    arrivals, slo, most, wait = (options.pop(name, None) for name in ("load", "slo", "max_batch", "max_wait_ms"))
    if not arrivals:
        if slo or most or wait is not None:
            raise BadInput("--slo, --max-batch and --max-wait need --load", "add --load poisson")
        return None
    if not slo:
        raise BadInput("--load finds the highest rate that keeps a limit, and there is no limit", "add --slo p99=10ms")
    bounds = {name: value for name, value in (("max_batch", most), ("max_wait_ms", wait)) if value is not None}
    return Load(arrivals=arrivals, percentile=slo[0], limit_ms=slo[1], **bounds)


def builds_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options about builds that are given out of `options`, as fields of a sweep."""
    builds, folder = options.pop("builds"), options.pop("keep_engines")
    limit_s = options.pop("build_timeout_s")
    given = {"builds": builds, "keep_engines": str(folder.absolute()) if folder else None, "build_timeout_s": limit_s}
    return {name: value for name, value in given.items() if value is not None}


@click.command(
    cls=Command,
    examples=(
        ("bench infer --model net.onnx --budget quick", "Take a first look at one file on every backend here"),
        ("bench infer --backend torch-cpu,ort-cpu --baseline torch-cpu", "Measure speed-ups until their intervals are narrow"),
        ("bench infer --model net.onnx --shape tokens=8x128 --dry-run", "List the cells and the time they would take"),
    ),
)
@selectors
@group(
    budget_option,
    baseline_option,
    metric_option(),
    click.option(
        "--step-seconds",
        type=Finite(min=0, min_open=True),
        metavar="S",
        help="Let one call stand for S seconds of signal, and print the real-time factor: seconds of computing per second.",
    ),
    images_option,
    click.option(
        "--inputs",
        "input_count",
        type=Whole(1),
        metavar="N",
        default=1,
        show_default=True,
        help="Give the calls N different arrays in turn, from the dataset or from N seeds. With --input, the first axis of"
        " FILE.npy counts the arrays.",
    ),
    click.option(
        "--cache",
        "caches",
        type=Names(),
        metavar="NAME,...",
        default=(),
        help="Measure with these caches: warm, or cold, which are flushed before each call. Cold rows have latency only."
        " Default: warm.",
    ),
    load_options,
    build_options,
    click.option(
        "--tune",
        is_flag=True,
        help="Search the options of each runtime for latency and for throughput, and measure the fastest ones in a row"
        " NAME@tuned beside the row with the default options.",
    ),
    roof_option,
    click.option("--cold", is_flag=True, help="Time fresh processes too, from their start to the first output."),
    click.option(
        "--lock-clocks",
        is_flag=False,
        flag_value=BASE,
        type=Megahertz(),
        metavar="[MHZ]",
        help="Lock the clock of the GPU while measuring, at MHZ or at its base clock. Needs the rights of an administrator.",
    ),
    cluster_options,
    click.option("--dry-run", is_flag=True, help="Print the cells and an estimate of the time, and measure nothing."),
    out_option(RUN_FOLDER),
    click.option("--resume", is_flag=True, help="Resume the run in --out. Default: the latest run."),
    track_option,
    format_option(),
    debug_option,
)
@click.pass_context
def infer(ctx: click.Context, /, format: str, debug: bool, dry_run: bool, **_: Any) -> None:
    """Measure a model on every runtime of this machine.

    Prints latency, throughput, parity and accuracy of --model, or of the files that the last bench export wrote to --artifacts.
    Trains and exports first where a file is missing.
    """
    if dry_run:
        if on_cluster(ctx.params):
            raise BadInput(
                "--dry-run lists the cells of this machine, and not those of a cluster", "leave --on or --dry-run out"
            )
        return _preview(_previewed(ctx.params), format, debug)
    return carry_out(requested(ctx), format, debug)


def requested(ctx: click.Context) -> RunRequest:
    """Request of the parsed options. Raises `BadInput` before any work."""
    from ..results.table.values import measured
    from ..runners import infer as runner
    from ..untrusted import understood

    options, builds, names = _split(ctx.params)
    resume = ctx.params["resume"]
    on_nodes = on_cluster(ctx.params) is not None
    folder = ctx.params["out"] or _latest_run(resume, on_nodes)
    reading = partial(understood, [folder]) if resume else nullcontext
    with reading():
        _check_place(folder, resume, on_nodes)
        sweep = _saved(folder) if resume and not _selects(ctx, folder) else sweep_of(options, replicas=True)
        # An engine is native code, and a run folder may come from anybody: its own folder of engines does not count.
        saved = {"builds": _saved_builds(folder) if resume else 1, "keep_engines": ""}
        sweep = replace(sweep, **{**saved, **builds})
    baseline = options["baseline"] or sweep.baseline

    def work(sweep: Sweep, around: Surroundings) -> None:
        with reading():
            runner.infer(sweep, around)

    def result() -> Measurement:
        with reading():
            return measured(folder, baseline, sweep)

    request = RunRequest(sweep=sweep, out=folder, work=work, result=result, resume=resume, baseline=baseline, trackers=names)
    return toured(request, ctx.params, "infer") if on_nodes else request


def _check_place(folder: Path, resume: bool, on_nodes: bool) -> None:
    """Raise `BadInput` for a folder of a cluster's runs that would be continued on this machine."""
    from ..results.store.nodes import is_of_nodes

    if is_of_nodes(folder) and not on_nodes:
        raise BadInput(f"{folder} holds runs of a cluster", "add --on ray" if resume else "give another --out")


def _saved_builds(folder: Path) -> int:
    """Number of builds of the run or the runs in `folder`."""
    from ..results.store.nodes import is_of_nodes
    from ..runners import infer as runner

    return _saved(folder).builds if is_of_nodes(folder) else runner.saved_builds(folder)


def _saved(folder: Path) -> Sweep:
    """The sweep that started the run or the runs in `folder`."""
    from ..results.store.nodes import is_of_nodes, read_nodes
    from ..runners import infer as runner

    return read_nodes(folder).sweep if is_of_nodes(folder) else runner.saved_sweep(folder)


def _previewed(params: dict[str, Any]) -> Sweep:
    """Sweep of --dry-run."""
    options, builds, _ = _split(params)
    return replace(sweep_of(options, replicas=True), **builds)


def _split(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Options of the sweep, its fields about builds, and the trackers. `BadInput` for a tracker that is not here."""
    from ..results import trackers

    options = {name: value for name, value in params.items() if name not in NOT_OF_SWEEP}
    options["load"] = load_of(options)
    builds = builds_of(options)
    trackers.check(names := options.pop("track"))
    return options, builds, names


def _preview(sweep: Sweep, format: str, debug: bool) -> None:
    """Print the cells of `sweep` and an estimate of the time."""
    from ..results.table import preview as tables
    from ..runners import preview as runner
    from ..runners.pool.pool import Local
    from ..runners.pool.progress import terminal

    with logs(debug) as folder, terminal().live() as progress:
        preview = runner.preview(sweep, folder, Local(), progress)
    cells = sum(not row.refused for row in preview.rows)
    span = dict.fromkeys(f"{seconds:.0f}" for seconds in (preview.least_s, preview.most_s))
    time = f"{quantity(cells, 'cell')} at --budget {sweep.budget.name}: about {' to '.join(span)} s"
    facts = (
        f"{time}, and more if one call takes over {sweep.budget.block_ms:g} ms or there are labelled images",
        preview.engines,
        *preview.dims,
        preview.first,
    )
    print_table(tables.build([(row.cell, row.refused) for row in preview.rows], facts), format)


def _selects(ctx: click.Context, folder: Path) -> bool:
    """True if an option selects what to measure. Otherwise a resumed run measures the sweep that it began with."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    from ..results.store.nodes import is_of_nodes

    return bool(given - OUTPUT_OPTIONS) or not ((folder / "run.json").exists() or is_of_nodes(folder))


def _latest_run(resume: bool, on_nodes: bool) -> Path:
    """Folder of the latest run, to `resume` it; otherwise a new folder. `on_nodes`: the latest one of a cluster."""
    from ..results.store.head import is_measured
    from ..results.store.nodes import NODES
    from ..runners.worker.clock import Clock

    if not resume:
        return RUNS / Clock().stamp()
    places = RUNS.glob(f"*/{NODES}" if on_nodes else "*/run.json")
    runs = [path.parent for path in sorted(places) if on_nodes or is_measured(path.parent)]
    if not runs:
        raise BadInput(
            f"there is no run {'of a cluster ' if on_nodes else ''}in {RUNS}/ to resume", "write its folder as --out"
        )
    return runs[-1]
