"""Floors of precisions, measured on small graphs whose rounding errors are known."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxbench.errors import BadInput
from onnxbench.models import onnx_file
from onnxbench.runners.worker import variants
from onnxbench.runners.worker.file_jobs import CompareFile, MeasureFloor
from onnxbench.runners.worker.floors import Case, compare_file, floor_of, measure_floor
from onnxbench.runners.worker.jobs import Here
from onnxbench.runners.worker.reference import open_file
from onnxbench.runners.worker.verify import save_arrays

RNG = np.random.default_rng(0)
node = helper.make_node


def weight(name, array):
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def write(folder, nodes, weights=(), shape=("N", 64), outputs=("y",), **how):
    """Write a graph with the input x and these outputs, and describe it."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], ends, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(folder / "model.onnx"), **how)
    return onnx_file.describe(folder / "model.onnx", model="model")


def case_of(artifact, x=None):
    """The file with its own answers as the reference."""
    x = RNG.standard_normal((4, 64)).astype(np.float32) if x is None else x
    return Case(artifact=artifact, shapes=(("x", x.shape),), arrays={"x": x}, expected=run(artifact, x), batch=len(x))


def run(artifact, x):
    with open_file(artifact, (("x", x.shape),), optimize=False) as session:
        session.bind({"x": x})
        session.start()
        return session.fetch()


def outputs_of(artifact, x, change, tmp_path):
    """Outputs of a variant of the file."""
    from dataclasses import replace

    model = variants.load(artifact.path)
    change(model)
    folder = tmp_path / "variant"
    folder.mkdir(exist_ok=True)
    return run(replace(artifact, path=str(variants.store(model, onnx_file.Path(artifact.path), folder))), x)["y"]


def floors(case, precision):
    return {part.output: part.sqnr_db for part in floor_of(case, precision, lambda _: None)}


def cancelling(folder, offset):
    """y = (x + offset) - offset: the offset's rounding is all that is lost."""
    nodes = [node("Add", ["x", "c"], ["large"]), node("Sub", ["large", "c"], ["y"])]
    return write(folder, nodes, [weight("c", np.full(64, offset))])


def test_a_change_by_one_unit_in_the_last_place():
    array = RNG.standard_normal(1000).astype(np.float32)
    changed = variants.perturb(array, 1)
    ulps = np.abs(changed.view(np.int32) - array.view(np.int32))
    assert changed.dtype == np.float32
    assert set(ulps.tolist()) <= {0, 1}
    assert ulps.mean() > 0.9
    assert (variants.perturb(np.arange(3), 1) == np.arange(3)).all()


def test_the_floor_of_fp32_is_what_cancellation_leaves(tmp_path):
    """2000 +- 2^-24 of it: an error of 6e-5 to 1.2e-4 beside values of 1 is between 78 and 85 dB."""
    assert 70 < floors(case_of(cancelling(tmp_path, 2000.0)), "fp32")["y"] < 90
    assert 10 < floors(case_of(cancelling(tmp_path, 2e6)), "fp32")["y"] < 30
    assert floors(case_of(write(tmp_path, [node("Relu", ["x"], ["y"])])), "fp32")["y"] > 130


def test_the_floor_is_that_of_each_output(tmp_path):
    nodes = [node("Add", ["x", "c"], ["l"]), node("Sub", ["l", "c"], ["y"]), node("Relu", ["x"], ["z"])]
    found = floors(case_of(write(tmp_path, nodes, [weight("c", np.full(64, 2000.0))], outputs=("y", "z"))), "fp32")
    assert found["y"] < 90
    assert found["z"] > 130


@pytest.mark.parametrize(("kind", "dtype", "bits"), [("FLOAT16", np.float16, 11), ("BFLOAT16", None, 8)])
def test_outputs_of_nodes_are_rounded(tmp_path, kind, dtype, bits):
    x = RNG.standard_normal((4, 64)).astype(np.float32)
    artifact = write(tmp_path, [node("Mul", ["x", "w"], ["a"]), node("Neg", ["a"], ["y"])], [weight("w", np.full(64, 1.37))])
    found = outputs_of(artifact, x, lambda model: variants.round_outputs(model, kind), tmp_path)
    mantissa, _ = np.frexp(found)
    assert (np.round(mantissa * 2**bits) == mantissa * 2**bits).all()
    if dtype:
        assert (found == -(x * np.float32(1.37)).astype(dtype).astype(np.float32)).all()


