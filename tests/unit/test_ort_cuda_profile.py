"""Times of nodes on a GPU: kernels in ONNX Runtime's own profile, and kernels of torch.profiler by the time of their start."""

import json
from types import SimpleNamespace

import pytest
from onnxbench.backends import ort_profile
from onnxbench.backends.ort_cuda_profile import KernelStart, OrtCudaProfiler, launches_of, node_times
from onnxbench.errors import RuntimeFailed, Unsupported

CUDA = "CUDAExecutionProvider"


def node(name, ts, dur=10, provider=CUDA, operator="Conv"):
    args = {"op_name": operator, "provider": provider, "node_index": name, "input_type_shape": [{"float": [1]}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "tid": 1, "args": args}


def run(ts):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": 50, "tid": 1, "args": {}}


def kernel(parent, ts, dur):
    return {"cat": "Kernel", "name": "sgemm", "ts": ts, "dur": dur, "tid": -1, "args": {"parent_name": f"{parent}_kernel_time"}}


NODES = [node("conv", 1000), node("cpu", 1012, dur=5, provider="CPUExecutionProvider"), node("relu", 1020), node("view", 1040)]


def times(launches=(), events=(), nodes=NODES):
    found = node_times([*nodes, *events], nodes, launches, CUDA)
    return {each.event["name"].removesuffix("_kernel_time"): (each.us, each.begin_us) for each in found}


def test_a_node_has_the_time_of_the_kernels_that_it_started():
    launches = [
        KernelStart(1_003_000, 1_100_000, 30_500),
        KernelStart(1_006_000, 1_131_000, 1_500),
        KernelStart(1_021_000, 1_140_000, 4_000),
    ]
    assert times(launches) == {"cpu": (5, 1012), "conv": (32.0, 1100.0), "relu": (4.0, 1140.0), "view": (0.0, 1040.0)}


def test_a_few_kernels_between_two_nodes_belong_to_none():
    launches = [KernelStart(1_002_000 + number, 1_100_000, 1_000) for number in range(19)]
    assert times([*launches, KernelStart(1_075_000, 1_200_000, 9_000)])["view"] == (0.0, 1040.0)


def test_clocks_that_do_not_agree_are_an_error():
    with pytest.raises(RuntimeFailed, match="1 of 2 kernels"):
        times([KernelStart(1_003_000, 1_100_000, 1), KernelStart(900_000, 1_000_000, 1)])


def test_kernels_of_a_build_with_cuda_profiling_belong_to_their_node_in_their_own_call():
    nodes = [node("conv", 1000), node("conv", 2000)]
    found = [
        (each.event["ts"], each.us)
        for each in node_times(
            [run(990), *nodes, kernel("conv", 1050, 30), run(1990), kernel("conv", 2040, 31), kernel("gone", 2080, 5)],
            nodes,
            (),
            CUDA,
        )
    ]
    assert found == [(1000, 30.0), (2000, 31.0)]


def test_without_times_of_kernels_there_is_no_profile():
    with pytest.raises(Unsupported, match="PyTorch"):
        times()


def kineto(name, correlation, begin, ns, device="CPU"):
    return SimpleNamespace(
        name=lambda: name,
        correlation_id=lambda: correlation,
        start_ns=lambda: begin,
        duration_ns=lambda: ns,
        device_type=lambda: SimpleNamespace(name=device),
    )


def test_a_kernel_has_the_start_of_its_own_correlation():
    events = [
        kineto("sgemm", 7, 500, 90, "CUDA"),
        kineto("cudaLaunchKernel", 7, 100, 5),
        kineto("cudaStreamSynchronize", 9, 200, 5),
        kineto("aten::mm", 11, 90, 30),
        kineto("Memset (Device)", 11, 700, 4, "CUDA"),
    ]
    assert launches_of(events) == [KernelStart(100, 500, 90)]


@pytest.fixture
def profiled(tmp_path):
    """A profiler whose session ran once before two counted calls, and the kernels of torch that belong to these."""
    runs = [[run(ts), node("conv", ts + 10)] for ts in (1000, 2000, 3000)]
    path = tmp_path / "profile.json"
    path.write_text(json.dumps([event for events in runs for event in events]))
    inference = SimpleNamespace(get_profiling_start_time_ns=lambda: 10**18, end_profiling=lambda: str(path))
    profiler = OrtCudaProfiler(SimpleNamespace(close=lambda: None), inference, CUDA, "tf32")
    profiler._launches = [
        KernelStart(10**18 + (ts + 12) * 1000, 10**18 + (ts + 40) * 1000, ns) for ts, ns in ((2000, 500), (3000, 700))
    ]
    return profiler


def test_the_calls_that_were_made_are_the_last_runs_of_the_session(profiled):
    for _ in range(2):
        profiled.collect()
    recorded = profiled.read()
    assert [[(ran.kernel, ran.ns) for ran in call] for call in recorded.calls] == [[(0, 500)], [(0, 700)]]
    ((only, links),) = recorded.kernels
    assert (only.node, only.type, links.covers, recorded.graph) == ("conv", "tf32", ("conv",), ort_profile.GRAPH)
    assert recorded.step_ns == 0
