"""Operations and bytes of the lines of a profile, and their share of the roofs that were measured beside its turns."""

import json
from dataclasses import replace

import pytest
from onnxbench.evidence import GraphNode, Kernel, Profiled
from onnxbench.results.profile.lines import cases_of
from onnxbench.results.profile.roofs import SideWork
from onnxbench.results.profile.table import tabulate
from onnxbench.results.recommend.candidates import parse_request
from onnxbench.results.report.data import gather
from onnxbench.results.report.plots import draw, image
from onnxbench.results.store.record import read_run
from onnxbench.results.table.render import render
from onnxbench.spec import to_wire
from onnxbench.work import COMPUTE, MEMORY, NODES, Workload

MS, MB = 10**6, 10**6
ROUNDS = (3, 4, 5)


def node(name, operator, inputs, outputs, flops=0, reads=(), writes=()):
    return GraphNode(
        name=name, operator=operator, inputs=inputs, outputs=outputs, shapes=("8x4",), flops=flops, reads=reads, writes=writes
    )


# 1 GFLOP and 6 MB; its result is viewed, then 4 MB go in and 4 MB out
GRAPH = (
    node("conv", "Conv", ("x", "w"), ("c",), 10**9, (MB, MB), (4 * MB,)),
    node("view", "Reshape", ("c", "shape"), ("v",), 0, (0, 0), (0,)),
    node("relu", "Relu", ("v",), ("y",), 0, (4 * MB,), (4 * MB,)),
)


