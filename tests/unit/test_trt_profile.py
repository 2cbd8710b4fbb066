"""Layers of TensorRT: their references to the graph, and their times by call."""

import json

import pytest
from onnxbench.backends.trt_profile import TensorRtProfiler, links_of
from onnxbench.profiles import GraphNode, Kernel
from onnxbench.results.profile.mapping import mapped

NODES = tuple(
    GraphNode(name=name, operator=operator, inputs=(before,), outputs=(after,))
    for name, operator, before, after in (
        ("conv", "Conv", "x", "c"),
        ("relu", "Relu", "c", "r"),
        ("mul", "Mul", "r", "m"),
        ("gemm", "Gemm", "m", "y"),
    )
)


def layer(name, inputs, outputs, **more):
    ends = {"Inputs": [{"Name": each} for each in inputs], "Outputs": [{"Name": each} for each in outputs]}
    return {"Name": name, "LayerType": "CaskConvolution", **ends, **more}


def nodes_of(*layers):
    text = json.dumps({"Layers": list(layers)})
    links = links_of(text)
    kernels = [Kernel(node=each["Name"], layer="Reformatting" not in each["Name"]) for each in layers]
    return [kernel.nodes for kernel in mapped(kernels, [links[kernel.node] for kernel in kernels], NODES)]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("conv + relu", {}),
        ("PWN(conv, relu)", {}),
        ("{ForeignNode[conv...relu]}", {}),
        ("__myl_Conv_0", {"Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: relu]"}),
        ("__myl_Conv_0", {}),
    ],
)
def test_a_fused_layer_covers_the_nodes_of_its_name_its_metadata_or_its_tensors(name, more):
    rest = layer("gemm", ["m"], ["y"])
    assert nodes_of(layer(name, ["x"], ["r"], **more), layer("mul", ["r"], ["m"]), rest) == [
        ("conv", "relu"),
        ("mul",),
        ("gemm",),
    ]


def test_a_foreign_node_covers_what_is_between_its_ends():
    assert nodes_of(layer("{ForeignNode[conv...gemm]}", ["x"], ["y"])) == [("conv", "relu", "mul", "gemm")]


def test_a_copy_to_another_format_belongs_to_the_layer_that_reads_it():
    copy = layer("Reformatting CopyNode for Input Tensor 0 to conv", ["x"], ["Reformatted Input Tensor 0 to conv"])
    conv = layer("conv + relu", ["Reformatted Input Tensor 0 to conv"], ["r"])
    assert nodes_of(copy, conv)[0] == ("conv", "relu")


def test_each_call_has_the_times_that_came_since_the_last_one():
    times = {}
    profiler = TensorRtProfiler(None, times, [Kernel(node="conv")], json.dumps({"Layers": [layer("conv", ["x"], ["c"])]}))
    times["conv"] = [5]
    profiler.collect()
    times["conv"] += [7]
    times["other"] = [2]
    profiler.collect()
    recorded = profiler.read()
    assert [[(ran.kernel, ran.ns) for ran in call] for call in recorded.calls] == [[(0, 5)], [(0, 7), (1, 2)]]
    assert [kernel.node for kernel, _ in recorded.kernels] == ["conv", "other"]


def test_layers_that_are_told_by_name_alone_have_no_references():
    assert links_of(json.dumps({"Layers": ["conv", "relu"]})) == {}
