"""Advice on rows: which limit gives which, and the figures that it names."""

import pytest
from onnxbench.evidence import Info, Inspected, Kernel, Opened
from onnxbench.results.table.advice import of_batches, of_limits
from onnxbench.results.table.roof import limits_of
from onnxbench.results.table.row import Row
from onnxbench.work import COMPUTE, MEMORY, NODES, Workload

MS = 10**6
MB = 10**6


@pytest.fixture
def roofs(make_record, make_cell):
    """100 GFLOP/s in FP32 and 400 in INT8, 10 GB/s, and 1 us a node."""

    def of(kind, p50, work, **how):
        return make_record([p50] * 3, cell=make_cell(roof=kind, **how), work=work)

    return [
        of(COMPUTE, 10 * MS, Workload(layer_flops=10**9)),
        of(COMPUTE, 2.5 * MS, Workload(layer_flops=10**9), precision="int8"),
        of(MEMORY, 10 * MS, Workload(weight_bytes=0, input_bytes=100 * MB, output_bytes=0)),
        of(NODES, 32_000, Workload(layer_flops=100, nodes=32)),
    ]


@pytest.fixture
def advice(make_record, make_cell, roofs):
    """Kind and values of the advice on a row of 10 ms a call. It has 1 MB of inputs and outputs each."""

    def of(flops=10**6, weights=MB, values=MB, nodes=10, precision="fp32", settings=None, device="cpu"):
        work = Workload(layer_flops=flops, weight_bytes=weights, input_bytes=values, output_bytes=values, nodes=nodes)
        opened = Opened(info=Info(settings=settings or {}))
        record = make_record([10 * MS] * 3, cell=make_cell(precision=precision), work=work, opened=opened)
        (found,) = of_limits(record, limits_of(record, roofs), roofs)
        return found.kind, dict(found.values)

    return of


def test_a_row_that_reads_its_weights_at_full_speed_needs_fewer_bytes_or_more_items(advice):
    kind, values = advice(weights=90 * MB)
    assert (kind, values) == ("help_memory", {"share_p": pytest.approx(92), "weights_p": pytest.approx(100 * 90 / 92)})
    assert advice(weights=90 * MB, precision="int8")[0] == "help_memory_batch"


def test_a_row_that_moves_values_at_full_speed_needs_narrower_ones(advice):
    kind, values = advice(values=45 * MB)
    assert (kind, round(values["weights_p"])) == ("help_memory_values", 1)


def test_a_row_that_computes_at_full_speed_needs_a_type_with_faster_products(advice):
    kind, values = advice(flops=8 * 10**8)
    assert kind == "help_compute"
    assert values == {"share_p": pytest.approx(80), "type": "fp32", "other": "int8", "ratio": pytest.approx(4)}


def test_without_a_faster_type_only_fewer_operations_help(advice):
    assert advice(flops=32 * 10**8, precision="int8") == ("help_compute_alone", {"share_p": pytest.approx(80), "type": "int8"})


def test_many_small_kernels_need_a_larger_batch_or_a_graph(advice):
    assert advice(nodes=6000) == ("help_launch", {"share_p": pytest.approx(60), "kernels": 6000})
    kind, values = advice(nodes=6000, settings={"cuda_graph": "off"})
    assert (kind, values["option"]) == ("help_graph", "--option ort-cpu.cuda_graph=on")
    assert advice(nodes=6000, settings={"cuda_graph": "on"})[0] == "help_launch"


def test_a_row_far_from_every_limit_needs_a_profile(advice):
    assert advice() == ("help_profile", {"largest_p": pytest.approx(3)})


def test_a_row_between_the_limits_gets_no_advice(make_record, roofs):
    work = Workload(layer_flops=5 * 10**8, weight_bytes=MB, input_bytes=MB, output_bytes=MB, nodes=10)
    record = make_record([10 * MS] * 3, work=work)
    assert list(of_limits(record, limits_of(record, roofs), roofs)) == []


def test_the_kernels_that_the_runtime_reports_are_counted_in_place_of_the_nodes(make_record, roofs):
    work = Workload(layer_flops=10**6, weight_bytes=MB, input_bytes=MB, output_bytes=MB, nodes=10)
    record = make_record([10 * MS] * 3, work=work, inspected=Inspected(kernels=(Kernel(type="fp32"),) * 5000))
    (found,) = of_limits(record, limits_of(record, roofs), roofs)
    assert dict(found.values) == {"share_p": pytest.approx(50), "kernels": 5000}


@pytest.fixture
def row(make_record, make_cell, roofs):
    def make(batch, share, **how):
        """A row that reaches this share of the roof."""
        work = Workload(layer_flops=batch * 10**8, weight_bytes=MB, input_bytes=MB, output_bytes=MB, nodes=10)
        record = make_record([batch * MS / share] * 3, cell=make_cell(batch=batch, **how), work=work)
        return f"b{batch}", Row(record=record, base=None, host="", roofs=roofs)

    return make


def test_a_small_batch_far_below_a_larger_one_is_told_of_it(row):
    ((name, found),) = of_batches([row(1, 0.2), row(8, 0.5), row(32, 0.6)])
    assert (name, found.kind) == ("b1", "help_batch")
    assert dict(found.values) == {"of_roof_p": pytest.approx(20), "batch": 32, "other_p": pytest.approx(60)}


@pytest.mark.parametrize("rows", [((1, 0.2), (8, 0.25)), ((1, 0.55), (8, 0.9)), ((8, 0.2), (1, 0.6))])
def test_a_batch_that_is_little_better_or_smaller_is_no_advice(row, rows):
    assert of_batches([row(batch, share) for batch, share in rows]) == []


def test_another_precision_is_no_larger_batch_of_a_row(row):
    assert of_batches([row(1, 0.2), row(8, 0.6, precision="int8")]) == []
