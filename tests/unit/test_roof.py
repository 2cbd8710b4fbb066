"""Shares of the machine's roof from rounds by hand, the rows of a sweep's roofs, and their place in the rounds."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from onnxbench.evidence import Inspected, Kernel
from onnxbench.models.roofs import CHAIN_LENGTH, RoofGraph, inputs_of
from onnxbench.results.table.columns import BY_NAME
from onnxbench.results.table.roof import limits_of, types_of
from onnxbench.results.table.row import Row
from onnxbench.runners.pool.survey import ProbedBackend
from onnxbench.runners.sweep import rounds
from onnxbench.runners.sweep.cells import ActiveCell
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.sweep.roofs import roof_rows
from onnxbench.runners.worker.file_jobs import CacheEntry
from onnxbench.runners.worker.jobs import There
from onnxbench.spec import Artifact, Cell, Settings, Sweep
from onnxbench.work import COMPUTE, MEMORY, NODES, Workload

MS = 10**6
MB = 10**6


@pytest.fixture
def roofs(make_record, make_cell):
    """Roofs of two runtimes over three rounds: 100 and 50 GFLOP/s, 10 GB/s from memory, 40 GB/s from a cache, 1 us a node."""

    def of(kind, p50s, work, backend="ort-cpu", precision="fp32", **how):
        cell = make_cell(backend=backend, precision=precision, roof=kind, **how)
        return make_record(p50s, cell=cell, work=work)

    product, twice = Workload(layer_flops=10**9), [20 * MS] * 3
    return [
        of(COMPUTE, [10 * MS] * 3, product),
        of(COMPUTE, twice, product, backend="openvino-cpu"),
        of(COMPUTE, [2 * MS] * 3, product, precision="int8"),
        of(MEMORY, [10 * MS] * 3, Workload(weight_bytes=0, input_bytes=60 * MB, output_bytes=40 * MB, nodes=1), model="far"),
        of(MEMORY, [MS] * 3, Workload(weight_bytes=0, input_bytes=20 * MB, output_bytes=20 * MB, nodes=1), model="near"),
        of(NODES, [32_000] * 3, Workload(layer_flops=100, nodes=32)),
        of(NODES, [MS] * 3, Workload(layer_flops=100, nodes=32), backend="openvino-cpu"),
    ]


def work(flops=10**9, weights=4 * MB, nodes=10, **more):
    return Workload(layer_flops=flops, weight_bytes=weights, input_bytes=MB, output_bytes=MB, nodes=nodes, **more)


def test_the_share_is_the_median_of_the_rounds_that_both_measured(make_record, roofs):
    """1 GFLOP takes 10 ms at the roof; the fourth round has no roof beside it."""
    found = limits_of(make_record([20 * MS, 40 * MS, 25 * MS, MS], work=work()), roofs)
    assert found.of_roof == pytest.approx(10 / 25)
    assert (found.bound, found.flops_per_s) == (COMPUTE, pytest.approx(100e9))


def test_a_roof_that_changes_with_the_machine_changes_no_share(make_record, make_cell, roofs):
    speeds = (1, 2, 4)
    cell = make_cell(roof=COMPUTE)
    others = [item for item in roofs if item.cell.roof != COMPUTE]
    slower = make_record([10 * MS * speed for speed in speeds], cell=cell, work=Workload(layer_flops=10**9))
    found = limits_of(make_record([20 * MS * speed for speed in speeds], work=work()), [slower, *others])
    assert found.compute == pytest.approx(0.5)


def test_the_bytes_are_compared_with_arrays_of_their_own_size(make_record, roofs):
    """6 MB fit in the cache (40 GB/s); 82 MB come from memory (10 GB/s)."""
    near, far = (limits_of(make_record([MS * 10] * 3, work=work(flops=1, weights=size)), roofs) for size in (4 * MB, 80 * MB))
    assert (near.memory, far.memory) == (pytest.approx(0.015), pytest.approx(0.82))
    assert (far.bound, far.of_roof) == (MEMORY, pytest.approx(0.82))


def test_many_small_nodes_are_bound_by_their_launch(make_record, roofs):
    """600 nodes of 1 us each are 0.6 of 1 ms; runtime by runtime."""
    found = limits_of(make_record([MS] * 3, work=work(flops=10**6, nodes=600)), roofs)
    assert (found.bound, found.launch) == ("launch", pytest.approx(0.6))
    kernels = Inspected(kernels=(Kernel(type="fp32"),) * 100)
    fused = limits_of(make_record([MS] * 3, work=work(flops=10**6, nodes=600), inspected=kernels), roofs)
    assert (fused.bound, fused.launch) == ("overhead", pytest.approx(0.1))


def test_time_that_no_limit_explains_is_overhead(make_record, roofs):
    assert limits_of(make_record([100 * MS] * 3, work=work()), roofs).bound == "overhead"


def test_an_int8_row_has_the_roof_of_its_kernels(make_record, make_cell, roofs):
    """500 GFLOP/s in INT8: 1 GFLOP takes 2 ms. A row whose kernels ran in FP32 has the roof of FP32."""
    cell = make_cell(precision="int8")
    eight = limits_of(make_record([4 * MS] * 3, cell=cell, work=work()), roofs)
    float_kernels = Inspected(kernels=(Kernel(type="fp32", layer=True),))
    other = make_record([20 * MS] * 3, cell=cell, work=work(), inspected=float_kernels)
    assert (eight.compute, limits_of(other, roofs).compute) == (pytest.approx(0.5), pytest.approx(0.5))
    assert types_of(other) == ("fp32",)


def test_a_share_above_the_roof_is_no_error(make_record, roofs):
    """Winograd's algorithm needs fewer operations than the nominal ones."""
    assert limits_of(make_record([5 * MS] * 3, work=work()), roofs).of_roof == pytest.approx(2.0)