def kernel(nodes, *ms, type="fp32"):
    """A kernel of these `nodes`, with its time in each turn."""
    turns = tuple(time * MS for time in ms)
    ns = sorted(turns)[len(turns) // 2]
    return Kernel(
        node=nodes, operator="Op", type=type, ns=ns, low_ns=ns, high_ns=ns, nodes=tuple(nodes.split()), turns_ns=turns
    )


def profiled(*kernels, p50s=(40, 40, 40), nodes=GRAPH, rounds=ROUNDS):
    total = sum(item.ns for item in kernels)
    times = {"p50_ns": 40.0 * MS, "profiled_p50_ns": 40.0 * MS, "kernels_ns": total}
    turns = tuple(p50 * MS for p50 in p50s)
    return Profiled(kernels=kernels, nodes=nodes, calls=9, rounds=rounds, turns_p50_ns=turns, **times)


@pytest.fixture
def run_of(run_folder, make_cell):
    """Run of a profile beside 100 GFLOP/s, 10 GB/s from memory and 40 GB/s from a cache, in rounds 3 to 5."""

    def make(profile, **how):
        cell = make_cell(batch=8, **how)
        roofs = {
            COMPUTE: (make_cell(roof=COMPUTE, model="product"), 10 * MS, Workload(layer_flops=10**9)),
            "near": (make_cell(roof=MEMORY, model="near"), MS, Workload(weight_bytes=0, input_bytes=40 * MB, output_bytes=0)),
            "far": (
                make_cell(roof=MEMORY, model="far"),
                10 * MS,
                Workload(weight_bytes=0, input_bytes=100 * MB, output_bytes=0),
            ),
            NODES: (make_cell(roof=NODES, model="chain"), 32_000, Workload(layer_flops=100, nodes=32)),
        }
        folder = run_folder(cell, *(roof for roof, _, _ in roofs.values()), kind="profile")
        for roof, p50, work in roofs.values():
            folder.add("work", roof, **to_wire(work))
            for number in ROUNDS:
                folder.block(roof, number, [p50] * 3)
        work = Workload(layer_flops=10**9, weight_bytes=MB, input_bytes=MB, output_bytes=4 * MB, nodes=2)
        folder.add("work", cell, **to_wire(work))
        folder.add("profiled", cell, **to_wire(profile))
        return read_run(folder.path)

    return make


@pytest.fixture
def case_of(run_of):
    def make(profile, **how):
        (case,) = cases_of([run_of(profile, **how)])
        return case

    return make


def works(case):
    work = SideWork.of(case.sides[0])
    return [work.of_line(line, line.parts[0]) for line in case.lines]


def test_a_layer_has_the_median_share_of_the_turns(case_of):
    """1 GFLOP takes 10 ms at the roof; its 6 MB take 0.15 ms."""
    conv, relu = works(case_of(profiled(kernel("conv", 20, 40, 25), kernel("relu", 1, 1, 1))))
    assert (conv.flops, conv.nbytes, conv.shares.of_roof, conv.shares.bound) == (10**9, 6 * MB, pytest.approx(10 / 25), COMPUTE)
    assert conv.flops_per_s == pytest.approx(40e9)
    assert (relu.flops, relu.nbytes, relu.shares.of_roof) == (0, 8 * MB, pytest.approx(0.2))
    assert relu.flops_per_s is None


def test_values_inside_a_fused_group_are_no_bytes_of_it(case_of):
    """In: 1 MB of `x` and of `w`; out: 4 MB of `y`. The values between, and their view, stay inside."""
    (both,) = works(case_of(profiled(kernel("conv view relu", 20, 20, 20))))
    assert (both.nbytes, both.flops) == (6 * MB, 10**9)


def test_a_value_that_another_line_reads_too_is_written(case_of):
    other = node("add", "Add", ("v", "y"), ("z",), 0, (4 * MB, 4 * MB), (4 * MB,))
    case = case_of(profiled(kernel("conv relu", 20, 20, 20), kernel("add", 1, 1, 1), nodes=(*GRAPH, other)))
    assert [layer.nbytes for layer in works(case)] == [10 * MB, 12 * MB]


def test_bf16_has_half_of_the_bytes_of_an_fp32_file(case_of):
    (layer, _) = works(case_of(profiled(kernel("conv", 1, 1, 1, type="bf16"), kernel("relu", 1, 1, 1))))
    assert layer.nbytes == 3 * MB


def test_a_node_that_was_not_counted_leaves_its_line_open(case_of):
    unknown = (replace(GRAPH[0], flops=None, reads=(MB, None)), *GRAPH[1:])
    (layer, _) = works(case_of(profiled(kernel("conv", 1, 1, 1), kernel("relu", 1, 1, 1), nodes=unknown)))
    assert (layer.flops, layer.nbytes, layer.shares.of_roof) == (None, None, None)


def test_the_table_has_the_shares_and_names_the_layers_with_most_room(case_of):
    table = tabulate([case_of(profiled(kernel("conv", 20, 20, 20), kernel("relu", 20, 20, 20)))])
    figures = [(row["gflops"], row["ort-cpu.of_roof"], row["ort-cpu.bound"]) for row in table.rows]
    assert figures == [(1.0, pytest.approx(50), "compute"), (None, pytest.approx(1), "overhead")]
    found = {finding.kind: dict(finding.values) for finding in reversed(table.findings)}
    assert found["profile_roof"] == {"of_roof_p": pytest.approx(25), "bound": "overhead"}
    assert (found["profile_room"]["node"], found["profile_room"]["room_p"]) == ("relu", pytest.approx(49.5))
    assert json.loads(render(table, "json"))["sides"][0]["of_roof"] == pytest.approx(25)
    assert "of roof" in render(table, "markdown")


def test_a_profile_without_roofs_has_no_shares(case_of):
    case = case_of(replace(profiled(kernel("conv", 20, 20, 20)), rounds=(), turns_p50_ns=()))
    assert SideWork.of(case.sides[0]) is None
    table = tabulate([case])
    assert table.rows[0]["ort-cpu.of_roof"] is None
    assert "of roof" not in render(table, "markdown")


def plots_of(run):
    return {plot.name: plot for plot in draw(gather([run], parse_request("throughput", (), (), ())))}


def test_a_report_draws_the_layers_below_their_roofs(run_of):
    plot = plots_of(run_of(profiled(kernel("conv", 20, 20, 20), kernel("relu", 1, 1, 1))))["layer-roofline"]
    assert plot.hover == {"layer-roofline-0": "ort-cpu: Conv conv: 50 GFLOP/s at 167 FLOP a byte"}
    assert "100 GFLOP/s and 40 GB/s" in plot.caption
    assert image(plot, "svg").startswith(b"<?xml")


def test_a_report_of_a_profile_without_roofs_has_no_roofline(run_of):
    plain = replace(profiled(kernel("conv", 20, 20, 20)), rounds=(), turns_p50_ns=())
    assert "layer-roofline" not in plots_of(run_of(plain))
