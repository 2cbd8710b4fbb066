import math
from collections import Counter

import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.results.stats import intervals as stats
from onnxbench.results.store.head import SCHEMA
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.spec import Settings

CONTRACT = [
    *("host", "model", "backend", "environment", "device", "precision", "scheme", "batch", "status", "reason"),
    *("executed", "placement", "settings", "conversion"),
    *("p50_ms", "p50_ci_low_ms", "p50_ci_high_ms", "p90_ms", "p99_ms"),
    *("samples", "rounds", "disturbed", "stopped"),
    *("e2e_p50_ms", "device_p50_ms"),
    *("throughput_per_s", "lanes", "throughput_threads", "throughput_settings", "threads"),
    *("speedup", "speedup_ci_low", "speedup_ci_high", "verdict"),
    *("build_s", "load_s", "first_ms"),
    *("top1", "top1_drop", "top1_drop_ci_low", "top1_drop_ci_high", "top1_change_p", "images"),
    *("agreement", "sqnr_db", "max_abs_err", "rel_err", "parity_output", "parity_limit_db", "parity_floor_db"),
    *("cold_s", "cold_process_s", "cold_import_s", "cold_load_s", "cold_first_ms"),
    *("peak_rss_mb", "device_mem_mb", "artifact_mb", "energy_mj", "gpu_power_w", "gpu_mhz", "gpu_temperature_c"),
    *("slo", "slo_rate_per_s", "slo_settings"),
    *("grade", "notes", "run", "shapes"),
    "p95_ms",
    *("loaded_per_s", "loaded_p50_ms", "loaded_p90_ms", "loaded_p95_ms", "loaded_p99_ms"),
    *("tokens_per_s", "ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms"),
    *("dims", "feedback", "real_time_factor"),
    *("copy_in_ms", "compute_ms", "wait_ms", "copy_out_ms"),
    *("p90_ci_low_ms", "p90_ci_high_ms", "p99_ci_low_ms", "p99_ci_high_ms"),
    *("p999_ms", "min_ms", "mean_ms", "max_ms", "e2e_p50_ci_low_ms", "e2e_p50_ci_high_ms"),
    *("p50_cycles", "speedup_cycles", "speedup_cycles_ci_low", "speedup_cycles_ci_high", "gpu_throttled"),
    *("top5", "top5_drop"),
    "timed_sqnr_db",
    *("builds", "build_spread", "engine_sha256"),
    *("inputs", "cache"),
    *("slo_rate_ci_low_per_s", "slo_rate_ci_high_per_s"),
    *("convert_s", "converter"),
    *("tuned_latency", "tuned_throughput"),
    *("gpus", "scaling_efficiency", "scaling_efficiency_ci_low", "scaling_efficiency_ci_high"),
    "cpu_power_w",
    *("gflops", "gflops_per_s", "of_roof", "bound", "bound_compute", "bound_memory", "bound_launch", "gbytes_per_s"),
]
AXES = {"model": "cnn", "backend": "ort-cpu", "device": "cpu", "precision": "fp32", "batch": 8, "threads": 2}
CHANGE = ("top1_drop_ci_low", "top1_drop_ci_high", "top1_change_p")
MS = 10**6


def build(*folders, baseline=None):
    return table.build([read_run(folder.path) for folder in folders], baseline)


def filled(row):
    return {name: value for name, value in row.items() if value is not None and name not in ("run", "shapes")}


def lines_of(built):
    """The sentences of the findings, as people read them."""
    return tuple(map(built.line, built.findings))


def titles(built):
    return [field.heading for field in built.fields]


def by_backend(built, *names):
    """The values of `names` in the row of each backend; the value alone for one name."""
    found = {row["backend"]: tuple(row[name] for name in names) for row in built.rows}
    return {backend: values[0] if len(names) == 1 else values for backend, values in found.items()}


@pytest.fixture
def two(run_folder, make_cell):
    """A run of torch-cpu at 4 ms and ort-cpu at 2 ms, and its two cells."""
    slow, fast = make_cell(backend="torch-cpu", batch=8), make_cell(backend="ort-cpu", batch=8)
    folder = run_folder(slow, fast)
    folder.measured(slow, 4 * MS)
    folder.measured(fast, 2 * MS)
    return folder, slow, fast


