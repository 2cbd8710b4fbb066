"""Operations and bytes of a graph: each rule against a count by hand, from shapes that are set or inferred."""

from math import prod

import numpy as np
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.models.work import count_work
from onnxbench.runners.worker.work_jobs import sized

F32 = np.float32


def value(name, shape, kind=Type.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs, outputs=("y",), weights=None, functions=(), opset=21, kinds=None):
    """A model whose outputs have no declared shape. `inputs`: shapes by name; `weights`: arrays by name."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    ends = [value(name, shape, (kinds or {}).get(name, Type.FLOAT)) for name, shape in inputs.items()]
    results = [value(name, None, (kinds or {}).get(name, Type.FLOAT)) for name in outputs]
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own", 1)]
    graph = helper.make_graph(nodes, "g", ends, results, tensors)
    return helper.make_model(graph, opset_imports=domains, functions=list(functions), ir_version=10)


def work(tmp_path, nodes, inputs, shapes=None, **how):
    model = model_of(nodes, inputs, **how)
    given = shapes or {name: tuple(shape) for name, shape in inputs.items()}
    return count_work(sized(model, tuple(given.items()), tmp_path))


def node(operator, inputs, outputs=("y",), **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


LAYERS = {
    "conv": (
        node("Conv", ["x", "w", "b"], pads=[1, 1, 1, 1], group=2),
        {"x": [2, 4, 8, 8]},
        {"w": np.zeros((6, 2, 3, 3), F32), "b": np.zeros(6, F32)},
        2 * (2 * 6 * 8 * 8) * (2 * 9),
    ),
    "conv of one axis, strided": (
        node("Conv", ["x", "w"], strides=[2]),
        {"x": [1, 3, 11]},
        {"w": np.zeros((5, 3, 3), F32)},
        2 * 5 * 5 * 9,
    ),
    "transposed": (
        node("ConvTranspose", ["x", "w"], strides=[2, 2], group=2),
        {"x": [3, 4, 5, 5]},
        {"w": np.zeros((4, 7, 3, 3), F32)},
        2 * (3 * 4 * 25) * 7 * 9,
    ),
    "gemm": (
        node("Gemm", ["x", "w"], transA=1, transB=1),
        {"x": [5, 3]},
        {"w": np.zeros((7, 5), F32)},
        2 * 3 * 5 * 7,
    ),
    "broadcast product": (
        node("MatMul", ["x", "w"]),
        {"x": [4, 1, 3, 5]},
        {"w": np.zeros((6, 5, 2), F32)},
        2 * 4 * 6 * 3 * 5 * 2,
    ),
    "vectors": (node("MatMul", ["x", "w"]), {"x": [9]}, {"w": np.zeros(9, F32)}, 18),
    "lstm both ways": (
        node("LSTM", ["x", "w", "r"], hidden_size=4, direction="bidirectional"),
        {"x": [7, 2, 3]},
        {"w": np.zeros((2, 16, 3), F32), "r": np.zeros((2, 16, 4), F32)},
        2 * 7 * 2 * 2 * (16 * 3 + 16 * 4),
    ),
    "gru": (
        node("GRU", ["x", "w", "r"], hidden_size=4),
        {"x": [7, 2, 3]},
        {"w": np.zeros((1, 12, 3), F32), "r": np.zeros((1, 12, 4), F32)},
        2 * 7 * 2 * (12 * 3 + 12 * 4),
    ),
    "einsum that sums": (
        node("Einsum", ["x", "w"], equation="bij, bjk -> bik"),
        {"x": [2, 3, 4]},
        {"w": np.zeros((2, 4, 5), F32)},
        2 * 2 * 3 * 4 * 5,
    ),
    "einsum of an outer product": (
        node("Einsum", ["x", "w"], equation="i,j->ij"),
        {"x": [3]},
        {"w": np.zeros(4, F32)},
        12,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_counts_two_operations_for_each_product(tmp_path, name):
    one, inputs, weights, expected = LAYERS[name]
    found = work(tmp_path, [one], inputs, weights=weights)
    assert (found.layer_flops, found.nodes[0].flops, found.nodes[0].layer) == (expected, expected, True)
    assert found.weight_bytes == sum(array.nbytes for array in weights.values())


@pytest.mark.parametrize(
    ("attributes", "shapes", "expected"),
    [
        # 2 x 8 heads, 5 queries, 7 keys of width 16, values of width 4
        ({}, {"q": [2, 8, 5, 16], "k": [2, 8, 7, 16], "v": [2, 8, 7, 4]}, 2 * 2 * 8 * 5 * 7 * (16 + 4)),
        # 8 heads of queries share 2 heads of keys and values, both of width 4
        (
            {"q_num_heads": 8, "kv_num_heads": 2},
            {"q": [3, 5, 32], "k": [3, 7, 8], "v": [3, 7, 8]},
            2 * 3 * 8 * 5 * 7 * (4 + 4),
        ),
    ],
)
def test_attention_counts_both_of_its_products(tmp_path, attributes, shapes, expected):
    found = work(tmp_path, [node("Attention", ["q", "k", "v"], **attributes)], shapes, opset=23)
    assert found.layer_flops == expected


def test_a_quantized_graph_counts_as_many_operations_and_fewer_bytes(tmp_path):
    """The products between Q/DQ pairs are those of FP32; the weights are read in one byte an element."""
    scale, zero = F32(0.1), np.int8(0)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="q"),
        node("DequantizeLinear", ["xq", "s", "z"], ["xf"], name="dx"),
        node("DequantizeLinear", ["w", "s", "z"], ["wf"], name="dw"),
        node("MatMul", ["xf", "wf"], name="product"),
    ]
    weights = {"w": np.zeros((40, 20), np.int8), "s": scale, "z": zero}
    found = work(tmp_path, nodes, {"x": [3, 40]}, weights=weights)
    assert (found.layer_flops, found.unknown) == (2 * 3 * 40 * 20, ())
    assert found.weight_bytes == 800 + 4 + 1
    flops = {item.name: item.flops for item in found.nodes}
    assert flops == {"q": 240, "dx": 240, "dw": 1600, "product": 4800}


def test_integer_products_count_as_products(tmp_path):
    weights = {"w": np.zeros((40, 20), np.int8), "s": F32(0.1), "z": np.int8(0)}
    kinds = {"x": Type.INT8, "y": Type.INT8}
    linear = node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"])
    assert work(tmp_path, [linear], {"x": [3, 40]}, weights=weights, kinds=kinds).layer_flops == 4800
    whole = node("MatMulInteger", ["x", "w"])
    assert work(tmp_path, [whole], {"x": [3, 40]}, weights=weights, kinds={**kinds, "y": Type.INT32}).layer_flops == 4800


OTHERS = {
    "Relu": (node("Relu", ["x"]), [2, 3, 4], 24),
    "Gelu": (node("Gelu", ["x"]), [2, 3, 4], 24),
    "Softmax": (node("Softmax", ["x"]), [2, 3, 4], 5 * 24),
    "ReduceMean": (node("ReduceMean", ["x"], keepdims=0), [2, 3, 4], 24),
    "MaxPool": (node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2]), [1, 3, 4, 4], 12 * 4),
    "GlobalAveragePool": (node("GlobalAveragePool", ["x"]), [1, 3, 4, 4], 48),
    "Transpose": (node("Transpose", ["x"], perm=[1, 0]), [3, 4], 0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_operators_have_operations_that_are_no_layer_s(tmp_path, name):
    one, shape, expected = OTHERS[name]
    found = work(tmp_path, [one], {"x": shape})
    assert (found.nodes[0].flops, found.nodes[0].layer, found.layer_flops) == (expected, False, 0)
    assert found.nodes[0].read_bytes == 4 * prod(shape)


@pytest.mark.parametrize(("mode", "neighbours"), [("nearest", 0), ("linear", 4), ("cubic", 16)])
def test_resize_counts_the_neighbours_that_its_mode_reads(tmp_path, mode, neighbours):
    one = node("Resize", ["x", "", "scales"], mode=mode)
    found = work(tmp_path, [one], {"x": [1, 2, 3, 3]}, weights={"scales": np.array([1, 1, 2, 2], F32)})
    assert found.nodes[0].flops == 2 * (2 * 36) * neighbours


def test_open_shapes_follow_from_those_of_the_inputs(tmp_path):
    """The target of the Reshape is computed from the batch: nodes that compute it are constants, and are no work."""
    nodes = [
        node("Shape", ["x"], ["size"], start=0, end=1),
        node("Concat", ["size", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["flat"]),
        node("MatMul", ["flat", "w"]),
    ]
    weights = {"rest": np.array([12]), "w": np.zeros((12, 5), F32)}
    found = work(tmp_path, nodes, {"x": ["N", 3, 4]}, {"x": (7, 3, 4)}, weights=weights)
    assert [item.operator for item in found.nodes] == ["Reshape", "MatMul"]
    assert (found.layer_flops, found.nodes[0].read_bytes, found.nodes[0].write_bytes) == (2 * 7 * 12 * 5, 0, 0)
    assert (found.input_bytes, found.output_bytes, found.weight_bytes) == (4 * 7 * 12, 4 * 7 * 5, 240)
    assert found.least_bytes == 336 + 140 + 240


def test_a_table_is_read_by_the_rows_that_a_call_gathers(tmp_path):
    table = {"table": np.zeros((1000, 8), F32)}
    found = work(tmp_path, [node("Gather", ["table", "x"])], {"x": [5]}, weights=table, kinds={"x": Type.INT64})
    assert (found.weight_bytes, found.nodes[0].read_bytes) == (5 * 8 * 4, 5 * 8 * 4 + 5 * 8)


def test_four_bit_weights_are_half_a_byte(tmp_path):
    packed = helper.make_tensor("w", Type.INT4, [10, 6], np.zeros(60, np.int8))
    model = model_of(
        [node("DequantizeLinear", ["w", "s"], ["wf"]), node("MatMul", ["x", "wf"])], {"x": [3, 10]}, weights={"s": F32(1)}
    )
    model.graph.initializer.append(packed)
    assert count_work(sized(model, (("x", (3, 10)),), tmp_path)).weight_bytes == 30 + 4


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (node("Strange", ["x"], domain="own"), "own.Strange"),
        (node("NonMaxSuppression", ["x", "x"]), "NonMaxSuppression"),
    ],
)
def test_an_unknown_operator_is_named_and_never_counts_as_nothing(tmp_path, one, word):
    found = work(tmp_path, [one], {"x": [2, 3, 4]})
    assert found.nodes[0].flops is None
    assert found.layer_flops is None
    assert [reason.partition(":")[0] for reason in found.unknown] == [word]


def test_a_layer_of_unknown_shape_is_named(tmp_path):
    nodes = [node("Strange", ["x"], ["z"], domain="own"), node("MatMul", ["z", "w"])]
    found = work(tmp_path, nodes, {"x": [2, 3]}, weights={"w": np.zeros((3, 4), F32)})
    assert len(found.unknown) == 2
    assert found.nodes[1].unknown


def test_functions_are_counted_inside(tmp_path):
    body = [node("MatMul", ["a", "b"], ["c"]), node("Relu", ["c"], ["d"])]
    function = helper.make_function("own", "Dense", ["a", "b"], ["d"], body, [helper.make_opsetid("", 21)])
    one = node("Dense", ["x", "w"], domain="own")
    found = work(tmp_path, [one], {"x": [2, 3]}, weights={"w": np.zeros((3, 4), F32)}, functions=[function])
    assert (found.layer_flops, [item.operator for item in found.nodes]) == (48, ["MatMul", "Relu"])


def scan(tmp_path, length):
    """A Scan over the rows of [N, 3], which multiplies each by a weight of the graph around it."""
    body = helper.make_graph(
        [
            node("Unsqueeze", ["row", "axis"], ["r2"]),
            node("MatMul", ["r2", "w"], ["p2"]),
            node("Squeeze", ["p2", "axis"], ["p"]),
        ],
        "body",
        [value("row", [3])],
        [value("p", [4])],
        [numpy_helper.from_array(np.array([0]), "axis")],
    )
    one = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1, name="rows")
    return work(tmp_path, [one], {"x": ["N", 3]}, {"x": (length, 3)}, weights={"w": np.zeros((3, 4), F32)})


def test_a_scan_repeats_its_nodes(tmp_path):
    found = scan(tmp_path, 10)
    assert found.layer_flops == 10 * 2 * 3 * 4
    assert found.weight_bytes == 48  # the second reading finds it in a cache
    assert [item.name for item in found.nodes][:1] == ["rows"]
    assert {item.times for item in found.nodes[1:]} == {10}


def loop(tmp_path, constant):
    """A Loop of 6 runs, or of as many as an input says."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("MatMul", ["before", "w"], ["after"])],
        "body",
        [value("i", [], Type.INT64), value("go", [], Type.BOOL), value("before", [2, 3])],
        [value("on", [], Type.BOOL), value("after", [2, 3])],
    )
    one = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body, name="again")
    weights = {"w": np.zeros((3, 3), F32), **({"n": np.int64(6)} if constant else {})}
    inputs = {"x": [2, 3], **({} if constant else {"n": []})}
    return work(tmp_path, [one], inputs, weights=weights, kinds={"n": Type.INT64})


