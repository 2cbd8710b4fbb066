"""Files that a runtime takes only after they are lowered: on a backend of another package, which takes opset 17."""

import json
import os
import sys
import warnings

import lowering as benchmark
import numpy as np
import onnx
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.exporters import lowering, torch_onnx
from onnxbench.results.store.record import read_run
from onnxbench.spec import TensorSpec

PLUGIN = '''
from onnxbench.backends.ort import OrtCpu


class Backend(OrtCpu):
    """ONNX Runtime, as if it took opset 17 and no newer one, and computed nothing with open sizes."""

    name = "old-ort"
    opsets = {"1.0": 17}
    open_shapes_since = "99.0"

    def _open(self, artifact, cell, concurrency):
        assert artifact.opset <= 17, artifact.opset
        return super()._open(artifact, cell, concurrency)
'''


def network(*more):
    """A convolution, Gelu, a normalization and a mean: opset 17 lacks two of them, and has the last with other parameters."""
    generator = np.random.default_rng(0)
    arrays = {"w": generator.standard_normal((8, 3, 3, 3)), "s": np.arange(1, 9) / 4, "b": np.ones(8)}
    arrays["f"] = generator.standard_normal((8, 5))
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    tensors.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Gelu", ["c"], ["g"], "gelu"),
        helper.make_node("GroupNormalization", ["g", "s", "b"], ["n"], "norm", num_groups=2),
        helper.make_node("ReduceMean", ["n", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("MatMul", ["m", "f"], ["y"], "fc"),
        *more,
    ]
    ends = onnxfiles.value("x", Type.FLOAT, ["N", 3, 8, 8]), onnxfiles.value("y", Type.FLOAT, ["N", 5])
    return helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)


@pytest.fixture
def old(shell):
    """A shell in which the backend `old-ort` exists, and a file of opset 21."""
    site = shell.folder / "site"
    (site / "old-1.0.dist-info").mkdir(parents=True)
    (site / "old_plugin.py").write_text(PLUGIN)
    (site / "old-1.0.dist-info/entry_points.txt").write_text("[onnxbench.backends]\nold-ort = old_plugin:Backend\n")
    (site / "old-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: old\nVersion: 1.0\n")
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(site), *sys.path])
    onnxfiles.write(shell.folder / "net.onnx", network(), opset=21)
    return shell


def test_a_file_of_each_precision_is_lowered_and_its_rows_say_so(old):
    backends = ("--backend", "old-ort,ort-cpu")
    asked = ("--model", "net.onnx", "--batch", "2", "--precision", "fp32,fp16,int8", "--out", "run")
    done = old.bench("check", *asked, *backends, "--format", "json")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert {(row["backend"], row["precision"]): row["status"] for row in table["rows"]} == {
        (backend, precision): "ok" for backend in ("old-ort", "ort-cpu") for precision in ("fp32", "fp16", "int8")
    }
    found = [finding for finding in table["findings"] if finding["kind"] == "lowered"]
    assert sorted(name for finding in found for name in finding["rows"] if "old-ort" in name) == sorted(
        name for finding in found for name in finding["rows"]
    )
    assert {(finding["values"]["source"], finding["values"]["opset"]) for finding in found} == {(21, 17)}
    cells = read_run(old.folder / "run").cells
    assert len({item.cell.sha256 for item in cells}) == 1  # the file that the user gave
    ran = {(item.cell.backend, item.cell.precision): item.opened for item in cells}
    for precision in ("fp32", "fp16", "int8"):
        low, full = ran["old-ort", precision], ran["ort-cpu", precision]
        assert low.sha256 != full.sha256
        assert (low.lowered.source, low.lowered.opset, full.lowered) == (21, 17, None)
        assert low.conversion == full.conversion
        assert {entry.version for entry in onnx.load(low.file).opset_import if not entry.domain} == {17}


