"""Outputs that depend on a random generator, in small graphs."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxbench.models.generators import random_outputs

F = TensorProto.FLOAT
node = helper.make_node


def value(name, kind=F):
    return helper.make_tensor_value_info(name, kind, [2])


def model(nodes, outputs=("y",), inputs=("x",), initializers=(), functions=()):
    graph = helper.make_graph(nodes, "g", [value(name) for name in inputs], [value(name) for name in outputs], initializers)
    return helper.make_model(graph, functions=functions)


@pytest.mark.parametrize(
    "generator",
    [
        node("RandomNormal", [], ["r"], shape=[2]),
        node("RandomUniform", [], ["r"], shape=[2]),
        node("RandomNormalLike", ["x"], ["r"]),
        node("RandomUniformLike", ["x"], ["r"]),
        node("Bernoulli", ["x"], ["r"]),
        node("Multinomial", ["x"], ["r"]),
    ],
    ids=lambda item: item.op_type,
)
def test_what_a_generator_reaches_is_random(generator):
    nodes = [generator, node("Add", ["x", "r"], ["z"]), node("Relu", ["z"], ["y"]), node("Relu", ["x"], ["sure"])]
    assert random_outputs(model(nodes, ["sure", "y", "r"])) == ("y", "r")
    assert random_outputs(model(nodes[::-1], ["sure", "y"])) == ("y",)  # in an order in which it cannot run


def flag(value, name="training"):
    return onnx.numpy_helper.from_array(np.array(value), name)


@pytest.mark.parametrize(
    ("inputs", "initializers", "random"),
    [
        (["x"], [], False),
        (["x", ""], [], False),
        (["x", "", "training"], [flag(False)], False),
        (["x", "", "training"], [flag(True)], True),
        (["x", "", "computed"], [], True),
    ],
)
def test_dropout_is_random_in_training_mode(inputs, initializers, random):
    found = random_outputs(model([node("Dropout", inputs, ["y"])], initializers=initializers))
    assert (found == ("y",)) is random


def test_the_training_mode_may_be_a_constant_node():
    nodes = [node("Constant", [], ["mode"], value=flag(False)), node("Dropout", ["x", "", "mode"], ["y"])]
    assert random_outputs(model(nodes)) == ()
    nodes[0] = node("Constant", [], ["mode"], value=flag(True))
    assert random_outputs(model(nodes)) == ("y",)


def branch(name, nodes):
    return helper.make_graph(nodes, name, [], [value(f"{name}_out")])


def test_a_generator_in_a_subgraph_makes_its_node_random():
    sure, noisy = branch("a", [node("Relu", ["x"], ["a_out"])]), branch("b", [node("Bernoulli", ["x"], ["b_out"])])
    cond = node("If", ["c"], ["y"], then_branch=sure, else_branch=noisy)
    assert random_outputs(model([cond])) == ("y",)
    assert random_outputs(model([node("If", ["c"], ["y"], then_branch=sure, else_branch=sure)])) == ()


def test_a_subgraph_that_reads_a_random_value_from_outside_is_random():
    reads = branch("a", [node("Relu", ["r"], ["a_out"])])
    nodes = [node("RandomNormalLike", ["x"], ["r"]), node("If", ["c"], ["y"], then_branch=reads, else_branch=reads)]
    assert random_outputs(model(nodes)) == ("y",)


def test_a_generator_in_a_function_of_a_function_is_found():
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [node("RandomNormalLike", ["a"], ["b"])], opsets)
    outer = helper.make_function("own", "Outer", ["a"], ["b"], [node("Inner", ["a"], ["b"], domain="own")], opsets)
    plain = helper.make_function("own", "Plain", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opsets)
    nodes = [node("Outer", ["x"], ["y"], domain="own"), node("Plain", ["x"], ["z"], domain="own")]
    assert random_outputs(model(nodes, ["y", "z"], functions=[inner, outer, plain])) == ("y",)


def test_an_operator_of_another_domain_is_not_a_generator():
    assert random_outputs(model([node("Bernoulli", ["x"], ["y"], domain="own")])) == ()
