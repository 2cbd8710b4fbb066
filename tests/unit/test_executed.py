import pytest
from onnxbench.evidence import Inspected, Opened
from onnxbench.results.table.executed import executed, placement, unlike
from onnxbench.results.table.findings import Finding
from onnxbench.spec import from_wire

HALF_FLOAT = ("int8 QLinearConv", "QuantizeLinear", "fp32 Conv", "DequantizeLinear")


def in_float(count, of, ran):
    return Finding.of("float_layers", count=count, of=of, ran=ran)


@pytest.fixture
def record_of(make_record, make_cell, make_kernels):
    """A record of a cell in `precision` whose runtime told of `kernels`; `info` and `layers` are of its opening."""

    def record(*kernels, precision="int8", info=None, layers=None):
        opened = from_wire(Opened, {"info": info or {}, **({"layers": layers} if layers else {})})
        inspected = from_wire(Inspected, {"kernels": make_kernels(*kernels)})
        return make_record([], cell=make_cell(precision=precision), opened=opened, inspected=inspected)

    return record


@pytest.mark.parametrize(
    ("kernels", "types"),
    [
        (["fp32 Conv", "fp32 Relu"], "fp32"),
        (["fp32 Relu", "int8 QLinearConv", "int8 QGemm"], "int8+fp32"),
        (["QuantizeLinear", "QuantizeLinear", "int8 QLinearConv", "DequantizeLinear"], "int8"),
        (["int8 QLinearConv", "fp32 Relu", "fp32 Relu"], "int8+fp32"),
    ],
)
def test_what_executed_is_the_types_of_the_kernels_that_compute_those_of_layers_first(record_of, kernels, types):
    assert executed(record_of(*kernels, info={"executed": "something else"})) == types


@pytest.mark.parametrize("kernels", [[], ["Reshape", "Transpose"]])
def test_where_no_kernel_computes_what_executed_is_what_the_runtime_declares(record_of, kernels):
    assert executed(record_of(*kernels, info={"executed": "int8+fp32"})) == "int8+fp32"


def test_what_was_never_opened_executed_nothing_anywhere(make_record):
    record = make_record([])
    assert (executed(record), placement(record), unlike(record)) == (None, None, [])


@pytest.mark.parametrize(
    ("precision", "placed", "kernels", "text"),
    [
        ("int8", "48/48 CPU", ["int8 QLinearConv"] * 7 + ["fp32 Relu"] * 5, "48/48 CPU, int8 7/12 nodes"),
        ("int8", "48/48 CPU", ["Reshape"], "48/48 CPU"),
        ("int8", None, ["int8 QGemm", "QuantizeLinear"], "int8 1/1 nodes"),
        ("fp32", "13/13 CPU", ["fp32 Conv"] * 13, "13/13 CPU, fp32 13/13 nodes"),
        ("fp16", "13/13 CPU", ["fp32 Conv"] * 13, "13/13 CPU, fp16 0/13 nodes"),
        ("bf16", None, ["bf16 Convolution", "fp32 Softmax"], "bf16 1/2 nodes"),
        ("tf32", "13/13 CUDA", ["tf32 Conv", "tf32 Relu", "fp64 Erf"], "13/13 CUDA, tf32 2/3 nodes"),
        ("fp32", None, [], None),
        ("fp32", "", [], None),
    ],
)
def test_a_placement_counts_the_nodes_on_the_device_and_the_kernels_in_the_asked_arithmetic(
    record_of, precision, placed, kernels, text
):
    assert placement(record_of(*kernels, precision=precision, info={"placement": placed})) == text


def test_float_kernels_between_int8_layers_are_what_was_asked_for(record_of):
    kernels = ["int8 QLinearConv", "fp32 Relu", "int8 QLinearConv", "fp32 Relu", "fp32 Softmax", "int8 QGemm"]
    assert unlike(record_of(*kernels, layers={"quantized": 3, "float": 0})) == []


@pytest.mark.parametrize(
    ("kernels", "layers", "found"),
    [
        (HALF_FLOAT, {"quantized": 2, "float": 0}, [in_float(1, "2 quantized layers", "fp32")]),
        (HALF_FLOAT, {"quantized": 1, "float": 1}, []),
        (
            ("bf16 Convolution", "int8 MatMul"),
            {"quantized": 2, "float": 0},
            [in_float(1, "2 quantized layers", "bf16")],
        ),
        (
            ("fp32 Conv", "fp32 Conv", "fp32 Gemm"),
            {"quantized": 2, "float": 1},
            [in_float(2, "2 quantized layers", "fp32")],
        ),
        (("int8 QLinearConv",), {"quantized": 1, "float": 1}, []),  # a float layer that the runtime optimized away
    ],
)
def test_more_float_layers_than_a_quantized_file_has_are_not_what_was_asked_for(record_of, kernels, layers, found):
    assert unlike(record_of(*kernels, layers=layers)) == found


def test_where_the_kernels_tell_what_an_int8_file_ran_in_the_declaration_does_not_count(record_of):
    layers = {"quantized": 1, "float": 0}
    assert unlike(record_of("int8 QLinearConv", info={"executed": "fp32"}, layers=layers)) == []
    assert unlike(record_of(info={"executed": "fp32+int8"}, layers=layers)) == [
        Finding.of("other_arithmetic", asked="int8", ran="fp32+int8")
    ]


@pytest.mark.parametrize(
    ("precision", "kernels", "found"),
    [
        ("fp16", ["fp32 Conv", "fp32 Relu"], [Finding.of("other_arithmetic", asked="fp16", ran="fp32")]),
        ("fp16", ["fp16 Conv", "fp16 Relu"], []),
        ("fp16", ["fp16 Conv", "fp16 Relu", "fp32 Softmax"], [Finding.of("other_arithmetic", asked="fp16", ran="fp16+fp32")]),
        ("fp32", ["fp32 Conv", "int8 ConvInteger"], [Finding.of("other_arithmetic", asked="fp32", ran="fp32+int8")]),
        ("fp32", ["fp32 Conv", "fp64 Erf"], []),
        ("tf32", ["tf32 Conv", "tf32 Relu"], []),
        ("tf32", ["tf32 Conv", "fp32 Relu"], []),
        ("tf32", ["fp32 Conv", "tf32 Gemm"], [in_float(1, "2 layers", "fp32")]),
        ("int8+fp16", ["int8 Conv", "fp16 Relu"], []),
    ],
)
def test_a_float_file_that_computes_in_another_type_of_the_table_is_not_what_was_asked_for(
    record_of, precision, kernels, found
):
    assert unlike(record_of(*kernels, precision=precision)) == found


def test_other_arithmetic_and_another_place_are_both_said(record_of):
    info = {"placement": "40/48 CUDA"}
    assert unlike(record_of("fp32 Conv", precision="fp16", info=info)) == [
        Finding.of("other_arithmetic", asked="fp16", ran="fp32"),
        Finding.of("elsewhere", nodes=40, of=48),
    ]
    assert unlike(record_of("fp32 Conv", precision="fp32", info={"placement": "48/48 CUDA"})) == []