def test_without_operations_or_without_roofs_there_is_no_share(make_record, roofs):
    assert limits_of(make_record([MS] * 3), roofs).of_roof is None
    unknown = limits_of(make_record([MS] * 3, work=work(flops=None)), roofs)
    assert (unknown.of_roof, unknown.bound) == (None, None)
    alone = limits_of(make_record([MS] * 3, work=work()), [])
    assert (alone.of_roof, alone.bound) == (None, None)
    assert limits_of(roofs[0], roofs).of_roof is None


def figures(record, roofs=()):
    row = Row(record=record, base=None, host="", roofs=roofs)
    names = ("gflops", "gflops_per_s", "of_roof", "bound", "gbytes_per_s")
    return {name: BY_NAME[name].value(row) for name in names}, {name: BY_NAME[name].why_absent(row).kind for name in names}


def test_columns_have_their_units_and_reasons(make_record, roofs):
    values, _ = figures(make_record([20 * MS] * 3, work=work()), roofs)
    assert values == {
        "gflops": 1.0,
        "gflops_per_s": pytest.approx(50),
        "of_roof": pytest.approx(50),
        "bound": COMPUTE,
        "gbytes_per_s": pytest.approx(0.3),
    }
    values, reasons = figures(make_record([MS] * 3))
    assert (set(values.values()), set(reasons.values())) == ({None}, {"absent_roof"})
    values, reasons = figures(make_record([MS] * 3, work=work(flops=None, unknown=("own.Strange: no rule",))), roofs)
    assert (values["gflops"], values["of_roof"]) == (None, None)
    assert reasons["gflops"] == "absent_because"


def probed(name, *precisions, device_kind="cpu", **more):
    return ProbedBackend(name=name, available=True, device_kind=device_kind, precisions=precisions, **more)


ORT, TORCH = probed("ort-cpu", "fp32", "int8"), probed("torch-cpu", "fp32", "bf16")


class Asked:
    """A context whose workers write no files, and know what was asked."""

    def __init__(self):
        self.jobs = []

    def ask(self, job):
        self.jobs.append(job)
        graph = RoofGraph(kind=job.kind, size=job.size, precision=job.precision)
        what = {"path": "a.onnx", "sha256": f"{graph}", "nbytes": 1, "opset": 17, "inputs": inputs_of(graph), "outputs": ()}
        artifact = Artifact(model=graph.name, precision=job.precision, **what)
        return CacheEntry(folder=There(path="/cache"), cached=False, artifact=artifact, made=None)


def planned(artifact, backend="ort-cpu", precision="fp32", **how):
    shapes = (("input", (1, 3, 48, 48)),)
    own = {"model": "cnn", "sha256": "ab", "device": "cpu", "batch": 1, "shapes": shapes, "settings": Settings(threads=2)}
    cell = Cell(backend=backend, precision=precision, **{**own, **how})
    return PlannedCell(cell=cell, artifact=artifact)


def planned_roofs(rows, backends=(ORT, TORCH), **sweep):
    asked = Asked()
    return roof_rows(Sweep(**{"roof": True, **sweep}), rows, backends, asked), asked.jobs


def test_only_a_sweep_that_requests_roofs_has_them(make_artifact):
    assert planned_roofs([planned(make_artifact())], roof=False) == ([], [])


