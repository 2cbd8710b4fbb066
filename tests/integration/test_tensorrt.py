"""Exported files in TensorRT's own parser and builder, which need no GPU: the newest generation's, strongly typed.

Not running an engine, this proves that TensorRT takes a file, and that what it refuses is refused here before.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxfiles
import pytest
import test_schemes
from onnx import numpy_helper
from onnxbench.exporters import int8
from onnxbench.models import onnx_file, quantized
from onnxbench.spec import Conversion

NAME = "tensorrt-rtx"
PROGRAM = Path(__file__).with_name("tensorrt_build.py")


@pytest.fixture(scope="module")
def build():
    """What comes of building a file as the tensorrt backend does; fails where TensorRT is required and missing."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        refuse = pytest.fail if NAME in os.environ.get("BENCH_REQUIRE", "").split(",") else pytest.skip
        refuse(f"{NAME} is not here: pip install 'onnxbench[test]'")

    def run(path, precision, batch=8, *level):
        command = [sys.executable, PROGRAM, path, precision, batch, *level]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def converted(trained):
    """The CNN's files by precision, from `bench export`."""
    held = json.loads((trained.folder / "artifacts/manifest.json").read_text())["artifacts"]
    files = {item["artifact"]["precision"]: item["artifact"]["path"] for item in held}
    return {precision: trained.folder / "artifacts" / path for precision, path in files.items()}


@pytest.fixture(scope="module")
def engines(build, converted):
    """What came of each exported file, by precision."""
    return {precision: build(path, precision) for precision, path in converted.items()}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_exported_precision_is_built(engines, converted, precision):
    onnx.checker.check_model(str(converted[precision]), full_check=True)
    assert engines[precision]["error"] is None, engines[precision]
    assert engines[precision]["nbytes"] > 1_000_000
    assert (engines[precision]["flags"], engines[precision]["timings"] > 0) == (["STRONGLY_TYPED"], True)


def test_an_engine_is_as_small_as_the_types_of_its_file(engines):
    """Its weights are most of it, and have 4 bytes, 2, and 1."""
    sizes = {precision: engine["nbytes"] for precision, engine in engines.items()}
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
    assert sizes["int8"] < 0.7 * sizes["fp16"]


def test_a_file_is_built_for_any_batch_in_tf32_and_with_another_patience(build, converted):
    found = build(converted["fp32"], "tf32", 32, 1)
    assert (found["error"], found["flags"]) == (None, ["STRONGLY_TYPED", "TF32"])


@pytest.mark.parametrize("precision", ["bf16", "int8+fp16"])
def test_what_only_flags_can_choose_is_not_to_be_had_in_this_generation(build, converted, precision):
    found = build(converted[precision.partition("+")[0] if "+" in precision else "fp32"], precision)
    assert (found["error"], found["words"].partition(" ")[0]) == ("Unavailable", "TensorRT")
    assert found["words"].endswith(precision)


def changed(source, target, change):
    """`source` with `change` made to its graph."""
    model = onnx.load(source)
    change(model.graph)
    onnx.save(model, target)
    return target


def shift_zero_points(graph):
    """Asymmetric activations: another zero point, of the same type."""
    zeros = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    for tensor in (tensor for tensor in graph.initializer if tensor.name in zeros):
        tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, 3, np.int8), tensor.name))


def quantized_by(scheme, source, target):
    feeds = [{"input": np.random.default_rng(0).standard_normal((4, 3, 48, 48)).astype(np.float32)}]
    int8.convert(source, target, Conversion(scheme=scheme, method="minmax"), feeds)
    return target


def make(how, converted, folder):
    if how == "asymmetric":
        return changed(converted["int8"], folder / "asymmetric.onnx", shift_zero_points)
    return quantized_by(how, converted["fp32"], folder / f"{how}.onnx")


@pytest.mark.parametrize(
    ("how", "words", "theirs"),
    [
        ("asymmetric", "zero point other than 0", "Non-zero zero point is not supported"),
        ("ort", "32-bit bias", "has type Int32 but must have type"),
        ("openvino", "32-bit bias", "has type Int32 but must have type"),
    ],
)
def test_what_tensorrt_refuses_is_refused_by_our_own_check_before(build, converted, tmp_path, how, words, theirs):
    path = make(how, converted, tmp_path)
    assert words in onnx_file.describe(path, model="m").obstacle
    found = build(path, "int8")
    assert found["error"] == "Unsupported"
    assert "cannot parse the file" in found["words"]
    assert theirs in found["words"]


@pytest.mark.parametrize("scheme", ["portable", "layers"])
def test_files_of_the_symmetric_schemes_are_built(build, converted, tmp_path, scheme):
    networks = {"norm": test_schemes.with_layer_norm(), "residual": test_schemes.with_residual()}
    files = [quantized_by(scheme, converted["fp32"], tmp_path / "cnn.onnx")]
    for name, network in networks.items():
        source, made = onnxfiles.write(tmp_path / f"{name}.fp32.onnx", network), tmp_path / f"{name}.onnx"
        sizes = [item.dim_value or 4 for item in network.input[0].type.tensor_type.shape.dim]
        feeds = [{"x": np.random.default_rng(0).standard_normal(sizes).astype(np.float32)}]
        int8.convert(source, made, Conversion(scheme=scheme, method="minmax"), feeds)
        files.append(made)
    for path in files:
        onnx.checker.check_model(str(path), full_check=True)
        assert build(path, "int8")["error"] is None, path


def test_the_check_finds_nothing_wrong_with_the_portable_file(converted):
    graph = onnx.load(converted["int8"]).graph
    assert quantized.find_obstacle(graph) is None
    assert quantized.count_layers(graph) == (5, 0)
