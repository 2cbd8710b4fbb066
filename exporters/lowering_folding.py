"""Small values that a graph computes from constants and from known shapes, such as the axes of a reduction.

NumPy; onnx inside functions. Run in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]
FOLDED = {
    *("Add", "Cast", "Concat", "Div", "Equal", "Gather", "Identity", "Mul"),
    *("Neg", "Range", "Reshape", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where"),
}


def evaluate(node: onnx.NodeProto, arrays: Mapping[str, Array], opset: int) -> Array | None:
    """The first output of `node` for constant inputs; None if it cannot be computed."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    ends = [helper.make_empty_tensor_value_info(node.output[0])]
    model = helper.make_model(
        helper.make_graph([node], "fold", [], ends, tensors), opset_imports=[helper.make_opsetid("", opset)]
    )
    try:
        outputs: Any = ReferenceEvaluator(model).run(None, {})
    except Exception:  # of values that do not fit the operator: the node then stays as it is
        return None
    return np.asarray(outputs[0])


def of_shape(node: onnx.NodeProto, shape: Sequence[int | None] | None) -> Array | None:
    """The output of a Shape or Size node for an input of `shape`; None if a dimension that it needs is open."""
    if shape is None:
        return None
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    part = [dim for dim in shape[ends.get("start", 0) : ends.get("end")] if dim is not None]
    if len(part) < len(shape[ends.get("start", 0) : ends.get("end")]):
        return None
    return np.asarray(part, np.int64) if node.op_type == "Shape" else np.asarray(np.prod(part, dtype=np.int64))
