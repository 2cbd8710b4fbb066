"""Repairs of graphs before a conversion: each keeps the results, and makes the graph valid."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxbench.exporters.repair import repair, sort_nodes
from onnxbench.exporters.shape_nodes import find_shape_nodes, split_constants

value, node = helper.make_tensor_value_info, helper.make_node
X = np.arange(8, dtype=np.float32).reshape(2, 4)


def tensor(name, array, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def model(nodes, outputs, tensors=(), inputs=("x",), functions=()):
    ends = [[value(name, Type.FLOAT, [2, 4]) for name in names] for names in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *ends, tensors)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9, functions=functions)


def run(made, x=X):
    onnx.checker.check_model(made)
    return ReferenceEvaluator(made).run(None, {"x": x})


def branch(name, *nodes):
    return helper.make_graph(nodes, name, [], [value(nodes[-1].output[0], Type.FLOAT, [2, 4])])


def test_nodes_come_after_the_values_that_their_subgraphs_capture():
    inner = branch("deep", node("Mul", ["h", "x"], ["b"]))
    nested = branch("then", node("If", ["c"], ["a"], then_branch=inner, else_branch=branch("e", node("Neg", ["h"], ["n"]))))
    choice = node("If", ["c"], ["y"], then_branch=nested, else_branch=branch("else", node("Identity", ["x"], ["i"])))
    made = repair(model([choice, node("Add", ["x", "x"], ["h"])], ["y"], [tensor("c", True, bool)]))
    assert [item.op_type for item in made.graph.node] == ["Add", "If"]
    np.testing.assert_array_equal(run(made)[0], 2 * X * X)


def test_nodes_of_subgraphs_are_sorted_too():
    inner = branch("then", node("Neg", ["t"], ["a"]), node("Add", ["x", "x"], ["t"]))
    inner.output[0].name = "a"
    made = repair(
        model(
            [node("If", ["c"], ["y"], then_branch=inner, else_branch=branch("e", node("Neg", ["x"], ["n"])))],
            ["y"],
            [tensor("c", True, bool)],
        )
    )
    np.testing.assert_array_equal(run(made)[0], -2 * X)


def test_a_sorted_graph_and_a_cycle_stay_as_they_are():
    ordered = model([node("Neg", ["x"], ["a"]), node("Abs", ["x"], ["b"]), node("Add", ["b", "a"], ["y"])], ["y"])
    cycle = helper.make_graph([node("Neg", ["b"], ["a"]), node("Neg", ["a"], ["b"])], "g", [], [])
    for graph in (ordered.graph, cycle):
        before = graph.SerializeToString()
        sort_nodes(graph)
        assert graph.SerializeToString() == before


def test_a_long_graph_in_reverse_is_sorted():
    nodes = [node("Neg", [f"v{number}"], [f"v{number + 1}"]) for number in range(5000)]
    graph = helper.make_graph(nodes[::-1], "g", [], [])
    sort_nodes(graph)
    assert [item.output[0] for item in graph.node] == [f"v{number + 1}" for number in range(5000)]


@pytest.mark.parametrize(
    ("outputs", "tensors", "results"),
    [
        (["y", "x"], (), [-X, X]),
        (["y", "y"], (), [-X, -X]),
        (["y", "k"], [tensor("k", X + 1)], [-X, X + 1]),
        (["x", "x", "y"], (), [X, X, -X]),
    ],
    ids=["input", "twice", "initializer", "input-twice"],
)
def test_every_output_has_a_node_of_its_own(outputs, tensors, results):
    made = repair(model([node("Neg", ["x"], ["y"])], outputs, tensors))
    names = [item.name for item in made.graph.output]
    assert len(set(names)) == len(names)
    makers = {name for item in made.graph.node for name in item.output}
    assert makers >= set(names)
    for output, expected in zip(run(made), results):
        np.testing.assert_array_equal(output, expected)


def sparse(name, indices):
    return helper.make_sparse_tensor(tensor(name, [5.0, 7.0]), tensor(f"{name}_at", indices, np.int64), [2, 4])


@pytest.mark.parametrize("indices", [[1, 6], [[0, 1], [1, 2]]], ids=["flat", "coordinates"])
@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_sparse_tensors_become_dense(indices, place):
    nodes = [node("Add", ["x", "k"], ["y"])]
    if place == "constant":
        nodes.insert(0, node("Constant", [], ["k"], sparse_value=sparse("", indices)))
    made = model(nodes, ["y"])
    if place == "initializer":
        made.graph.sparse_initializer.append(sparse("k", indices))
    made = repair(made)
    expected = X.copy()
    expected[0, 1] += 5
    expected[1, 2] += 7
    np.testing.assert_array_equal(run(made)[0], expected)
    assert not made.graph.sparse_initializer


def test_functions_are_inlined():
    own = helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)])
    made = repair(
        model([node("Twice", ["x"], ["h"], domain="own"), node("Twice", ["h"], ["y"], domain="own")], ["y"], (), ("x",), [own])
    )
    assert [item.op_type for item in made.graph.node] == ["Add", "Add"]
    np.testing.assert_array_equal(run(made)[0], 4 * X)


def test_an_output_without_a_shape_gets_one():
    made = model([node("Neg", ["x"], ["y"])], ["y"])
    made.graph.output[0].type.tensor_type.ClearField("shape")
    np.testing.assert_array_equal(run(repair(made))[0], -X)


def resized():
    """A size that is computed in floats, from the shape of data, with a constant that data is multiplied by too."""
    nodes = [
        node("Mul", ["x", "two"], ["m"], "data"),
        node("Shape", ["m"], ["s"], "shape"),
        node("Cast", ["s"], ["sf"], "to float", to=Type.FLOAT),
        node("Mul", ["sf", "two"], ["s2"], "times"),
        node("Cast", ["s2"], ["si"], "to int", to=Type.INT64),
        node("Resize", ["m", "", "", "si"], ["y"], "resize"),
    ]
    return helper.make_graph(
        nodes, "g", [value("x", Type.FLOAT, [1, 2])], [value("y", Type.FLOAT, [2, 4])], [tensor("two", [2, 2])]
    )


def test_nodes_from_a_shape_to_a_size_are_found():
    assert find_shape_nodes(resized()) == ["to float", "times", "to int"]


def test_data_before_a_choice_of_indices_is_no_size():
    nodes = [
        node("Mul", ["x", "w"], ["m"], "data"),
        node("TopK", ["m", "k"], ["v", "i"], "top"),
        node("Add", ["i", "one"], ["j"], "next"),
        node("Gather", ["m", "j"], ["y"], "gather"),
    ]
    assert find_shape_nodes(helper.make_graph(nodes, "g", [], [])) == ["next"]


def test_sampling_positions_stay_in_float_back_to_the_layer_that_makes_them():
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv"),
        node("Tanh", ["c"], ["t"], "tanh"),
        node("GridSample", ["x", "t"], ["y"], "sample"),
    ]
    assert find_shape_nodes(helper.make_graph(nodes, "g", [], [])) == ["tanh"]


def test_shared_constants_are_split_and_own_ones_are_not():
    graph = resized()
    graph.node[3].input.append("only")
    graph.initializer.append(tensor("only", [1]))
    split_constants(graph, find_shape_nodes(graph))
    shared, own = graph.node[3].input[1:]
    assert (graph.node[0].input[1], own) == ("two", "only")
    assert shared != "two"
    arrays = {item.name: numpy_helper.to_array(item).tolist() for item in graph.initializer}
    assert arrays == {"two": [2, 2], shared: [2, 2], "only": [1]}
