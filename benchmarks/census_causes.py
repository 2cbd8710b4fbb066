"""Causes of the mismatches of the census, as data: each was looked at with bare runtimes."""

from __future__ import annotations

import re
from dataclasses import dataclass

NOT_EXPLAINED = "**not explained yet**"
OPENVINO = "OpenVINO 2026.4.1"
ORT = "ONNX Runtime 1.31.1"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Cause of the mismatches whose names match `names`, in the file's `precision` (empty: in each). `operator`: of ONNX."""

    names: str
    operator: str
    text: str
    runtime: str = OPENVINO
    precision: str = ""


CAUSES = (
    Cause(
        names="attention_4d_with_past_and_present_qk_matmul_bias_.d_mask_causal",
        operator="Attention-25",
        runtime=f"{OPENVINO} and {ORT}",
        text="OpenVINO aligns the causal mask with the end of the keys, ONNX's authors with the length of the past; "
        "ONNX Runtime writes -3.4e38 in place of -inf into qk_matmul_output, and its Y is right",
    ),
    Cause(
        names="attention_4d_causal_nonpad_negative_offset_structural_empty_expanded",
        operator="Softmax",
        text="rows that are masked as a whole become NaN, where ONNX's authors and ONNX Runtime have numbers",
    ),
    Cause(names="dft_rfft|dft_irfft", operator="DFT", text="the onesided transform has the wrong number of dimensions"),
    Cause(names="dft_axis", operator="DFT", text="the input `axis` is ignored, and the transform is along axis 1"),
    Cause(
        names="lstm_with_peepholes",
        operator="LSTM",
        text="the weights of peepholes (input P) are ignored: without them ONNX Runtime is at 142 dB from it",
    ),
    Cause(
        names="maxpool_2d_ceil_output_size_reduce_by_one",
        operator="MaxPool",
        text="with ceil_mode a window that begins in the padding is kept",
    ),
    Cause(
        names="nonmaxsuppression_iou_threshold_boundary",
        operator="NonMaxSuppression",
        text="a box whose overlap equals iou_threshold is dropped",
    ),
    Cause(names="reduce_max_empty_set", operator="ReduceMax", text="the maximum of an empty set is -3.4e38, and not -inf"),
    Cause(
        names="resize_.*exclude_outside",
        operator="Resize",
        text="exclude_outside is ignored: without it ONNX Runtime gives the same answer",
    ),
    Cause(
        names="resize_.*antialias",
        operator="Resize",
        text="antialias is ignored: without it ONNX Runtime is at 125 dB from it or nearer",
    ),
    Cause(names="resize_.*_nearest_not_", operator="Resize", text="keep_aspect_ratio_policy is ignored"),
    Cause(names="tile", operator="Tile", text="a part of the output is zeros"),
    Cause(names="top_k_same_values", operator="TopK", text="of equal values the one with the least index does not come first"),
    Cause(
        names="two-matrix-products",
        operator="MatMul",
        precision="int8",
        text="two products of INT8 become one Subgraph of kernels, which is wrong for some numbers of rows up to 8: with 2 "
        "threads 4, 6 and 8, with one thread 1 to 8. 9 rows and more are exact",
    ),
    Cause(
        names="counted-outputs",
        operator="NonZero",
        runtime="the portable INT8 scheme",
        precision="int8",
        text="a score near the threshold falls on its other side, and the number of boxes differs; the same in both runtimes",
    ),
    Cause(
        names="outputs-near-zero",
        operator="Add",
        runtime="the FP16 conversion",
        precision="fp16",
        text="its constants of 300,000 are above the largest FP16 number and are cut to 65,504; the same in both runtimes",
    ),
)


def cause_of(case: str, precision: str) -> str:
    """Runtime with its version, operator, and cause of a mismatch."""
    name = case.removeprefix("test_")
    for cause in CAUSES:
        if re.match(f"(?:{cause.names})", name) and cause.precision in ("", precision):
            return f"{cause.runtime}, {cause.operator}: {cause.text}"
    return NOT_EXPLAINED
