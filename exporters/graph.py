"""Reader and writer of whole ONNX graphs, for conversions. onnx, inside functions; run in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .repair import graphs, repair

if TYPE_CHECKING:
    import onnx

LEAST_IR = 4  # first version of the format in which weights need not be inputs
LARGE = 1_900_000_000  # bytes of weights: protobuf's limit is 2 GB for the whole message


def load(path: Path) -> onnx.ModelProto:
    """Load the model at `path` with its weights, and repair it. Every node has a unique name, and no weight is an input."""
    import onnx

    model = repair(onnx.load(str(path)))
    model.ir_version = max(model.ir_version, LEAST_IR)
    _name_nodes(model.graph)
    return model


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give a new name to each node without a name, and to each node with the name of an earlier node."""
    names: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in names:
            node.name = f"{node.name or node.op_type}_{number}"
        names.add(node.name)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write `model` to `path`. The weights of a large model go into the file `path`.data beside it."""
    import onnx

    if is_large(model):
        onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data")
    else:
        onnx.save(model, str(path))


def is_external(path: Path) -> bool:
    """True for a file whose weights `save` wrote beside it."""
    return path.with_name(f"{path.name}.data").exists()


def is_large(model: onnx.ModelProto) -> bool:
    """True if `model` is too large for one file."""
    tensors = [tensor for graph in graphs(model.graph) for tensor in graph.initializer]
    tensors += [attribute.t for graph in graphs(model.graph) for node in graph.node for attribute in node.attribute]
    return sum(len(tensor.raw_data) + 4 * len(tensor.float_data) for tensor in tensors) > LARGE


def opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's standard operators in `model`; 0 if the model does not use them."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
