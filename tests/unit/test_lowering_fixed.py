"""Files with the shapes of one call: sizes and what follows from them become constants, with the same answers."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench import backends
from onnxbench.exporters import lowering
from onnxbench.exporters.derive import option_of, shapes_of
from onnxbench.exporters.lowering_fixed import fix, needs_shapes

from .test_lowering import ints, node, run

CONSTANTS = {
    "zero": np.int64(0),
    "one": np.int64(1),
    "columns": np.arange(3),
    "first": ints(0),
    "last": ints(-1),
    "ends": ints(1, 2),
}
MASK = [
    node("Shape", ["mask"], ["size"], start=0, end=1),
    node("Squeeze", ["size", "first"], ["batch"]),
    node("Range", ["zero", "batch", "one"], ["items"]),
    node("Unsqueeze", ["items", "ends"], ["items3"]),
    node("Shape", ["mask"], ["sizes"]),
    node("Concat", ["sizes", "first"], ["unused"], axis=0),
    node("Reshape", ["columns", "row"], ["columns3"]),
    node("Max", ["items3", "columns3"], ["both"]),
    node("Shape", ["both"], ["grid"]),
    node("Expand", ["items3", "grid"], ["i"]),
    node("Expand", ["columns3", "grid"], ["j"]),
    node("Unsqueeze", ["i", "last"], ["i4"]),
    node("Unsqueeze", ["j", "last"], ["j4"]),
    node("Concat", ["i4", "j4"], ["index"], axis=-1),
    node("Cast", ["mask"], ["flags"], to=Type.BOOL),
    node("GatherND", ["flags", "index"], ["taken"]),
    node("Cast", ["taken"], ["y"], to=Type.FLOAT),
]
SHAPE_WORK = {"Shape", "Range", "Expand", "GatherND", "Max", "Concat", "Unsqueeze", "Squeeze"}


def mask_model(columns=(0, 1, 2), opset=20):
    """The mask of a transformer, as an exporter of an open batch writes it: all of `mask` [N, 3], by computed indices."""
    arrays = {**CONSTANTS, "columns": np.array(columns), "row": ints(1, 1, -1)}
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    ends = [helper.make_tensor_value_info("mask", Type.INT64, ["N", 3])]
    outputs = [helper.make_tensor_value_info("y", Type.FLOAT, ["N", 1, len(columns)])]
    graph = helper.make_graph(MASK, "g", ends, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def kinds(model):
    return {item.op_type for item in model.graph.node}


def fixed(model, batch, folder):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    return fix(copy, (("mask", (batch, 3)),), folder)


@pytest.mark.parametrize(("columns", "left"), [((0, 1, 2), {"Cast", "Reshape", "Constant"}), ((2, 0, -1), {"Gather"})])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_follows_from_the_sizes_is_folded_with_the_same_answers(tmp_path, columns, left, batch):
    model = mask_model(columns)
    made = fixed(model, batch, tmp_path)
    onnx.checker.check_model(made, full_check=True)
    mask = np.random.default_rng(0).integers(0, 2, (batch, 3))
    np.testing.assert_array_equal(run(made, {"mask": mask})[0], run(model, {"mask": mask})[0])
    assert not kinds(made) & SHAPE_WORK
    assert left <= kinds(made)
    assert len(made.graph.initializer) == 0
    assert [dim.dim_value for dim in made.graph.output[0].type.tensor_type.shape.dim] == [batch, 1, 3]


def test_a_graph_that_gathers_by_its_sizes_needs_them_and_is_not_changed_by_the_question(tmp_path):
    model = mask_model()
    before = model.SerializeToString()
    assert needs_shapes(model, tmp_path)
    assert model.SerializeToString() == before
    assert not needs_shapes(fixed(model, 2, tmp_path), tmp_path)


IMAGE_CONSTANTS = {"rest": ints(2, 3), "wide": ints(2, 6), "first": ints(0), "t": np.ones((1, 6), "f4")}


def image_model(*nodes):
    ends = [helper.make_tensor_value_info("x", Type.FLOAT, ["N", 6])]
    outputs = [helper.make_tensor_value_info("y", Type.FLOAT, None)]
    tensors = [numpy_helper.from_array(array, name) for name, array in IMAGE_CONSTANTS.items()]
    return helper.make_model(
        helper.make_graph(nodes, "g", ends, outputs, tensors), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Relu", ["x"], ["y"])],
        [
            node("Shape", ["x"], ["all"], start=0),
            node("Gather", ["all", "first"], ["n"]),
            node("Concat", ["n", "rest"], ["s"], axis=0),
            node("Reshape", ["x", "s"], ["y"]),
        ],
        [node("Shape", ["x"], ["n"]), node("Expand", ["t", "n"], ["y"])],
    ],
    ids=["no shapes", "a view", "floats"],
)
def test_other_graphs_do_not_need_their_sizes(tmp_path, nodes):
    assert not needs_shapes(image_model(*nodes), tmp_path)


@pytest.mark.parametrize(("part", "rows"), [({"end": 1}, 1), ({"start": -1}, 6), ({"start": 0, "end": -1}, 1)])
def test_a_part_of_a_shape_needs_its_sizes_and_becomes_a_constant(tmp_path, part, rows):
    nodes = node("Shape", ["x"], ["n"], **part), node("Concat", ["n", "wide"], ["s"], axis=0), node("Expand", ["t", "s"], ["y"])
    model = image_model(*nodes)
    assert needs_shapes(model, tmp_path)
    made = fix(onnx.ModelProto.FromString(model.SerializeToString()), (("x", (1, 6)),), tmp_path)
    assert "Shape" not in kinds(made)
    assert not needs_shapes(made, tmp_path)
    x = np.zeros((1, 6), "f4")
    np.testing.assert_array_equal(run(made, {"x": x})[0], run(model, {"x": x})[0])
    assert run(made, {"x": x})[0].shape == (rows, 2, 6)


def test_a_file_is_written_with_its_shapes_in_its_own_opset_or_a_lower_one(tmp_path):
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(mask_model(), source)
    for opset in (20, 17):
        lowering.convert(source, target, opset, (("mask", (2, 3)),))
        made = onnx.load(target)
        assert made.opset_import[0].version == opset
        assert not kinds(made) & SHAPE_WORK


def test_the_option_of_a_derived_file_has_its_shapes():
    shapes = (("a b=c", (1, 128)), ("mask", ()))
    assert shapes_of(option_of(shapes)) == shapes
    assert shapes_of("") == ()


@pytest.mark.parametrize(("version", "fixes"), [("8.6.1", True), ("9.3", True), ("10.0.1", False), ("11.5", False)])
def test_a_version_says_if_it_gets_files_with_shapes(version, fixes):
    assert backends.get("tensorrt").fixes_shapes(version) == fixes
    assert not backends.get("ort-cpu").fixes_shapes(version)
