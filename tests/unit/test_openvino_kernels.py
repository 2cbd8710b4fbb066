"""What OpenVINO's compiled graph is read as, from layers as its runtime model tells them."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from onnxbench.backends.openvino_cpu import OpenVinoSession, _port_names
from onnxbench.backends.protocol import PROFILED_CALLS, UNCOUNTED_CALLS
from onnxbench.errors import RuntimeFailed
from onnxbench.evidence import Kernel


class Compiled:
    """A compiled model of some layers, each as (name, kind, type); call N takes them N ms."""

    def __init__(self, *layers):
        self.layers, self.inputs, self.calls = layers, [], 0

    def get_runtime_model(self):
        return SimpleNamespace(get_ordered_ops=lambda: [_op(*layer) for layer in self.layers])

    def create_infer_request(self):
        return self

    def infer(self):
        self.calls += 1

    @property
    def profiling_info(self):
        took = timedelta(milliseconds=self.calls)
        return [SimpleNamespace(node_name=name, real_time=took) for name, kind, *_ in self.layers if kind != "Reshape"]


def _op(name, kind, type, primitive=""):
    facts = {"layerType": kind, "runtimePrecision": type, "primitiveType": primitive}
    told = {name: text for name, text in facts.items() if text or name == "layerType"}
    return SimpleNamespace(get_friendly_name=lambda: name, get_rt_info=lambda: told)


def kernels(*layers, timed=False):
    return OpenVinoSession(Compiled(*layers), None, None, lambda: Compiled(*layers)).kernels(timed)


def test_a_layer_is_a_kernel_and_a_place_is_none():
    told = kernels(
        *(("x", "Input", "f32"), ("w", "Const", "i8"), ("conv", "Convolution", "f32")),
        *(("relu", "Eltwise", "f32"), ("y", "Output", "f32"), ("p", "Parameter", "f32"), ("r", "Result", "f32")),
    )
    assert told == (
        Kernel(node="conv", operator="Convolution", type="fp32", layer=True),
        Kernel(node="relu", operator="Eltwise", type="fp32", layer=False),
    )


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        *(("f32", "fp32"), ("f16", "fp16"), ("bf16", "bf16"), ("f64", "fp64"), ("i8", "int8"), ("u8", "int8")),
        *(("i64", ""), ("boolean", ""), ("", ""), ("undefined", "")),
    ],
)
def test_a_type_has_the_packages_name(kind, type):
    assert [kernel.type for kernel in kernels(("a", "FullyConnected", kind))] == [type]


@pytest.mark.parametrize("kind", ["Reorder", "Reshape", "FakeQuantize", "Transpose", "Convert"])
def test_what_moves_or_converts_computes_nothing(kind):
    told = kernels(("a", kind, "f32"), ("b", "MatMul", "u8"), ("c", kind, "u8"))
    assert [(kernel.operator, kernel.type) for kernel in told] == [(kind, ""), ("MatMul", "int8"), (kind, "")]


def test_bytes_are_booleans_where_nothing_multiplies_in_them():
    mask = ("mask", "Eltwise", "u8")
    assert [kernel.type for kernel in kernels(mask, ("a", "MatMul", "f32"))] == ["", "fp32"]
    assert [kernel.type for kernel in kernels(mask, ("a", "MatMul", "i8"))] == ["int8", "int8"]


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        *((name, True) for name in ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNCell", "RNNSeq")),
        *((name, False) for name in ("Pooling", "Eltwise", "Softmax", "Subgraph", "Reorder")),
    ],
)
def test_layers_are_what_multiplies(kind, layer):
    assert [kernel.layer for kernel in kernels(("a", kind, "f32"))] == [layer]


def test_times_are_told_where_they_are_asked_for_and_the_runtime_tells_them():
    layers = (("a", "Convolution", "f32"), ("b", "Reshape", "f32"))
    middle_ms = (UNCOUNTED_CALLS + 1 + PROFILED_CALLS) / 2
    assert [kernel.ns for kernel in kernels(*layers)] == [None, None]
    assert [kernel.ns for kernel in kernels(*layers, timed=True)] == [middle_ms * 1e6, None]


@pytest.mark.parametrize(
    ("ports", "names"),
    [
        (["x", "mask"], ["x", "mask"]),
        (["mask", "x"], ["mask", "x"]),
        (["y"], ["x"]),
        (["x", "y", "last"], ["x", "mask", "last"]),
    ],
)
def test_an_input_that_is_an_output_too_is_found_by_its_place(ports, names):
    asked = [SimpleNamespace(get_names=lambda name=name: {name}) for name in ports]
    assert _port_names(asked, ["x", "mask", "last"]) == names


def test_an_input_that_the_file_does_not_have_is_an_error():
    ports = [SimpleNamespace(get_names=lambda name=name: {name}) for name in ("x", "y")]
    with pytest.raises(RuntimeFailed, match=r"\['y'\]"):
        _port_names(ports, ["x"])


@pytest.mark.parametrize(
    ("primitive", "type"),
    [("brgemm_avx512_f32", "fp32"), ("brgemm_avx512_amx_bf16", "bf16"), ("brgemm_avx512_vnni_i8", "int8"), ("", "int8")],
)
def test_a_layer_with_compressed_weights_computes_in_the_type_of_its_primitive(primitive, type):
    assert kernels(("y", "FullyConnected", "i8", primitive))[0].type == type
