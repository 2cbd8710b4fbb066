import pytest
from onnx import TensorProto as Type
from onnx import helper
from onnxbench.models.plausible import find_uses, role_of, tensor_fields

value, node = helper.make_tensor_value_info, helper.make_node


def graph(*nodes, inputs=(("x", ("N", 4)), ("ids", ("N",)), ("other", (7, 5, "T"))), tables=(("w", (6, 3)),)):
    ends = [value(name, Type.FLOAT, dims) for name, dims in inputs]
    tensors = [helper.make_tensor(name, Type.FLOAT, dims, bytes(4 * dims[0] * dims[1]), raw=True) for name, dims in tables]
    return helper.make_graph(list(nodes), "g", ends, [value("y", Type.FLOAT, None)], tensors)


def test_ids_stay_in_the_smallest_table_that_they_index():
    found = find_uses(graph(node("Gather", ["w", "ids"], ["a"]), node("Gather", ["w", "ids"], ["b"], axis=1)))
    assert found["ids"].high == 3


def test_ids_are_followed_through_what_moves_or_converts_them():
    moved = [node("Cast", ["ids"], ["a"], to=7), node("Unsqueeze", ["a", "one"], ["b"]), node("Reshape", ["b", "s"], ["c"])]
    assert find_uses(graph(*moved, node("Gather", ["w", "c"], ["y"])))["ids"].high == 6


def test_a_table_may_be_a_constant_or_quantized():
    constant = node("Constant", [], ["t"], value=helper.make_tensor("t", Type.FLOAT, [2, 1], [0.0, 1.0]))
    assert find_uses(graph(constant, node("Gather", ["t", "ids"], ["y"])))["ids"].high == 2
    pair = node("DequantizeLinear", ["w", "s"], ["t"])
    assert find_uses(graph(pair, node("Gather", ["t", "ids"], ["y"])))["ids"].high == 6


def test_what_indexes_another_input_is_under_its_size():
    assert find_uses(graph(node("Gather", ["x", "ids"], ["y"], axis=1)))["ids"].of == ("x", 1)
    assert (
        find_uses(graph(node("GatherND", ["fixed", "ids"], ["y"]), inputs=(("fixed", (7, 5)), ("ids", (1, 2)))))["ids"].high
        == 5
    )


def test_uses_in_branches_count():
    inner = helper.make_graph([node("Gather", ["w", "ids"], ["z"])], "b", [], [value("z", Type.FLOAT, None)])
    assert find_uses(graph(node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)))["ids"].high == 6


@pytest.mark.parametrize(
    ("made", "setting"),
    [
        (node("Reshape", ["x", "ids"], ["y"]), "shape of Reshape"),
        (node("Slice", ["x", "w", "ids"], ["y"]), "ends of Slice"),
        (node("TopK", ["x", "ids"], ["y", "z"]), "k of TopK"),
        (node("ReduceSum", ["x", "ids"], ["y"]), "axes of ReduceSum"),
    ],
)
def test_what_sets_an_operator_is_named(made, setting):
    assert find_uses(graph(made))["ids"].setting == setting


def test_lengths_are_those_of_the_axis_of_time():
    made = node("GRU", ["other", "w", "w", "", "ids"], ["y"], layout=1)
    assert (find_uses(graph(made))["ids"].role, find_uses(graph(made))["ids"].of) == ("length", ("other", 1))


def test_what_is_divided_by_is_positive():
    found = find_uses(graph(node("Div", ["x", "ids"], ["y"])))
    assert (found["ids"].role, "x" in found) == ("positive", False)


@pytest.mark.parametrize(
    ("name", "dtype", "role"),
    [
        ("attention_mask", "int64", "mask"),
        ("pixel_mask", "bool", "mask"),
        ("mask", "float32", "mask"),
        ("input_lengths", "int64", "length"),
        ("seq_len", "int32", "length"),
        ("lengths", "float32", ""),
        ("sr", "int64", "rate"),
        ("input_ids", "int64", ""),
        ("lens_image", "float32", ""),
        ("talent", "int64", ""),
    ],
)
def test_names_tell_where_the_graph_does_not(name, dtype, role):
    assert role_of(name, dtype) == role
    assert tensor_fields(None, name, dtype)["role"] == role


def ids_of(*nodes, functions=(), tables=(("w", (6, 3)), ("small", (2, 3)))):
    """The bound of `ids` in a graph with two tables and constants."""
    made = graph(*nodes, tables=tables)
    made.initializer.append(helper.make_tensor("offsets", Type.INT64, [3], [0, 2, 4]))
    return find_uses(made, functions)["ids"].high


def function(name, nodes, inputs=("table", "ids"), outputs=("y",)):
    return helper.make_function("local", name, list(inputs), list(outputs), nodes, [helper.make_opsetid("", 17)])


def test_ids_are_followed_into_functions_and_the_functions_that_these_call():
    inner = function("Inner", [node("Cast", ["ids"], ["cast"], to=7), node("Gather", ["table", "cast"], ["y"])])
    outer = function("Outer", [node("Inner", ["table", "ids"], ["y"], domain="local")])
    assert ids_of(node("Outer", ["small", "ids"], ["y"], domain="local"), functions=[inner, outer]) == 2


def test_a_function_that_calls_itself_ends():
    loop = function("Loop", [node("Loop", ["table", "ids"], ["y"], domain="local"), node("Gather", ["table", "ids"], ["z"])])
    assert ids_of(node("Loop", ["w", "ids"], ["y"], domain="local"), functions=[loop]) == 6


@pytest.mark.parametrize("part", [("Gather", ["ids", "zero"]), ("Slice", ["ids", "zero", "one"]), ("Concat", ["ids", "x"])])
def test_ids_are_followed_into_what_takes_parts_of_them(part):
    assert ids_of(node(part[0], part[1], ["a"], axis=0), node("Gather", ["w", "a"], ["y"])) == 6


def test_ids_are_followed_into_each_part_of_a_split():
    assert (
        ids_of(node("Split", ["ids"], ["a", "b"]), node("Gather", ["w", "a"], ["y"]), node("Gather", ["small", "b"], ["z"]))
        == 2
    )


def test_ids_stay_in_the_table_after_a_constant_is_added():
    assert ids_of(node("Add", ["ids", "offsets"], ["a"]), node("Gather", ["w", "a"], ["y"])) == 2
    assert (
        ids_of(node("Add", ["offsets", "ids"], ["a"]), node("Cast", ["a"], ["b"], to=7), node("Gather", ["w", "b"], ["y"])) == 2
    )


def test_ids_of_a_fused_embedding_stay_in_its_tables():
    fused = node("EmbedLayerNormalization", ["other", "ids", "w", "w", "small", "g", "b"], ["y", "m"], domain="com.microsoft")
    assert ids_of(fused) == 2


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_a_recurrent_layer_reads_is_a_sequence(kind):
    read = [node("Relu", ["other"], ["a"]), node(kind, ["a", "w", "w"], ["y"])]
    assert find_uses(graph(*read))["other"].role == "sequence"
    turned = [node("Transpose", ["other"], ["a"], perm=[1, 0, 2]), node(kind, ["a", "w", "w"], ["y"])]
    assert "other" not in find_uses(graph(*turned))
