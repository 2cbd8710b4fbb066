"""Kernels that ONNX Runtime ran, read from the profile that it writes. Standard library only.

The profile lists each kernel with its operator, the types of its inputs and its time, after all optimizations. A fused Q/DQ
pair is a QLinearConv there, and a Q/DQ pair that was not fused leaves a Conv on floats.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

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
GRAPH, GRAPH_WEIGHTS = "optimized.onnx", "optimized.weights"  # files of the graph that ONNX Runtime made of the model
STEP_NS = 1000  # the profile has whole microseconds
FUSED_SUFFIX = re.compile(r"_token_\d+$")  # ONNX Runtime adds it to the name of a node that replaces several

Event = Mapping[str, Any]


class TimedNode(NamedTuple):
    """The event of a node, its time in us, and the begin of that time on the clock of the profile in us."""

    event: Event
    us: float
    begin_us: float


Timing = Callable[[Sequence[Event], Sequence[Event]], Iterable[TimedNode]]
"""Takes all events of a profile, and those of its nodes."""


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


def record(profile: Path, graph: str, timed: Timing | None = None) -> Recorded:
    """Read all calls of a profile. `graph`: name of the file with the optimized graph, whose nodes the kernels are.

    A kernel that runs others, such as a Loop, has its own time alone. `timed`: another source of the times.
    """
    events = json.loads(profile.read_text())
    begins = run_begins(events)
    nodes = [event for event in events if _is_kernel(event)]
    kernels: dict[tuple[str, str, str, str, str], int] = {}
    calls: list[list[Ran]] = [[] for _ in begins]
    of_nodes = timed(events, nodes) if timed else own_times(nodes)
    for event, us, begin_us in sorted(of_nodes, key=lambda each: int(each.event["ts"])):
        call = bisect_right(begins, int(event["ts"])) - 1
        args = event["args"]
        # with the place in the graph, because nodes may have no name
        key = (_node(event), str(args["op_name"]), _type(args), str(event["tid"]), str(args.get("node_index")))
        if call >= 0:
            place = kernels.setdefault(key, len(kernels))
            calls[call].append(Ran(place, us * 1000, begin_us * 1000))
    pairs = [(replace(_kernel(*key[:3]), thread=key[3]), Links(covers=_names(key[0]))) for key in kernels]
    return Recorded(kernels=pairs, calls=calls, step_ns=STEP_NS, graph=graph, opening=_opening(events))


def run_begins(events: Iterable[Event]) -> list[int]:
    """Begins of the calls in us."""
    return sorted(int(event["ts"]) for event in events if event.get("name") == "model_run")


def own_times(events: Sequence[Event]) -> Iterator[TimedNode]:
    """Each event with its time without the events inside it, which the same thread recorded."""
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


def _closed(open_events: list[list[Any]]) -> TimedNode:
    event, _, own_us = open_events.pop()
    return TimedNode(event, max(0, own_us), int(event["ts"]))


def _is_kernel(event: Event) -> bool:
    return event.get("cat") == "Node" and str(event.get("name")).endswith(KERNEL)


def _node(event: Event) -> str:
    return str(event["name"]).removesuffix(KERNEL)


def _names(node: str) -> tuple[str, ...]:
    """Names of the graph that the name of a kernel may contain.

    The names that ONNX Runtime makes end with the place in its graph (`_token_3`), or say that the layout changed.
    """
    bare = FUSED_SUFFIX.sub("", node)
    return tuple(dict.fromkeys(filter(None, (node, bare, bare.removesuffix(BLOCKED)))))


def _opening(events: Iterable[Event]) -> tuple[OpeningPart, ...]:
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