def test_operands_of_layers_are_rounded_to_tf32(tmp_path):
    x, w = RNG.standard_normal((4, 64)).astype(np.float32), RNG.standard_normal((64, 8)).astype(np.float32)
    artifact = write(tmp_path, [node("MatMul", ["x", "w"], ["y"])], [weight("w", w)])
    found = outputs_of(artifact, x, variants.round_operands, tmp_path)

    def tf32(array):
        mantissa, exponent = np.frexp(array.astype(np.float64))
        return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent)

    assert np.abs(found - tf32(x) @ tf32(w)).max() < 1e-5
    assert np.abs(found - x.astype(np.float64) @ w).max() > 1e-4


def summed_in_fp16(x, w):
    """x @ w, whose sums are rounded to FP16 after every 16 products."""
    total = np.zeros((len(x), w.shape[1]), np.float16)
    for begin in range(0, x.shape[1], 16):
        part = x[:, begin : begin + 16].astype(np.float64) @ w[begin : begin + 16]
        total = (total + part).astype(np.float16)
    return total.astype(np.float32)


def sqnr(found, expected):
    return 10 * np.log10((expected.astype(np.float64) ** 2).mean() / ((found - expected) ** 2).mean())


@pytest.mark.parametrize("products", [64, 768, 3072])
@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("operator", ["MatMul", "Gemm", "Conv"])
def test_a_sum_has_the_error_of_a_sum_in_fp16(tmp_path, products, mean, operator):
    """Products of both signs, and of one: such partial sums grow as the number of products."""
    x, w = (mean + RNG.standard_normal(shape) / 4 for shape in ((32, products), (products, 24)))
    x, w = (array.astype(np.float16).astype(np.float32) for array in (x, w / products**0.5))
    how = {
        "MatMul": (node("MatMul", ["x", "w"], ["y"]), x, w),
        "Gemm": (node("Gemm", ["x", "w"], ["y"], transA=1, transB=1, alpha=2.0), x.T, w.T),
        "Conv": (node("Conv", ["x", "w"], ["y"]), x.reshape(32, products // 4, 2, 2), w.T.reshape(24, products // 4, 2, 2)),
    }
    made, given, weights = how[operator]
    made.name = "product"
    artifact = write(tmp_path, [made], [weight("w", weights)], shape=given.shape)
    found = outputs_of(artifact, np.ascontiguousarray(given), lambda model: variants.round_sums(model, 0), tmp_path)
    exact = run(artifact, np.ascontiguousarray(given))["y"]
    expected = sqnr(summed_in_fp16(x, w), (x.astype(np.float64) @ w))
    assert sqnr(found, exact) == pytest.approx(expected, abs=3)


def test_a_long_sum_relaxes_the_floor_of_fp16_alone(tmp_path):
    x, w = RNG.standard_normal((4, 3072)).astype(np.float32), RNG.standard_normal((3072, 8))
    artifact = write(tmp_path, [node("MatMul", ["x", "w"], ["y"])], [weight("w", w)], shape=("N", 3072))
    rounded = outputs_of(artifact, x, lambda model: variants.round_outputs(model, "FLOAT16"), tmp_path)
    assert floors(case_of(artifact, x), "fp16")["y"] < sqnr(rounded, run(artifact, x)["y"]) - 6


def test_the_classes_of_rounding_are_in_order(tmp_path):
    artifact = write(tmp_path, [node("MatMul", ["x", "w"], ["y"])], [weight("w", RNG.standard_normal((64, 8)))])
    found = {precision: floors(case_of(artifact), precision)["y"] for precision in ("fp32", "tf32", "fp16", "bf16")}
    assert found["fp32"] > 130 > found["tf32"] > 60
    assert 80 > found["fp16"] > 60 > found["bf16"] > 40


def test_activations_are_moved_by_one_step_in_one_of_a_hundred_places(tmp_path):
    x = RNG.standard_normal((64, 64)).astype(np.float32)
    nodes = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
    artifact = write(tmp_path, nodes, [weight("s", 0.05)])
    moved = (
        outputs_of(artifact, x, lambda model: variants.step_activations(model, 1), tmp_path) - run(artifact, x)["y"]
    ) / 0.05
    assert set(np.round(moved).ravel().tolist()) == {-1.0, 0.0, 1.0}
    assert 0.003 < (np.round(moved) != 0).mean() < 0.02
    assert 20 < floors(case_of(artifact, x), "int8")["y"] <= 40


def test_activations_that_an_operator_quantizes_by_their_range_are_moved_by_one_step(tmp_path):
    x = RNG.standard_normal((64, 64)).astype(np.float32)
    quantize = node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    artifact = write(tmp_path, [quantize, node("DequantizeLinear", ["q", "s", "z"], ["y"])])
    step = (x.max() - x.min()) / 255
    moved = (
        outputs_of(artifact, x, lambda model: variants.step_activations(model, 1), tmp_path) - run(artifact, x)["y"]
    ) / step
    assert set(np.round(moved).ravel().tolist()) == {-1.0, 0.0, 1.0}
    assert 0.003 < (np.round(moved) != 0).mean() < 0.03
    assert 20 < floors(case_of(artifact, x), "int8")["y"] <= 40


def test_large_results_are_moved_although_they_are_whole(tmp_path):
    """Every FP32 number above 2^24 is whole. A softmax of such logits depends on their rounding alone."""
    x = RNG.integers(1, 9, (4, 64)).astype(np.float32)
    large = write(tmp_path, [node("Mul", ["x", "c"], ["y"])], [weight("c", np.full(64, 3e9))])
    moved = outputs_of(large, x, lambda model: variants.round_randomly(model, 1), tmp_path) != run(large, x)["y"]
    assert moved.mean() > 0.2


def test_results_are_moved_in_files_of_old_opsets_too(tmp_path):
    """Round and Where are newer than opset 9. The file of the model does not change."""
    artifact = cancelling(tmp_path, 2000.0)
    case = case_of(artifact)
    new = floors(case, "fp32")["y"]
    old = onnx.load(artifact.path)
    old.opset_import[0].version, old.ir_version = 9, 4
    onnx.save(old, artifact.path)
    assert floors(case, "fp32")["y"] == pytest.approx(new, abs=1)
    assert onnx.load(artifact.path).opset_import[0].version == 9


def test_results_are_moved_by_one_unit_and_whole_numbers_stay(tmp_path):
    x = np.concatenate([RNG.standard_normal((4, 32)), RNG.integers(-9, 9, (4, 32))], axis=1).astype(np.float32)
    artifact = write(tmp_path, [node("Mul", ["x", "w"], ["y"])], [weight("w", np.ones(64))])
    found = outputs_of(artifact, x, lambda model: variants.round_randomly(model, 1), tmp_path)
    ulps = np.abs(found.view(np.int32) - x.view(np.int32))
    assert set(ulps[:, :32].ravel().tolist()) == {0, 1, 2}
    assert (ulps[:, 32:] == 0).all()


def test_large_weights_are_not_copied_and_the_inputs_of_layers_are_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "MOST_WEIGHT_BYTES", 0)
    artifact = write(tmp_path, [node("MatMul", ["x", "w"], ["y"])], [weight("w", RNG.standard_normal((64, 8)))])
    before, model = variants.load(artifact.path), variants.load(artifact.path)
    variants.perturb_layers(model, 1)
    assert model.graph.initializer[0] == before.graph.initializer[0]
    assert [item.op_type for item in model.graph.node] == ["Mul", "MatMul"]
    assert 120 < floors(case_of(artifact), "fp32")["y"] < 160


def test_weights_in_another_file_are_changed_and_found(tmp_path):
    big = weight("w", RNG.standard_normal((64, 64)))
    artifact = write(
        tmp_path, [node("MatMul", ["x", "w"], ["y"])], [big], save_as_external_data=True, location="w.bin", size_threshold=0
    )
    found = {precision: floors(case_of(artifact), precision)["y"] for precision in ("fp32", "fp16")}
    assert found["fp32"] > 120
    assert found["fp16"] < 80


def test_sizes_that_a_graph_computes_are_not_changed(tmp_path):
    nodes = [node("Resize", ["x", "", "scales"], ["y"], mode="nearest")]
    artifact = write(tmp_path, nodes, [weight("scales", [1, 1, 3.0])], shape=("N", 2, 32))
    x = RNG.standard_normal((2, 2, 32)).astype(np.float32)
    assert {precision: set(floors(case_of(artifact, x), precision)) for precision in ("fp32", "fp16")} == {
        "fp32": {"y"},
        "fp16": {"y"},
    }


def test_nodes_of_subgraphs_are_rounded(tmp_path):
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, None)] for name in "te"]
    then = helper.make_graph([node("Mul", ["x", "w"], ["t"])], "t", [], ends[0])
    other = helper.make_graph([node("Neg", ["x"], ["e"])], "e", [], ends[1])
    flag = numpy_helper.from_array(np.array(True), "flag")
    nodes = [node("If", ["flag"], ["y"], then_branch=then, else_branch=other)]
    artifact = write(tmp_path, nodes, [flag, weight("w", np.full(64, 1.37))])
    assert 60 < floors(case_of(artifact), "fp16")["y"] < 90


