"""Anybody's ONNX file, on the runtimes that are here."""

import json

import numpy as np
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnxfiles import MINI

RUNTIMES = ("--backend", "ort-cpu,openvino-cpu")


def measure(shell, path, *more, code=0):
    return shell.rows("infer", "--model", path, *RUNTIMES, *MINI, *more, code=code)


def test_a_model_of_the_onnx_package(shell):
    """The others are in test_runtimes.py: their weights are hundreds of megabytes."""
    rows = measure(shell, onnxfiles.LIGHT / "light_shufflenet.onnx")
    assert {(row["backend"], row["status"], row["batch"]) for row in rows} == {("ort-cpu", "ok", 1), ("openvino-cpu", "ok", 1)}


@pytest.mark.parametrize(
    ("graph", "how"),
    [
        (onnxfiles.integers(), {}),
        (onnxfiles.integers(Type.INT32), {}),
        (onnxfiles.old_style(), {"ir": 3, "opset": 8}),
        (onnxfiles.mixed(), {}),
        (onnxfiles.lookup(), {}),
        (onnxfiles.dense(x="in/x:0", y="out/y:0"), {}),
        (onnxfiles.dense(), {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}),
    ],
    ids=["int64", "int32", "ir3", "bool-half-scalar", "lookup", "slashes", "external"],
)
def test_inputs_of_every_kind(shell, graph, how, request):
    """Measured where calls in parallel bind inputs of other types; otherwise compared alone."""
    path = onnxfiles.write(shell.folder / "model.onnx", graph, **how)
    job = ("infer", *MINI) if request.node.callspec.id in ("bool-half-scalar", "lookup") else ("check",)
    rows = shell.rows(*job, "--model", path, *RUNTIMES, "--batch", "4")
    assert [(row["status"], row["batch"]) for row in rows] == [("ok", 4), ("ok", 4)]
    assert all(row["sqnr_db"] > 60 for row in rows)


def test_an_open_dimension_is_asked_for_by_name(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.sequence())
    refused = shell.bench("infer", "--model", path, *RUNTIMES)
    assert refused.returncode == 2
    assert "'in/x'" in refused.stderr
    assert "'seq'" in refused.stderr
    rows = measure(shell, path, "--shape", "in/x=3x5x4")
    assert {(row["status"], row["batch"]) for row in rows} == {("ok", 3)}


def test_a_model_that_is_no_tensor_is_unsupported_by_name_and_leaves_nothing(shell):
    value, node = onnxfiles.value, onnxfiles.helper.make_node
    ends = value("x", Type.FLOAT, ["N", 4]), onnxfiles.helper.make_tensor_sequence_value_info("parts", Type.FLOAT, None)
    graph = onnxfiles.helper.make_graph([node("SplitToSequence", ["x"], ["parts"])], "g", [ends[0]], [ends[1]])
    refused = shell.bench("infer", "--model", onnxfiles.write(shell.folder / "model.onnx", graph), *RUNTIMES, "--out", "run")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "output 'parts' is of kind sequence" in refused.stderr
    assert not (shell.folder / "run").exists()


def test_what_sets_an_operator_is_given_as_an_array(shell):
    value, node = onnxfiles.value, onnxfiles.helper.make_node
    inputs = [value("x", Type.FLOAT, [2, 6]), value("shape", Type.INT64, [2])]
    graph = onnxfiles.helper.make_graph([node("Reshape", ["x", "shape"], ["y"])], "g", inputs, [value("y", Type.FLOAT, [3, 4])])
    path = onnxfiles.write(shell.folder / "model.onnx", graph)
    assert {row["status"]: row["reason"] for row in measure(shell, path, code=3)} == {
        "unsupported": "input 'shape' sets the shape of Reshape, so random values are wrong; write --input shape=FILE.npy"
    }
    np.save(shell.folder / "shape.npy", np.array([3, 4]))
    assert {row["status"] for row in measure(shell, path, "--input", "shape=shape.npy")} == {"ok"}


def test_real_arrays_fix_the_batch_and_are_what_runs(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.dense())
    np.save(shell.folder / "x.npy", np.ones((6, 4), np.float32))
    rows = measure(shell, path, "--input", "x=x.npy")
    assert {(row["status"], row["batch"]) for row in rows} == {("ok", 6)}


def test_a_fixed_batch_is_measured_as_it_is_and_contradicted_in_a_row(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.dense(batch=3))
    rows = measure(shell, path, "--batch", "3,8")
    assert [(row["batch"], row["status"]) for row in rows] == [(3, "ok")] * 2 + [(8, "unsupported")] * 2
    assert "fixes the batch at 3" in rows[-1]["reason"]


