"""Nodes that compute shapes, sizes, indices and scales. They stay in FP32 in every conversion: a rounded size is another size.

onnx, inside functions; run in a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .repair import inputs_of, unused_name

if TYPE_CHECKING:
    import onnx

ARGUMENTS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "TopK", "Unsqueeze", "Squeeze", "Split", "CumSum", "Trilu"), (1,)),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "Compress"), (1,)),
    **dict.fromkeys(("Upsample", "GridSample", "AffineGrid", "CenterCropPad"), (1,)),
    **dict.fromkeys(("ConstantOfShape", "If", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"), (1,)),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"), (1,)),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "OneHot": (0, 1),
    "Loop": (0, 1),
    "NonMaxSuppression": (2, 3, 4),
    "RoiAlign": (1, 2),
    "MaxUnpool": (1, 2),
    "MaxRoiPool": (1,),
    "Col2Im": (1, 2),
    "DFT": (1, 2),
    "STFT": (1, 3),
}
"""Positions of inputs that are shapes, sizes, positions, indices or scales, by operator."""

ENDS = (
    *("Shape", "Size", "TopK", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression", "Unique", "If", "Loop", "Scan"),
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention"),
)
"""Operators behind which values are data: their results do not become sizes by arithmetic alone."""


def find_shape_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that compute shapes, sizes, indices and scales, from the node that uses them back to the data."""
    makers = {name: node for node in graph.node for name in node.output if name}
    waiting = [name for node in graph.node for name in _arguments(node)]
    names: dict[str, None] = {}
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in names and node.op_type not in ENDS:
            names[node.name] = None
            waiting += node.input
    return [node.name for node in graph.node if node.name in names and node.op_type != "Constant"]


def _arguments(node: onnx.NodeProto) -> list[str]:
    return [node.input[index] for index in ARGUMENTS.get(node.op_type, ()) if index < len(node.input) and node.input[index]]


def split_constants(graph: onnx.GraphProto, names: Iterable[str]) -> None:
    """Give the nodes called `names` constants of their own, because a converter changes a constant for all of its users."""
    own = set(names)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    others = {name for node in graph.node if node.name not in own for name in inputs_of(node)}
    used_names = {*tensors, *others, *(name for node in graph.node for name in (*node.input, *node.output))}
    copies: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input if node.name in own else ()):
            if name in tensors and name in others:
                if name not in copies:
                    copies[name] = unused_name(f"{name}_float", used_names)
                    used_names.add(copies[name])
                    graph.initializer.add().CopyFrom(tensors[name])
                    graph.initializer[-1].name = copies[name]
                node.input[index] = copies[name]
