"""Reading and writing whole ONNX graphs, for what makes a new file from one. onnx, inside functions; run in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

LEAST_IR = 4  # from which on weights need not be inputs
LARGE = 1_900_000_000  # bytes: protobuf's limit is 2 GB, and a graph has more than weights


def load(path: Path) -> onnx.ModelProto:
    """The model at `path` with its weights, every node with a name of its own and no weight among the inputs."""
    import onnx

    model = onnx.load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, LEAST_IR)
    _name_nodes(model.graph)
    return model


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give a name to nodes without one, and another to those whose name is taken."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{number}"
        taken.add(node.name)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write `model` to `path`, its weights into `path`.data beside it where one file cannot hold them."""
    import onnx

    if is_large(model):
        onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data")
    else:
        onnx.save(model, str(path))


def is_large(model: onnx.ModelProto) -> bool:
    """Whether `model` is too large for one file."""
    return sum(len(tensor.raw_data) + 4 * len(tensor.float_data) for tensor in model.graph.initializer) > LARGE


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that `model` uses; 0 for none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
