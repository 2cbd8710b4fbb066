"""Conversion of a file from FP32 to FP16. Inputs and outputs keep their types. onnx and ONNX Runtime's converter, inside
functions; run in a worker.

ONNX Runtime's converter, with a topological sort after it, converts more real graphs than other converters (docs/adr/0010).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, installed, one_line
from . import graph, overflow, shape_nodes
from .repair import graphs, sort_nodes

if TYPE_CHECKING:
    import onnx


def convert(source: Path, target: Path, feeds: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Write the FP32 file `source` to `target` in FP16. `BadInput` if the conversion fails or changes nothing.

    Returns the names of the nodes that compute in FP32, because values are beyond FP16's range with `feeds`: arrays of each
    call by input name. Other values beyond the range are clipped to it. The parity with FP32 shows the resulting error.
    """
    with installed("ONNX Runtime's converter", "pip install 'onnxbench[ort]'"):
        from onnxruntime.transformers.float16 import convert_float_to_float16
    model = graph.load(source)
    try:
        beyond = overflow.find_overflows(model, feeds)
    except Exception as error:  # whatever onnx and the runtime raise
        raise BadInput(f"the fp32 file {source.name} cannot be run ({one_line(error)})", "run it in FP32") from error
    in_float = [*dict.fromkeys((*shape_nodes.find_shape_nodes(model.graph), *beyond))]
    shape_nodes.split_constants(model.graph, in_float)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one warning for each clipped weight
            options = {"disable_shape_infer": graph.is_large(model), "node_block_list": in_float}
            halved = convert_float_to_float16(model, keep_io_types=True, **options)
        del halved.graph.value_info[:]  # the converter leaves some of these types as FP32
        _join_floats(halved.graph, in_float)
        # Without the sort, onnx.checker refuses the file: the converter appends its Cast nodes at the end. The sort of ONNX
        # Runtime does not know the values that a subgraph captures.
        for part in graphs(halved.graph):
            sort_nodes(part)
    except Exception as error:  # the converter's errors have no common base
        raise BadInput(f"{source.name} cannot be converted to FP16 ({one_line(error)})", "run it in FP32") from error
    if not _has_halves(halved.graph):
        raise BadInput(
            f"{source.name} holds nothing in FP32, so FP16 would change nothing", "run the file as it is, without fp16"
        )
    graph.save(halved, target)
    return tuple(beyond)


def _join_floats(converted: onnx.GraphProto, names: Sequence[str]) -> None:
    """Connect the nodes called `names`, which compute in FP32, without the FP16 values that the converter puts between them.

    The same holds for inputs of the graph. A size above 2048 is no whole number in FP16.
    """
    makers = {name: node for node in converted.node for name in node.output}
    own = set(names)
    exact = {value.name for value in converted.input} | {name for name, node in makers.items() if node.name in own}

    def original(name: str) -> str:
        """The FP32 value behind a Cast to FP16 and a Cast back."""
        back = makers.get(name)
        half = makers.get(back.input[0]) if back is not None and back.op_type == "Cast" else None
        return half.input[0] if half is not None and half.op_type == "Cast" and half.input[0] in exact else name

    for node in converted.node:
        if node.name in own:
            node.input[:] = [original(name) for name in node.input]


def _has_halves(converted: onnx.GraphProto) -> bool:
    """True if the graph has FP16 anywhere: a weight, a constant, or the result of a Cast."""
    import onnx

    half = onnx.TensorProto.FLOAT16
    attributes = [attribute for node in converted.node for attribute in node.attribute]
    casts = any(attribute.name == "to" and attribute.i == half for attribute in attributes)
    constants = any(attribute.HasField("t") and attribute.t.data_type == half for attribute in attributes)
    return casts or constants or any(tensor.data_type == half for tensor in converted.initializer)
