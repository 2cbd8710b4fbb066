import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.models.quantized import count_layers, find_obstacle, quantized_nodes

SCALE, ZERO = np.float32(0.1), np.int8(0)
PER_CHANNEL = np.array([0.1, 0.2], np.float32)


def quantize(source, target, *more, scale="scale", zero="zero", **how):
    return helper.make_node("QuantizeLinear", [source, scale, *filter(None, (zero, *more))], [target], f"q {target}", **how)


def dequantize(source, target, scale="scale", zero="zero", **how):
    return helper.make_node("DequantizeLinear", [source, scale, *filter(None, (zero,))], [target], f"dq {target}", **how)


def operator(kind, *ends, **how):
    return helper.make_node(kind, ends[:-1], ends[-1:], f"{kind} of {ends[0]}", **how)


def make(*nodes, **constants):
    """A graph of `nodes` and constants, of which scale, zero and w are there if they are not given."""
    given = {"scale": SCALE, "zero": ZERO, "w": np.zeros((4, 2), np.int8), **constants}
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in given.items()]
    return helper.make_graph(nodes, "g", [], [], tensors)


AROUND = (quantize("x", "x8"), dequantize("x8", "x~"), dequantize("w", "w~"))
DENSE = (*AROUND, operator("MatMul", "x~", "w~", "y"))


def test_symmetric_signed_pairs_are_no_obstacle():
    assert find_obstacle(make(*DENSE)) is None


def test_weights_with_a_scale_for_each_channel_are_no_obstacle():
    weights = dequantize("w", "w~", scale="scales", zero="zeros", axis=1)
    assert find_obstacle(make(*AROUND[:2], weights, scales=PER_CHANNEL, zeros=np.zeros(2, np.int8))) is None


@pytest.mark.parametrize(
    "node",
    [
        dequantize("w", "w~", zero=None),
        dequantize("computed", "x~", zero=None),
        quantize("x", "x8", zero=None, output_dtype=Type.INT8),
    ],
    ids=["weights", "activations", "said"],
)
def test_signed_values_need_no_zero_point(node):
    assert find_obstacle(make(node)) is None


def test_scales_may_come_from_constant_nodes():
    values = {"s": SCALE, "z": ZERO}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array)))
        for name, array in values.items()
    ]
    assert (
        find_obstacle(make(*nodes, quantize("x", "x8", scale="s", zero="z"), dequantize("x8", "y", scale="s", zero="z")))
        is None
    )


def test_a_graph_without_8_bits_has_no_obstacle():
    assert find_obstacle(make(operator("MatMul", "x", "w", "y"))) is None


BIAS = np.zeros(2, np.int32)
ASYMMETRIC = {"zeros": np.array([0, 3], np.int8), "scales": PER_CHANNEL}


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (make(operator("QLinearConv", "x", "y")), "QLinearConv of x is an integer operator, QLinearConv, not a Q/DQ pair"),
        (make(helper.make_node("MatMulInteger", ["x", "w"], ["y"])), "MatMulInteger is an integer operator"),
        (make(operator("DynamicQuantizeLinear", "x", "x8")), "is an integer operator, DynamicQuantizeLinear"),
        (make(quantize("x", "x8", domain="com.microsoft")), "q x8 is QuantizeLinear of com.microsoft"),
        (make(dequantize("w", "w~", domain="com.microsoft")), "dq w~ is DequantizeLinear of com.microsoft"),
        (make(dequantize("b", "b~", zero=None), b=BIAS), "dq b~ dequantizes a 32-bit bias"),
        (make(dequantize("b", "b~", zero="zeros"), b=BIAS, zeros=BIAS), "dq b~ dequantizes a 32-bit bias"),
        (make(quantize("x", "x8", scale="computed")), "q x8 computes its scale"),
        (make(dequantize("w", "w~", scale="computed")), "dq w~ computes its scale"),
        (make(quantize("x", "x8", zero=None)), "q x8 uses uint8, not int8"),
        (make(quantize("x", "x8", zero=None, output_dtype=Type.UINT16)), "q x8 uses uint16, not int8"),
        (make(dequantize("u", "u~", zero=None), u=np.zeros(2, np.uint8)), "dq u~ uses uint8, not int8"),
        (make(quantize("x", "x8"), zero=np.uint8(0)), "q x8 uses uint8, not int8"),
        (make(dequantize("w", "w~"), zero=np.int16(0)), "dq w~ uses int16, not int8"),
        (make(quantize("x", "x8"), zero=np.int8(-3)), "q x8 has a zero point other than 0"),
        (make(dequantize("w", "w~", "scales", "zeros", axis=1), **ASYMMETRIC), "dq w~ has a zero point other than 0"),
    ],
)
def test_what_symmetric_runtimes_refuse_is_named(graph, why):
    assert why in find_obstacle(graph)


def test_the_first_obstacle_is_told():
    graph = make(*AROUND, dequantize("b", "b~", zero=None), operator("QLinearConv", "x", "y"), b=BIAS)
    assert "bias" in find_obstacle(graph)


@pytest.mark.parametrize(
    ("zeros", "why"), [(np.zeros(2, np.int8), None), (ASYMMETRIC["zeros"], "has a zero point other than 0")]
)
def test_zero_points_may_be_in_a_file_of_their_own(tmp_path, zeros, why):
    made = make(dequantize("w", "w~", "scales", "zeros", axis=1), scales=PER_CHANNEL, zeros=zeros)
    made.output.append(helper.make_tensor_value_info("w~", Type.FLOAT, [4, 2]))
    how = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save(helper.make_model(made), tmp_path / "q.onnx", **how)
    found = find_obstacle(onnx.load(tmp_path / "q.onnx", load_external_data=False).graph, tmp_path)
    assert found == why or why in found


