"""Work of a graph: operations and bytes of its nodes, as models/work.py counts them. Standard library only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

Shape = tuple[int, ...]
COMPUTE, MEMORY, NODES = "compute", "memory", "nodes"
"""Kinds of graphs that measure a machine: a matrix product, a sum of large arrays, a chain of tiny products."""

VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Shape", "Size", "Constant", "Optional")
"""Operators that need not touch their data: no bytes are counted."""

MOVES = (
    *VIEWS,
    *("Transpose", "Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements"),
    *("ScatterND", "Tile", "Expand", "Pad", "Where", "Cast", "CastLike", "OneHot", "DepthToSpace", "SpaceToDepth", "TopK"),
    *("Trilu", "ReverseSequence", "EyeLike", "ConstantOfShape", "Compress", "NonZero", "Unique", "MaxUnpool", "MaxRoiPool"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "IsNaN", "IsInf"),
    *("CenterCropPad", "Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "TensorScatter"),
    *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
    *("SplitToSequence", "ConcatFromSequence", "Hardmax", "com.microsoft.QLinearConcat"),
)
"""Operators that move, select or compare: no operations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeWork:
    """Nominal work of one node in one call of the graph.

    - `name`: name of the node; names of the nodes around it, and a slash after each, are in front of it in a subgraph.
    - `operator`: its operator, with its domain where that is not ONNX's own: `com.microsoft.QGemm`.
    - `outputs`: names of its outputs, which identify the node also where it has no name.
    - `input_shapes`, `output_shapes`: None for an absent input, and for a shape that cannot be inferred.
    - `flops`: operations, 2 for each multiply-add; None where they cannot be counted, for the reason in `unknown`.
    - `layer`: the node multiplies by weights or activations. Its `flops` are these products alone.
    - `read_bytes`, `write_bytes`: bytes of inputs and outputs in the types of the file; None where they cannot be counted.
    - `reads`, `writes`: bytes of each of its inputs and outputs that have a name. A view of its first input has zeros.
    - `times`: number of times that the node runs in one call. `flops` and bytes are those of all times together.
    """

    name: str
    operator: str
    outputs: tuple[str, ...] = ()
    input_shapes: tuple[Shape | None, ...] = ()
    output_shapes: tuple[Shape | None, ...] = ()
    flops: int | None = None
    layer: bool = False
    read_bytes: int | None = None
    write_bytes: int | None = None
    reads: tuple[int | None, ...] = ()
    writes: tuple[int | None, ...] = ()
    times: int = 1
    unknown: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphWork:
    """Nominal work of one call.

    - `nodes`: in the order of the graph. Nodes that compute the same from every input are constants, and are left out.
    - `weight_bytes`: bytes of the weights that a call reads, each once. Of a table, those rows that the call gathers.
    - `input_bytes`, `output_bytes`: bytes of the graph's inputs and outputs.

    Bytes are those of the types in the file, and None where they cannot be counted.
    """

    nodes: tuple[NodeWork, ...] = ()
    weight_bytes: int | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None

    @property
    def layer_flops(self) -> int | None:
        """Operations of the nodes that multiply; None if one of those, or of unknown operators, cannot be counted."""
        if any(node.flops is None and node.layer for node in self.nodes):
            return None
        return None if self.unknown else sum(node.flops or 0 for node in self.nodes if node.layer)

    @property
    def least_bytes(self) -> int | None:
        """Bytes that a call moves at least: weights, inputs and outputs once, and nothing between the nodes."""
        parts = (self.weight_bytes, self.input_bytes, self.output_bytes)
        present = [part for part in parts if part is not None]
        return sum(present) if len(present) == len(parts) else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Operators whose operations cannot be counted, each with its reason, the most frequent first."""
        reasons = Counter(f"{node.operator}: {node.unknown}" for node in self.nodes if node.flops is None)
        return tuple(reason for reason, _ in reasons.most_common())


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Sums of a GraphWork, as a run stores them for a cell. None where they cannot be counted.

    `nodes`: number of nodes that run, without those that only rename or reshape a value. `unknown`: operators that are not
    counted, each with its reason.
    """

    layer_flops: int | None = None
    weight_bytes: int | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    nodes: int = 0
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, work: GraphWork) -> Workload:
        """Sums of `work`."""
        parts = (work.weight_bytes, work.input_bytes, work.output_bytes)
        weights, inputs, outputs = parts
        nodes = sum(node.times for node in work.nodes if node.flops or node.read_bytes or node.flops is None)
        sizes = {"weight_bytes": weights, "input_bytes": inputs, "output_bytes": outputs}
        return cls(layer_flops=work.layer_flops, **sizes, nodes=nodes, unknown=work.unknown)

    def least_bytes(self, weight_share: float = 1.0) -> float | None:
        """Bytes that a call moves at least. `weight_share`: of the weights' bytes, where a runtime stores them narrower."""
        if self.weight_bytes is None or self.input_bytes is None or self.output_bytes is None:
            return None
        return self.weight_bytes * weight_share + self.input_bytes + self.output_bytes
