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
import pytest
from onnx import numpy_helper
from onnxbench.exporters import int8
from onnxbench.models import onnx_file, quantized
from onnxbench.spec import Conversion

NAME = "tensorrt-rtx"
PROGRAM = Path(__file__).with_name("tensorrt_build.py")


@pytest.fixture(scope="module")
def build():
    """Build a file; fails where TensorRT is required and missing."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        refuse = pytest.fail if NAME in os.environ.get("BENCH_REQUIRE", "").split(",") else pytest.skip
        refuse(f"{NAME} is not here: pip install 'onnxbench[test]'")

    def run(path):
        done = subprocess.run([sys.executable, PROGRAM, path], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def converted(trained):
    """The CNN's files by precision, from `bench export`."""
    held = json.loads((trained.folder / "artifacts/manifest.json").read_text())["artifacts"]
    files = {item["artifact"]["precision"]: item["artifact"]["path"] for item in held}
    return {precision: trained.folder / "artifacts" / path for precision, path in files.items()}


@pytest.mark.parametrize(("precision", "types"), [("fp32", {"FLOAT"}), ("fp16", {"HALF"}), ("int8", {"INT8"})])
def test_every_exported_precision_is_built(build, converted, precision, types):
    onnx.checker.check_model(str(converted[precision]), full_check=True)
    found = build(converted[precision])
    assert found["errors"] == []
    assert found["nbytes"] > 1_000_000
    assert types <= set(found["types"])


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
    int8.convert(source, target, Conversion(origin="", scheme=scheme, method="minmax"), feeds)
    return target


def make(how, converted, folder):
    if how == "asymmetric":
        return changed(converted["int8"], folder / "asymmetric.onnx", shift_zero_points)
    return quantized_by(how, converted["fp32"], folder / f"{how}.onnx")


@pytest.mark.parametrize(
    ("how", "words"),
    [("asymmetric", "zero point other than 0"), ("ort", "bias of 32 bits"), ("openvino", "bias of 32 bits")],
)
def test_what_tensorrt_refuses_is_refused_by_our_own_check_before(build, converted, tmp_path, how, words):
    path = make(how, converted, tmp_path)
    assert words in onnx_file.describe(path, model="m").obstacle
    assert build(path)["errors"]


def test_the_check_finds_nothing_wrong_with_the_portable_file(converted):
    graph = onnx.load(converted["int8"]).graph
    assert quantized.obstacle(graph) is None
    assert quantized.layers(graph) == (5, 0)