@pytest.mark.parametrize(
    ("nodes", "counts"),
    [
        (DENSE, (1, 0)),
        ([operator("MatMul", "x", "w", "y")], (0, 1)),
        ([AROUND[2], operator("MatMul", "x", "w~", "y")], (0, 1)),
        ([*AROUND[:2], operator("MatMul", "x~", "w", "y")], (0, 1)),
        ([*AROUND, operator("Gemm", "x~", "w~", "bias", "y")], (1, 0)),
        ([*AROUND, operator("Conv", "x~", "w~", "y"), operator("ConvTranspose", "y", "w~", "z")], (1, 1)),
        ([operator("QLinearConv", "x", "y"), operator("QLinearMatMul", "y", "z")], (2, 0)),
        ([operator("DynamicQuantizeLinear", "x", "x8"), operator("MatMulInteger", "x8", "w", "y")], (1, 0)),
        ([*AROUND, operator("LSTM", "x~", "w", "y")], (0, 1)),
        ([operator("Relu", "x", "y"), operator("Add", "y", "y", "z")], (0, 0)),
        ([], (0, 0)),
    ],
    ids=[
        "both",
        "neither",
        "weights",
        "activations",
        "gemm",
        "a pair between",
        "fused",
        "dynamic",
        "recurrent",
        "none",
        "empty",
    ],
)
def test_layers_are_counted_by_whether_both_factors_are_8_bits(nodes, counts):
    assert count_layers(make(*nodes)) == counts


def test_counting_the_layers_of_a_large_graph_takes_no_time():
    made = helper.make_graph([operator("MatMul", f"v{i}", "w", f"v{i + 1}") for i in range(2000)], "g", [], [])
    began = time.perf_counter()
    assert count_layers(made) == (0, 2000)
    assert time.perf_counter() - began < 0.5


def test_pairs_on_both_sides_make_a_product_of_activations_a_layer_in_8_bits():
    other = (quantize("k", "k8"), dequantize("k8", "k~"))
    assert count_layers(make(*AROUND[:2], *other, operator("MatMul", "x~", "k~", "y"))) == (1, 0)


def test_the_nodes_between_pairs_are_named_in_order_with_whether_they_are_layers():
    graph = make(
        operator("Sin", "a", "x"),
        *DENSE,
        operator("Relu", "y", "r"),
        quantize("r", "r8"),
        dequantize("r8", "r~"),
        operator("MaxPool", "r~", "p"),
        operator("Cos", "p", "z"),
    )
    assert quantized_nodes(graph) == [
        ("Sin of a", False),
        ("MatMul of x~", True),
        ("Relu of y", False),
        ("MaxPool of r~", False),
    ]


def test_pairs_one_behind_the_other_are_no_nodes_between_pairs():
    again = quantize("x~", "again8"), dequantize("again8", "again~")
    assert quantized_nodes(make(*AROUND, *again, operator("MatMul", "again~", "w~", "y"))) == [("MatMul of again~", True)]


def test_a_graph_without_pairs_has_no_quantized_nodes():
    assert quantized_nodes(make(operator("MatMul", "x", "w", "y"))) == []


def branch(name, *nodes, **constants):
    """A graph without inputs, for an attribute of If."""
    tensors = [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()]
    ends = [helper.make_tensor_value_info(nodes[-1].output[0], Type.FLOAT, None)]
    return helper.make_graph(nodes, name, [], ends, tensors)


def choice(then, other):
    return helper.make_node("If", ["condition"], ["z"], "if", then_branch=then, else_branch=other)


def function(*nodes, name="Dense", domain="own"):
    return helper.make_function(domain, name, ["x", "w"], [nodes[-1].output[0]], nodes, [helper.make_opsetid("", 17)])


INTEGER_DENSE = (dequantize("w8", "w~"), operator("MatMul", "x~", "w~", "y1"))


def test_layers_in_branches_see_the_constants_and_the_pairs_around_them():
    inner = branch("then", *INTEGER_DENSE, w8=np.zeros((4, 2), np.int8))
    graph = make(*AROUND[:2], choice(inner, branch("else", operator("MatMul", "x", "w", "y2"))))
    assert count_layers(graph) == (1, 1)
    assert find_obstacle(graph) is None


def test_an_integer_operator_in_a_branch_is_an_obstacle():
    inner = branch("then", operator("MatMulInteger", "x8", "w", "y1"))
    assert "MatMulInteger" in find_obstacle(make(choice(inner, inner)))


def test_the_layers_of_a_function_count_at_each_call():
    own = function(operator("MatMul", "x", "w", "a"), operator("Gemm", "a", "w", "b"))
    calls = [helper.make_node("Dense", ["x", "w"], [f"y{number}"], domain="own") for number in range(3)]
    assert count_layers(make(*calls), [own]) == (0, 6)


def test_functions_that_call_themselves_are_counted_in_no_time():
    own = function(*[helper.make_node("Dense", ["x", "w"], [f"a{number}"], domain="own") for number in range(9)])
    assert count_layers(make(helper.make_node("Dense", ["x", "w"], ["y"], domain="own")), [own]) == (0, 0)


@pytest.mark.parametrize("kind", ["DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "MatMulIntegerToFloat"])
def test_operators_of_onnx_runtime_multiply_in_8_bits(kind):
    assert count_layers(make(operator(kind, "x", "w", "y", domain="com.microsoft"))) == (1, 0)


def test_packed_weights_are_layers_in_float():
    graph = make(operator("MatMulNBits", "x", "w", "y", domain="com.microsoft"))
    assert count_layers(graph) == (0, 1)
    assert "MatMulNBits" in find_obstacle(graph)
