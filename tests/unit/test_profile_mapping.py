"""Kernels mapped to nodes: by names, by the runtime's own graph, by modules of PyTorch, by neighbours."""

import pytest
from onnxbench.profiles import GraphNode, Kernel, Links
from onnxbench.results.profile.mapping import mapped


def node(name, operator, inputs, outputs, **module):
    return GraphNode(name=name, operator=operator, inputs=tuple(inputs.split()), outputs=tuple(outputs.split()), **module)


CHAIN = (
    node("conv", "Conv", "x w", "c"),
    node("relu", "Relu", "c", "r"),
    node("pool", "MaxPool", "r", "p"),
    node("gemm", "Gemm", "p v", "y"),
)


def nodes_of(links, nodes=CHAIN, runtime=(), layers=()):
    kernels = [Kernel(node=str(place), layer=place in layers) for place in range(len(links))]
    return [kernel.nodes for kernel in mapped(kernels, links, nodes, runtime)]


@pytest.mark.parametrize("name", ["conv", "c", "conv/WithoutBiases", "conv/a/b", "c/fused"])
def test_a_kernel_covers_the_node_that_it_names(name):
    assert nodes_of([Links(covers=(name,))]) == [("conv",)]


def test_an_exact_name_wins_over_its_beginning():
    nodes = (node("a", "Shape", "x", "s"), node("a/b", "Gather", "s", "g"))
    assert nodes_of([Links(covers=("a/b",)), Links(covers=("a/c",))], nodes) == [("a/b",), ("a",)]


def test_a_name_of_nothing_covers_nothing():
    assert nodes_of([Links(covers=("other", "")), Links()]) == [(), ()]


def test_nodes_are_in_the_order_of_the_graph():
    assert nodes_of([Links(covers=("relu", "conv"))]) == [("conv", "relu")]


def test_fused_nodes_are_those_between_the_tensors_of_the_runtimes_graph():
    """The name of the fused node is its first part's, and its output its last part's."""
    runtime = (node("conv", "FusedConv", "x w", "r"), node("fused_2", "PoolGemm", "r", "y"))
    links = [Links(covers=("conv",)), Links(covers=("fused_2",))]
    assert nodes_of(links, runtime=runtime) == [("conv", "relu"), ("pool", "gemm")]


def test_a_fused_node_that_writes_a_tensor_of_the_runtime_has_the_nodes_before_the_one_that_it_names():
    runtime = (node("r_nchwc", "Conv", "t w", "u"), node("pool", "MaxPool", "u", "p"))
    assert nodes_of([Links(covers=("r_nchwc", "r")), Links(covers=("pool",))], runtime=runtime)[0] == ("conv", "relu")


@pytest.mark.parametrize(("operator", "covered"), [("Gemm", [("conv",), ("relu", "pool", "gemm")]), ("Conv", [(), ()])])
def test_kernels_without_names_have_the_places_of_the_runtimes_graph(operator, covered):
    """If both have the same operators in the same order."""
    runtime = (node("", "Conv", "x w", "c"), node("", operator, "c", "y"))
    kernels = [Kernel(operator="Conv"), Kernel(operator="Gemm")]
    assert [kernel.nodes for kernel in mapped(kernels, [Links(), Links()], CHAIN, runtime)] == covered


def test_a_node_that_another_kernel_names_is_not_fused():
    runtime = (node("conv", "Conv", "x w", "c"), node("made", "Gemm", "q", "y"), node("pool", "MaxPool", "c", "q"))
    links = [Links(covers=("conv",)), Links(covers=("made",)), Links(covers=("pool",))]
    assert nodes_of(links, runtime=runtime) == [("conv",), ("gemm",), ("relu", "pool")]


def test_a_copy_belongs_to_the_layer_beside_it():
    runtime = (
        node("in", "ReorderInput", "x", "t1"),
        node("c_nchwc", "Conv", "t1 w", "t2"),
        node("out", "ReorderOutput", "t2", "c"),
        node("relu", "Relu", "c", "r"),
    )
    links = [Links(covers=("in",)), Links(covers=("c_nchwc", "c")), Links(covers=("out",)), Links(covers=("relu",))]
    assert nodes_of(links, runtime=runtime, layers={1}) == [("conv",), ("conv",), ("conv",), ("relu",)]


def test_a_chain_of_copies_belongs_to_the_kernel_at_its_end():
    links = [Links(writes=("a",)), Links(reads=("a",), writes=("b",)), Links(covers=("gemm",), reads=("b",))]
    assert nodes_of(links) == [("conv", "relu", "pool", "gemm")] * 3


def test_a_node_that_no_kernel_names_belongs_to_the_kernel_after_it():
    """A runtime may name a fused product after the sum alone."""
    assert nodes_of([Links(covers=("relu",)), Links(covers=("gemm",))]) == [("conv", "relu"), ("pool", "gemm")]