def test_each_runtime_of_the_rows_measures_each_roof_that_they_need(make_artifact):
    rows = [planned(make_artifact()), planned(make_artifact(), precision="int8"), planned(make_artifact(), "torch-cpu")]
    found, jobs = planned_roofs(rows)
    kinds = {(row.cell.backend, row.cell.roof, row.cell.precision) for row in found}
    assert kinds == {
        *(("ort-cpu", COMPUTE, "fp32"), ("ort-cpu", COMPUTE, "int8"), ("ort-cpu", MEMORY, "fp32"), ("ort-cpu", NODES, "fp32")),
        *(("torch-cpu", COMPUTE, "fp32"), ("torch-cpu", MEMORY, "fp32"), ("torch-cpu", NODES, "fp32")),
    }
    assert len(jobs) == len(set(jobs))
    assert all(row.cell.settings == Settings(threads=2) for row in found)
    assert len({row.cell.key for row in found}) == len(found)


def test_sums_have_the_size_of_each_file_and_one_far_above_the_caches(make_artifact):
    rows = [planned(make_artifact(nbytes=20_400_000)), planned(make_artifact(nbytes=5_100_000), precision="int8")]
    sizes = sorted(job.size >> 20 for job in planned_roofs(rows)[1] if job.kind == MEMORY)
    assert sizes[:2] == [5, 20]
    assert sizes[2] >= 96


def test_a_runtime_that_converts_files_or_cannot_run_gives_no_roof(make_artifact):
    rows = [planned(make_artifact(), "mnn-cpu"), planned(make_artifact(), "gone"), planned(make_artifact(), "null")]
    others = [
        probed("mnn-cpu", "fp32", converter="mnnconvert"),
        ProbedBackend(name="gone", available=False, device_kind="cpu"),
        probed("null", "fp32", instrument=True),
    ]
    assert planned_roofs(rows, others)[0] == []


def test_a_runtime_that_builds_engines_measures_only_the_roofs_that_no_other_one_does(make_artifact):
    """One GPU runtime has no INT8 products of its own, and the builder alone needs an engine for these."""
    rows = [
        planned(make_artifact(), name, precision, device="cuda:0")
        for name in ("eager", "built")
        for precision in ("fp32", "int8")
    ]
    runtimes = [probed("built", "fp32", "int8", device_kind="cuda", builds=True), probed("eager", "fp32", device_kind="cuda")]
    found = {(row.cell.backend, row.cell.roof, row.cell.precision) for row in planned_roofs(rows, runtimes)[0]}
    assert found == {
        *(("eager", COMPUTE, "fp32"), ("eager", MEMORY, "fp32"), ("eager", NODES, "fp32")),
        ("built", COMPUTE, "int8"),
    }
    alone = planned_roofs(rows[2:], runtimes[:1])[0]
    assert {row.cell.roof for row in alone} == {COMPUTE, MEMORY, NODES}


def test_a_profile_has_sums_as_large_as_a_layer_on_a_cpu_alone(make_artifact):
    rows = [planned(make_artifact()), planned(make_artifact(), "eager", device="cuda:0")]
    runtimes = (ORT, probed("eager", "fp32", device_kind="cuda"))
    asked = Asked()
    found = roof_rows(Sweep(roof=True), rows, runtimes, asked, (4 << 20,))
    small = [row.cell.device for row in found if row.cell.model == "roof-sum-4MB"]
    assert small == ["cpu"]


def test_a_refused_row_needs_no_roof(make_artifact):
    refused = replace(planned(make_artifact(), precision="int8"), refused=("unsupported", "no file"))
    assert {row.cell.precision for row in planned_roofs([planned(make_artifact()), refused])[0]} == {"fp32"}


def active(cell, **state):
    return ActiveCell(planned=SimpleNamespace(cell=cell, key=cell.key), **state)


def test_a_roof_is_visited_as_long_as_another_cell_is_measured(make_cell):
    roof, row = active(make_cell(roof=COMPUTE), finished=True), active(make_cell())
    assert rounds.due_cells([roof, row], Sweep()) == [roof, row]
    row.finished = True
    assert rounds.due_cells([roof, row], Sweep()) == []


def test_a_roof_of_another_device_is_not_visited_for_a_row(make_cell):
    roof, row = active(make_cell(roof=COMPUTE, device="cuda:0"), finished=True), active(make_cell())
    assert rounds.due_cells([roof, row], Sweep()) == [row]


def test_a_cell_without_a_roof_has_the_key_of_earlier_versions(make_cell):
    assert make_cell(roof="").key == make_cell().key
    assert make_cell(roof=COMPUTE).key != make_cell().key


def test_a_graph_has_shapes_of_its_size():
    assert [spec.shape for spec in inputs_of(RoofGraph(kind=COMPUTE, size=1024))] == [(1024, 1024)]
    sums = inputs_of(RoofGraph(kind=MEMORY, size=96 << 20))
    assert len(sums) == 2
    assert sum(4 * spec.shape[0] * spec.shape[1] for spec in sums) == (64 << 20)
    assert inputs_of(RoofGraph(kind=NODES, size=CHAIN_LENGTH))[0].shape == (4, 4)