def test_an_exported_file_is_adopted_whole(shell):
    how = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    source = shell.folder / "theirs"
    source.mkdir()
    path = onnxfiles.write(source / "model.onnx", onnxfiles.dense(), **how)
    done = shell.bench("export", "--model", path, "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    assert (shell.folder / "artifacts/model/w.bin").is_file()
    assert {row["status"] for row in shell.rows("infer", *RUNTIMES, *MINI, "--batch", "2")} == {"ok"}
    again = shell.bench("export", "--model", path, "--precision", "fp32")
    assert "taken from the cache" in again.stdout


def test_clean_json_for_a_pipe(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.dense())
    rows = shell.rows("infer", "--model", path, "--backend", "ort-cpu", "--batch", "1", *MINI)
    assert [row["backend"] for row in rows] == ["ort-cpu"]


def packed(level):
    """A dense layer with weights in 4 bits, as language models have it."""
    size, block = 64, 32
    generator = np.random.default_rng(0)
    arrays = {
        "b": generator.integers(0, 255, (size, size // block, block // 2)).astype(np.uint8),
        "s": (generator.random(size * size // block) * 0.01 + 0.002).astype(np.float32),
    }
    facts = {"K": size, "N": size, "bits": 4, "block_size": block, "accuracy_level": level, "domain": "com.microsoft"}
    node = onnxfiles.helper.make_node("MatMulNBits", ["x", *arrays], ["y"], **facts)
    ends = [onnxfiles.value(name, Type.FLOAT, ["N", 16, size]) for name in "xy"]
    tensors = [onnxfiles.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnxfiles.helper.make_graph([node], "g", ends[:1], ends[1:], tensors)
    return onnxfiles.helper.make_model(
        graph,
        opset_imports=[onnxfiles.helper.make_opsetid("", 17), onnxfiles.helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )


@pytest.mark.parametrize(("level", "least_db"), [(0, 100), (4, 20)])
def test_activations_of_packed_weights_are_rounded_only_where_the_file_says_so(shell, level, least_db):
    path = shell.folder / "packed.onnx"
    onnxfiles.onnx.save(packed(level), path)
    rows = shell.rows("check", "--model", path, *RUNTIMES, "--batch", "2")
    assert [(row["precision"], row["status"]) for row in rows] == [("int8", "ok"), ("int8", "ok")]
    assert all(row["sqnr_db"] > least_db for row in rows)
    assert {row["executed"] for row in rows if row["backend"] == "openvino-cpu"} == {"fp32"}


def unsorted():
    nodes = [onnxfiles.helper.make_node("MatMul", ["h", "w"], ["y"]), onnxfiles.helper.make_node("Relu", ["x"], ["h"])]
    ends = onnxfiles.value("x", Type.FLOAT, ["N", 4]), onnxfiles.value("y", Type.FLOAT, ["N", 2])
    return onnxfiles.helper.make_graph(nodes, "g", ends[:1], ends[1:], [onnxfiles.weights()])


def without_shape():
    graph = onnxfiles.dense()
    graph.output[0].type.tensor_type.ClearField("shape")
    return graph


@pytest.mark.parametrize("make", [unsorted, without_shape])
def test_a_file_that_only_the_checker_refuses_is_measured_and_the_row_says_so(shell, make):
    path = onnxfiles.write(shell.folder / "model.onnx", make())
    options = ("--batch", "2", "--precision", "fp32,fp16", "--format", "json")
    printed = json.loads(shell.bench("infer", *MINI, "--model", path, *RUNTIMES, *options).stdout)
    assert {(row["precision"], row["status"]) for row in printed["rows"]} == {("fp32", "ok"), ("fp16", "ok")}
    assert {item["kind"] for item in printed["findings"]} >= {"invalid_file"}


def test_a_file_that_no_runtime_loads_is_refused(shell):
    graph = onnxfiles.dense()
    graph.node[0].input[1] = "nothing"
    done = shell.bench("infer", *MINI, "--model", onnxfiles.write(shell.folder / "model.onnx", graph), *RUNTIMES)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing" in done.stderr


def test_a_model_in_the_cache_of_the_hub_is_measured_on_every_runtime(shell):
    root = shell.folder / "models--acme--tiny"
    (root / "blobs").mkdir(parents=True)
    how = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
    path = onnxfiles.write(root / "blobs/model.onnx", onnxfiles.dense(), **how)
    snapshot = root / "snapshots/0123abcd"
    snapshot.mkdir(parents=True)
    for part in (path, path.with_name("model.onnx_data")):
        part.rename(part.with_name(f"blob of {part.name}"))
        (snapshot / part.name).symlink_to(f"../../blobs/blob of {part.name}")
    rows = measure(shell, snapshot / "model.onnx", "--batch", "2", "--precision", "fp32,fp16,int8")
    assert [row["status"] for row in rows] == ["ok"] * 6
    assert (root / "blobs/blob of model.onnx").is_file()


@pytest.mark.vnni
def test_measuring_a_file_does_not_change_what_the_next_plain_infer_measures(shell):
    exported = onnxfiles.write(shell.folder / "first.onnx", onnxfiles.dense())
    open_ended = onnxfiles.write(shell.folder / "second.onnx", onnxfiles.sequence())
    assert shell.bench("export", "--model", exported, "--precision", "fp32").returncode == 0
    options = ("--shape", "in/x=3x5x4", "--precision", "fp32,int8")
    assert {row["precision"] for row in measure(shell, open_ended, *options)} == {"fp32", "int8"}
    rows = shell.rows("infer", *MINI, *RUNTIMES, "--batch", "2")
    assert {(row["model"], row["precision"]) for row in rows} == {("first", "fp32")}
    assert [file.name for file in (shell.folder / "artifacts").glob("*.onnx")] == ["first.onnx"]