def test_a_file_that_computes_with_its_open_batch_is_written_for_each_batch(old):
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("ConstantOfShape", ["sizes"], ["ones"], value=numpy_helper.from_array(np.array([1]))),
        helper.make_node("Cast", ["ones"], ["float_ones"], to=Type.FLOAT),
        helper.make_node("Add", ["x", "float_ones"], ["y"]),
    ]
    ends = [onnxfiles.value(name, Type.FLOAT, ["N", 3]) for name in "xy"]
    onnxfiles.write(old.folder / "sizes.onnx", helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset=17)
    rows = old.rows("check", "--model", "sizes.onnx", "--batch", "1,4", "--backend", "old-ort", "--out", "run")
    assert {(row["batch"], row["status"]) for row in rows} == {(1, "ok"), (4, "ok")}
    for item in read_run(old.folder / "run").cells:
        graph = onnx.load(item.opened.file).graph
        assert [node.op_type for node in graph.node] == ["Add"]
        assert [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [item.cell.batch, 3]
        assert (item.opened.lowered.source, item.opened.lowered.shapes) == (17, f"x={item.cell.batch}x3")


def test_a_file_that_cannot_be_lowered_is_a_row_with_the_operator(old):
    more = helper.make_node("BitwiseAnd", ["i", "i"], ["j"], "bits")
    graph = network(more)
    graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.int32), "i"))
    onnxfiles.write(old.folder / "bits.onnx", graph, opset=21)
    asked = ("--model", "bits.onnx", "--batch", "2", "--backend", "old-ort,ort-cpu", "--out", "run")
    rows = {row["backend"]: row for row in old.rows("check", *asked, code=3)}
    assert rows["ort-cpu"]["status"] == "ok"
    assert rows["old-ort"]["status"] == "unsupported"
    assert "BitwiseAnd-18 (bits) cannot be lowered to opset 17" in rows["old-ort"]["reason"]


@pytest.mark.long
def test_an_export_has_the_opset_that_the_user_names(old):
    done = old.bench("export", "--model", "net.onnx", "--opset", "17", "--precision", "fp16,int8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("opset 17") == 3
    rows = old.rows("check", "--backend", "old-ort", "--out", "run")
    assert {(row["precision"], row["status"]) for row in rows} == {("fp32", "ok"), ("fp16", "ok"), ("int8", "ok")}
    cells = read_run(old.folder / "run").cells
    assert len({item.cell.sha256 for item in cells}) == 1
    assert all(item.opened.lowered is None for item in cells)
    above = old.bench("export", "--model", "net.onnx", "--opset", "22", "--out", "other")
    assert (above.returncode, "--opset 22 cannot raise" in above.stderr) == (2, True)


def test_a_preview_names_the_files_that_are_lowered(old):
    asked = ("infer", "--model", "net.onnx", "--backend", "old-ort", "--batch", "1", "--dry-run")
    assert "from opset 21 to opset 17, the highest that old-ort takes" in old.bench(*asked).stdout


def test_the_backends_are_listed_with_their_opset(old):
    rows = {row["backend"]: row for row in old.rows("backends")}
    assert rows["old-ort"]["opset"] == 17
    assert rows["null"]["opset"] is None


SPECS = {
    "Residual": TensorSpec(name="x", dtype="float32", shape=("batch", 3, 32, 32)),
    "Vision": TensorSpec(name="x", dtype="float32", shape=("batch", 3, 32, 32)),
    "Text": TensorSpec(name="ids", dtype="int64", shape=("batch", 12)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SPECS)
def test_a_network_that_torch_exported_is_lowered(tmp_path, name):
    import small_nets
    import torch

    torch.manual_seed(0)
    source, target = tmp_path / "net.onnx", tmp_path / "low.onnx"
    torch_onnx.export(getattr(small_nets, name)().eval(), source, [SPECS[name]], ["y"])
    lowering.convert(source, target, 17)
    onnx.checker.check_model(str(target), full_check=True)
    arrays = {SPECS[name].name: torch_onnx.sample_inputs([SPECS[name]])[0].numpy()}
    outputs = [benchmark.run(onnx.load(path), arrays) for path in (target, source)]
    assert benchmark.distance_db(*outputs) >= benchmark.LEAST_DB


@pytest.mark.long
def test_cases_of_onnx_itself_are_lowered_and_compared():
    """benchmarks/lowering.py runs all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the arithmetic with which onnx makes its cases
        outcomes = [benchmark.judge(case, 17) for case in benchmark.cases(17, "reduce_l2")]
    assert len(outcomes) > 8
    assert {item.result for item in outcomes} <= {benchmark.LOWERED, benchmark.FROZEN}