def test_every_column_of_the_contract_is_there_in_its_order(two):
    built = build(two[0])
    assert list(built.names) == CONTRACT
    assert all(list(row) == CONTRACT for row in built.rows)


def test_a_measured_row_has_its_figures(two):
    assert filled(build(two[0]).rows[0]) == {
        **AXES,
        "host": "Test CPU",
        "backend": "torch-cpu",
        "status": "ok",
        "executed": "fp32",
        "placement": "12/12 CPU",
        "settings": "threads=2 arena=on",
        "p50_ms": 4.0,
        "p50_ci_low_ms": pytest.approx(4.0),
        "p50_ci_high_ms": pytest.approx(4.0),
        "p90_ms": 4.0,
        "p95_ms": 4.0,
        "p99_ms": 4.0,
        **dict.fromkeys(("p90_ci_low_ms", "p90_ci_high_ms", "p99_ci_low_ms", "p99_ci_high_ms"), 4.0),
        **dict.fromkeys(("min_ms", "mean_ms", "max_ms"), 4.0),
        "e2e_p50_ci_low_ms": pytest.approx(8.0),
        "e2e_p50_ci_high_ms": pytest.approx(8.0),
        "samples": 400,
        "rounds": 10,
        "disturbed": 0,
        "stopped": "interval",
        "e2e_p50_ms": 8.0,
        "throughput_per_s": 800.0,  # 8 items x 1000 calls in 10 s
        "lanes": 1,
        "throughput_threads": 2,
        "load_s": 0.25,
        "first_ms": 4.5,
        "artifact_mb": 20.4,
        "grade": "A",
    }


