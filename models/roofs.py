"""Graphs that measure a machine and not a model: a matrix product, a sum of large arrays, and a chain of tiny products.

Their rows are the roofs of the other rows (docs/roof.md). NumPy, onnx and torch, inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec import PRECISIONS, Artifact, Source, TensorSpec
from ..work import COMPUTE, MEMORY, NODES
from . import onnx_file

if TYPE_CHECKING:
    from torch import nn

CPU_SIDE, GPU_SIDE = 1024, 4096  # of the square matrices: a product then takes some ms on each
CHAIN_LENGTH, CHAIN_SIDE = 32, 4
OPSET, IR = 17, 8  # every runtime takes this opset
MEGABYTE = 1 << 20
INPUTS = ("roof_x", "roof_y")  # no array of the user is for these names


@dataclass(frozen=True, kw_only=True, slots=True)
class RoofGraph:
    """A graph of one `kind` in one precision. `size`: side of the matrices, bytes of all arrays, or number of nodes."""

    kind: str
    size: int
    precision: str = "fp32"

    @property
    def name(self) -> str:
        """Name of the model in its rows."""
        return {
            COMPUTE: f"roof-product-{self.size}",
            MEMORY: f"roof-sum-{self.size // MEGABYTE}MB",
            NODES: f"roof-chain-{self.size}",
        }[self.kind]

    @property
    def factory(self) -> str:
        """Factory of the same graph in PyTorch; empty in INT8, which eager PyTorch does not compute."""
        factory = {COMPUTE: f"product_{self.size}", MEMORY: "total", NODES: "chain"}[self.kind]
        return "" if self.precision == "int8" else f"{__name__}:{factory}"


def _product(side: int) -> nn.Module:
    from torch import nn

    return nn.Linear(side, side, bias=False)


def product_1024() -> nn.Module:
    """Product of x [1024, 1024] with a matrix."""
    return _product(CPU_SIDE)


def product_4096() -> nn.Module:
    """Product of x [4096, 4096] with a matrix."""
    return _product(GPU_SIDE)


def total() -> nn.Module:
    """Sum of two arrays of one shape."""
    from torch import nn

    class Total(nn.Module):  # type: ignore[misc]  # PyTorch has no hints here
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    return Total()


def chain() -> nn.Module:
    """CHAIN_LENGTH products of x [4, 4] with tiny matrices, each of which needs the one before."""
    from torch import nn

    return nn.Sequential(*(nn.Linear(CHAIN_SIDE, CHAIN_SIDE, bias=False) for _ in range(CHAIN_LENGTH)))


def write(graph: RoofGraph, folder: Path) -> Artifact:
    """Write the ONNX file of `graph` into `folder`, and describe it. The same graph always gives the same bytes."""
    import onnx

    path = folder / f"{graph.name}.{graph.precision}.onnx"
    onnx.save(_model(graph), str(path))
    artifact = onnx_file.describe(path, model=graph.name)
    source = Source(factory=graph.factory) if graph.factory else None
    file = PRECISIONS[graph.precision].file
    return Artifact(**{**_fields(artifact), "precision": file, "source": source})


def _fields(artifact: Artifact) -> dict[str, Any]:
    from dataclasses import fields

    return {item.name: getattr(artifact, item.name) for item in fields(artifact)}


def inputs_of(graph: RoofGraph) -> tuple[TensorSpec, ...]:
    """Inputs of the graph, all of a fixed shape."""
    dtype = "float16" if graph.precision == "fp16" else "float32"
    shapes = {
        COMPUTE: ((graph.size, graph.size),),
        MEMORY: ((graph.size // (3 * 4 * 1024), 1024),) * 2,  # two arrays are read, one is written
        NODES: ((CHAIN_SIDE, CHAIN_SIDE),),
    }[graph.kind]
    return tuple(TensorSpec(name=name, dtype=dtype, shape=shape) for name, shape in zip(INPUTS, shapes))


def _model(graph: RoofGraph) -> Any:
    import numpy as np
    from onnx import helper, numpy_helper

    specs = inputs_of(graph)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(specs[0].dtype))
    ends = [helper.make_tensor_value_info(spec.name, kind, spec.shape) for spec in specs]
    output = helper.make_tensor_value_info("result", kind, specs[0].shape)
    nodes, weights = _content(graph, specs[0])
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    body = helper.make_graph(nodes, graph.kind, ends, [output], tensors)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _content(graph: RoofGraph, spec: TensorSpec) -> tuple[list[Any], dict[str, Any]]:
    """Nodes from the inputs to `result`, and weights by name."""
    import numpy as np
    from onnx import helper

    random = np.random.default_rng(0)
    if graph.kind == MEMORY:
        return [helper.make_node("Add", [*INPUTS], ["result"])], {}
    side = CHAIN_SIDE if graph.kind == NODES else graph.size
    if graph.precision == "int8":
        return _quantized(random.integers(-127, 128, (side, side)).astype(np.int8))
    count = CHAIN_LENGTH if graph.kind == NODES else 1
    scale = side**-0.5  # keeps the values of a product near those of its input
    weights = {f"w{number}": (scale * random.standard_normal((side, side))).astype(spec.dtype) for number in range(count)}
    names = [INPUTS[0], *(f"v{number}" for number in range(1, count)), "result"]
    nodes = [
        helper.make_node("MatMul", [names[number], f"w{number}"], [names[number + 1]], name=f"product{number}")
        for number in range(count)
    ]
    return nodes, weights


def _quantized(weights: Any) -> tuple[list[Any], dict[str, Any]]:
    """A product between Q/DQ pairs, in the portable scheme: signed and symmetric."""
    import numpy as np
    from onnx import helper

    constants = {"w": weights, "scale": np.float32(0.05), "w_scale": np.float32(0.001), "zero": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", [INPUTS[0], "scale", "zero"], ["x8"], name="quantize"),
        helper.make_node("DequantizeLinear", ["x8", "scale", "zero"], ["xf"], name="dequantize"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "zero"], ["wf"], name="weights"),
        helper.make_node("MatMul", ["xf", "wf"], ["r"], name="product"),
        helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["r8"], name="quantize_result"),
        helper.make_node("DequantizeLinear", ["r8", "scale", "zero"], ["result"], name="result"),
    ]
    return nodes, {name: np.asarray(array) for name, array in constants.items()}
