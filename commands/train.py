"""`bench train`: train a named model on one or several devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import BadInput
from ..spec import Device
from .clusters import CLUSTER_OPTIONS, cluster_options, on_cluster, trained_on_cluster
from .help import Command
from .options import (
    Finite,
    Function,
    Names,
    Numbers,
    Whole,
    dataset_option,
    debug_option,
    device_option,
    format_option,
    group,
    model_option,
    precision_option,
    preprocess_option,
    seed_option,
    threads_option,
    timeout_option,
    track_option,
)
from .output import logs, print_table, track
from .runs import RUNS

if TYPE_CHECKING:
    from ..results.table.table import Table
    from ..results.table.training import Result
    from ..runners.pool.progress import Progress
    from ..runners.prepare.parallel import Parallel
    from ..runners.prepare.train import Training

MORE_GPUS = "repeat --device to compare devices, or give --data-parallel N to train on N GPUs together"
TRAINING_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


def _count_option(name: str, metavar: str, default: int, help: str) -> Callable[[Function], Function]:
    return click.option(name, type=Whole(1), metavar=metavar, default=default, show_default=True, help=help)


def _processes_option(name: str, help: str) -> Callable[[Function], Function]:
    return click.option(name, type=Numbers(), metavar="N,...", default=(), help=help)


parallel_options = (
    _processes_option("--data-parallel", "Also train on N processes, each with a copy of the model and a share of each batch."),
    click.option(
        "--scale-batch",
        is_flag=True,
        help="Give each process of --data-parallel the whole --batch-size, in place of a share.",
    ),
    click.option(
        "--batch-norm",
        "batch_norms",
        type=Names(),
        metavar="NAME,...",
        default="shared",
        show_default=True,
        help="Normalize with the images of all processes of --data-parallel, or of each alone: shared, local.",
    ),
    _processes_option("--pipeline", "Also train on N processes, each with one stage of the model (two with interleaved)."),
    click.option(
        "--schedule",
        "schedules",
        type=Names(),
        metavar="NAME,...",
        default="gpipe,1f1b",
        show_default=True,
        help="Train the pipeline in these orders of its microbatches: gpipe, 1f1b, interleaved.",
    ),
    _count_option("--microbatches", "M", 8, "Divide each batch of the pipeline into M equal parts."),
)


@click.command(
    cls=Command,
    examples=(
        ("bench train", "Train the CNN on scikit-learn's digits, which need no download"),
        ("bench train --device cpu --device cuda --precision fp32,bf16", "Compare CPU and GPU in one table"),
        ("bench train --data-parallel 2 --pipeline 2", "Compare two ways over two processes with one device"),
        ("bench train --on ray", "Train on one node of each kind of a Ray cluster, and compare them in one table"),
        ("bench train --dataset idx:fashion-mnist --epochs 2", "Train on the files of MNIST or Fashion-MNIST in a folder"),
    ),
)
@group(
    model_option("cnn"),
    dataset_option,
    preprocess_option,
    device_option(several=True),
    precision_option("Train in", TRAINING_PRECISIONS, default="fp32"),
    _count_option("--epochs", "N", 10, "Train for this many passes over the training images."),
    _count_option("--batch-size", "N", 64, "Train on this many images in each step."),
    click.option(
        "--lr",
        type=Finite(min=0, min_open=True),
        metavar="RATE",
        default=0.01,
        show_default=True,
        help="Set the learning rate of SGD with momentum 0.9.",
    ),
    *parallel_options,
    threads_option,
    seed_option,
    timeout_option,
    cluster_options,
    track_option,
    format_option(),
    debug_option,
)
@click.pass_context
def train(ctx: click.Context, /, format: str, debug: bool, **_: Any) -> None:
    """Train a named model, and compare CPU, GPU and several processes in one table."""
    from ..results.table.training import is_successful
    from ..results.trackers.logged import of_training
    from ..runners.pool.progress import terminal
    from ..runners.worker.clock import Clock

    request = requested(ctx)
    clock = Clock()
    began_s, folder = clock.wall_s(), RUNS / f"{clock.stamp()}-train"
    with logs(debug) as log_folder, terminal().live() as progress:
        results, table, interrupted = trained(request, log_folder, progress)
    print_table(table, format)
    track(request.trackers, lambda: of_training(results, table, folder, began_s))
    if interrupted or not is_successful(results):
        sys.exit(130 if interrupted else 3)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """Request of the options. `cluster`: the options of a cluster by name; empty for this machine."""

    training: Training
    trackers: tuple[str, ...]
    cluster: Mapping[str, Any]


def requested(ctx: click.Context) -> TrainRequest:
    """Request of the parsed options. Raises `BadInput` before any work."""
    from ..models import MODELS, kind_of
    from ..models.preprocessing import full_name
    from ..results import trackers
    from ..runners.pool.pool import Local
    from ..runners.prepare import train as runner

    options = {name: value for name, value in ctx.params.items() if name not in ("format", "debug")}
    trackers.check(names := options.pop("track"))
    cluster = {name: options.pop(name) for name in CLUSTER_OPTIONS}
    on_nodes = on_cluster(cluster) is not None
    model = options.pop("model")
    if kind_of(model) != "named":
        raise BadInput(f"{model!r} is not a named model, and only those can be trained", f"write --model {' or '.join(MODELS)}")
    dataset = full_name(options.pop("dataset"), options.pop("preprocess"))
    parallel = _parallel(options, ctx.get_parameter_source("timeout_s") is ParameterSource.COMMANDLINE)
    options["devices"] = tuple(str(Device.one(device, MORE_GPUS)) for device in options["devices"])
    # Each node of a cluster has its own number of threads.
    options["threads"] = options["threads"] or (0 if on_nodes else Local().threads())
    training = runner.Training(model=model, dataset=dataset or runner.default_dataset(model), parallel=parallel, **options)
    return TrainRequest(training=training, trackers=names, cluster=cluster if on_nodes else {})


def trained(request: TrainRequest, log_folder: Path, progress: Progress) -> tuple[Sequence[Result], Table, bool]:
    """Results of the training, their table, and True if the user interrupted it."""
    if request.cluster:
        return trained_on_cluster(request.training, request.cluster, progress)
    from ..results.table import training as tables
    from ..runners.pool.pool import Local
    from ..runners.prepare import train as runner

    training = request.training
    results, interrupted = runner.run_training(training, log_folder, Local(), progress)
    return results, tables.build(results, training.head()), interrupted


def _parallel(options: dict[str, Any], has_timeout: bool) -> Parallel:
    """Take the options of several processes out of `options`. A --timeout of the user also limits the wait for a rank."""
    from ..runners.prepare.parallel import PEER_S, Parallel

    return Parallel(
        data=options.pop("data_parallel"),
        pipeline=options.pop("pipeline"),
        schedules=options.pop("schedules"),
        microbatches=options.pop("microbatches"),
        scale_batch=options.pop("scale_batch"),
        batch_norms=options.pop("batch_norms"),
        peer_s=options["timeout_s"] if has_timeout else PEER_S,
    )
