"""Plug-ins of ONNX Runtime, each in an environment of its own: `make test-runtimes`."""

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxfiles import value, write

from .conftest import environment

pytestmark = pytest.mark.runtimes

QUICK = ("--budget", "quick", "--batch", "1", "--precision", "fp32")
OPENVINO, WEBGPU = "onnxruntime-ep-openvino==1.8.1", "onnxruntime-ep-webgpu==0.4.0"
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Two convolutions with a Relu between them."""
    generator = np.random.default_rng(0)
    kernels = [generator.standard_normal(shape).astype(np.float32) for shape in ((16, 3, 3, 3), (8, 16, 3, 3))]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["y"], name="second"),
    ]
    ends = value("x", Type.FLOAT, ["N", 3, 16, 16]), value("y", Type.FLOAT, ["N", 8, 12, 12])
    weights = [numpy_helper.from_array(kernel, f"w{index}") for index, kernel in enumerate(kernels)]
    return write(tmp_path_factory.mktemp("network") / "net.onnx", helper.make_graph(nodes, "g", ends[:1], ends[1:], weights))


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    """A maker of interpreters with some packages."""

    def make(*packages):
        folder = tmp_path_factory.mktemp("venvs") / "own"
        environment(folder, sys.executable, "numpy", "protobuf", "flatbuffers", "packaging", *packages)
        return folder

    return make


@pytest.fixture(scope="module")
def openvino(interpreter):
    return interpreter("onnxruntime==1.31.1", OPENVINO)


def measure(shell, network, python, *options, backends="ort-openvino", code=0):
    name = backends.partition(",")[0]
    asked = ("--backend", backends, "--python", f"{name}={python}", "--model", network, *QUICK, *options)
    return {row["environment"] or "": row for row in shell.rows("infer", *asked, code=code)}


def test_the_pin_makes_openvino_compute_in_fp32_and_without_it_the_row_says_what_ran(shell, network, openvino):
    """Fails if the pin is removed from the table, on a CPU with BF16."""
    if not BF16_FLAGS & set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip("this CPU has no BF16, in which OpenVINO would compute")
    both, option = "ort-openvino,ort-openvino@default", ("--option", "ort-openvino@default.arithmetic=default")
    rows = measure(shell, network, openvino, *option, backends=both, code=3)
    pinned, default = rows[""], rows["default"]
    assert (pinned["status"], pinned["executed"], pinned["placement"]) == ("ok", "fp32", "3/3 OpenVINO")
    assert pinned["sqnr_db"] > 100
    assert (default["status"], default["executed"]) == ("mismatch", "bf16")
    assert default["sqnr_db"] < 80


def test_a_plugin_for_another_onnx_runtime_is_a_row_with_both_versions(shell, network, interpreter):
    rows = measure(shell, network, interpreter("onnxruntime==1.23.2", WEBGPU), backends="ort-webgpu", code=3)
    assert rows[""]["status"] == "unavailable"
    for text in ("onnxruntime-ep-webgpu 0.4.0", "onnxruntime 1.23.2", "pip install"):
        assert text in rows[""]["reason"]


def test_a_plugin_without_its_device_is_a_row_with_the_reason(shell, network, interpreter):
    """Here is no Vulkan driver: the plug-in loads, and finds nothing."""
    rows = measure(shell, network, interpreter("onnxruntime==1.31.1", WEBGPU), backends="ort-webgpu", code=3)
    assert rows[""]["status"] == "unavailable"
    assert "WebGpuExecutionProvider" in rows[""]["reason"]


def test_a_missing_plugin_is_a_row_with_the_command_that_installs_it(shell, network, bare_python):
    rows = measure(shell, network, bare_python, code=3)
    assert rows[""]["status"] == "unavailable"
    assert "onnxruntime-ep-openvino is not installed" in rows[""]["reason"]
    assert "onnxbench[ort-openvino]" in rows[""]["reason"]
