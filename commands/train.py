"""`bench train`: train a named model on one or several devices."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..errors import BadInput
from ..spec import Device
from .help import Command
from .options import (
    Finite,
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

TRAINING_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


@click.command(
    cls=Command,
    examples=(
        ("bench train", "Train the CNN on scikit-learn's digits, which need no download"),
        ("bench train --device cpu --device cuda --precision fp32,bf16", "Compare CPU and GPU in one table"),
        ("bench train --dataset idx:fashion-mnist --epochs 2", "Train on the files of MNIST or Fashion-MNIST in a folder"),
    ),
)
@group(
    model_option("cnn"),
    dataset_option,
    preprocess_option,
    device_option(several=True),
    precision_option("Train in", TRAINING_PRECISIONS, default="fp32"),
    click.option(
        "--epochs",
        type=Whole(1),
        metavar="N",
        default=10,
        show_default=True,
        help="Train for this many passes over the training images.",
    ),
    click.option(
        "--batch-size",
        type=Whole(1),
        metavar="N",
        default=64,
        show_default=True,
        help="Train on this many images in each step.",
    ),
    click.option(
        "--lr",
        type=Finite(min=0, min_open=True),
        metavar="RATE",
        default=0.01,
        show_default=True,
        help="Set the learning rate of SGD with momentum 0.9.",
    ),
    threads_option,
    seed_option,
    timeout_option,
    track_option,
    format_option(),
    debug_option,
)
def train(model: str, dataset: str | None, format: str, debug: bool, **options: Any) -> None:
    """Train a named model, and compare CPU and GPU in one table."""
    from ..models import MODELS, kind_of
    from ..models.preprocessing import full_name
    from ..results import trackers
    from ..results.table import training as tables
    from ..results.trackers.logged import of_training
    from ..runners.pool.pool import Local
    from ..runners.pool.progress import terminal
    from ..runners.prepare import train as runner
    from ..runners.worker.clock import Clock

    trackers.check(names := options.pop("track"))
    if kind_of(model) != "named":
        raise BadInput(f"{model!r} is not a named model, and only those can be trained", f"write --model {' or '.join(MODELS)}")
    dataset = full_name(dataset, options.pop("preprocess"))
    options["devices"] = tuple(str(Device.parse(device)) for device in options["devices"])
    pool = Local()
    training = runner.Training(
        model=model,
        dataset=dataset or runner.default_dataset(model),
        **{**options, "threads": options["threads"] or pool.threads()},
    )
    clock = Clock()
    began_s, folder = clock.wall_s(), RUNS / f"{clock.stamp()}-train"
    with logs(debug) as log_folder, terminal().live() as progress:
        results, interrupted = runner.run_training(training, log_folder, pool, progress)
    table = tables.build(results, training.head())
    print_table(table, format)
    track(names, lambda: of_training(results, table, folder, began_s))
    if interrupted or any(result.status != "ok" for result in results):
        sys.exit(130 if interrupted else 3)
