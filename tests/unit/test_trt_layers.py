"""What TensorRT's inspector tells, from JSON as version 8.6 writes it."""

import json
from pathlib import Path

import pytest
from onnxbench.backends import trt_layers
from onnxbench.evidence import Kernel

FP32 = "Row major linear FP32"
FP16 = "Channel major FP16 format where channel % 8 == 0"
INT8 = "Thirty-two wide channel vectorized row major Int8 format"
TF32_KERNEL = "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16_stage4_warpsize2x2x1"
FP32_KERNEL = "sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nhwckrsc_nhwc_tilesize128x128x8_stage3_warpsize2x2x1"


def tensor(form):
    return {"Name": "t", "Location": "Device", "Dimensions": [8, 64, 48, 48], "Format/Datatype": form}


def layer(type, inputs=(FP32,), outputs=(FP32,), name="node_conv2d", tactic=""):
    return {
        "Name": name,
        "LayerType": type,
        "Inputs": [tensor(form) for form in inputs],
        "Outputs": [tensor(form) for form in outputs],
        "ParameterType": "Convolution",
        "TacticName": tactic,
        "TacticValue": "0x0000000000000000",
    }


def read(*layers, times=None):
    return trt_layers.read_layers(json.dumps({"Layers": list(layers), "Bindings": ["input", "logits"]}), times or {})


def test_a_layer_is_a_kernel_with_its_name_its_kind_and_its_type():
    assert read(layer("CaskConvolution", tactic=FP32_KERNEL)) == (
        Kernel(node="node_conv2d", operator="CaskConvolution", type="fp32", layer=True),
    )


@pytest.mark.parametrize(
    ("form", "type"),
    [
        (FP32, "fp32"),
        (FP16, "fp16"),
        (INT8, "int8"),
        ("Two wide channel vectorized row major FP16 format", "fp16"),
        ("Four wide channel vectorized row major Int8 format", "int8"),
        ("Channel major FP32 format", "fp32"),
        ("Row major linear BF16", "bf16"),
        ("Float", "fp32"),
        ("Half", "fp16"),
        ("BFloat16", "bf16"),
        ("Row major linear INT32", ""),
        ("Row major Int64", ""),
        ("Unknown format", ""),
    ],
)
def test_a_layer_computes_in_the_type_of_what_it_reads(form, type):
    assert read(layer("CaskConvolution", [form], [form]))[0].type == type


def test_an_output_in_another_type_does_not_count_unless_the_inputs_have_none():
    assert read(layer("CaskConvolution", [INT8], [FP32]))[0].type == "int8"
    assert read(layer("CaskGemmMatrixMultiply", [FP16, FP32], [FP32]))[0].type == "fp16"
    assert read(layer("PointWiseV2", ["Row major linear INT32"], [FP16]))[0].type == "fp16"
    assert read(layer("PointWiseV2", [], [FP16]))[0].type == "fp16"


@pytest.mark.parametrize(
    ("form", "tactic", "type"),
    [
        (FP32, TF32_KERNEL, "tf32"),
        (FP32, "sm80_xmma_gemm_f32f32_TF32f32_f32_tn_n_tilesize64x64x32", "tf32"),
        (FP32, FP32_KERNEL, "fp32"),
        (FP16, TF32_KERNEL, "fp16"),
        (FP32, "", "fp32"),
    ],
)
def test_a_kernel_that_rounds_to_tf32_has_it_in_its_name(form, tactic, type):
    assert read(layer("CaskConvolution", [form], tactic=tactic))[0].type == type


@pytest.mark.parametrize(
    ("kind", "is_layer"),
    [
        ("CaskConvolution", True),
        ("CaskGemmConvolution", True),
        ("CaskFlattenConvolution", True),
        ("CaskDeconvolutionV2", True),
        ("CaskGemmMatrixMultiply", True),
        ("CublasConvolution", True),
        ("MatrixMultiply", True),
        ("FullyConnected", True),
        ("gemm", True),
        ("_gemm_mha_v2", True),
        ("CaskPooling", False),
        ("PointWiseV2", False),
        ("ElementWise", False),
        ("CudaSoftMax", False),
        ("Reduce", False),
    ],
)
def test_what_multiplies_is_a_layer_and_the_rest_computes_beside_it(kind, is_layer):
    (found,) = read(layer(kind))
    assert (found.layer, found.type) == (is_layer, "fp32")


@pytest.mark.parametrize("kind", ["Reformat", "NoOp", "Constant", "Shuffle", "Slice", "Concat", "Gather", "copy", "Cast"])
def test_what_moves_data_computes_in_nothing(kind):
    (found,) = read(layer(kind, name="reformat of conv1"))
    assert (found.operator, found.type, found.layer) == (kind, "", False)


def test_names_of_fused_layers_may_hold_control_characters():
    name = "node_conv2d + PWN(node_relu\x01),\n\tPWN(\x7f)"
    text = json.dumps({"Layers": [layer("CaskConvolution", name="NAME")]}).replace("NAME", name)
    with pytest.raises(ValueError, match="control character"):
        json.loads(text)
    (found,) = trt_layers.read_layers(text, {name: [5]})
    assert (found.node, found.ns) == (name, 5)


def test_layers_that_are_told_by_name_alone_are_no_kernels():
    assert read("node_conv2d", "node_relu") == ()
    assert [found.node for found in read("node_conv2d", layer("CaskConvolution", name="b"))] == ["b"]


@pytest.mark.parametrize(
    "bare",
    [
        {},
        {"Name": "node_conv2d", "LayerType": "CaskConvolution"},
        {"LayerType": "CaskConvolution", "Inputs": ["input"], "Outputs": [{"Name": "t"}]},
    ],
)
def test_a_layer_that_tells_less_has_no_type(bare):
    (found,) = read(bare)
    assert (found.type, found.node, found.ns) == ("", bare.get("Name", ""), None)


def test_a_layer_took_the_median_of_its_times():
    found = read(layer("CaskConvolution", name="a"), layer("Reformat", name="b"), times={"a": [900, 100, 201, 200], "c": [1]})
    assert [(kernel.node, kernel.ns) for kernel in found] == [("a", 200), ("b", None)]


TOLD = json.loads(Path(__file__).with_name("inspector.json").read_text())
"""What TensorRT 8.6.0's inspector told of the CNN's engines for batch 16 on an H100, without shapes and the ends of names."""


@pytest.mark.parametrize(
    ("precision", "layers", "others"),
    [
        ("fp32", ["fp32"] * 5, {"fp32"}),
        ("tf32", ["tf32"] * 4 + ["fp32"], {"fp32"}),  # the last one's fastest kernel rounds nothing
        ("fp16", ["fp16"] * 5, {"fp16"}),
        ("int8", ["int8"] * 5, {"int8"}),
    ],
)
def test_what_tensorrt_told_on_a_gpu_is_read(precision, layers, others):
    """Three convolutions and two matrices; what moves or converts computes nothing."""
    kernels = trt_layers.read_layers(json.dumps({"Layers": TOLD[precision]}), {})
    assert [kernel.type for kernel in kernels if kernel.layer] == layers
    assert {kernel.type for kernel in kernels if not kernel.layer} - {""} == others
    assert {kernel.operator for kernel in kernels if not kernel.type} <= {"Reformat", "NoOp"}