def test_values_that_a_precision_cannot_hold_relax_nothing(tmp_path):
    nodes = [node("Mul", ["x", "c"], ["large"]), node("Mul", ["large", "c"], ["y"]), node("Neg", ["x"], ["z"])]
    artifact = write(tmp_path, nodes, [weight("c", np.full(64, 1e4))], outputs=("y", "z"))
    assert set(floors(case_of(artifact), "fp16")) == {"z"}
    assert set(floors(case_of(artifact), "bf16")) == {"y", "z"}


def test_a_file_of_which_no_variant_runs_has_no_floor(tmp_path):
    case = case_of(write(tmp_path, [node("Relu", ["x"], ["y"])]))
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(BadInput, match="fp16"):
        floors(case, "fp16")


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job on a file with a random output, from arrays in folders."""
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))
    nodes = [node("Neg", ["x"], ["y"]), node("RandomNormalLike", ["x"], ["r"])]
    case = case_of(write(tmp_path, nodes, outputs=("y", "r")))
    save_arrays(tmp_path / "in", case.arrays)
    save_arrays(tmp_path / "out", case.expected)
    folders = {"inputs": Here(path=str(tmp_path / "in")), "outputs": Here(path=str(tmp_path / "out"))}
    return {"artifact": case.artifact, "shapes": case.shapes, "batch": 4, "random": ("r",), **folders}


def test_a_floor_is_measured_once(job):
    reports = []
    first = measure_floor(None, reports.append, MeasureFloor(precision="fp32", **job))
    assert [part.output for part in first.parts] == ["y"]
    assert len(reports) == 4
    assert measure_floor(None, reports.append, MeasureFloor(precision="fp32", **job)) == first
    assert len(reports) == 4
    measure_floor(None, reports.append, MeasureFloor(precision="fp16", **job))
    assert len(reports) == 6


def test_a_damaged_floor_is_measured_again(job, tmp_path):
    first = measure_floor(None, lambda _: None, MeasureFloor(precision="fp32", **job))
    (stored,) = (tmp_path / "cache" / "floors").glob("*/floor.json")
    stored.write_text("{")
    assert measure_floor(None, lambda _: None, MeasureFloor(precision="fp32", **job)) == first


def test_a_file_is_compared_by_itself(job):
    (part,) = compare_file(None, lambda _: None, CompareFile(**job)).parts
    assert (part.output, part.sqnr_db) == ("y", 200.0)
