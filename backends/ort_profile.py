"""Kernels that ONNX Runtime ran, read from the profile that it writes. Standard library only.

The profile lists each kernel with its operator, the types of its inputs and its time, after all optimizations. A fused Q/DQ
pair is a QLinearConv there, and a Q/DQ pair that was not fused leaves a Conv on floats.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from ..evidence import Kernel
from ..profiles import Links, OpeningPart
from .profiling import Ran, Recorded
from .protocol import UNCOUNTED_CALLS

ORT_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "int8": "int8", "uint8": "int8"}
ORT_LAYERS = re.compile(r"Conv|Gemm|MatMul|Attention|LSTM|GRU|RNN")
INT8_OPERATORS = re.compile(r"^(DynamicQuantize(MatMul|LSTM)|MatMulIntegerToFloat|QAttention|QGemm|QLinear|QMoE)")
ORT_MOVES = re.compile(
    r"^(QuantizeLinear|DequantizeLinear|DynamicQuantizeLinear|Cast|Reshape|Transpose|Reorder(Input|Output)|Shape|Gather(ND|Elements)?|Scatter(ND|Elements)?"
    r"|DepthToSpace|SpaceToDepth|Slice|Concat|Split|Squeeze|Unsqueeze|Flatten|Identity|Expand|Tile|Pad|Constant(OfShape)?|Memcpy\w+|QLinearConcat)$"
)
KERNEL, BLOCKED = "_kernel_time", "_nchwc"  # ends of names: of an event, and of a node on blocked channels
PARTS = {"model_loading_uri": "parse", "session_initialization": "optimize and allocate"}
STEP_NS = 1000  # the profile has whole microseconds
FUSED_SUFFIX = re.compile(r"_token_\d+$")  # ONNX Runtime adds it to the name of a node that replaces several


def read_profile(profile: Path) -> tuple[Kernel, ...]:
    """Read the kernels of one call in the order in which they ran, each with its median time over all calls."""
    times: dict[tuple[str, str, str], list[int]] = {}
    for event in json.loads(profile.read_text()):
        if _is_kernel(event):
            args = event["args"]
            key = (_node(event), str(args["op_name"]), _type(args))
            times.setdefault(key, []).append(int(event["dur"]))
    # a profile of one call, where nobody asks for times, has no calls to leave out
    return tuple(_kernel(*key, times_us[UNCOUNTED_CALLS:] or times_us) for key, times_us in times.items())


def record(profile: Path, graph: str) -> Recorded:
    """Read all calls of a profile. `graph`: name of the file with the optimized graph, whose nodes the kernels are.

    A kernel that runs others, such as a Loop, has its own time alone.
    """
    events = json.loads(profile.read_text())
    begins = sorted(int(event["ts"]) for event in events if event.get("name") == "model_run")
    kernels: dict[tuple[str, str, str, str, str], int] = {}
    calls: list[list[Ran]] = [[] for _ in begins]
    for event, own_us in sorted(_own_times([event for event in events if _is_kernel(event)]), key=_begin):
        call = bisect_right(begins, int(event["ts"])) - 1
        args = event["args"]
        # with the place in the graph, because nodes may have no name
        key = (_node(event), str(args["op_name"]), _type(args), str(event["tid"]), str(args.get("node_index")))
        if call >= 0:
            place = kernels.setdefault(key, len(kernels))
            calls[call].append(Ran(place, own_us * 1000, int(event["ts"]) * 1000))
    pairs = [(replace(_kernel(*key[:3]), thread=key[3]), Links(covers=_names(key[0]))) for key in kernels]
    return Recorded(kernels=pairs, calls=calls, step_ns=STEP_NS, graph=graph, opening=_opening(events))


def _own_times(events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each event with its time in us without the events inside it, which the same thread recorded."""
    open_events: list[list[Any]] = []
    for event in sorted(events, key=lambda event: (event["tid"], event["ts"], -int(event["dur"]))):
        end = int(event["ts"]) + int(event["dur"])
        while open_events and (open_events[-1][0]["tid"] != event["tid"] or open_events[-1][1] < end):
            yield _closed(open_events)
        if open_events:
            open_events[-1][2] -= int(event["dur"])
        open_events.append([event, end, int(event["dur"])])
    while open_events:
        yield _closed(open_events)


def _begin(timed: tuple[Mapping[str, Any], int]) -> int:
    return int(timed[0]["ts"])


def _closed(open_events: list[list[Any]]) -> tuple[Mapping[str, Any], int]:
    event, _, own_us = open_events.pop()
    return event, max(0, own_us)


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return event.get("cat") == "Node" and str(event.get("name")).endswith(KERNEL)


def _node(event: Mapping[str, Any]) -> str:
    return str(event["name"]).removesuffix(KERNEL)


def _names(node: str) -> tuple[str, ...]:
    """Names of the graph that the name of a kernel may contain.

    The names that ONNX Runtime makes end with the place in its graph (`_token_3`), or say that the layout changed.
    """
    bare = FUSED_SUFFIX.sub("", node)
    return tuple(dict.fromkeys(filter(None, (node, bare, bare.removesuffix(BLOCKED)))))


def _opening(events: Iterable[Mapping[str, Any]]) -> tuple[OpeningPart, ...]:
    """Parts of the opening: reading the file, and the rest of the session's initialization."""
    times = {str(event["name"]): int(event["dur"]) * 1000 for event in events if event.get("cat") == "Session"}
    return tuple(OpeningPart(name=part, ns=times[name], source="onnxruntime") for name, part in PARTS.items() if name in times)


def _kernel(node: str, operator: str, type: str, times_us: Sequence[int] = ()) -> Kernel:
    moves = ORT_MOVES.match(operator)
    return Kernel(
        node=FUSED_SUFFIX.sub("", node),
        operator=operator,
        type="" if moves else type,
        layer=bool(ORT_LAYERS.search(operator)) and not moves,
        ns=int(median(times_us) * 1000) if times_us else None,
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
