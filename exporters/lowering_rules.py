"""Rules that lower one operator by one version, as data. onnx, inside functions; run in a worker.

A rule for (operator, version) adds nodes of opsets below that version. An operator without a rule for a version keeps its
node, if that version only added types and attributes that the node does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .lowering_numbers import (
    bitwise_not,
    dequantize,
    gelu,
    get_element,
    group_norm_by_channel,
    group_norm_by_group,
    has_element,
    is_inf,
    matmul_scales,
    quantize,
    reduce_bool,
)
from .lowering_shapes import (
    axes_of_reduction,
    axis_of_transform,
    columns_to_image,
    cumulative_product,
    grid_modes,
    pad_axes,
    pad_wrap,
    resize_axes,
    resize_symmetric,
    split_sizes,
)
from .lowering_site import FILE_HINT, Site

Rule = Callable[[Site], None]

AXES_IN_AN_INPUT = "L1 L2 LogSum LogSumExp Max Mean Min Prod SumSquare"
QUANTIZED = (19, 21, 23, 24, 25, 28)  # versions of QuantizeLinear and DequantizeLinear


def scatter(site: Site) -> None:
    """Keep a Scatter node. Older ones reduce with add and mul only."""
    if (reduction := site.attribute("reduction", "none")) in ("max", "min"):
        site.refuse(f"older opsets have no reduction {reduction!r}")
    site.keep()


def refuse(why: str, hint: str = FILE_HINT) -> Rule:
    """Rule that refuses the operator."""
    return lambda site: site.refuse(why, hint)


BITS = refuse("older opsets have no bitwise operators", "compute on booleans with And, Or and Xor")
TEXTS = refuse("older opsets have no operators on texts", "prepare the texts before the model")

RULES: Mapping[tuple[str, int], Rule] = {
    **{(f"Reduce{name}", 18): axes_of_reduction for name in AXES_IN_AN_INPUT.split()},
    ("ReduceMax", 20): reduce_bool,
    ("ReduceMin", 20): reduce_bool,
    ("BitwiseAnd", 18): BITS,
    ("BitwiseOr", 18): BITS,
    ("BitwiseXor", 18): BITS,
    ("BitwiseNot", 18): bitwise_not,
    ("Col2Im", 18): columns_to_image,
    ("CumProd", 26): cumulative_product,
    ("DFT", 20): axis_of_transform,
    ("Gelu", 20): gelu,
    ("GridSample", 20): grid_modes,
    ("GroupNormalization", 18): group_norm_by_group,
    ("GroupNormalization", 21): group_norm_by_channel,
    ("ImageDecoder", 20): refuse("older opsets decode no images", "decode the images before the model"),
    ("IsInf", 20): is_inf,
    ("OptionalGetElement", 18): get_element,
    ("OptionalHasElement", 18): has_element,
    ("Pad", 18): pad_axes,
    ("Pad", 19): pad_wrap,
    ("QLinearMatMul", 21): matmul_scales,
    ("RegexFullMatch", 20): TEXTS,
    ("Resize", 18): resize_axes,
    ("Resize", 19): resize_symmetric,
    ("ScatterElements", 18): scatter,
    ("ScatterND", 18): scatter,
    ("Split", 18): split_sizes,
    ("StringConcat", 20): TEXTS,
    ("StringSplit", 20): TEXTS,
    **{("QuantizeLinear", version): quantize for version in QUANTIZED},
    **{("DequantizeLinear", version): dequantize for version in QUANTIZED},
}
"""Rules by operator and version."""