def test_what_fresh_processes_took_is_their_median(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    for factor in (3, 1, 2):
        times = {"cold_s": 1.0, "process_s": 0.5, "import_s": 0.25, "load_s": 0.125, "first_ms": 8.0}
        folder.cold(cell, **{name: value * factor for name, value in times.items()}, peak_rss_mb=100.0 * factor)
    folder.measured(cell, MS)
    row = build(folder).rows[0]
    names = ("cold_s", "cold_process_s", "cold_import_s", "cold_load_s", "cold_first_ms", "peak_rss_mb")
    assert [row[name] for name in names] == [2.0, 1.0, 0.5, 0.25, 16.0, 200.0]
    assert (row["load_s"], row["first_ms"]) == (0.25, 4.5)


def test_memory_is_known_without_cold_starts(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.cold(cell, peak_rss_mb=123.5)
    folder.measured(cell, MS)
    built = build(folder)
    assert (built.rows[0]["peak_rss_mb"], built.rows[0]["cold_s"]) == (123.5, None)
    assert "memory" in titles(built)
    assert "cold start" not in titles(built)


def test_the_concurrency_that_was_found_is_said_and_how_to_deploy_it(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell, lanes=4, streams=4, threads=1, deploy="num_streams=4")
    folder.block(cell, 0, [MS] * 40)
    row = build(folder).rows[0]
    assert (row["lanes"], row["throughput_threads"], row["threads"]) == (4, 1, 2)
    assert (row["settings"], row["throughput_settings"]) == ("threads=2 arena=on", "num_streams=4")


def test_throughput_is_items_over_the_time_of_all_blocks(run_folder, make_cell):
    cell = make_cell(batch=4)
    folder = run_folder(cell)
    folder.opened(cell)
    folder.block(cell, 0, [1], calls=100, took_ns=10**9)
    folder.block(cell, 1, [1], calls=500, took_ns=2 * 10**9)
    assert build(folder).rows[0]["throughput_per_s"] == pytest.approx(4 * 600 / 3)


@pytest.mark.parametrize("status", ["failed", "timeout", "unsupported", "unavailable"])
def test_a_row_without_figures_keeps_its_axes_and_its_reason(run_folder, make_cell, status):
    cell = make_cell(batch=8)
    folder = run_folder(cell)
    folder.measured(cell, 4 * MS)
    folder.add("failed", cell, status=status, reason="because")
    assert filled(build(folder).rows[0]) == {**AXES, "host": "Test CPU", "status": status, "reason": "because"}


def test_a_mismatch_keeps_its_figures_and_says_why(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.measured(cell, 4 * MS)
    parity = {"sqnr_db": 1.5, "max_abs_err": 0.5, "rel_err": 0.1, "top1": 90.0, "top1_drop": 8.5, "agreement": 91.0}
    folder.verified(cell, **parity, images=360)
    row = build(folder).rows[0]
    assert (row["status"], row["p50_ms"]) == ("mismatch", 4.0)
    assert {name: row[name] for name in (*parity, *CHANGE)} == {**parity, **dict.fromkeys(CHANGE)}
    assert row["reason"].startswith("SQNR 1.5 dB")


def test_a_drop_has_an_interval_and_a_probability_where_it_is_known_how_many_changed(run_folder, make_cell):
    folder = run_folder(make_cell())
    folder.measured(make_cell(), MS)
    folder.verified(make_cell(), top1_drop=1.5, images=400, lost=7, gained=1)
    expected = (*stats.drop_interval(7, 1, 400), stats.mcnemar(7, 1), 400)
    assert by_backend(build(folder), *CHANGE, "images") == {"ort-cpu": expected}


def test_speed_ups_are_against_the_baseline(two):
    rows = build(two[0], baseline="torch-cpu")
    names = ("speedup", "speedup_ci_low", "speedup_ci_high", "verdict")
    twice = pytest.approx(2.0)
    assert by_backend(rows, *names) == {"torch-cpu": (1.0, None, None, None), "ort-cpu": (twice, twice, twice, "faster")}


def test_without_a_baseline_there_is_no_speed_up(two):
    assert [row["speedup"] for row in build(two[0]).rows] == [None, None]


def test_the_baseline_is_its_fp32_row_of_the_same_batch_and_model(run_folder, make_cell):
    cells = {
        1: make_cell(),
        2: make_cell(precision="int8"),
        3: make_cell(precision="int8", batch=8),
        4: make_cell(batch=8),
        5: make_cell(model="other"),
    }
    folder = run_folder(*cells.values())
    for ms, cell in cells.items():
        folder.measured(cell, ms * MS)
    rows = build(folder, baseline="ort-cpu").rows
    found = {row["p50_ms"]: row["speedup"] for row in rows}
    assert found == pytest.approx({1.0: 1.0, 2.0: 1 / 2, 3.0: 4 / 3, 4.0: 1.0, 5.0: 1.0})


def test_a_baseline_with_other_threads_is_none(run_folder, make_cell):
    base, new = make_cell(backend="torch-cpu", settings=Settings(threads=1)), make_cell(settings=Settings(threads=4))
    folder = run_folder(base, new)
    folder.measured(base, 4 * MS)
    folder.measured(new, 2 * MS)
    assert by_backend(build(folder, baseline="torch-cpu"), "speedup") == {"torch-cpu": 1.0, "ort-cpu": None}


def test_a_speed_up_is_over_the_rounds_that_both_measured(run_folder, make_cell):
    base, new = make_cell(backend="torch-cpu"), make_cell()
    folder = run_folder(base, new)
    for cell, blocks in ((base, {0: 100, 1: 800, 3: 5}), (new, {0: 50, 1: 100, 2: 7})):
        folder.opened(cell)
        for number, latency in blocks.items():
            folder.block(cell, number, [latency])
    assert by_backend(build(folder, baseline="torch-cpu"), "speedup")["ort-cpu"] == pytest.approx(math.sqrt(2 * 8))


def test_a_speed_up_needs_a_baseline_with_figures(two):
    folder, slow, _ = two
    folder.add("failed", slow, status="failed", reason="crashed")
    assert by_backend(build(folder, baseline="torch-cpu"), "speedup", "verdict") == {
        "torch-cpu": (None, None),
        "ort-cpu": (None, None),
    }


def noisy(seed, ns):
    """20 rounds of about `ns`, with 1 % noise."""
    return (ns * np.exp(np.random.default_rng(seed).normal(0, 0.01, 20))).astype(int)


@pytest.mark.parametrize(("ns", "verdict"), [(MS, "no difference shown"), (MS * 10 // 11, "faster"), (MS * 11 // 10, "slower")])
def test_a_verdict_says_whether_the_speed_up_differs_from_1(run_folder, make_cell, ns, verdict):
    base, new = make_cell(backend="torch-cpu"), make_cell()
    folder = run_folder(base, new)
    folder.series(base, noisy(0, MS))
    folder.series(new, noisy(1, ns))
    assert by_backend(build(folder, baseline="torch-cpu"), "verdict") == {"torch-cpu": None, "ort-cpu": verdict}


def test_of_27_equal_cells_none_is_called_faster_and_the_one_that_is_faster_is(run_folder, make_cell):
    base, fast, *equal = (make_cell(backend=f"b{number}") for number in range(29))
    folder = run_folder(base, fast, *equal)
    for seed, cell in enumerate((base, fast, *equal)):
        folder.series(cell, noisy(seed, MS // 1.1 if cell == fast else MS))
    verdicts = by_backend(build(folder, baseline="b0"), "verdict")
    assert (verdicts.pop("b0"), verdicts.pop("b1")) == (None, "faster")
    assert Counter(verdicts.values()) == {"no difference shown": 27}


def test_a_difference_is_shown_alone_and_not_among_many(run_folder, make_cell):
    """Its p is 0.013: under 5 %, and over 5 % / 20."""
    base, near, *equal = (make_cell(backend=f"b{number}") for number in range(21))
    series = [10_000 + offset for offset in (-40, -30, -20, -10, 0, 10, 20, 30, 40, 50)]
    folder, alone = run_folder(base, near, *equal), run_folder(base, near, name="alone")
    for held, cells in ((folder, (base, near, *equal)), (alone, (base, near))):
        for cell in cells:
            held.series(cell, [ns - 53 for ns in series] if cell == near else [10_000] * 10 if cell == base else series)
    assert by_backend(build(alone, baseline="b0"), "verdict")["b1"] == "faster"
    assert by_backend(build(folder, baseline="b0"), "verdict")["b1"] == "no difference shown"


def test_a_baseline_that_no_row_has_is_refused(two):
    with pytest.raises(BadInput, match="no row has the baseline 'torch'; did you mean 'torch-cpu'"):
        build(two[0], baseline="torch")


def test_rows_are_sorted_by_model_batch_and_precision_and_keep_the_plan_within(run_folder, make_cell):
    cells = [
        make_cell(model=model, precision=precision, batch=batch, backend=backend)
        for model in ("b", "a")
        for precision in ("int8", "fp32")
        for batch in (32, 8)
        for backend in ("torch-cpu", "ort-cpu")
    ]
    rows = build(run_folder(*cells)).rows
    assert [(row["model"], row["batch"], row["precision"]) for row in rows[::2]] == [
        (model, batch, precision) for model in "ab" for batch in (8, 32) for precision in ("fp32", "int8")
    ]
    assert [row["backend"] for row in rows] == ["torch-cpu", "ort-cpu"] * 8


def test_the_fastest_row_of_each_model_and_batch_is_marked(run_folder, make_cell):
    cells = {
        4: make_cell(batch=1),
        3: make_cell(batch=1, precision="int8"),
        6: make_cell(batch=8),
        7: make_cell(batch=8, precision="int8"),
        9: make_cell(model="other"),
    }
    folder = run_folder(*cells.values())
    for ms, cell in cells.items():
        folder.measured(cell, ms * MS)
    built = build(folder)
    assert sorted(built.rows[index]["p50_ms"] for index in built.best) == [3.0, 6.0, 9.0]


def test_an_instrument_is_never_marked(run_folder, make_cell):
    null, real = make_cell(backend="null"), make_cell()
    folder = run_folder(null, real)
    folder.measured(null, 10)
    folder.measured(real, MS)
    built = build(folder)
    assert [built.rows[index]["backend"] for index in built.best] == ["ort-cpu"]


def test_a_mismatch_is_never_marked(two):
    folder, _, fast = two
    folder.add("verified", fast, sqnr_db=0.0)
    built = build(folder)
    assert [built.rows[index]["backend"] for index in built.best] == ["torch-cpu"]


def test_a_row_without_a_p50_is_never_marked(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.opened(cell)
    folder.block(cell, 0, [10] * 5)
    assert build(folder).best == frozenset()


def test_axes_that_vary_stand_in_the_table(run_folder, make_cell):
    cells = [make_cell(), make_cell(precision="int8", settings=Settings(threads=4))]
    folder = run_folder(*cells)
    for cell in cells:
        folder.measured(cell, MS)
    built = build(folder)
    assert titles(built)[:5] == ["backend", "precision", "batch", "executed", "p50"]
    assert "threads" in titles(built)
    assert not {"host", "model", "device", "status", "lanes"} & set(titles(built))


def test_what_is_the_same_in_all_rows_is_said_once(two):
    built = build(two[0], baseline="torch-cpu")
    assert built.facts == (
        "host Test CPU · model cnn · device cpu · precision fp32 · executed fp32 · lanes 1 · threads a lane 2 · threads 2 · "
        "file 20.4 MB",
        "ort-cpu 1.20",
        "speed-up against torch-cpu fp32 at the same batch",
    )


def test_a_row_without_figures_makes_no_column_of_what_the_others_share(run_folder, make_cell):
    fine, bad = make_cell(), make_cell(batch=8)
    folder = run_folder(fine, bad)
    folder.measured(fine, MS)
    folder.add("failed", bad, status="failed", reason="crashed")
    built = build(folder)
    assert titles(built)[:4] == ["backend", "batch", "status", "p50"]
    assert "executed fp32 · lanes 1 · threads a lane 2 · threads 2 · file 20.4 MB" in built.facts[0]


def test_a_status_that_is_not_ok_everywhere_is_said(run_folder, make_cell):
    folder = run_folder(make_cell())
    assert "status failed" in build(folder).facts[0]


def test_columns_that_no_row_has_are_left_out(two):
    latency = ["p50", "from", "to", "p90", "p99", "e2e p50"]
    assert titles(build(two[0])) == ["backend", "batch", *latency, "throughput", "load", "first", "grade"]


def test_beside_a_baseline_the_speed_up_its_interval_and_the_verdict_stand_together(two):
    found = titles(build(two[0], baseline="torch-cpu"))
    assert found[found.index("speed-up") :][:4] == ["speed-up", "from", "to", "verdict"]


def test_two_hosts_stand_in_the_table(run_folder, make_cell):
    built = build(run_folder(make_cell()), run_folder(make_cell(), name="other", host={"cpu": "Another"}))
    assert [row["host"] for row in built.rows] == ["Another", "Test CPU"]
    assert titles(built)[:2] == ["run", "host"]


def test_reasons_stand_below_the_table(run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (1, 8)]
    folder = run_folder(*cells)
    folder.measured(cells[0], MS)
    folder.add("failed", cells[1], status="failed", reason="out of memory; try less")
    assert lines_of(build(folder)) == ("ort-cpu fp32 b8: failed: out of memory; try less",)


@pytest.mark.parametrize(
    ("failing", "of", "who"),
    [(3, 8, "ort-cpu fp32 b1, ort-cpu fp32 b2, ort-cpu fp32 b3"), (4, 8, "4 of 8 rows"), (8, 8, "all rows")],
)
def test_a_reason_that_rows_share_is_said_once(run_folder, make_cell, failing, of, who):
    cells = [make_cell(batch=batch) for batch in range(1, of + 1)]
    folder = run_folder(*cells)
    for number, cell in enumerate(cells):
        folder.measured(cell, MS)
        if number < failing:
            folder.add("failed", cell, status="failed", reason="crashed")
    assert lines_of(build(folder)) == (f"{who}: failed: crashed",)


def test_the_head_has_the_schema_the_host_and_the_versions(two):
    assert build(two[0]).head == {
        "schema": SCHEMA,
        "host": {"cpu": "Test CPU"},
        "versions": {"ort-cpu": "1.20"},
        "findings": [],
    }


def test_no_runs_make_an_empty_table():
    built = table.build([])
    assert (built.rows, built.fields, built.facts, built.remarks) == ((), (), (), ())
