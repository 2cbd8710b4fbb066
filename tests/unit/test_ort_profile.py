"""ONNX Runtime's profile, from events as it writes them."""

import json
import re

import pytest
from onnxbench.backends import ort_profile
from onnxbench.backends.ort import OrtSession
from onnxbench.backends.ort_cuda import mark_tf32
from onnxbench.backends.protocol import PROFILED_CALLS, UNCOUNTED_CALLS, SessionInfo
from onnxbench.evidence import Kernel

FLOAT = ({"float": [8, 3, 48, 48]}, {"float": [64, 3, 3, 3]}, {"float": [64]})
QUANTIZED = ({"uint8": [8, 3, 48, 48]}, {"float": []}, {"uint8": []}, {"int8": [64, 3, 3, 3]}, {"float": [64]}, {"int8": [64]})
BYTES = ({"uint8": [8, 64]},)


def event(node, operator, inputs=FLOAT, outputs=({"float": [8, 64, 48, 48]},), dur=1033, **changes):
    about = {
        "op_name": operator,
        "provider": "CPUExecutionProvider",
        "node_index": "27",
        "thread_scheduling_stats": "",
        "input_type_shape": list(inputs),
        "output_type_shape": list(outputs),
        "activation_size": "221184",
    }
    head = {"cat": "Node", "pid": 4170, "tid": 4170, "dur": dur, "ts": 1500, "ph": "X"}
    return {**head, "name": f"{node}_kernel_time", "args": about, **changes}


@pytest.fixture
def read(tmp_path):
    """The kernels of a profile of these events."""

    def of(*events):
        path = tmp_path / "profile.json"
        path.write_text(json.dumps(events))
        return ort_profile.read_profile(path)

    return of


def test_a_kernel_has_its_node_its_operator_its_type_and_its_time(read):
    assert read(event("node_conv2d", "Conv", dur=1033)) == (
        Kernel(node="node_conv2d", operator="Conv", type="fp32", layer=True, ns=1_033_000),
    )


def test_a_fused_node_has_the_name_of_what_it_was_made_of(read):
    told = read(
        event("node_conv2d_token_27", "QLinearConv", QUANTIZED, BYTES),
        event("node_conv2d_1_nchwc", "Conv"),
        event("table_token_5_gelu", "Add"),
        event("linear_token_", "Gemm"),
    )
    assert [kernel.node for kernel in told] == ["node_conv2d", "node_conv2d_1_nchwc", "table_token_5_gelu", "linear_token_"]


def test_everything_that_is_no_kernels_time_is_left_out(read):
    session = {"cat": "Session", "pid": 1, "tid": 1, "dur": 9, "ts": 5, "ph": "X", "name": "model_run", "args": {}}
    told = read(
        {**session, "name": "model_loading_uri"},
        event("a", "Conv", name="a_fence_before", args={"op_name": "Conv"}),
        event("a", "Conv"),
        event("a", "Conv", name="a_fence_after", args={"op_name": "Conv"}),
        {**session, "name": "SequentialExecutor::Execute"},
        {**session, "name": "b_kernel_time"},
        {"cat": "Node", "args": {}},
    )
    assert [(kernel.node, kernel.ns) for kernel in told] == [("a", 1_033_000)]


def test_a_profile_without_kernels_has_none(read):
    assert read() == ()


def test_kernels_are_told_once_in_the_order_in_which_they_ran(read):
    call = [event("c", "Conv"), event("a", "Relu"), event("b", "Gemm")]
    assert [kernel.node for kernel in read(*call * PROFILED_CALLS)] == ["c", "a", "b"]


def test_a_time_is_the_median_without_the_first_calls(read):
    times = [[90_000] * UNCOUNTED_CALLS, [5, 1, 9, 3, 80_000]]
    (kernel,) = read(*(event("a", "Conv", dur=dur) for part in times for dur in part))
    assert kernel.ns == 5000


