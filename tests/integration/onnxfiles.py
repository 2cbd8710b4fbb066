"""ONNX files made by hand, each with one thing that a reader may trip over."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

value = helper.make_tensor_value_info
MINI = ("--budget", "quick")
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def write(path, graph, ir=10, opset=17, **how):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save(model, path, **how)
    return path


def weights(name="w", rows=4, columns=2):
    return numpy_helper.from_array(np.random.default_rng(0).random((rows, columns), np.float32), name)


def dense(batch="N", x="x", y="y"):
    node = helper.make_node("MatMul", [x, "w"], [y])
    return helper.make_graph([node], "g", [value(x, Type.FLOAT, [batch, 4])], [value(y, Type.FLOAT, [batch, 2])], [weights()])


def wide(layers=4, columns=512):
    """Layers of MatMul and Relu that take some tenths of a ms, so that a slow-down is larger than the cost of a call."""
    ends = [value(name, Type.FLOAT, ["N", columns]) for name in ("x", f"y{layers - 1}")]
    names = ["x", *(f"y{number}" for number in range(layers))]
    nodes = []
    for number in range(layers):
        nodes.append(helper.make_node("MatMul", [names[number], f"w{number}"], [f"m{number}"]))
        nodes.append(helper.make_node("Relu", [f"m{number}"], [names[number + 1]]))
    return helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights(f"w{n}", columns, columns) for n in range(layers)])


def integers(kind=Type.INT64, batch="N"):
    """Two integer inputs."""
    ends = [value(name, kind, [batch, 4]) for name in "abc"]
    return helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", ends[:2], ends[2:])


def old_style():
    """IR 3: the initializer is a graph input too."""
    graph = dense()
    graph.input.append(value("w", Type.FLOAT, [4, 2]))
    return graph


def sequence():
    """A second open dimension, and slashes in names."""
    node = helper.make_node("MatMul", ["in/x", "w"], ["out/y"])
    ends = value("in/x", Type.FLOAT, ["N", "seq", 4]), value("out/y", Type.FLOAT, ["N", "seq", 2])
    return helper.make_graph([node], "g", [ends[0]], [ends[1]], [weights()])


def mixed():
    """A mask of booleans, halves, and a scalar."""
    inputs = [value("mask", Type.BOOL, ["N", 4]), value("x", Type.FLOAT16, ["N", 4]), value("other", Type.FLOAT16, [])]
    node = helper.make_node("Where", ["mask", "x", "other"], ["y"])
    return helper.make_graph([node], "g", inputs, [value("y", Type.FLOAT16, ["N", 4])])


def lookup(rows=7):
    """Ids into a table of `rows` rows: larger ids are out of range."""
    node = helper.make_node("Gather", ["w", "ids"], ["y"])
    ends = value("ids", Type.INT64, ["N", 3]), value("y", Type.FLOAT, ["N", 3, 2])
    return helper.make_graph([node], "g", [ends[0]], [ends[1]], [weights(rows=rows)])


def overflowing(variance=1e8):
    """A BatchNormalization whose variance FP16 cannot hold, and whose answers are of ordinary size all the same."""
    generator = np.random.default_rng(0)
    arrays = {
        "w": generator.standard_normal((4, 3, 3, 3)),
        "scale": np.full(4, np.sqrt(variance)),
        "shift": generator.standard_normal(4),
        "mean": generator.standard_normal(4),
        "variance": np.full(4, variance),
    }
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["b"], name="norm"),
        helper.make_node("GlobalAveragePool", ["b"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flat"),
    ]
    ends = value("x", Type.FLOAT, ["N", 3, 16, 16]), value("y", Type.FLOAT, ["N", 4])
    return helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)


def overflowing_branch(factor=1e8):
    """A product with a factor that FP16 cannot hold, and its inverse, inside the branches of an If."""
    names = ("factor", "inverse")
    tensors = [numpy_helper.from_array(np.float32(each), name) for name, each in zip(names, (factor, 1 / factor))]
    tensors.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    branches = {}
    for branch in ("then", "else"):
        nodes = [
            helper.make_node("Mul", ["x", "factor"], [f"{branch}_large"], name=f"{branch}_up"),
            helper.make_node("Mul", [f"{branch}_large", "inverse"], [f"{branch}_y"], name=f"{branch}_down"),
        ]
        branches[f"{branch}_branch"] = helper.make_graph(nodes, branch, [], [value(f"{branch}_y", Type.FLOAT, ["N", 4])])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], name="most", keepdims=0),
        helper.make_node("Greater", ["most", "zero"], ["positive"], name="positive"),
        helper.make_node("If", ["positive"], ["y"], name="if", **branches),
    ]
    ends = value("x", Type.FLOAT, ["N", 4]), value("y", Type.FLOAT, ["N", 4])
    return helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)


def rescaled(path, target, factor=200.0):
    """The network of tests/data in the file `path` with some channels between its first two convolutions `factor` times as
    large: the same function in FP32, and one that 8 bits with one scale for all channels cannot hold."""
    model = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    channels = np.ones(16, np.float32)
    channels[::8] = factor
    new = {
        "w0": numpy_helper.to_array(tensors["w0"]) * channels[:, None, None, None],
        "b0": numpy_helper.to_array(tensors["b0"]) * channels,
        "w1": numpy_helper.to_array(tensors["w1"]) / channels[None, :, None, None],
    }
    for name, array in new.items():
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, target)
    return target
