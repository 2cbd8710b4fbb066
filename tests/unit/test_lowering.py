"""Rules that lower operators to opset 17: the file is valid there, and gives the same answers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxbench.errors import BadInput, Unsupported
from onnxbench.exporters import lowering
from onnxbench.exporters.lowering_rules import RULES

node = helper.make_node
GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((2, 6, 4, 4)).astype(np.float32)
IMAGE = X[:, :3]
CODES = GENERATOR.integers(-9, 9, (2, 3)).astype(np.int8)


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


def spec_of(name, array, open_batch=False):
    shape = list(array.shape)
    if open_batch and shape:
        shape[0] = "N"
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)


def model_of(nodes, feeds, constants, opset, outputs=("y",), open_batch=False):
    """A model with the inputs of `feeds`, and with outputs of the types that its nodes compute."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    ends = [spec_of(name, array, open_batch) for name, array in feeds.items()]
    free = [helper.make_empty_tensor_value_info(name) for name in outputs]
    imports = [helper.make_opsetid("", opset)]
    trial = helper.make_model(helper.make_graph(nodes, "g", ends, free, tensors), opset_imports=imports, ir_version=13)
    answers = ReferenceEvaluator(trial).run(None, feeds)
    typed = [spec_of(name, np.asarray(array), open_batch) for name, array in zip(outputs, answers)]
    made = helper.make_model(helper.make_graph(nodes, "g", ends, typed, tensors), opset_imports=imports, ir_version=13)
    return made, answers


def lowered(made, folder, target=17):
    low = lowering.lower(made, target, folder)
    onnx.checker.check_model(low, full_check=True)
    assert {entry.domain: entry.version for entry in low.opset_import}[""] == target
    assert low.ir_version <= 8
    return low