def test_a_loop_counts_its_runs_and_is_unknown_where_data_decides(tmp_path):
    assert loop(tmp_path, True).layer_flops == 6 * 2 * 2 * 3 * 3
    found = loop(tmp_path, False)
    assert found.layer_flops is None
    assert any("MatMul" in reason for reason in found.unknown)


def branch(tmp_path, condition, sizes=(4, 4)):
    """An If of two products with [3, N] weights."""
    branches = [
        helper.make_graph(
            [node("MatMul", ["x", f"w{index}"], [f"y{index}"])],
            f"branch{index}",
            [],
            [value(f"y{index}", None)],
            [numpy_helper.from_array(np.zeros((3, size), F32), f"w{index}")],
        )
        for index, size in enumerate(sizes)
    ]
    one = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    inputs = {"x": [2, 3], **({"c": []} if condition is None else {})}
    weights = {} if condition is None else {"c": np.bool_(condition)}
    return work(tmp_path, [one], inputs, weights=weights, kinds={"c": Type.BOOL})


def test_a_branch_counts_where_it_is_certain(tmp_path):
    assert branch(tmp_path, True, (4, 8)).layer_flops == 2 * 2 * 3 * 4
    assert branch(tmp_path, False, (4, 8)).layer_flops == 2 * 2 * 3 * 8
    assert branch(tmp_path, None).layer_flops == 2 * 2 * 3 * 4
    assert branch(tmp_path, None, (4, 8)).layer_flops is None
