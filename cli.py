"""The command line: parse -> a value of spec -> a function of runners -> results. click; everything else is imported late.

stdout carries the result and nothing else; progress, notes and errors go to stderr. Exit codes: 0 done; 2 usage or
bad input; 130 interrupted; 3 something named got no `ok` row, or a cell failed; 1 a gate failed. The first of 2, 130, 3, 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__, exchange
from .budgets import BUDGETS
from .decide import compare, recommend
from .errors import BadInput, BenchError
from .options import (
    INT8_HELP,
    METHODS,
    SCHEMES,
    Names,
    Pair,
    Pairs,
    dataset_option,
    debug_option,
    format_option,
    group,
    images_option,
    load_of,
    load_options,
    python_option,
    seed_option,
    selectors,
    shape_option,
    threads_option,
    timeout_option,
    track_option,
)
from .spec import METRICS, Conversion, Device, Sweep

if TYPE_CHECKING:
    from .results.table.table import Table
    from .runners.infer import Surroundings

RUNS = Path("runs")
LONGEST = 900  # characters of a sentence


class Bench(click.Group):
    """Errors of this tool come out as one sentence on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            if "--debug" in sys.argv:
                raise
            click.echo(f"bench: {_sentence(error)}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("bench: interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            ctx.exit(0)


def _sentence(error: BenchError) -> str:
    """What went wrong, and no more of it than can be read: names come from files."""
    return _plain(str(error))[:LONGEST]


def _plain(text: str) -> str:
    from .results.table.render import plain

    return plain(text)


@click.group(cls=Bench, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Where should this model run? Train or take a model, export it, and measure it on every runtime here."""


@main.command()
@group(python_option, debug_option)
def backends(pythons: Pairs, debug: bool) -> None:
    """What can run here; for the rest why not, and how to get it."""
    from . import backends as registry
    from .runners.pool.environments import places
    from .runners.pool.survey import survey
    from .runners.worker.clock import Clock

    everything = Sweep(backends=(*registry.entries(), *(label for label, _ in pythons)), pythons=pythons)
    with _logs(debug) as logs:
        surveyed = survey(places(everything), logs, Clock())
        surveyed.dismiss()
    width = max(14, *(len(str(item.target)) for item in surveyed.found))
    for item in surveyed.found:
        what = f"{item.version}  {', '.join(item.devices)}" if item.available else f"not here: {item.reason}"
        install = f"  ({item.install})" if item.install and not item.available else ""
        instrument = "  (an instrument, no target)" if item.instrument else ""
        click.echo(_plain(f"{item.target!s:<{width}} {what}{install}{instrument}"))


@main.command()
@group(
    click.option("--model", default="cnn", show_default=True, help="A named model."),
    dataset_option,
    click.option("--device", "devices", multiple=True, default=("cpu",), help="cpu or cuda[:N]; several give one table."),
    click.option(
        "--precision", "precisions", type=Names(), default="fp32", show_default=True, help="Of fp32, tf32, bf16, fp16."
    ),
    click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True),
    click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True),
    click.option(
        "--lr", type=click.FloatRange(min=0, min_open=True), default=0.01, show_default=True, help="The article's is 0.001."
    ),
    threads_option,
    seed_option,
    timeout_option,
    track_option,
    format_option,
    debug_option,
)
def train(model: str, dataset: str | None, format: str, debug: bool, track: tuple[str, ...], **how: Any) -> None:
    """Train a named model; CPU against GPU in one table."""
    from .models import MODELS, kind_of
    from .results import trackers
    from .results.table import training as tables
    from .results.trackers.logged import of_training
    from .runners.pool.progress import terminal
    from .runners.prepare import train as runner
    from .runners.worker.clock import Clock
    from .runners.worker.threads import usable_threads

    trackers.check(track)
    if kind_of(model) != "named":
        raise BadInput(f"{model!r} is not a named model", f"there are: {', '.join(MODELS)}")
    how["devices"] = tuple(str(Device.parse(device)) for device in how["devices"])
    wanted = runner.Training(
        model=model,
        dataset=dataset or runner.default_dataset(model),
        **{**how, "threads": how["threads"] or usable_threads()},
    )
    clock = Clock()
    began_s, folder = clock.wall_s(), RUNS / f"{clock.stamp()}-train"
    with _logs(debug) as logs, terminal().live() as progress:
        results, interrupted = runner.train(wanted, logs, clock, progress)
    table = tables.build(results, wanted.head())
    _print(table, format)
    exchange.track(track, lambda: of_training(results, table, folder, began_s))
    if interrupted or any(result["status"] != "ok" for result in results):
        sys.exit(130 if interrupted else 3)


@main.command()
@group(
    click.option("--model", default="cnn", show_default=True, help="A named model (cnn), FILE.onnx, or MODULE:FACTORY."),
    click.option("--precision", "precisions", type=Names(), default=(), help="Of fp32, fp16, int8. Default: all that can be."),
    click.option("--int8", "scheme", type=click.Choice(SCHEMES), default="portable", show_default=True, help=INT8_HELP),
    dataset_option,
    click.option("--calibration", help="An .npz file of arrays by input name. Default: the dataset's calibration images."),
    click.option("--calibration-method", "method", type=click.Choice(METHODS), default="minmax", show_default=True),
    click.option("--exclude", type=Names(), default=(), help="Nodes that stay in float in INT8."),
    shape_option,
    seed_option,
    click.option("--out", "folder", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True),
    timeout_option,
    debug_option,
)
def export(scheme: str, method: str, exclude: tuple[str, ...], timeout_s: float, debug: bool, **what: Any) -> None:
    """Write checked ONNX files in FP32, FP16 and INT8, and a manifest.

    A named model is trained first where it has no checkpoint yet.
    """
    from .models import kind_of
    from .runners.pool.context import Context
    from .runners.pool.progress import terminal
    from .runners.prepare import exports as prepare
    from .runners.worker.clock import Clock

    prepare.files_of(what["precisions"])
    kind_of(what["model"])
    how = Conversion(origin="", scheme=scheme, method=method, exclude=exclude)
    wanted = prepare.Wanted(how=how, inputs=what.pop("signature"), **what)
    with _logs(debug) as logs, terminal().live() as progress:
        context = Context(logs=logs, clock=Clock(), progress=progress, timeout_s=timeout_s)
        made = prepare.export(wanted, context)
    for item in made:
        click.echo(_plain(item.told()))


@main.command()
@selectors
@group(
    click.option(
        "--budget",
        type=click.Choice(list(BUDGETS)),
        default="normal",
        show_default=True,
        help="quick: a first look, without intervals. normal: to 2 %, or 4.5 s a cell. thorough: to 1.5 %, or 45 s.",
    ),
    click.option("--baseline", help="BACKEND[@ENV] that speed-ups are against; measure until they are known."),
    click.option("--metric", type=click.Choice(METRICS), default="p50", show_default=True, help="What must be known well."),
    images_option,
    load_options,
    click.option("--cold", is_flag=True, help="Time fresh processes too, from their start to the first answer."),
    click.option("--dry-run", is_flag=True, help="Print what would be measured and how long it takes, and do nothing."),
    click.option("--out", type=click.Path(path_type=Path), help="The run folder. Default: a new one under runs/."),
    click.option("--resume", is_flag=True, help="Go on with the run in --out (or the latest)."),
    track_option,
    format_option,
    debug_option,
)
@click.pass_context
def infer(ctx: click.Context, /, out: Path | None, resume: bool, format: str, debug: bool, dry_run: bool, **asked: Any) -> None:
    """Measure a model on every runtime here.

    Latency, throughput, parity and accuracy of what artifacts/ holds, or of --model; trained and exported where it must be.
    """
    from .results import trackers
    from .results.store import digest, outcome
    from .results.table import table
    from .results.trackers.logged import of_run
    from .runners import infer as runner
    from .runners.pool.progress import terminal
    from .runners.worker.clock import Clock

    asked["load"] = load_of(asked)
    trackers.check(track := asked.pop("track"))
    if dry_run:
        return _preview(_sweep(asked), format, debug)
    folder = out or _latest_run(resume)
    sweep = runner.saved_sweep(folder) if resume and not _selects(ctx, folder) else _sweep(asked)
    baseline = asked["baseline"] or sweep.baseline
    with terminal().live() as progress:
        around = runner.Surroundings(clock=Clock(), progress=progress, out=folder, resume=resume)
        interrupted = _run(lambda: runner.infer(sweep, around), around, debug)
    digest.write(folder)
    run = digest.read(folder)
    _print(table.build([run], baseline), format)
    exchange.track(track, lambda: of_run(run, baseline), interrupted)
    sys.exit(130 if interrupted else outcome.exit_code(run, sweep))


@main.command()
@selectors
@group(
    click.option("--max", "most", type=Pair(), multiple=True, metavar="METRIC=LIMIT", help="Fail above it: top1_drop=0.5."),
    click.option("--min", "least", type=Pair(), multiple=True, metavar="METRIC=LIMIT", help="Fail below it: sqnr=30."),
    click.option("--explain", is_flag=True, help="Say why INT8 is as fast as it is, and which nodes cost the accuracy."),
    images_option,
    click.option("--out", type=click.Path(path_type=Path), help="The run folder. Default: a new one under runs/."),
    track_option,
    format_option,
    debug_option,
)
def check(most: Pairs, least: Pairs, out: Path | None, explain: bool, format: str, debug: bool, **asked: Any) -> None:
    """Compare answers with FP32's, and with labels.

    Parity and labelled accuracy of every precision on every runtime here; no time is measured. Exits with 1 if a row is a
    mismatch, or a limit is broken.
    """
    from .results import trackers
    from .results.store import outcome, record
    from .results.table import conditions, table
    from .results.trackers.logged import of_run
    from .runners import check as runner
    from .runners.infer import Surroundings
    from .runners.pool.progress import terminal
    from .runners.worker.clock import Clock

    trackers.check(track := asked.pop("track"))
    limits = [*conditions.parse(most, most=True), *conditions.parse(least, most=False)]
    sweep, folder = _sweep({**asked, "budget": "thorough"}), out or RUNS / f"{Clock().stamp()}-{record.CHECK}"
    with terminal().live() as progress:
        around = Surroundings(clock=Clock(), progress=progress, out=folder)
        interrupted = _run(lambda: runner.check(sweep, around, limits, explain), around, debug)
    run = record.read(folder)
    judged = conditions.judged(table.build([run]), limits)
    _print(judged, format)
    exchange.track(track, lambda: of_run(run, None), interrupted)
    sys.exit(130 if interrupted else outcome.check_exit_code(run, sweep, judged.head["broken"]))


def _run(work: Callable[[], None], around: Surroundings, debug: bool) -> bool:
    """Do `work` into a run folder and say where that is; whether the user stopped it, which leaves what there is."""
    from .errors import Interrupted

    interrupted = False
    try:
        work()
    except Interrupted as error:
        interrupted = True
        around.progress.note(f"bench: {error}")
    around.progress.note(f"run: {around.out}" + (f"; workers' logs: {around.out / 'logs'}" if debug else ""))
    return interrupted


def _preview(sweep: Sweep, format: str, debug: bool) -> None:
    from .results.table import preview as tables
    from .runners import preview as runner
    from .runners.pool.progress import terminal
    from .runners.worker.clock import Clock

    with _logs(debug) as logs, terminal().live() as progress:
        found = runner.preview(sweep, logs, Clock(), progress)
    cells = sum(not row.refused for row in found.rows)
    span = dict.fromkeys(f"{seconds:.0f}" for seconds in (found.least_s, found.most_s))
    time = f"{cells} cells at {sweep.budget.name}: about {' to '.join(span)} s"
    facts = (
        f"{time}, more where one call takes longer than {sweep.budget.block_ms:g} ms, and what labelled images take",
        found.first,
    )
    _print(tables.build([(row.cell, row.refused) for row in found.rows], facts), format)


def _sweep(asked: dict[str, Any]) -> Sweep:
    device = str(Device.parse(asked["device"])) if asked["device"] else None
    changed = {"artifacts": str(asked["artifacts"]), "device": device, "budget": BUDGETS[asked["budget"]]}
    return Sweep(**{**asked, **changed})


def _selects(ctx: click.Context, folder: Path) -> bool:
    """Whether the user said what to measure; a resumed run that is told nothing measures what it was begun with."""
    said = {name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    return bool(said - {"out", "resume", "format", "debug", "baseline", "track"}) or not (folder / "run.json").exists()


def _latest_run(resume: bool) -> Path:
    from .results.store import record
    from .runners.worker.clock import Clock

    if not resume:
        return RUNS / Clock().stamp()
    found = [path for path in sorted(RUNS.glob("*/run.json")) if record.is_measured(path.parent)]
    if not found:
        raise BadInput(f"there is no run in {RUNS}/ to resume", "give its folder as --out")
    return found[-1].parent


@main.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@group(click.option("--baseline", help="Show speed-ups against this BACKEND[@ENV]."), format_option, debug_option)
def show(runs: tuple[Path, ...], baseline: str | None, format: str, debug: bool) -> None:
    """Print runs again, in any format, measuring nothing."""
    from .results.store import digest
    from .results.table import table
    from .untrusted import understood

    with understood(runs):
        _print(table.build([digest.read(run) for run in runs], baseline), format)


@main.command()
@click.option("--clear", is_flag=True, help="Remove everything: checkpoints too.")
@debug_option
def cache(clear: bool, debug: bool) -> None:
    """What the user's cache holds: checkpoints and exports."""
    from .exporters import cache as store

    if clear:
        store.clear()
    click.echo(f"{store.root()}")
    for kind, nbytes in store.sizes().items():
        click.echo(f"{kind:<14} {nbytes / 1e6:.1f} MB")


main.add_command(compare)
main.add_command(recommend)
main.add_command(exchange.report)
main.add_command(exchange.take)


def _print(table: Table, format: str) -> None:
    from .results.table.render import render

    click.echo(render(table, format), nl=False)


@contextmanager
def _logs(debug: bool) -> Iterator[Path]:
    """A folder for workers' logs, gone at the end unless the user is debugging."""
    import tempfile

    if debug:
        folder = tempfile.mkdtemp(prefix="onnxbench-")
        click.echo(f"workers' logs: {folder}", err=True)
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="onnxbench-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