def test_each_kernel_has_a_median_of_its_own(read):
    calls = zip([0, 0, 10, 20, 30, 40], [0, 0, 7, 7, 7, 7])
    told = read(*(event(name, "Conv", dur=dur) for call in calls for name, dur in zip("ab", call)))
    assert {kernel.node: kernel.ns for kernel in told} == {"a": 25_000, "b": 7000}


@pytest.mark.parametrize(
    ("times", "ns"), [([12], 12_000), ([12, 4], 8000), ([90, 90, 4], 4000), ([0], 0), ([0, 0, 1, 2], 1500)]
)
def test_few_calls_are_counted_all_the_same(read, times, ns):
    assert [kernel.ns for kernel in read(*(event("a", "Conv", dur=dur) for dur in times))] == [ns]


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        *(("float", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16"), ("double", "fp64")),
        *(("int8", "int8"), ("uint8", "int8"), ("int64", ""), ("bool", ""), ("string", "")),
    ],
)
def test_a_kernel_computes_in_the_type_of_its_first_input(read, kind, type):
    (kernel,) = read(event("a", "Conv", [{kind: [8, 3]}, {"int32": [8]}], [{"int64": [8]}]))
    assert kernel.type == type


def test_inputs_that_do_not_compute_are_passed_over(read):
    told = read(
        event("mask", "Where", [{"bool": [8]}, {"float16": [8]}, {"float": [8]}]),
        event("table", "EmbedLayerNormalization", [{"int32": [8]}, {"int64": [8]}, {"float": [9, 8]}]),
        event("noise", "RandomNormal", [], [{"double": [8]}]),
        event("nothing", "NonZero", [{"bool": [8]}], [{"int64": [8]}]),
    )
    assert [kernel.type for kernel in told] == ["fp16", "fp32", "fp64", ""]


def test_events_without_types_do_not_compute_in_any(read):
    found = event("a", "Conv")
    del found["args"]["input_type_shape"], found["args"]["output_type_shape"]
    assert [(kernel.type, kernel.layer) for kernel in read(found)] == [("", True)]


def test_an_fp16_graph_whose_conv_was_given_casts_computes_in_fp32(read):
    """The CPU has no kernel for FP16, so that ONNX Runtime puts a Cast before and after."""
    told = read(
        event("InsertedPrecisionFreeCast_x", "Cast", [{"float16": [8, 3]}], [{"float": [8, 3]}]),
        event("conv", "Conv"),
        event("InsertedPrecisionFreeCast_y", "Cast", [{"float": [8, 3]}], [{"float16": [8, 3]}]),
        event("relu", "Relu", [{"float16": [8, 3]}], [{"float16": [8, 3]}]),
    )
    assert [kernel.type for kernel in told] == ["", "fp32", "", "fp16"]


