"""`bench export`: ONNX files in FP32, FP16 and INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..exporters.int8 import METHODS, SCHEMES
from ..spec import Conversion
from .options import (
    INT8_HELP,
    Names,
    dataset_option,
    debug_option,
    group,
    model_option,
    out_option,
    precision_option,
    seed_option,
    shape_option,
    timeout_option,
)
from .output import logs, plain


@click.command()
@group(
    model_option("cnn"),
    precision_option(("fp32", "fp16", "int8")),
    click.option("--int8", "scheme", type=click.Choice(list(SCHEMES)), default="portable", show_default=True, help=INT8_HELP),
    dataset_option,
    click.option("--calibration", help="An .npz file of arrays by input name. Default: the dataset's calibration images."),
    click.option("--calibration-method", "method", type=click.Choice(list(METHODS)), default="minmax", show_default=True),
    click.option("--exclude", type=Names(), default=(), help="Nodes that stay in float in INT8."),
    shape_option,
    seed_option,
    out_option("Folder to write the files and their manifest to.", default=Path("artifacts")),
    timeout_option,
    debug_option,
)
def export(scheme: str, method: str, exclude: tuple[str, ...], timeout_s: float, debug: bool, **what: Any) -> None:
    """Write and check ONNX files in FP32, FP16 and INT8, with a manifest.

    A named model is trained first where it has no checkpoint yet.
    """
    from ..models import kind_of
    from ..runners.pool.context import Context
    from ..runners.pool.progress import terminal
    from ..runners.prepare import exports

    exports.files_of(what["precisions"])
    kind_of(what["model"])
    how = Conversion(scheme=scheme, method=method, exclude=exclude)
    wanted = exports.Wanted(how=how, inputs=what.pop("signature"), folder=what.pop("out"), **what)
    with logs(debug) as folder, terminal().live() as progress:
        context = Context(logs=folder, progress=progress, timeout_s=timeout_s)
        made = exports.export(wanted, context)
    for item in made:
        click.echo(plain(item.told()))