RESIDUAL = (
    node("conv0", "Conv", "x w0", "c0"),
    node("conv1", "Conv", "c0 w1", "c1"),
    node("add", "Add", "c1 c0", "s"),
    node("relu", "Relu", "s", "r"),
    node("pad", "Pad", "r", "q"),
    node("conv2", "Conv", "q w2", "c2"),
    node("down", "Conv", "r w3", "c3"),
)
LAYOUT = (  # as ONNX Runtime's own layout: the sum is an input of the second convolution, whose name is that of its first part
    node("c0_n", "Conv", "x w0", "t0"),
    node("c1_n", "Conv", "t0 w1 t0", "t1"),
    node("c2_n", "Conv", "t1 w2", "t2"),
    node("c3_n", "Conv", "t1 w3", "t3"),
)


@pytest.mark.parametrize(("layers", "first"), [((0, 1, 2, 3), ("conv1", "add", "relu")), ((2, 3), ("conv1",))])
def test_nodes_between_two_kernels_in_another_layout_belong_to_the_layer_before(layers, first):
    links = [Links(covers=(f"c{number}_n", f"c{number}")) for number in range(4)]
    conv0, conv1, conv2, down = nodes_of(links, RESIDUAL, LAYOUT, layers)
    assert (conv0, conv1) == (("conv0",), first)
    between = () if 1 in layers else ("add", "relu")
    assert (conv2, down) == ((*between, "pad", "conv2"), (*between, "down"))


def test_a_kernel_that_reads_what_the_first_of_its_nodes_reads_keeps_them():
    """A fused addition and product: the addition is not part of the layer before it."""
    runtime = (*LAYOUT[:1], node("c1", "Conv", "c0 w1", "c1"), node("c2_n", "FusedConv", "c1 c0 w2", "t2"))
    links = [Links(covers=("c0_n", "c0")), Links(covers=("c1",)), Links(covers=("c2_n", "c2"))]
    assert nodes_of(links, RESIDUAL, runtime, (0, 1, 2))[2] == ("add", "relu", "pad", "conv2")


def test_a_kernel_beside_nothing_stays_unmapped():
    assert nodes_of([Links(reads=("a",), writes=("b",)), Links(covers=("gemm",), reads=("z",))]) == [
        (),
        ("conv", "relu", "pool", "gemm"),
    ]


def of_module(name, scope, call, origin):
    return node(name, "Op", "", name, scope=scope, call=call, origin=origin)


MODULES = (
    of_module("a1", "up", "aten::linear", "linear"),
    of_module("a2", "up", "aten::linear", "linear"),
    of_module("b", "up", "aten::gelu", "gelu"),
    of_module("c", "up", "aten::linear", "linear_1"),
    of_module("d", "down", "aten::linear", "linear_2"),
)


def test_the_nth_operation_of_a_module_is_the_nth_of_the_traced_one():
    links = [Links(scope=scope, call="aten::linear") for scope in ("up", "down", "up")]
    assert nodes_of(links, MODULES) == [("a1", "a2"), ("d",), ("c",)]


def test_an_operation_without_a_counterpart_covers_the_rest_of_its_module():
    links = [Links(scope="up", call="aten::linear"), Links(scope="up", call="aten::fused")]
    assert nodes_of(links, MODULES) == [("a1", "a2"), ("b", "c")]


@pytest.mark.parametrize(("scope", "covered"), [("", ("d", "e")), ("up", ("d", "e")), ("up.x", ("d", "e")), ("u", ())])
def test_a_module_without_nodes_has_those_of_the_modules_inside(scope, covered):
    nodes = (of_module("d", "up.x.y", "aten::add", "add"), of_module("e", "up.x.z", "aten::mul", "mul"))
    assert nodes_of([Links(scope=scope, call="aten::fast_path")], nodes) == [covered]


def test_an_operation_in_place_is_the_same_operation():
    nodes = (of_module("d", "act", "aten::relu", "relu"), of_module("e", "act", "aten::relu", "relu_1"))
    assert nodes_of([Links(scope="act", call="aten::relu_")] * 2, nodes) == [("d",), ("e",)]


def test_a_module_that_was_folded_into_another_covers_the_node_with_its_weights():
    folded = node("n", "Conv", "x up.conv.weight up.bias", "y", scope="up.norm", call="aten::batch_norm", origin="norm")
    nodes = (folded, node("m", "Relu", "y", "up.conv.out"), node("o", "Abs", "up.conv.out", "z"))
    calls = {"up.conv": "aten::conv2d", "up.norm": "aten::batch_norm", "up": "aten::add", "other": "aten::conv2d"}
    links = [Links(scope=scope, call=call) for scope, call in calls.items()]
    assert nodes_of(links, nodes) == [("n",), ("n",), ("n",), ()]


def test_no_kernels_are_no_problem():
    assert nodes_of([]) == []
