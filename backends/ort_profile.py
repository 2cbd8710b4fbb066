"""What ONNX Runtime ran, node by node, from its own profile. Standard library only.

The profile names every kernel with its operator, the types of its inputs and its time, after all optimizations: where a
Q/DQ pair was fused there is a QLinearConv, and where it was not there is a Conv on floats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from ..evidence import Kernel

RUNS, UNCOUNTED = 10, 2  # the first calls pay for memory and threads
TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "int8": "int8", "uint8": "int8"}
LAYER = re.compile(r"Conv|Gemm|MatMul|Attention|LSTM|GRU|RNN")
INTEGER = re.compile(r"^(DynamicQuantize(MatMul|LSTM)|MatMulIntegerToFloat|QAttention|QGemm|QLinear|QMoE)")
MOVES = re.compile(
    r"^(QuantizeLinear|DequantizeLinear|DynamicQuantizeLinear|Cast|Reshape|Transpose|Reorder(Input|Output)|Shape|Gather(ND|Elements)?|Scatter(ND|Elements)?"
    r"|DepthToSpace|SpaceToDepth|Slice|Concat|Split|Squeeze|Unsqueeze|Flatten|Identity|Expand|Tile|Pad|Constant(OfShape)?|Memcpy\w+|QLinearConcat)$"
)
FUSED = re.compile(r"_token_\d+$")  # what the runtime adds to the name of a node that it made of several


def read(profile: Path) -> tuple[Kernel, ...]:
    """The kernels of one call, in the order in which they ran, each with its median time over the calls of `profile`."""
    times: dict[tuple[str, str, str], list[int]] = {}
    for event in json.loads(profile.read_text()):
        if event.get("cat") == "Node" and str(event.get("name")).endswith("_kernel_time"):
            about = event["args"]
            key = (str(event["name"]).removesuffix("_kernel_time"), str(about["op_name"]), _type(about))
            times.setdefault(key, []).append(int(event["dur"]))
    return tuple(_kernel(*key, took[UNCOUNTED:] or took) for key, took in times.items())


def _kernel(node: str, operator: str, type: str, took_us: Iterable[int]) -> Kernel:
    moves = MOVES.match(operator)
    return Kernel(
        node=FUSED.sub("", node),
        operator=operator,
        type="" if moves else type,
        layer=bool(LAYER.search(operator)) and not moves,
        ns=int(median(took_us) * 1000),
    )


def _type(about: Mapping[str, Any]) -> str:
    """What a kernel computes in: 8 bits where it is a quantized operator, else its first input's type that computes."""
    if INTEGER.match(str(about["op_name"])):
        return "int8"
    found = [kind for part in ("input_type_shape", "output_type_shape") for tensor in about.get(part, ()) for kind in tensor]
    return next((TYPES[kind] for kind in found if kind in TYPES), "")
