import pytest
from onnx import TensorProto as Type
from onnx import helper
from onnxbench.exporters.biases import separate_biases
from onnxbench.exporters.float_nodes import find_filter_banks, find_float_nodes

OPERATORS = (
    *("Add", "Concat", "Conv", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Mul", "Relu", "Reshape"),
    *("Sigmoid", "Softmax"),
)


def graph(*lines, constants=("w", "b", "g", "eps", "shape", "table"), ends=("x", "y")):
    """A graph from lines such as `fc MatMul x w -> h`; the names of nodes come first."""
    nodes = []
    for line in lines:
        left, right = line.split(" -> ")
        name, kind, *inputs = left.split()
        nodes.append(helper.make_node(kind, inputs, right.split(), name))
    values = [helper.make_tensor_value_info(name, Type.FLOAT, None) for name in ends]
    tensors = [helper.make_tensor(name, Type.FLOAT, [1, 2], [1.0, 2.0]) for name in constants]
    return helper.make_graph(nodes, "g", values[:1], values[1:], tensors)


def in_float(*lines, peaks=(), **more):
    return set(find_float_nodes(graph(*lines, **more), dict(peaks), OPERATORS))


LAYER_NORM = (
    *("mean ReduceMean a -> m", "centre Sub a m -> c", "square Pow c two -> s", "variance ReduceMean s -> v"),
    *("shift Add v eps -> e", "root Sqrt e -> r", "norm Div c r -> n", "scale Mul n g -> k", "move Add k b -> z"),
)
BY_MOMENTS = (
    *("mean ReduceSum a -> m", "square Mul a a -> s", "mean2 ReduceSum s -> s2", "msq Mul m m -> mm", "var Sub s2 mm -> v"),
    *("root Sqrt v -> r", "inverse Reciprocal r -> i", "gain Mul i g -> k", "shape2 Reshape m shape -> ms"),
    *("centre Sub a ms -> c", "norm Mul c k -> z"),
)
RMS_NORM = ("square Pow a two -> s", "mean ReduceMean s -> m", "root Sqrt m -> r", "norm Div a r -> n", "scale Mul g n -> z")
SOFTMAX = ("top ReduceMax a -> t", "less Sub a t -> l", "exp Exp l -> e", "sum ReduceSum e -> s", "part Div e s -> z")


@pytest.mark.parametrize("lines", [LAYER_NORM, BY_MOMENTS, RMS_NORM, SOFTMAX])
def test_a_normalisation_of_many_nodes_is_in_float_and_the_layers_around_it_are_not(lines):
    found = in_float("first MatMul x w -> a", *lines, "last MatMul z w -> y", constants=("w", "b", "g", "eps", "shape", "two"))
    assert found == {line.split()[0] for line in lines}


def test_every_node_of_a_normalisation_is_found_whatever_the_quantizer_supports():
    kinds = {line.split()[1] for line in LAYER_NORM}
    net = graph("first MatMul x w -> a", *LAYER_NORM, "last MatMul z w -> y", constants=("w", "b", "g", "eps", "two"))
    assert set(find_float_nodes(net, {}, {*OPERATORS, *kinds})) == {line.split()[0] for line in LAYER_NORM}


def test_a_residual_path_around_a_normalisation_stays_in_8_bits():
    found = in_float(
        "first Conv x w -> a0",
        "relu Relu a0 -> a",
        *LAYER_NORM,
        "middle Conv z w -> h",
        "sum Add a h -> t",
        "last Conv t w -> y",
        constants=("w", "b", "g", "eps", "two"),
    )
    assert found == {line.split()[0] for line in LAYER_NORM}


def test_a_global_pooling_is_no_normalisation():
    pooled = (
        "conv Conv x w -> a",
        "relu Relu a -> r",
        "pool GlobalAveragePool r -> p",
        "flat Flatten p -> f",
        "fc Gemm f w -> y",
    )
    assert in_float(*pooled) == set()
    reduced = "conv Conv x w -> a", "pool ReduceMean a -> p", "relu Relu p -> r", "fc Gemm r w -> y"
    assert set(find_float_nodes(graph(*reduced), {}, (*OPERATORS, "ReduceMean"))) == set()


def test_a_gate_is_in_float_and_its_pooling_and_layers_are_not():
    squeeze = (
        "conv Conv x w -> a",
        "pool GlobalAveragePool a -> p",
        "down Conv p w -> d",
        "relu Relu d -> r",
        "up Conv r w -> u",
    )
    assert in_float(*squeeze, "sigmoid Sigmoid u -> s", "gate Mul a s -> g2", "last Conv g2 w -> y") == {"sigmoid", "gate"}


def test_a_residual_sum_is_in_8_bits_and_a_bias_is_not():
    block = "conv Conv x w -> a", "relu Relu a -> r", "conv2 Conv r w -> c", "sum Add r c -> s", "last Conv s w -> y"
    assert in_float(*block) == set()
    assert in_float("fc MatMul x w -> a", "bias Add a b -> c", "relu Relu c -> r", "last MatMul r w -> y") == {"bias"}
    swish = "conv Conv x w -> a", "sigmoid Sigmoid a -> s", "swish Mul a s -> c", "sum Add c a -> t", "last Conv t w -> y"
    assert in_float(*swish) == {"sigmoid", "swish", "sum"}


def test_operators_of_normalisation_and_lookups_in_tables_are_in_float():
    assert in_float("fc MatMul x w -> a", "soft Softmax a -> s", "last MatMul s w -> y") == {"soft"}
    assert in_float("lookup Gather table x -> e", "fc MatMul e w -> y") == {"lookup"}
    assert in_float("fc MatMul x w -> h", "pick Gather h i -> p", "last MatMul p w -> y", constants=("w", "i")) == set()


@pytest.mark.parametrize(("peak", "expected"), [(7.0, set()), (9.0, {"join"})])
def test_a_concat_is_in_float_where_its_inputs_have_unlike_ranges(peak, expected):
    lines = "one Conv x w -> a", "two Conv x w -> c", "join Concat a c -> j", "last Conv j w -> y"
    assert in_float(*lines, peaks={"a": 2.0, "c": peak}) == expected


def test_nothing_after_the_last_layer_is_in_8_bits():
    head = "conv Conv x w -> a", "relu Relu a -> r", "pool MaxPool r -> p", "flat Flatten p -> y"
    assert in_float(*head) == {"relu", "pool", "flat"}
    assert in_float("fc MatMul x w -> a", "mask Add a m -> c", "soft Softmax c -> s", "fc2 MatMul s w -> y") == {"mask", "soft"}


SPECTRUM = (
    *("frame Reshape x shape -> f", "low Conv f w -> a", "high Conv a w -> c", "square Mul c c -> s", "power ReduceSum s -> p"),
    *("mel MatMul p w -> m", "floor Add m eps -> e"),
)
BEHIND = "log Log e -> l", "conv Conv l w -> h", "relu Relu h -> r", "last Conv r w -> y"


def test_the_filters_before_a_logarithm_of_a_spectrum_are_in_float():
    filters = {line.split()[0] for line in SPECTRUM}
    assert in_float(*SPECTRUM, *BEHIND) == {*filters, "log"}
    assert set(find_filter_banks(graph(*SPECTRUM, *BEHIND))) == filters


@pytest.mark.parametrize(
    "lines",
    [
        ("fc MatMul x w -> a", "soft Softmax a -> s", "log Log s -> y"),
        ("fc MatMul x w -> a", "relu Relu a -> r", "fc2 MatMul r w -> c", "log Log c -> y"),
        ("fc MatMul x w -> a", "exp Exp a -> e", "sum ReduceSum e -> s", "log Log s -> y"),
        ("lookup Gather table x -> a", "fc MatMul a w -> c", "log Log c -> y"),
    ],
)
def test_layers_before_the_logarithm_of_learned_functions_are_no_filters(lines):
    assert find_filter_banks(graph(*lines)) == []


def names_of(net):
    return [list(node.input) for node in net.node], {tensor.name for tensor in net.initializer}


def test_layers_that_share_a_bias_get_their_own_under_names_that_nothing_has():
    net = graph("conv Conv x w b -> b2", "other Conv b2 w b -> y")
    assert separate_biases(net)
    (first, second), tensors = names_of(net)
    assert len({first[2], second[2], "b", "b2"}) == 4
    assert {first[2], second[2]} <= tensors
    assert "b" not in tensors


def test_a_bias_of_one_row_becomes_a_vector_and_other_biases_stay():
    net = graph("fc Gemm x w b -> y")
    assert separate_biases(net)
    assert [list(tensor.dims) for tensor in net.initializer if tensor.name == net.node[0].input[2]] == [[2]]
    assert not separate_biases(net)
