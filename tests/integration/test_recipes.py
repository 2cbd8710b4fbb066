"""Graphs that the recipes of exporters/derive make, held against those that they made when their revisions were set.

Weights and inputs are small whole numbers, so that sums are exact and every machine comes to the same ranges.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.exporters.calibration import METHODS
from onnxbench.exporters.derive import RECIPES
from onnxbench.exporters.schemes import SCHEMES
from onnxbench.spec import Conversion

from .conftest import REQUIRED

PINNED = json.loads((Path(__file__).parents[1] / "data/recipes.json").read_text())
WAYS = {
    "fp16": ("fp16", ()),
    **{f"int8 {scheme} minmax": ("int8", Conversion(scheme=scheme, method="minmax").options) for scheme in SCHEMES},
    **{f"int8 portable {method}": ("int8", Conversion(scheme="portable", method=method).options) for method in METHODS},
    "int8 without conv": ("int8", Conversion(scheme="portable", method="minmax", exclude=("conv",)).options),
    "opset 17": ("opset", (("opset", "17"),)),
}


def whole(*shape):
    """Whole numbers from -3 to 3."""
    return ((np.arange(np.prod(shape)) * 5) % 7 - 3).reshape(shape).astype(np.float32)


def network():
    arrays = {"conv.w": whole(4, 2, 3, 3), "conv.b": whole(4), "fc.w": whole(4, 3), "fc.b": whole(3)}
    arrays |= {"next.w": whole(4, 4, 1, 1), "gain": whole(1, 4, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "conv.w", "conv.b"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["m"], "max_pool", kernel_shape=[2, 2]),
        helper.make_node("Mul", ["m", "gain"], ["g"], "mul"),
        helper.make_node("Conv", ["g", "next.w"], ["n"], "next"),
        helper.make_node("Add", ["n", "m"], ["s"], "add"),
        helper.make_node("GlobalAveragePool", ["s"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], "fc"),
    ]
    ends = onnxfiles.value("x", Type.FLOAT, ["N", 2, 6, 6]), onnxfiles.value("y", Type.FLOAT, ["N", 3])
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)


def of_opset_20():
    """Operators that opset 17 lacks, or has with other parameters."""
    arrays = {"axes": np.array([2, 3]), "gain": whole(2), "offset": whole(2), "sizes": np.array([8, 8])}
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"], "gelu"),
        helper.make_node("GroupNormalization", ["g", "gain", "offset"], ["n"], "norm", num_groups=1),
        helper.make_node("Resize", ["n", "", "", "sizes"], ["r"], "resize", axes=[2, 3]),
        helper.make_node("Split", ["r"], ["s", "t"], "split", num_outputs=2, axis=1),
        helper.make_node("Mish", ["s"], ["m"], "mish"),
        helper.make_node("Add", ["m", "t"], ["p"], "add"),
        helper.make_node("ReduceMean", ["p", "axes"], ["y"], "mean", keepdims=0),
    ]
    ends = onnxfiles.value("x", Type.FLOAT, ["N", 2, 6, 6]), onnxfiles.value("y", Type.FLOAT, ["N", 1])
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)


def told(node):
    """The attributes of a node as texts."""
    return sorted(f"{attribute.name}={helper.get_attribute_value(attribute)}" for attribute in node.attribute)


def graph_hash(path):
    """A hash of the nodes and the constants, whatever else is in the file."""
    graph = onnx.load(path).graph
    nodes = [[node.op_type, node.name, *node.input, "->", *node.output, "of", *told(node)] for node in graph.node]
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants = [[name, array.dtype.name, array.shape, array.tobytes().hex()] for name, array in sorted(arrays.items())]
    return hashlib.sha256(json.dumps([nodes, constants]).encode()).hexdigest()


@pytest.fixture
def made(tmp_path):
    """The hash of the graph that a recipe makes."""

    def of(way):
        recipe, options = WAYS[way]
        graph, opset = (of_opset_20(), 21) if recipe == "opset" else (network(), 17)
        source, target = onnxfiles.write(tmp_path / "net.onnx", graph, opset=opset), tmp_path / "made.onnx"
        RECIPES[recipe].make(Path(source), target, options, [{"x": whole(8, 2, 6, 6)}])
        return graph_hash(target)

    return of


def test_every_recipe_is_pinned_at_its_revision():
    assert {name: recipe.revision for name, recipe in RECIPES.items()} == PINNED["revisions"]
    assert {recipe for recipe, _ in WAYS.values()} == set(RECIPES)
    assert set(WAYS) == set(PINNED["graphs"])


@pytest.mark.parametrize("way", WAYS)
def test_what_a_recipe_makes_changes_with_its_revision_alone(made, way):
    here = {name: version(name) for name in PINNED["versions"]}
    if here != PINNED["versions"]:
        refuse = pytest.fail if "ort-cpu" in REQUIRED else pytest.skip
        refuse(f"pinned with {PINNED['versions']}, and here is {here}")
    found = made(way)
    assert found == PINNED["graphs"][way], (
        f"{way} makes another graph, {found}: raise the revision and pin both (tests/data/README.md)"
    )
