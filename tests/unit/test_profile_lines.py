"""Profiles side by side: lines, totals, and what is said of them."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.evidence import GraphNode, Kernel, Profiled
from onnxbench.profiles import OpeningPart
from onnxbench.results.profile.lines import cases_of
from onnxbench.results.profile.table import SHOWN_LINES, tabulate
from onnxbench.results.store.record import read_run
from onnxbench.results.table.render import render
from onnxbench.spec import from_wire, to_wire

NAMES = {"conv": "Conv", "relu": "Relu", "pool": "MaxPool", "gemm": "Gemm"}
NODES = tuple(GraphNode(name=name, operator=operator, shapes=("8x4",), dtype="float") for name, operator in NAMES.items())


def kernel(nodes, us, type="fp32", operator="Op", spread=0.0):
    ns = us * 1e3
    limits = {"low_ns": ns * (1 - spread), "high_ns": ns * (1 + spread)}
    return Kernel(node=nodes, operator=operator, type=type, ns=ns, nodes=tuple(nodes.split()), **limits)


def profiled(*kernels, nodes=NODES, p50=1.0, cost=1.0, step_ns=0):
    """`p50`: p50 over the sum of the kernels; `cost`: the profiled p50 over p50."""
    total = sum(item.ns for item in kernels)
    times = {"p50_ns": p50 * total, "profiled_p50_ns": p50 * cost * total, "kernels_ns": total}
    return Profiled(kernels=kernels, nodes=nodes, calls=10, step_ns=step_ns, **times)


@pytest.fixture
def case_of(run_folder, make_cell):
    """Case of a run with these profiles, by backend. A text in place of a profile is the reason of a cell without one."""

    def case(**profiles):
        cells = {name.replace("_", "-"): make_cell(backend=name.replace("_", "-"), batch=8) for name in profiles}
        folder = run_folder(*cells.values(), kind="profile")
        for cell, value in zip(cells.values(), profiles.values()):
            if isinstance(value, str):
                folder.add("failed", cell, status="unsupported", reason=value)
            else:
                folder.add("profiled", cell, **to_wire(value))
        (only,) = cases_of([read_run(folder.path)])
        return only

    return case


def lines(case):
    return [
        (" ".join(node.name for node in line.nodes), *(part and round(part.ns / 1e3) for part in line.parts))
        for line in case.lines
    ]


def kinds(case, kind):
    found = tabulate([case]).findings
    return [(finding.rows, dict(finding.values)) for finding in found if finding.kind == kind]


def test_a_line_has_the_nodes_that_one_runtime_fuses_and_the_other_does_not(case_of):
    case = case_of(
        ort_cpu=profiled(kernel("conv relu", 30), kernel("pool", 5), kernel("gemm", 10)),
        openvino_cpu=profiled(kernel("conv", 20), kernel("relu pool", 10), kernel("gemm", 9)),
    )
    assert lines(case) == [("conv relu pool", 35, 30), ("gemm", 10, 9)]


def test_kernels_without_nodes_are_the_last_line_and_their_share_is_said(case_of):
    case = case_of(ort_cpu=profiled(kernel("conv", 60), kernel("", 40)))
    assert lines(case) == [("conv", 60), ("", 40)]
    ((_, totals),) = kinds(case, "profile_totals")
    assert totals["mapped_p"] == pytest.approx(60)
    assert tabulate([case]).rows[-1]["operators"] == "(not mapped)"


@pytest.mark.parametrize(
    ("operators", "text"),
    [
        ("Shape Conv Relu", "Shape+Conv+Relu"),
        ("Shape Mul MatMul Mul Slice Softmax Concat MatMul", "2 MatMul+2 Mul+Softmax+Shape+…"),
    ],
)
def test_a_long_line_shows_its_layers_first_and_moves_last(case_of, operators, text):
    nodes = tuple(GraphNode(name=f"n{place}", operator=name) for place, name in enumerate(operators.split()))
    case = case_of(ort_cpu=profiled(kernel(" ".join(node.name for node in nodes), 1), nodes=nodes))
    assert tabulate([case]).rows[0]["operators"] == text


def test_a_side_without_a_kernel_of_a_node_has_no_time_there(case_of):
    case = case_of(a=profiled(kernel("conv", 1), kernel("relu", 1)), b=profiled(kernel("conv", 1)))
    assert lines(case) == [("conv", 1, 1), ("relu", 1, None)]
    assert case.idle == 2


def test_shares_are_of_the_kernels_and_ratios_against_the_first_side(case_of):
    case = case_of(a=profiled(kernel("conv", 30), kernel("gemm", 10)), b=profiled(kernel("conv", 15), kernel("gemm", 45)))
    rows = tabulate([case]).rows
    assert [(row["a.ms"], row["a.share_p"], row["b.ms"], row["b.share_p"], row["b.ratio"]) for row in rows] == [
        (0.03, 75.0, 0.015, 25.0, 0.5),
        (0.01, 25.0, pytest.approx(0.045), 75.0, 4.5),
    ]
    assert [row["node"] for row in rows] == ["conv", "gemm"]
    assert "a.ratio" not in rows[0]


def test_people_see_the_lines_with_most_time_and_programs_all(case_of):
    many = tuple(GraphNode(name=f"n{number}", operator="Add") for number in range(40))
    case = case_of(ort_cpu=profiled(*(kernel(node.name, place + 1) for place, node in enumerate(many)), nodes=many))
    short, whole = tabulate([case]), tabulate([case], everything=True)
    assert [row["node"] for row in short.rows] == [node.name for node in many[-SHOWN_LINES:]]
    assert len(whole.rows) == 40
    assert (len(short.remarks), len(whole.remarks)) == (1, 0)


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
def test_every_format_has_every_line(case_of, format):
    text = render(tabulate([case_of(ort_cpu=profiled(kernel("conv", 30), kernel("gemm", 10)))]), format)
    assert "conv" in text
    assert "gemm" in text


def test_json_has_the_totals_of_each_side(case_of):
    case = case_of(ort_cpu=profiled(kernel("conv", 100), p50=1.2, cost=1.5))
    (side,) = json.loads(render(tabulate([case]), "json"))["sides"]
    assert side["p50_ms"] == pytest.approx(0.12)
    assert side["profiled_p50_ms"] == pytest.approx(0.18)
    assert (side["kernels_ms"], side["mapped"], side["label"]) == (pytest.approx(0.1), 1.0, "ort-cpu")


def test_a_backend_without_a_profile_is_said_with_its_reason(case_of):
    case = case_of(ort_cpu=profiled(kernel("conv", 1)), null="it has no kernels")
    assert kinds(case, "profile_absent") == [(("null",), {"status": "unsupported", "reason": "it has no kernels"})]
    assert [side.label for side in case.sides] == ["ort-cpu"]


def test_a_profile_without_times_is_a_failure(case_of):
    case = case_of(ort_cpu=Profiled(kernels=(Kernel(node="a"),), nodes=NODES))
    assert kinds(case, "profile_empty") == [(("ort-cpu",), {})]


EXPLAINED = {"profile_gaps", "profile_slowed", "profile_unsteady"}


@pytest.mark.parametrize(
    ("p50", "cost", "kind"),
    [
        (1.0, 1.0, None),
        (1.1, 1.0, None),
        (2.0, 1.0, "profile_gaps"),
        (0.5, 2.5, "profile_slowed"),
        (0.7, 0.9, "profile_unsteady"),
        (1.5, 0.68, "profile_unsteady"),
    ],
)
def test_a_sum_that_is_not_p50_is_explained(case_of, p50, cost, kind):
    case = case_of(ort_cpu=profiled(kernel("conv", 50), kernel("gemm", 50), p50=p50, cost=cost, step_ns=1000))
    assert {finding.kind for finding in tabulate([case]).findings} & EXPLAINED == ({kind} if kind else set())


def test_the_start_is_told_with_the_parts_of_the_load(run_folder, make_cell):
    cell = make_cell(batch=8)
    folder = run_folder(cell, kind="profile")
    folder.cold(cell, process_s=0.1, cold_s=0.8, import_s=0.3, load_s=0.2, first_ms=5.0)
    folder.opened(cell, parts=[{"name": "parse", "ns": 3e6, "source": "clock"}])
    own = OpeningPart(name="optimize", ns=9e6, source="onnxruntime")
    folder.add("profiled", cell, **to_wire(replace(profiled(kernel("conv", 1)), opening=(own,))))
    (case,) = cases_of([read_run(folder.path)])
    ((_, start),), parts = kinds(case, "profile_start"), kinds(case, "profile_opening")
    assert (start["cold_ms"], start["import_ms"], start["first_ms"]) == (800, 300, 5)
    assert start["rest_ms"] == pytest.approx(800 - 100 - 300 - 200 - 5)
    assert [(values["parts"], values["source"]) for _, values in parts] == [("optimize 9", "onnxruntime"), ("parse 3", "clock")]


def test_the_time_between_kernels_is_told_for_each_kernel_with_the_rounding_of_the_clock(case_of):
    case = case_of(ort_cpu=profiled(kernel("conv", 50), kernel("gemm", 50), p50=2.0, step_ns=1000))
    ((_, values),) = kinds(case, "profile_gaps")
    assert values == {"gap_p": pytest.approx(50), "kernels": 2, "gap_us": pytest.approx(50), "cut_p": pytest.approx(0.5)}


def test_a_slow_profiler_is_told_for_each_kernel(case_of):
    case = case_of(ort_cpu=profiled(kernel("conv", 50), kernel("gemm", 50), p50=0.5, cost=2.5))
    ((_, values),) = kinds(case, "profile_slowed")
    assert (values["kernels"], round(values["cost_us"], 1), round(values["cost_p"])) == (2, 37.5, 150)


def test_copies_and_pairs_of_quantization_are_told_apart(case_of):
    moves = kernel("relu", 20, type="", operator="Reorder"), kernel("pool", 10, type="", operator="QuantizeLinear")
    case = case_of(ort_cpu=profiled(kernel("conv", 70), *moves))
    ((_, copies),), ((_, pairs),) = kinds(case, "profile_moves"), kinds(case, "profile_qdq")
    assert (round(copies["share_p"]), round(pairs["share_p"])) == (20, 10)


def test_few_copies_are_no_news(case_of):
    case = case_of(a=profiled(kernel("conv", 95), kernel("relu", 5, type="", operator="Reorder")))
    assert kinds(case, "profile_moves") == []


def test_an_operator_that_is_slow_on_one_runtime_alone_is_named(case_of):
    case = case_of(
        ort_cpu=profiled(kernel("conv", 50), kernel("pool", 50)), openvino_cpu=profiled(kernel("conv", 50), kernel("pool", 5))
    )
    ((rows, values),) = kinds(case, "profile_operator")
    assert (rows, values["operator"], values["other"]) == (("ort-cpu",), "MaxPool", "openvino-cpu")
    assert (round(values["share_p"]), round(values["other_share_p"])) == (50, 9)


def test_a_larger_share_of_less_time_is_no_news(case_of):
    case = case_of(a=profiled(kernel("conv", 10), kernel("pool", 5)), b=profiled(kernel("conv", 90), kernel("pool", 6)))
    assert kinds(case, "profile_operator") == []


def test_layers_that_became_slower_are_named_the_slowest_first(case_of):
    case = case_of(
        old=profiled(kernel("conv", 50), kernel("relu", 1), kernel("gemm", 50)),
        new=profiled(kernel("conv", 70), kernel("relu", 2), kernel("gemm", 90)),
    )
    found = kinds(case, "profile_slower")
    assert [(rows, values["node"]) for rows, values in found] == [(("new",), "gemm"), (("new",), "conv")]
    assert found[0][1]["excess_ms"] == pytest.approx(0.04)
    assert found[0][1]["total_ms"] == pytest.approx(0.061)


def test_a_difference_within_the_spread_of_the_calls_is_not_slower(case_of):
    case = case_of(old=profiled(kernel("conv", 50, spread=0.3)), new=profiled(kernel("conv", 70, spread=0.3)))
    assert kinds(case, "profile_slower") == []


def test_two_runs_are_two_sides(run_folder, make_cell):
    folders = [run_folder(make_cell(batch=8), kind="profile", name=name) for name in ("a", "b")]
    for folder, us in zip(folders, (10, 20)):
        folder.add("profiled", make_cell(batch=8), **to_wire(profiled(kernel("conv", us))))
    (case,) = cases_of([read_run(folder.path) for folder in folders])
    assert lines(case) == [("conv", 10, 20)]
    assert [side.label for side in case.sides] == ["a ort-cpu", "b ort-cpu"]


def test_precisions_and_batches_are_told_apart(run_folder, make_cell):
    cells = [make_cell(precision=precision, batch=batch) for batch in (1, 8) for precision in ("fp32", "fp16")]
    folder = run_folder(*cells, kind="profile")
    for cell in cells:
        folder.add("profiled", cell, **to_wire(profiled(kernel("conv", 1))))
    cases = cases_of([read_run(folder.path)])
    assert [[side.label for side in case.sides] for case in cases] == [["ort-cpu fp32", "ort-cpu fp16"]] * 2
    assert [row["case"] for row in tabulate(cases).rows] == ["b1", "b8"]


def test_a_profile_goes_through_json():
    part = OpeningPart(name="parse", ns=5.0, source="ort")
    value = Profiled(kernels=(kernel("conv", 1),), nodes=NODES, calls=3, p50_ns=1.0, opening=(part,))
    assert from_wire(Profiled, json.loads(json.dumps(to_wire(value)))) == value


def test_a_run_of_another_kind_holds_no_profile(run_folder, make_cell):
    folder = run_folder(cell := make_cell())
    folder.measured(cell, 1000)
    done = CliRunner().invoke(main, ["profile", str(folder.path)])
    assert (done.exit_code, "holds no profile" in done.output) == (2, True)


@pytest.mark.parametrize("format", ["csv", "json", "folded"])
def test_a_stored_profile_is_printed_in_every_format(run_folder, make_cell, format):
    folder = run_folder(cell := make_cell(batch=8), kind="profile")
    folder.add("profiled", cell, **to_wire(profiled(kernel("conv", 10))))
    done = CliRunner().invoke(main, ["profile", str(folder.path), "--format", format])
    assert done.exit_code == 0, done.output
    assert "conv" in done.output


MANY = tuple(GraphNode(name=f"n{number}", operator="MatMul") for number in range(12))


def test_a_kernel_that_computes_most_layers_is_a_line_of_its_own(case_of):
    """Else every line of the other side would be a part of it."""
    whole = kernel(" ".join(node.name for node in MANY), 60)
    case = case_of(
        tensorrt=profiled(whole, nodes=MANY), ort_cuda=profiled(*(kernel(node.name, 10) for node in MANY), nodes=MANY)
    )
    assert [parts for _, *parts in lines(case)] == [[None, 10]] * 12 + [[60, None]]
    ((rows, values),) = kinds(case, "profile_coarse")
    assert (rows, values) == (("tensorrt",), {"kernels": "1 kernel", "nodes": 12})
    assert {finding.kind for finding in tabulate([case]).findings} & {"profile_slower", "profile_operator"} == set()


def test_two_sides_that_both_run_most_layers_as_one_kernel_are_compared(case_of):
    whole = " ".join(node.name for node in MANY)
    case = case_of(old=profiled(kernel(whole, 60), nodes=MANY), new=profiled(kernel(whole, 70), nodes=MANY))
    assert [parts for _, *parts in lines(case)] == [[60, 70]]
    assert kinds(case, "profile_coarse") == []


def test_time_between_kernels_without_a_cuda_graph_asks_for_one(run_folder, make_cell):
    cell = make_cell(backend="torch-cuda", device="cuda:0", batch=8)
    folder = run_folder(cell, kind="profile")
    folder.add("opened", cell, info={"executed": "fp32", "settings": {"cuda_graph": "off"}})
    folder.add("profiled", cell, **to_wire(profiled(kernel("conv", 50), kernel("gemm", 50), p50=2.0)))
    (case,) = cases_of([read_run(folder.path)])
    ((_, values),) = kinds(case, "profile_graph")
    assert values == {"gap_p": pytest.approx(50), "option": "--option torch-cuda.cuda_graph=on"}


def test_a_backend_without_a_profile_has_its_start(run_folder, make_cell):
    cell = make_cell(backend="ncnn-cpu", batch=8)
    folder = run_folder(cell, kind="profile")
    folder.cold(cell, process_s=0.1, cold_s=0.8, import_s=0.3, load_s=0.2, first_ms=5.0)
    folder.opened(cell, parts=[{"name": "parse", "ns": 3e6, "source": "clock"}])
    folder.add("failed", cell, status="unsupported", reason="no times")
    (case,) = cases_of([read_run(folder.path)])
    ((rows, start),), ((_, parts),) = kinds(case, "profile_start"), kinds(case, "profile_opening")
    assert (rows, start["cold_ms"], parts["parts"]) == (("ncnn-cpu",), 800, "parse 3")
