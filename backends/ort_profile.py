"""Kernels that ONNX Runtime ran, read from the profile that it writes. Standard library only.

The profile lists each kernel with its operator, the types of its inputs and its time, after all optimizations. A fused Q/DQ
pair is a QLinearConv there, and a Q/DQ pair that was not fused leaves a Conv on floats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from ..evidence import Kernel
from .protocol import UNCOUNTED_CALLS

ORT_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "int8": "int8", "uint8": "int8"}
ORT_LAYERS = re.compile(r"Conv|Gemm|MatMul|Attention|LSTM|GRU|RNN")
INT8_OPERATORS = re.compile(r"^(DynamicQuantize(MatMul|LSTM)|MatMulIntegerToFloat|QAttention|QGemm|QLinear|QMoE)")
ORT_MOVES = re.compile(
    r"^(QuantizeLinear|DequantizeLinear|DynamicQuantizeLinear|Cast|Reshape|Transpose|Reorder(Input|Output)|Shape|Gather(ND|Elements)?|Scatter(ND|Elements)?"
    r"|DepthToSpace|SpaceToDepth|Slice|Concat|Split|Squeeze|Unsqueeze|Flatten|Identity|Expand|Tile|Pad|Constant(OfShape)?|Memcpy\w+|QLinearConcat)$"
)
FUSED_SUFFIX = re.compile(r"_token_\d+$")  # ONNX Runtime adds it to the name of a node that replaces several


def read_profile(profile: Path) -> tuple[Kernel, ...]:
    """Read the kernels of one call in the order in which they ran, each with its median time over all calls."""
    times: dict[tuple[str, str, str], list[int]] = {}
    for event in json.loads(profile.read_text()):
        if event.get("cat") == "Node" and str(event.get("name")).endswith("_kernel_time"):
            args = event["args"]
            key = (str(event["name"]).removesuffix("_kernel_time"), str(args["op_name"]), _type(args))
            times.setdefault(key, []).append(int(event["dur"]))
    # a profile of one call, where nobody asks for times, has no calls to leave out
    return tuple(_kernel(*key, times_us[UNCOUNTED_CALLS:] or times_us) for key, times_us in times.items())


def _kernel(node: str, operator: str, type: str, times_us: Iterable[int]) -> Kernel:
    moves = ORT_MOVES.match(operator)
    return Kernel(
        node=FUSED_SUFFIX.sub("", node),
        operator=operator,
        type="" if moves else type,
        layer=bool(ORT_LAYERS.search(operator)) and not moves,
        ns=int(median(times_us) * 1000),
    )


def _type(args: Mapping[str, Any]) -> str:
    """Type that a kernel computes in: `int8` for quantized operators, else its first input's or output's type.

    Types in which nothing is computed, such as int64 indices, are passed over.
    """
    # by the operator, because a quantized one may have a float first input (DynamicQuantizeMatMul)
    if INT8_OPERATORS.match(str(args["op_name"])):
        return "int8"
    types = [type for part in ("input_type_shape", "output_type_shape") for tensor in args.get(part, ()) for type in tensor]
    return next((ORT_TYPES[type] for type in types if type in ORT_TYPES), "")
