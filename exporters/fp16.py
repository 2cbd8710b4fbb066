"""FP32 -> FP16: weights and arithmetic in half precision, inputs and outputs as they were. onnx and ONNX Runtime's
converter, inside functions; run in a worker.

ONNX Runtime's converter, with a topological sort after it, converts more real graphs than others (docs/adr/0010).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, installed, one_line
from . import graph

if TYPE_CHECKING:
    import onnx


def convert(source: Path, target: Path) -> None:
    """Write the FP32 file `source` to `target` in FP16. `BadInput` if that changes nothing, or cannot be done.

    Values beyond FP16's range (65504) are clipped to it: what that costs shows in the parity with FP32.
    """
    with installed("ONNX Runtime's converter", "pip install 'onnxbench[ort]'"):
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    model = graph.load(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each weight that is clipped
            halved = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=graph.is_large(model))
        del halved.graph.value_info[:]  # the converter leaves some of them in FP32
        OnnxModel(halved).topological_sort()
    except Exception as error:  # the converter raises whatever it meets
        raise BadInput(f"{source.name} cannot be converted to FP16 ({one_line(error)})", "run it in FP32") from error
    if not _has_halves(halved.graph):
        raise BadInput(f"{source.name} holds nothing in FP32, so FP16 would change nothing", "run it as it is")
    graph.save(halved, target)


def _has_halves(converted: onnx.GraphProto) -> bool:
    """Whether anything in the graph is FP16: a weight, a constant, or what a Cast makes."""
    import onnx

    half = onnx.TensorProto.FLOAT16
    attributes = [attribute for node in converted.node for attribute in node.attribute]
    casts = any(attribute.name == "to" and attribute.i == half for attribute in attributes)
    constants = any(attribute.HasField("t") and attribute.t.data_type == half for attribute in attributes)
    return casts or constants or any(tensor.data_type == half for tensor in converted.initializer)
