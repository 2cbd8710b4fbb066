"""Nodes that an FP16 file keeps in FP32, because their values are beyond FP16's range. The jobs run in this process."""

from itertools import pairwise

import numpy as np
import onnx
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.models import onnx_file
from onnxbench.runners.worker import convert_jobs
from onnxbench.runners.worker.file_jobs import Convert
from onnxbench.runners.worker.jobs import Here
from onnxbench.runners.worker.serve import State
from onnxbench.spec import Conversion

SIZE = 8


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def halved(tmp_path):
    """The entry of the FP16 file that is made from a graph, and the nodes of that file by name."""

    def make(nodes, arrays, x=None, opset=17):
        tensors = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in arrays.items()]
        ends = [helper.make_tensor_value_info(name, Type.FLOAT, ["N", SIZE]) for name in "xy"]
        source = onnxfiles.write(tmp_path / "net.onnx", helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors), opset=opset)
        data = {}
        if x is not None:
            np.savez(tmp_path / "data.npz", x=np.asarray(x, np.float32))
            data = {"calibration": Here(path=str(tmp_path / "data.npz")), "calibrated_on": "data.npz"}
        job = Convert(artifact=onnx_file.describe(source, model="net"), precision="fp16", how=Conversion(), **data)
        entry = convert_jobs.convert(State(), lambda told: None, job)
        path = f"{entry.folder.path}/{entry.artifact.path}"
        onnx.checker.check_model(path, full_check=True)
        return entry.made, {node.name: node for node in onnx.load(path).graph.node}

    return make


def scaled(*factors, x="x", y="y"):
    """Products with one factor after the other, and the factors."""
    names = [x, *(f"v{number}" for number in range(len(factors) - 1)), y]
    nodes = [
        helper.make_node("Mul", [source, f"f{number}"], [target], f"mul{number}")
        for number, (source, target) in enumerate(pairwise(names))
    ]
    return nodes, {f"f{number}": factor for number, factor in enumerate(factors)}


def masked_softmax(scores):
    """A softmax of scores with the last three masked, and the mask."""
    nodes = [
        helper.make_node("Add", [scores, "mask"], ["masked"], "add"),
        helper.make_node("Softmax", ["masked"], ["y"], "softmax", axis=-1),
    ]
    return nodes, {"mask": np.where(np.arange(SIZE) < 5, 0, np.finfo(np.float32).min)}


@pytest.mark.parametrize("opset", [9, 17, 18, 21])
def test_nodes_around_a_large_value_stay_in_fp32(halved, opset):
    nodes, factors = scaled(1000.0, 1000.0, 1e-6, 0.5)
    made, nodes = halved(nodes, factors, opset=opset)
    assert made.in_float == ("mul1", "mul2")
    assert nodes["mul2"].input[0] == nodes["mul1"].output[0]  # no FP16 value is between them
    assert made.parity.sqnr_db > 50


def test_the_data_decide_which_values_are_large(halved):
    nodes, factors = scaled(100.0, 100.0, 1e-4)
    small, _ = halved(nodes, factors, x=np.ones((4, SIZE)))
    large, _ = halved(nodes, factors, x=np.full((4, SIZE), 30.0))
    assert (small.in_float, large.in_float) == ((), ("mul1", "mul2"))
    assert large.parity.sqnr_db > 50


def test_a_large_input_is_not_rounded_before_the_node_that_reads_it(halved):
    nodes, factors = scaled(1e-6, 2.0)
    made, nodes = halved(nodes, factors, x=np.linspace(1e5, 1e6, 4 * SIZE).reshape(4, SIZE))
    assert made.in_float == ("mul0",)
    assert nodes["mul0"].input[0] == "x"
    assert made.parity.sqnr_db > 50


def test_a_large_constant_keeps_its_value(halved):
    made, _ = halved(
        [helper.make_node("Div", ["x", "large"], ["y"], "div")], {"large": np.full(SIZE, 1e6)}, x=np.full((2, SIZE), 1e5)
    )
    assert made.in_float == ("div",)
    assert made.parity.sqnr_db > 50


def test_a_mask_of_lowest_numbers_stays_in_fp16(halved):
    made, _ = halved(*masked_softmax("x"))
    assert made.in_float == ()
    assert made.parity.sqnr_db > 50


def test_a_mask_beside_a_large_value_stays_in_fp16(halved):
    before, factors = scaled(1000.0, 1000.0, 1e-6, y="v")
    nodes, mask = masked_softmax("v")
    made, _ = halved([*before, *nodes], {**factors, **mask})
    assert made.in_float == ("mul1", "mul2")
    assert made.parity.sqnr_db > 50


def test_a_constant_that_others_read_too_is_large_for_one_node_alone(halved):
    nodes = [
        helper.make_node("Mul", ["x", "f"], ["a"], "small"),
        helper.make_node("Mul", ["a", "g"], ["b"], "up"),
        helper.make_node("Mul", ["b", "f"], ["c"], "large"),
        helper.make_node("Mul", ["c", "h"], ["y"], "down"),
    ]
    made, _ = halved(nodes, {"f": 100.0, "g": 100.0, "h": 1e-6}, x=np.ones((2, SIZE)))
    assert made.in_float == ("large", "down")
    assert made.parity.sqnr_db > 50
