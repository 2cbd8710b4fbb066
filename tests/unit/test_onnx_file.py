"""What is read from an ONNX file: its precision, from operators and bytes anywhere in it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.errors import BadInput
from onnxbench.models import onnx_file

value = helper.make_tensor_value_info
ORT = "com.microsoft"
SIZE, BLOCK = 64, 32


def array(name, shape, dtype=np.float32):
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, **attributes)


def write(path, nodes, tensors=(), outputs=("y",), functions=(), inputs=None):
    inputs = inputs or [value("x", Type.FLOAT, ["N", SIZE])]
    ends = [name if isinstance(name, onnx.ValueInfoProto) else value(name, Type.FLOAT, ["N", SIZE]) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, ends, tensors)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid(ORT, 1), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9, functions=functions), path)
    return path


def packed(level):
    """MatMulNBits with weights in 4 bits, and its `accuracy_level`."""
    facts = {"K": SIZE, "N": SIZE, "bits": 4, "block_size": BLOCK, "accuracy_level": level}
    weights = [array("b", (SIZE, SIZE // BLOCK, BLOCK // 2), np.uint8), array("s", SIZE * SIZE // BLOCK)]
    return [node("MatMulNBits", ["x", "b", "s"], ["p"], domain=ORT, **facts)], weights


def dense(name, dtype, source="x", target="y"):
    weights = array(name, (SIZE, SIZE), dtype)
    if dtype == np.float32:
        return [node("MatMul", [source, name], [target])], [weights]
    return [node("Cast", [name], [f"{name}~"], to=Type.FLOAT), node("MatMul", [source, f"{name}~"], [target])], [weights]


def precision(path):
    return onnx_file.describe(path, model="net").precision


@pytest.mark.parametrize("level", [0, 1, 4])
def test_weights_in_4_bits_are_int8(tmp_path, level):
    nodes, tensors = packed(level)
    assert precision(write(tmp_path / "m.onnx", [*nodes, node("Relu", ["p"], ["y"])], tensors)) == "int8"


@pytest.mark.parametrize(("level", "name"), [(0, "fp32"), (4, "int8")])
def test_a_few_packed_weights_beside_floats_count_where_activations_have_8_bits(tmp_path, level, name):
    nodes, tensors = packed(level)
    more, weights = dense("k", np.float32, "p", "y")
    assert precision(write(tmp_path / "m.onnx", [*nodes, *more], [*tensors, *weights])) == name


@pytest.mark.parametrize(("dtype", "name"), [(np.float32, "fp32"), (np.float16, "fp16"), (np.int8, "int8"), (np.uint8, "int8")])
def test_most_bytes_of_the_weights_decide(tmp_path, dtype, name):
    nodes, tensors = dense("k", dtype)
    assert precision(write(tmp_path / "m.onnx", nodes, tensors)) == name


def test_bytes_count_and_not_tensors(tmp_path):
    small = [array(f"half{number}", 1, np.float16) for number in range(9)]
    nodes, tensors = dense("k", np.float32)
    assert precision(write(tmp_path / "m.onnx", nodes, [*tensors, *small])) == "fp32"


def test_bytes_that_are_no_weights_do_not_count(tmp_path):
    nodes = [node("Shape", ["table"], ["s"]), *dense("k", np.float32, target="y")[0]]
    tensors = [array("table", (500, 500), np.uint8), *dense("k", np.float32)[1]]
    assert precision(write(tmp_path / "m.onnx", nodes, tensors)) == "fp32"


PAIR = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]


def inside(kind, nodes):
    """`nodes`, from x to y, in a branch of If, in a Loop or in a function; with the functions and the constants."""
    if kind == "function":
        body = helper.make_function("own", "Inner", ["x", "s"], ["y"], nodes, [helper.make_opsetid("", 17)])
        return [node("Inner", ["x", "s"], ["y"], domain="own")], [body], []
    end = value("y", Type.FLOAT, None)
    if kind == "branch":
        graph = helper.make_graph(nodes, "branch", [], [end])
        other = helper.make_graph([node("Identity", ["x"], ["y"])], "other", [], [end])
        return [node("If", ["c"], ["y"], then_branch=graph, else_branch=other)], [], [numpy_helper.from_array(np.True_, "c")]
    ends = [value("i", Type.INT64, []), value("go", Type.BOOL, [])]
    body = helper.make_graph([*nodes, node("Identity", ["go"], ["go2"])], "body", ends, [value("go2", Type.BOOL, []), end])
    more = [node("Loop", ["n", ""], ["all"], body=body), node("ReduceMax", ["all"], ["y"], axes=[0], keepdims=0)]
    return more, [], [numpy_helper.from_array(np.array(1, np.int64), "n")]


@pytest.mark.parametrize("kind", ["branch", "loop", "function"])
def test_pairs_in_subgraphs_and_functions_make_a_file_int8(tmp_path, kind):
    nodes, functions, tensors = inside(kind, PAIR)
    tensors = [numpy_helper.from_array(np.float32(0.1), "s"), *tensors]
    assert precision(write(tmp_path / "m.onnx", nodes, tensors, functions=functions)) == "int8"


@pytest.mark.parametrize("kind", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "DynamicQuantizeLSTM"])
def test_operators_of_onnx_runtime_in_8_bits_make_a_file_int8(tmp_path, kind):
    nodes = [node(kind, ["x", "k", "s"], ["y"], domain=ORT)]
    tensors = [array("k", (SIZE, SIZE), np.int8), numpy_helper.from_array(np.float32(0.1), "s")]
    assert precision(write(tmp_path / "m.onnx", nodes, tensors)) == "int8"


def test_weights_in_constant_nodes_count(tmp_path):
    constant = node("Constant", [], ["k"], value=array("", (SIZE, SIZE), np.float16))
    nodes = [constant, node("Cast", ["x"], ["h"], to=Type.FLOAT16), node("MatMul", ["h", "k"], ["z"])]
    assert precision(write(tmp_path / "m.onnx", [*nodes, node("Cast", ["z"], ["y"], to=Type.FLOAT)])) == "fp16"


def unsorted(path):
    nodes = [node("MatMul", ["h", "k"], ["y"]), node("Relu", ["x"], ["h"])]
    return write(path, nodes, [array("k", (SIZE, SIZE))])


def without_shape(path):
    return write(path, *dense("k", np.float32), outputs=[value("y", Type.FLOAT, None)])


@pytest.mark.parametrize("make", [unsorted, without_shape])
def test_a_file_that_the_checker_alone_refuses_is_described_with_the_reason(tmp_path, make):
    path = make(tmp_path / "m.onnx")
    assert onnx_file.describe(path, model="net", strict=False).invalid
    with pytest.raises(BadInput, match=r"onnx\.checker"):
        onnx_file.describe(path, model="net")


def test_a_valid_file_has_no_such_reason(tmp_path):
    assert onnx_file.describe(write(tmp_path / "m.onnx", *dense("k", np.float32)), model="net").invalid is None
