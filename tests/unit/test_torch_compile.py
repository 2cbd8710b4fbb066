"""PyTorch compiled ahead: what is set before a build, what a package says of itself, and the cells that a package is for."""

import os
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from onnxbench import backends
from onnxbench.backends import torch_compile
from onnxbench.backends.protocol import SessionInfo
from onnxbench.errors import Unavailable
from onnxbench.spec import Settings


def node(operator, dtype, op="call_function"):
    return SimpleNamespace(op=op, target=operator, meta={"val": SimpleNamespace(dtype=f"torch.{dtype}")})


def exported(*nodes):
    return SimpleNamespace(graph=SimpleNamespace(nodes=nodes))


def test_types_are_those_of_the_layers_alone():
    layers = [
        node("aten.conv2d.default", "float16"),
        node("aten.linear.default", "float16"),
        node("aten.mm.default", "float32"),
    ]
    others = [node("aten.relu.default", "float64"), node("aten.softmax.int", "float32"), node("x", "float32", op="placeholder")]
    assert torch_compile.layer_types(exported(*others, *layers)) == "fp16+fp32"
    assert torch_compile.layer_types(exported(*others)) == ""


def test_a_layer_with_several_results_has_the_type_of_the_first():
    several = SimpleNamespace(
        op="call_function", target="aten.lstm.input", meta={"val": (SimpleNamespace(dtype="torch.bfloat16"), None)}
    )
    assert torch_compile.layer_types(exported(several)) == "bf16"


def test_a_machine_without_a_compiler_is_told_how_to_get_one(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unavailable, match="no-such-compiler") as caught:
        torch_compile._compiler()
    assert "g++" in caught.value.hint


def test_the_compiler_is_the_one_that_inductor_takes(monkeypatch, tmp_path):
    own = tmp_path / "mine++"
    own.write_text("")
    own.chmod(stat.S_IRWXU)
    monkeypatch.setenv("CXX", str(own))
    assert torch_compile._compiler() == str(own)


@pytest.mark.skipif(sys.platform != "linux", reason="other linkers have no --exclude-libs")
def test_a_package_keeps_its_copy_of_the_library_private(tmp_path):
    """The flag is after those of Inductor, which reach the compiler as they are."""
    compiler = tmp_path / "a folder" / "g++-13"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    compiler.chmod(stat.S_IRWXU)
    script = tmp_path / "g++-13"
    script.write_text(torch_compile.own_library(str(compiler)))
    script.chmod(stat.S_IRWXU)
    flags = subprocess.run([script, "-o", "a b.so"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert flags == ["-o", "a b.so", "-Wl,--exclude-libs,libstdc++.a"]


def with_options(make_cell, backend, **options):
    return make_cell(backend=backend, settings=Settings(threads=3, options=tuple(options.items())))


@pytest.mark.parametrize(("value", "found"), [("on", True), ("off", False)])
def test_options_and_threads_reach_the_compiler(make_cell, value, found):
    cell = with_options(make_cell, "torch-compile-cpu", max_autotune=value, freezing=value)
    configs = backends.get("torch-compile-cpu")._configs(cell)
    assert (configs["max_autotune"], configs["freezing"], configs["cpp.threads"]) == (found, found, 3)
    assert configs["cpp.dynamic_threads"] is True
    assert (configs["cpp.enable_unsafe_math_opt_flag"], configs["cpp.enable_floating_point_contract_flag"]) == (False, "off")


def test_variables_of_the_environment_change_no_option(make_cell):
    """Inductor has defaults that such variables change, so an option that is not given is set too."""
    configs = backends.get("torch-compile-cuda")._configs(with_options(make_cell, "torch-compile-cuda"))
    assert (configs["max_autotune"], configs["freezing"]) == (False, False)


def fake_torch(tf32):
    """As torch is before 2.9: without the later interface of the precision."""
    matmul, cudnn = SimpleNamespace(allow_tf32=tf32), SimpleNamespace(allow_tf32=tf32, benchmark=False)
    return SimpleNamespace(
        backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn, mkldnn=SimpleNamespace()),
        set_float32_matmul_precision=lambda text: setattr(matmul, "allow_tf32", text != "highest"),
        get_num_threads=lambda: 3,
        get_num_interop_threads=lambda: 1,
        get_float32_matmul_precision=lambda: "highest",
    )


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("fp16", False)])
def test_tf32_is_set_by_the_precision_and_written_into_the_package(make_cell, precision, allowed):
    backend, torch = backends.get("torch-compile-cuda"), fake_torch(tf32=not allowed)
    backend._set_arithmetic(torch, make_cell(precision=precision))
    assert backend._allows_tf32(torch) is allowed


class Loader:
    def __init__(self, metadata):
        self._metadata = metadata

    def get_metadata(self):
        return self._metadata


@pytest.mark.parametrize(
    ("metadata", "executed"),
    [
        ({"onnxbench_types": "fp32", "onnxbench_tf32": "False"}, "fp32"),
        ({"onnxbench_types": "fp32", "onnxbench_tf32": "True"}, "tf32"),
        ({"onnxbench_types": "bf16+fp32", "onnxbench_tf32": "False"}, "bf16+fp32"),
    ],
)
def test_what_a_package_was_compiled_in_is_what_the_row_says(make_cell, metadata, executed):
    """Also where this process does not allow TF32 now: the kernels of the package are what they are."""
    package = torch_compile.Package.__new__(torch_compile.Package)
    package._loader = Loader(metadata)
    info = backends.get("torch-compile-cuda")._info(fake_torch(tf32=False), package, make_cell(precision="fp32"))
    assert isinstance(info, SessionInfo)
    assert info.executed == executed
    assert {"max_autotune", "cuda_graph", "channels_last"} & set(dict(info.settings)) == {"max_autotune", "channels_last"}


def test_a_package_of_the_cpu_is_for_its_threads_and_one_of_a_gpu_for_its_index(make_cell):
    one, two = (make_cell(settings=Settings(threads=count)) for count in (1, 2))
    cpu, cuda = backends.get("torch-compile-cpu"), backends.get("torch-compile-cuda")
    assert cpu._fixed(one) != cpu._fixed(two)
    first, second = (make_cell(device=f"cuda:{index}") for index in (0, 1))
    assert cuda._fixed(first) != cuda._fixed(second)


def test_a_variable_of_the_environment_is_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("KEPT", "before")
    with torch_compile._environment(KEPT="during", NEW="during"):
        assert (os.environ["KEPT"], os.environ["NEW"]) == ("during", "during")
    assert (os.environ["KEPT"], "NEW" in os.environ) == ("before", False)