def run(made, feeds):
    """Outputs of ONNX Runtime, which computes what the graph says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def distance_db(found, wanted):
    found, wanted = (np.asarray(array, np.float64) for array in (found, wanted))
    assert found.shape == wanted.shape
    noise = ((found - wanted) ** 2).sum()
    return np.inf if noise == 0 else 10 * np.log10((wanted**2).sum() / noise)


def check(folder, nodes, feeds, constants, opset, least_db=120, **how):
    """Lower a model and compare its answers. Returns the lowered model."""
    made, _ = model_of(nodes, feeds, constants, opset, **how)
    low = lowered(made, folder)
    answers, found = run(made, feeds), run(low, feeds)
    assert [np.asarray(array).dtype for array in found] == [np.asarray(array).dtype for array in answers]
    assert min(distance_db(*pair) for pair in zip(found, answers)) >= least_db
    return low


def reduce_of(name, **attributes):
    return [node(f"Reduce{name}", ["x", "axes"], ["y"], **attributes)]


REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"]
BLOCKS = {"image": ints(5, 5), "block": ints(2, 2)}
COLUMNS = GENERATOR.standard_normal((2, 8, 16)).astype(np.float32)
PADS = {"pads": ints(1, 2, 0, 1), "value": np.float32(3), "axes": ints(2, -1)}
GATES = {"scale": floats(0.1), "zero": np.array([0], np.int8)}
CASES = {
    **{f"Reduce{name}": (reduce_of(name), {"x": np.abs(X)}, {"axes": ints(1, -1)}, 18) for name in REDUCTIONS},
    "ReduceMean without axes": ([node("ReduceMean", ["x"], ["y"], keepdims=0)], {"x": X}, {}, 18),
    "ReduceMean of nothing": (reduce_of("Mean", noop_with_empty_axes=1), {"x": X}, {"axes": ints()}, 18),
    "ReduceMax of booleans": (reduce_of("Max"), {"x": X > 0}, {"axes": ints(1)}, 20),
    "Split in equal parts": ([node("Split", ["x"], ["y", "z"], num_outputs=2, axis=1)], {"x": X}, {}, 18),
    "Split with a rest": ([node("Split", ["x"], ["y", "z"], num_outputs=2, axis=1)], {"x": X[:, :5]}, {}, 18),
    "Split with sizes": ([node("Split", ["x", "s"], ["y", "z"], axis=1)], {"x": X}, {"s": ints(2, 4)}, 18),
    "Pad of some axes": ([node("Pad", ["x", "pads", "value", "axes"], ["y"])], {"x": X}, PADS, 18),
    "Pad of all axes": ([node("Pad", ["x", "pads"], ["y"])], {"x": X}, {"pads": ints(0, 0, 1, 1, 0, 0, 2, 2)}, 21),
    "Pad that wraps": ([node("Pad", ["x", "pads", "", "axes"], ["y"], mode="wrap")], {"x": X}, PADS, 19),
    "Resize of two axes": ([node("Resize", ["x", "", "s"], ["y"], axes=[2, 3])], {"x": X}, {"s": floats(2, 1.5)}, 18),
    "Resize to sizes": (
        [node("Resize", ["x", "", "", "s"], ["y"], axes=[2, 3], mode="linear")],
        {"x": X},
        {"s": ints(8, 6)},
        19,
    ),
    "Resize with its aspect ratio": (
        [node("Resize", ["x", "", "", "s"], ["y"], axes=[2, 3], keep_aspect_ratio_policy="not_larger", mode="linear")],
        {"x": X},
        {"s": ints(8, 10)},
        18,
    ),
    "Resize, symmetric": (
        [node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="half_pixel_symmetric", mode="linear")],
        {"x": X},
        {"s": floats(1, 1, 2, 1.5)},
        19,
    ),
    "Gelu": ([node("Gelu", ["x"], ["y"])], {"x": X}, {}, 20),
    "Gelu with tanh": ([node("Gelu", ["x"], ["y"], approximate="tanh")], {"x": X}, {}, 20),
    "Mish": ([node("Mish", ["x"], ["y"])], {"x": X}, {}, 18),
    "GroupNormalization": (
        [node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2)],
        {"x": X},
        {"s": np.arange(6, dtype=np.float32), "b": np.ones(6, np.float32)},
        21,
    ),
    "GridSample": (
        [node("GridSample", ["x", "grid"], ["y"], mode="linear")],
        {"x": IMAGE, "grid": GENERATOR.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)},
        {},
        20,
    ),
    "AffineGrid": (
        [node("AffineGrid", ["x", "size"], ["y"])],
        {"x": GENERATOR.standard_normal((2, 2, 3)).astype(np.float32)},
        {"size": ints(2, 3, 4, 5)},
        20,
    ),
    "Col2Im": ([node("Col2Im", ["x", "image", "block"], ["y"])], {"x": COLUMNS}, BLOCKS, 18),
    "CenterCropPad": ([node("CenterCropPad", ["x", "s"], ["y"], axes=[2, 3])], {"x": X}, {"s": ints(2, 6)}, 18),
    "DFT": ([node("DFT", ["x", "", "axis"], ["y"])], {"x": X[..., :1]}, {"axis": np.array(1)}, 20),
    "IsInf of halves": ([node("IsInf", ["x"], ["y"])], {"x": floats(1, np.inf).astype(np.float16)}, {}, 20),
    "IsNaN": ([node("IsNaN", ["x"], ["y"])], {"x": floats(1, np.nan)}, {}, 20),
    "BitwiseNot": ([node("BitwiseNot", ["x"], ["y"])], {"x": CODES}, {}, 18),
    "BitwiseNot, unsigned": ([node("BitwiseNot", ["x"], ["y"])], {"x": CODES.astype(np.uint8)}, {}, 18),
    "ScatterND": (
        [node("ScatterND", ["x", "i", "u"], ["y"], reduction="add")],
        {"x": X[0, 0]},
        {"i": ints(1, 2).reshape(2, 1), "u": X[0, 1, :2]},
        18,
    ),
    "AveragePool": ([node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1])], {"x": X}, {}, 19),
    "Cast": ([node("Cast", ["x"], ["y"], to=Type.FLOAT16, saturate=1)], {"x": X}, {}, 19),
    "Reshape": ([node("Reshape", ["x", "s"], ["y"])], {"x": X}, {"s": ints(2, -1)}, 23),
    "ConstantOfShape": ([node("ConstantOfShape", ["x"], ["y"])], {"x": ints(2, 3)}, {}, 20),
    "QuantizeLinear": ([node("QuantizeLinear", ["x", "scale", "zero"], ["y"], axis=0)], {"x": X[:1, 0]}, GATES, 21),
    "QuantizeLinear of a type": (
        [node("QuantizeLinear", ["x", "s"], ["y"], output_dtype=Type.INT8)],
        {"x": X},
        {"s": np.float32(0.1)},
        21,
    ),
    "DequantizeLinear in halves": (
        [node("DequantizeLinear", ["x", "s"], ["y"])],
        {"x": CODES},
        {"s": np.float16(0.125)},
        19,
    ),
    "CumProd": ([node("CumProd", ["x", "axis"], ["y"], exclusive=1, reverse=1)], {"x": X}, {"axis": np.array(1)}, 26),
    "Swish": ([node("Swish", ["x"], ["y"], alpha=1.5)], {"x": X}, {}, 24),
    "RMSNormalization": ([node("RMSNormalization", ["x", "s"], ["y"])], {"x": X}, {"s": floats(1, 2, 3, 4)}, 23),
    "Attention": (
        [node("Attention", ["x", "k", "v"], ["y"])],
        {name: GENERATOR.standard_normal((2, 2, 5, 4)).astype(np.float32) for name in "xkv"},
        {},
        23,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_keeps_the_answers(tmp_path, case):
    check(tmp_path, *CASES[case])


@pytest.mark.parametrize(
    ("case", "operators"),
    [
        ("ReduceMean", ["ReduceMean"]),
        ("Split in equal parts", ["Split"]),
        ("Reshape", ["Reshape"]),
        ("GridSample", ["GridSample"]),
        ("Gelu", ["Constant", "Constant", "Constant", "Div", "Erf", "Add", "Mul", "Mul"]),
    ],
)
def test_a_rule_adds_few_nodes(tmp_path, case, operators):
    assert [item.op_type for item in check(tmp_path, *CASES[case]).graph.node] == operators


REFUSED = {
    "BitwiseAnd": ([node("BitwiseAnd", ["x", "z"], ["y"])], {"x": CODES, "z": CODES}, {}, 18, "BitwiseAnd-18"),
    "a reduction": (
        [node("ScatterND", ["x", "i", "u"], ["y"], reduction="max")],
        {"x": X[0, 0]},
        {"i": ints(1).reshape(1, 1), "u": X[0, 1, :1]},
        18,
        "ScatterND-18",
    ),
    "axes that are an input": (reduce_of("Mean"), {"x": X, "axes": ints(1)}, {}, 18, "ReduceMean-18"),
    "antialias": (
        [node("Resize", ["x", "", "s"], ["y"], antialias=1, mode="linear")],
        {"x": X},
        {"s": floats(1, 1, 0.5, 0.5)},
        18,
        "Resize-18",
    ),
    "dilations": (
        [node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])],
        {"x": X},
        {},
        19,
        "AveragePool-19",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_operator_without_an_equivalent_is_refused_by_its_name(tmp_path, case):
    *model, name = REFUSED[case]
    made, _ = model_of(*model)
    with pytest.raises(Unsupported, match="cannot be lowered to opset 17") as caught:
        lowering.lower(made, 17, tmp_path)
    assert name in caught.value.message
    assert caught.value.hint


def test_all_operators_without_an_equivalent_are_named_once(tmp_path):
    nodes = [
        node("BitwiseAnd", ["x", "z"], ["a"]),
        node("BitwiseAnd", ["a", "z"], ["b"]),
        node("BitwiseXor", ["b", "z"], ["c"]),
        node("BitwiseOr", ["c", "z"], ["y"]),
    ]
    made, _ = model_of(nodes, {"x": CODES, "z": CODES}, {}, 18)
    with pytest.raises(Unsupported, match="cannot be lowered to opset 17") as caught:
        lowering.lower(made, 17, tmp_path)
    assert [caught.value.message.count(name) for name in ("BitwiseAnd-18", "BitwiseXor-18", "BitwiseOr-18")] == [1, 1, 1]


def test_an_open_dimension_is_split_where_it_runs(tmp_path):
    split = node("Split", ["x"], ["y", "z"], num_outputs=2, axis=0)
    made, _ = model_of([split], {"x": X}, {}, 18, outputs=("y", "z"))
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    for output in made.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = f"{output.name}_rows"
    parts = ReferenceEvaluator(lowered(made, tmp_path)).run(None, {"x": np.concatenate([X, X[:1]])})
    assert [len(part) for part in parts] == [2, 1]


def test_axes_that_follow_from_the_rank_are_constants(tmp_path):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Size", ["shape"], ["rank"]),
        node("Range", ["two", "rank", "one"], ["axes"]),
        node("ReduceMean", ["x", "axes"], ["y"]),
    ]
    low = check(tmp_path, nodes, {"x": X}, {"two": np.array(2), "one": np.array(1)}, 20, open_batch=True)
    assert [list(item.ints) for item in low.graph.node[-1].attribute if item.name == "axes"] == [[2, 3]]


def test_a_shape_is_inferred_behind_a_normalization(tmp_path):
    nodes = [
        node("GroupNormalization", ["x", "s", "b"], ["n"], num_groups=2),
        node("Resize", ["n", "", "sizes"], ["y"], axes=[2, 3]),
    ]
    constants = {"s": np.ones(6, np.float32), "b": np.zeros(6, np.float32), "sizes": floats(2, 2)}
    check(tmp_path, nodes, {"x": X}, constants, 21, open_batch=True)


def branch(name, *nodes):
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(nodes[-1].output[0], Type.FLOAT, None)])


def test_subgraphs_are_lowered_with_the_constants_around_them(tmp_path):
    then = branch("then", node("ReduceMean", ["x", "axes"], ["a"], keepdims=0))
    other = branch("else", node("ReduceMax", ["x", "axes"], ["b"], keepdims=0))
    choice = node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    low = check(tmp_path, [choice], {"x": X, "c": np.array(True)}, {"axes": ints(1, 2)}, 20)
    inner = [attribute.g.node[0] for attribute in low.graph.node[0].attribute]
    assert [list(item.ints) for each in inner for item in each.attribute if item.name == "axes"] == [[1, 2]] * 2


def test_functions_are_inlined_first(tmp_path):
    body = [node("Constant", [], ["axes"], value_ints=[1]), node("ReduceMean", ["a", "axes"], ["b"])]
    function = helper.make_function("own", "Pool", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    made, answers = model_of([node("ReduceMean", ["x", "axes"], ["y"])], {"x": X}, {"axes": ints(1)}, 20)
    made.graph.node[0].CopyFrom(node("Pool", ["x"], ["y"], domain="own"))
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    low = lowered(made, tmp_path)
    assert not low.functions
    np.testing.assert_array_equal(ReferenceEvaluator(low).run(None, {"x": X})[0], answers[0])


def test_weights_in_another_file_stay_there(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("ReduceMean", ["m", "axes"], ["y"])]
    weight = GENERATOR.standard_normal((4, 300)).astype(np.float32)
    made, answers = model_of(nodes, {"x": X}, {"w": weight, "axes": ints(1)}, 20)
    source, target = tmp_path / "big/net.onnx", tmp_path / "low/net.onnx"
    source.parent.mkdir()
    target.parent.mkdir()
    onnx.save(made, source, save_as_external_data=True, location="net.data", size_threshold=0)
    lowering.convert(source, target, 17)
    low = onnx.load(target, load_external_data=False)
    assert [tensor.data_location for tensor in low.graph.initializer] == [onnx.TensorProto.EXTERNAL] * 2
    assert not any(tensor.raw_data for tensor in low.graph.initializer)
    assert (target.parent / "net.data").read_bytes() == (source.parent / "net.data").read_bytes()
    onnx.checker.check_model(str(target), full_check=True)
    np.testing.assert_array_equal(ReferenceEvaluator(str(target)).run(None, {"x": X})[0], answers[0])


@pytest.mark.parametrize("target", [20, 21, lowering.LOWEST - 1])
def test_an_opset_outside_the_rules_is_a_bad_input(tmp_path, target):
    made, _ = model_of([node("Gelu", ["x"], ["y"])], {"x": X}, {}, 20)
    with pytest.raises(BadInput, match=f"opset {target}"):
        lowering.lower(made, target, tmp_path)


def test_a_file_between_is_lowered_as_far_as_it_needs(tmp_path):
    made, _ = model_of([node("ReduceMean", ["x", "axes"], ["g"]), node("Gelu", ["g"], ["y"])], {"x": X}, {"axes": ints(1)}, 20)
    low = lowering.lower(made, 18, tmp_path)
    assert len(low.graph.node[0].input) == 2
    assert "Erf" in {item.op_type for item in low.graph.node}


def test_the_source_stays_as_it_is(tmp_path):
    made, _ = model_of(*CASES["Gelu"])
    before = made.SerializeToString()
    lowering.lower(made, 17, tmp_path)
    assert made.SerializeToString() == before


def test_each_rule_has_the_version_of_an_operator():
    assert {key for key in RULES if lowering.since(*key) != key[1]} == set()