@pytest.mark.parametrize(
    "operator", ["DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "QAttention", "QGemm", "QMoE"]
)
def test_an_integer_operator_computes_in_8_bits_though_floats_go_in(read, operator):
    (kernel,) = read(event("a", operator, [{"float": [8, 64]}, {"int8": [64, 64]}]))
    assert kernel.type == "int8"


@pytest.mark.parametrize(
    "operator", ["QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearSigmoid", "QLinearGlobalAveragePool"]
)
def test_a_quantized_operator_computes_in_8_bits(read, operator):
    assert [kernel.type for kernel in read(event("a", operator, QUANTIZED, BYTES))] == ["int8"]
    assert [kernel.type for kernel in read(event("a", operator))] == ["int8"]


@pytest.mark.parametrize("operator", ["MatMulInteger", "ConvInteger", "MaxPool"])
def test_what_takes_bytes_computes_in_them(read, operator):
    assert [kernel.type for kernel in read(event("a", operator, [{"uint8": [8, 64]}, {"int8": [64, 64]}]))] == ["int8"]


@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul"])
def test_a_layer_between_q_and_dq_that_was_not_fused_computes_in_fp32(read, operator):
    told = read(
        event("dq", "DequantizeLinear", [{"uint8": [8, 64]}, {"float": []}]),
        event("layer", operator),
        event("q", "QuantizeLinear", outputs=BYTES),
    )
    assert [(kernel.type, kernel.layer) for kernel in told] == [("", False), ("fp32", True), ("", False)]


@pytest.mark.parametrize(
    "operator",
    [
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Reshape", "Transpose", "QLinearConcat"),
        *("ReorderInput", "ReorderOutput", "Shape", "Gather", "Slice", "Concat", "Split", "Squeeze", "Unsqueeze", "Flatten"),
        *("Identity", "Expand", "Tile", "Pad", "Constant", "ConstantOfShape", "MemcpyToHost", "MemcpyFromHost"),
        *("GatherND", "GatherElements", "Scatter", "ScatterND", "ScatterElements", "DepthToSpace", "SpaceToDepth"),
    ],
)
@pytest.mark.parametrize("inputs", [FLOAT, QUANTIZED], ids=["float", "bytes"])
def test_what_moves_or_converts_computes_nothing(read, operator, inputs):
    assert [(kernel.type, kernel.layer) for kernel in read(event("a", operator, inputs))] == [("", False)]


def test_a_name_that_begins_like_a_move_is_none(read):
    assert [(kernel.type, kernel.layer) for kernel in read(event("a", "TransposeMatMul"))] == [("fp32", True)]


@pytest.mark.parametrize(
    ("operator", "layer"),
    [
        *((name, True) for name in ("Conv", "FusedConv", "ConvTranspose", "QLinearConv", "ConvInteger", "NhwcFusedConv")),
        *((name, True) for name in ("Gemm", "QGemm", "FusedGemm", "MatMul", "FusedMatMul", "QLinearMatMul", "MatMulNBits")),
        *((name, True) for name in ("MultiHeadAttention", "QAttention", "LSTM", "DynamicQuantizeLSTM", "GRU", "RNN")),
        *((name, False) for name in ("Add", "Relu", "MaxPool", "Softmax", "QLinearAdd", "LayerNormalization", "Cast")),
    ],
)
def test_layers_are_what_multiplies_by_weights_or_activations(read, operator, layer):
    assert [kernel.layer for kernel in read(event("a", operator))] == [layer]


def test_a_node_that_ran_in_two_ways_is_two_kernels(read):
    """As in a model whose quantized and float layers share a name."""
    told = read(event("a", "Conv"), event("a_token_3", "QLinearConv", QUANTIZED, BYTES), event("a", "Conv"))
    assert [(kernel.node, kernel.operator) for kernel in told] == [("a", "Conv"), ("a", "QLinearConv")]


def test_two_convolutions_without_a_name_are_two_kernels(read):
    call = [event("_token_3", "Conv", dur=10), event("_token_5", "Conv", dur=30), event("a_token_7", "Conv", dur=50)]
    told = read(*call * PROFILED_CALLS)
    assert [(kernel.node, kernel.ns) for kernel in told] == [("", 10_000), ("", 30_000), ("a", 50_000)]


class Profiled:
    """A session of ONNX Runtime's that writes a profile into `folder`, if it has one."""

    def __init__(self, folder=None, kinds=("float",)):
        self.folder, self.kinds, self.calls = folder, kinds, 0

    def io_binding(self):
        return None

    def get_inputs(self):
        return []

    def get_outputs(self):
        return []

    def run(self, names, feed):
        self.calls += 1

    def end_profiling(self):
        path = self.folder / "profile.json"
        calls = [event(kind, "Conv", [{kind: [8]}], dur=number) for number in range(self.calls) for kind in self.kinds]
        path.write_text(json.dumps(calls))
        return str(path)


@pytest.mark.parametrize(("timed", "calls"), [(False, 1), (True, PROFILED_CALLS)])
def test_a_session_is_called_several_times_where_times_are_wanted(timed, calls):
    opened = []
    info = SessionInfo(executed="fp32")
    session = OrtSession(Profiled(), info, lambda folder: opened.append(Profiled(folder)) or opened[-1])
    (kernel,) = session.kernels(timed)
    assert [profiled.calls for profiled in opened] == [calls]
    assert kernel.ns == (5500 if timed else None)
    assert not opened[0].folder.exists()


@pytest.mark.parametrize(("executed", "of_float"), [("fp32", "fp32"), ("fp16", "fp32"), ("tf32", "tf32")])
def test_floats_of_a_session_that_multiplies_in_tf32_are_told_as_that(executed, of_float):
    kernels = [Kernel(node="a", operator="Conv", type=type) for type in ("fp32", "fp16", "fp64", "int8")]
    assert [kernel.type for kernel in mark_tf32(kernels, executed)] == [of_float, "fp16", "fp64", "int8"]


def test_only_what_is_json_is_read(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text(re.sub(r"}]$", "", json.dumps([event("a", "Conv")])))
    with pytest.raises(ValueError, match="Expecting"):
        ort_profile.read_profile(path)


def run_of(begin_us, *kernels):
    """Events of one call: each kernel is (name, operator, begin, duration), in us from the begin of the call."""
    events = [{**event(name, operator, dur=dur), "ts": begin_us + begin, "tid": 7} for name, operator, begin, dur in kernels]
    return [*events, {"cat": "Session", "name": "model_run", "ts": begin_us, "dur": 1000}]


def recorded(tmp_path, *events):
    path = tmp_path / "calls.json"
    path.write_text(json.dumps(list(events)))
    return ort_profile.record(path, "graph.onnx")


def test_a_record_has_the_kernels_of_each_call_with_their_begins(tmp_path):
    calls = [run_of(begin, ("a", "Conv", 0, 30), ("b", "Relu", 40, 5)) for begin in (1000, 3000)]
    found = recorded(tmp_path, *calls[0], *calls[1])
    assert [(kernel.node, links.covers) for kernel, links in found.kernels] == [("a", ("a",)), ("b", ("b",))]
    assert [[(ran.kernel, ran.ns, ran.begin_ns) for ran in call] for call in found.calls] == [
        [(0, 30_000, 1_000_000), (1, 5_000, 1_040_000)],
        [(0, 30_000, 3_000_000), (1, 5_000, 3_040_000)],
    ]
    assert (found.step_ns, found.graph) == (1000, "graph.onnx")


def test_a_loop_has_the_time_without_the_kernels_inside(tmp_path):
    found = recorded(tmp_path, *run_of(0, ("inner", "Add", 10, 30), ("inner", "Add", 50, 30), ("loop", "Loop", 0, 100)))
    times = {found.kernels[ran.kernel][0].node: 0 for ran in found.calls[0]}
    for ran in found.calls[0]:
        times[found.kernels[ran.kernel][0].node] += ran.ns
    assert times == {"loop": 40_000, "inner": 60_000}


@pytest.mark.parametrize(
    ("name", "covers"),
    [
        ("a_token_3", ("a_token_3", "a")),
        ("t_nchwc", ("t_nchwc", "t")),
        ("t_nchwc_token_4", ("t_nchwc_token_4", "t_nchwc", "t")),
        ("_token_3", ("_token_3",)),
    ],
)
def test_names_that_the_runtime_made_are_also_those_that_they_were_made_from(tmp_path, name, covers):
    ((_, links),) = recorded(tmp_path, *run_of(0, (name, "Conv", 0, 1))).kernels
    assert links.covers == covers


def test_the_opening_is_read_from_the_events_of_the_session(tmp_path):
    events = (
        {"cat": "Session", "name": "model_loading_uri", "dur": 3},
        {"cat": "Session", "name": "session_initialization", "dur": 5},
    )
    parts = recorded(tmp_path, *run_of(0, ("a", "Conv", 0, 1)), *({**item, "ts": 0} for item in events)).opening
    assert [(part.name, part.ns) for part in parts] == [("parse", 3000), ("optimize and allocate", 5000)]
