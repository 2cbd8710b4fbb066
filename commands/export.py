"""`bench export`: ONNX files in FP32, FP16 and INT8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..spec import Conversion
from .help import Command
from .options import (
    Names,
    Whole,
    artifacts_option,
    backend_option,
    dataset_option,
    debug_option,
    dim_option,
    group,
    limit_options,
    model_option,
    precision_option,
    preprocess_option,
    random_option,
    seed_option,
    shape_option,
    timeout_option,
)
from .output import logs, plain
from .schemes import int8_option

if TYPE_CHECKING:
    from ..runners.pool.progress import Progress
    from ..runners.prepare.exports import ExportResult


@click.command(
    cls=Command,
    examples=(
        ("bench export --model net.onnx", "Write FP32, FP16 and INT8 files of one model to artifacts/"),
        ("bench export --model net.onnx --calibration data.npz", "Calibrate INT8 on real arrays instead of random ones"),
        ("bench export --precision int8 --max top1_drop=0.5", "Search the fastest INT8 file that loses at most half a point"),
        ("bench export --model net.onnx --opset 17", "Write files that TensorRT 8.6 reads"),
        ("bench export --precision int8 --exclude node_conv2d", "Leave one node in float, as bench check --explain proposes"),
    ),
)
@group(
    model_option("cnn"),
    random_option,
    precision_option("Write", ("fp32", "fp16", "int8")),
    int8_option(),
    dataset_option,
    preprocess_option,
    click.option(
        "--calibration",
        metavar="FILE",
        help="Calibrate INT8 on the arrays of FILE.npz, named as the inputs, on x of tensors:FILE.npz, or on images:DIR, whose"
        " images need no classes. Default: the dataset's calibration part.",
    ),
    click.option(
        "--calibration-method",
        "method",
        metavar="METHOD[,OPERATOR=METHOD,...]",
        default="minmax",
        show_default=True,
        help="Compute INT8 ranges with minmax, percentile or entropy. OPERATOR=METHOD sets another one for the inputs of an"
        " operator: minmax,MatMul=percentile.",
    ),
    click.option(
        "--calibration-images",
        "images",
        type=Whole(1),
        metavar="N",
        help="Calibrate INT8 on this many samples. Default: 128 of a dataset, all of --calibration, 64 random ones.",
    ),
    click.option("--exclude", type=Names(), metavar="NODE,...", default=(), help="Leave these nodes in float in INT8."),
    limit_options,
    backend_option,
    click.option(
        "--opset",
        type=Whole(1),
        metavar="N",
        help="Write files of ONNX opset N. A file of a higher opset is lowered, and compared with its source. Default: as"
        " exported.",
    ),
    shape_option,
    dim_option,
    seed_option,
    artifacts_option("--out", default=Path("artifacts")),
    timeout_option,
    debug_option,
)
@click.pass_context
def export(ctx: click.Context, /, debug: bool, **_: Any) -> None:
    """Write and check ONNX files in FP32, FP16 and INT8, with a manifest.

    Trains a named model first if it has no checkpoint yet. --artifacts and --out name the same folder. --max and --min
    search for the fastest INT8 file within these limits on accuracy, and end with 1 if there is none.
    """
    from ..runners.pool.progress import terminal

    with logs(debug) as log_folder, terminal().live() as progress:
        made = exported(ctx.params, log_folder, progress)
    for item in made:
        click.echo(plain(item.describe()))


def exported(params: Mapping[str, Any], log_folder: Path, progress: Progress) -> list[ExportResult]:
    """Export by the parsed options. Raises `BadInput` before any long work, and `BoundMissed` for no file within the bounds."""
    from ..exporters.calibration import parse_method
    from ..exporters.schemes import PORTABLE
    from ..models import kind_of
    from ..models.preprocessing import full_names
    from ..results.table import conditions
    from ..runners.pool.context import Context
    from ..runners.prepare import bound_search, exports
    from ..runners.prepare.library_models import check_random
    from ..runners.prepare.request import ExportRequest, files_of

    options = {name: value for name, value in params.items() if name != "debug"}
    schemes, method, exclude, images = (options.pop(name) for name in ("schemes", "method", "exclude", "images"))
    files_of(options["precisions"])
    kind_of(options["model"])
    check_random((options["model"],), random=options["random_weights"])
    parse_method(method)
    most, least = (conditions.parse(options.pop(side), most=side == "most") for side in ("most", "least"))
    search = bound_search.search_request([*most, *least], options.pop("backends"), schemes, options["precisions"])
    conversion = Conversion(scheme=PORTABLE, method=method, exclude=exclude, images=images or 0)
    inputs, folder = options.pop("signature"), options.pop("artifacts")
    options |= full_names(options["dataset"], options["calibration"], options.pop("preprocess"), options["model"])
    context = Context(logs=log_folder, progress=progress, timeout_s=options.pop("timeout_s"))
    named = () if search else exports.int8_schemes(schemes or (PORTABLE,), context)
    request = ExportRequest(conversion=conversion, schemes=named, inputs=inputs, folder=folder, **options)
    return bound_search.export_within(request, search, context) if search else exports.export_model(request, context)
