from dataclasses import replace

import numpy as np
import pytest
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import Info, Inspected, Layers, Opened
from onnxbench.results.store import noise
from onnxbench.results.store.noise import COUNTERS
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.findings import Finding
from onnxbench.results.table.grade import grade
from onnxbench.spec import Sweep, from_wire, to_wire


def within(half_width, metric="p50"):
    """What was asked for."""
    return Sweep(metric=metric, budget=replace(BUDGETS["normal"], half_width=half_width))


ASKED = within(0.02)
CALM = [1000 + number % 3 for number in range(20)]
WILD = [1000, 1200] * 10
RISING = np.geomspace(10_000, 10_600, 20).astype(int).tolist()
WIDE = Finding.of("wide_interval", metric="p50", half_width=0.02)
STOLEN = Finding.of("disturbed", cause=noise.STEAL.what)
ROSE = Finding.of("drift", direction="rose")


def info(**found):
    return Opened(info=Info(**{"executed": "fp32", "placement": "12/12 CPU", **found}))


def test_a_row_is_an_a_where_nothing_is_missed(make_record):
    assert grade(make_record(CALM, opened=info()), None, ASKED) == ("A", [])


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ({"p50s": WILD}, WIDE),
        ({"p50s": CALM[:11], "disturbed": {2, 3}}, STOLEN),
        ({"p50s": RISING}, ROSE),
        ({"p50s": RISING[::-1]}, Finding.of("drift", direction="fell")),
        ({"p50s": CALM, "opened": info(executed="tf32")}, Finding.of("other_arithmetic", asked="fp32", ran="tf32")),
        ({"p50s": CALM, "opened": info(executed="fp32+int8")}, Finding.of("other_arithmetic", asked="fp32", ran="fp32+int8")),
        ({"p50s": CALM, "opened": info(placement="10/12 CUDA")}, Finding.of("elsewhere", nodes=10, of=12)),
    ],
)
def test_a_row_is_a_b_where_one_thing_is_missed(make_record, series, reason):
    assert grade(make_record(**series), None, ASKED) == ("B", [reason])


@pytest.mark.parametrize(
    ("series", "reasons"),
    [
        ({"p50s": WILD, "disturbed": range(20)}, [WIDE, STOLEN]),
        ({"p50s": RISING, "opened": info(executed="tf32")}, [ROSE, Finding.of("other_arithmetic", asked="fp32", ran="tf32")]),
        (
            {"p50s": CALM, "opened": info(executed="tf32", placement="10/12 CUDA")},
            [Finding.of("other_arithmetic", asked="fp32", ran="tf32"), Finding.of("elsewhere", nodes=10, of=12)],
        ),
        (
            {
                "p50s": np.geomspace(1000, 2000, 20).astype(int),
                "disturbed": {1, *range(3, 20)},
                "opened": info(executed="tf32"),
            },
            [WIDE, STOLEN, ROSE, Finding.of("other_arithmetic", asked="fp32", ran="tf32")],
        ),
    ],
)
def test_a_row_is_a_c_where_more_is_missed(make_record, series, reasons):
    assert grade(make_record(**series), None, ASKED) == ("C", reasons)


def test_a_row_of_too_few_rounds_is_a_c_whatever_else(make_record):
    assert grade(make_record(CALM[:9]), None, ASKED) == ("C", [Finding.of("no_interval", metric="p50", rounds=10)])
    assert grade(make_record(CALM[:9], disturbed={0}), None, ASKED) == (
        "C",
        [Finding.of("no_interval", metric="p50", rounds=10), STOLEN],
    )


@pytest.mark.parametrize(("asked", "letter"), [(within(0.02), "B"), (within(0.1), "A"), (None, "A")])
def test_how_narrow_an_interval_must_be_is_the_budgets_half_width(make_record, asked, letter):
    assert grade(make_record([1000, 1060] * 10), None, asked)[0] == letter


def test_a_run_that_does_not_say_what_was_asked_asks_for_p50_of_any_width(make_record):
    assert grade(make_record(WILD), None, None) == ("A", [])
    assert grade(make_record(WILD[:9]), None, None) == ("C", [Finding.of("no_interval", metric="p50", rounds=10)])


def test_the_interval_is_of_the_metric_that_was_asked_for(make_record):
    found = grade(make_record(WILD), None, within(0.02, "e2e_p50"))
    assert found == ("B", [Finding.of("wide_interval", metric="e2e_p50", half_width=0.02)])
    assert grade(make_record(WILD), None, within(0.02, "throughput")) == ("A", [])


def test_beside_a_baseline_the_interval_is_of_the_speed_up(make_record):
    """Both are as wild, and their ratio is calm."""
    base, new = make_record([3 * p50 for p50 in WILD]), make_record(WILD)
    assert grade(new, base, ASKED) == ("A", [])
    assert grade(new, make_record(WILD[1:] + WILD[:1]), ASKED) == (
        "B",
        [Finding.of("wide_interval", metric="speedup", half_width=0.02)],
    )
    assert grade(new, make_record(WILD[:9]), ASKED) == ("C", [Finding.of("no_interval", metric="speedup", rounds=10)])


def test_the_baseline_itself_has_the_interval_of_its_metric(make_record):
    base = make_record(WILD)
    assert grade(base, base, ASKED) == ("B", [WIDE])


@pytest.mark.parametrize(
    ("precision", "executed"), [("fp32", "fp32"), ("int8", "int8"), ("tf32", "tf32"), ("fp32", "float64"), ("bf16", None)]
)
def test_arithmetic_that_was_asked_for_or_has_no_name_here_misses_nothing(make_record, make_cell, precision, executed):
    record = make_record(CALM, cell=make_cell(precision=precision), opened=info(executed=executed))
    assert grade(record, None, ASKED) == ("A", [])


@pytest.mark.parametrize("placement", [None, "", "1/1 CPU"])
def test_a_placement_that_is_whole_or_unknown_misses_nothing(make_record, placement):
    assert grade(make_record(CALM, opened=info(placement=placement)), None, ASKED) == ("A", [])


def test_of_what_disturbed_the_blocks_the_most_frequent_is_said(make_record):
    record = make_record(CALM[:11], disturbed={0})
    for number in (3, 5):
        clean = record.blocks[number].noise
        faulty = replace(clean, throughput=replace(clean.throughput, major_faults=1))
        record.blocks[number] = replace(record.blocks[number], noise=faulty)
    assert grade(record, None, ASKED) == ("B", [Finding.of("disturbed", cause=noise.FAULTS.what)])


def test_a_grade_of_a_record_that_was_never_opened_is_of_its_rounds_alone(make_record):
    assert grade(make_record(CALM, opened=None), None, ASKED) == ("A", [])


def in_float(count):
    return Finding.of("float_layers", count=count, of="2 quantized layers", ran="fp32")


INT8 = ("int8 QLinearConv", "fp32 Relu", "QuantizeLinear", "int8 QGemm")
MIXED = ("int8 QLinearConv", "DequantizeLinear", "fp32 Gemm", "fp32 Relu")


@pytest.mark.parametrize(
    ("kernels", "floats", "found"),
    [
        (INT8, 0, ("A", [])),
        (MIXED, 1, ("A", [])),
        (MIXED, 0, ("B", [in_float(1)])),
        (
            ("fp32 Conv", "fp32 Relu", "fp32 Gemm"),
            0,
            ("B", [in_float(2)]),
        ),
    ],
)
def test_an_int8_row_is_graded_by_its_quantized_layers_and_not_by_what_is_between_them(
    make_record, make_cell, make_kernels, kernels, floats, found
):
    opened = replace(info(executed="int8+fp32"), layers=Layers(quantized=2, float=floats))
    inspected = from_wire(Inspected, {"kernels": make_kernels(*kernels)})
    record = make_record(CALM, cell=make_cell(precision="int8"), opened=opened, inspected=inspected)
    assert grade(record, None, ASKED) == found


def test_an_fp16_file_that_was_computed_in_fp32_is_no_a(make_record, make_cell, make_kernels):
    inspected = from_wire(Inspected, {"kernels": make_kernels("fp32 Conv", "Cast", "fp32 Gemm")})
    record = make_record(CALM, cell=make_cell(precision="fp16"), opened=info(executed="fp16"), inspected=inspected)
    assert grade(record, None, ASKED) == ("B", [Finding.of("other_arithmetic", asked="fp16", ran="fp32")])


def row_of(folder):
    (row,) = table.build([read_run(folder.path)]).rows
    return row


def test_what_makes_a_row_doubtful_is_noted_with_the_reasons_of_its_grade_first(run_folder, make_cell):
    cell = make_cell(precision="int8")
    folder = run_folder(cell)
    folder.opened(cell, executed="fp32+int8")
    folder.warm(cell, stationary=False)
    for number in range(10):
        folder.block(cell, number, [1000] * 40, noise={"latency": {"major_faults": 1}}, settled=number != 3)
    row = row_of(folder)
    assert (row["grade"], row["stopped"]) == ("C", None)
    assert row["notes"].split("; ") == [
        Finding.of("disturbed", cause=noise.FAULTS.what).sentence,
        Finding.of("other_arithmetic", asked="int8", ran="fp32+int8").sentence,
        Finding.of("unfinished").sentence,
        Finding.of("not_warm").sentence,
        Finding.of("busy_threads").sentence,
    ]


def test_a_percentile_that_is_withheld_has_a_note(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell)
    folder.block(cell, 0, [10**6] * 36)
    folder.finished(cell)
    row = row_of(folder)
    assert (row["p50_ms"], row["p90_ms"], row["p99_ms"], row["e2e_p50_ms"]) == (1.0, 1.0, None, None)
    assert row["notes"] == "no interval of p50: fewer than 10 rounds; p99 withheld: fewer than 368 samples"


@pytest.mark.parametrize(("half_width", "letter"), [(0.1, "A"), (0.001, "B")])
def test_a_rows_interval_must_be_as_narrow_as_its_own_run_asked_for(run_folder, make_cell, half_width, letter):
    cell = make_cell()
    folder = run_folder(cell, sweep=to_wire(within(half_width)))
    folder.series(cell, [1000, 1010] * 10)
    assert row_of(folder)["grade"] == letter


def test_a_row_with_the_best_grade_has_no_notes(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.measured(cell, 1000)
    assert (row_of(folder)["grade"], row_of(folder)["notes"]) == ("A", None)


RANDOM = Finding.of("random_calibration").sentence


def test_random_calibration_has_a_note_after_the_reasons_of_the_grade(run_folder, make_cell):
    cell = make_cell(precision="int8")
    folder = run_folder(cell)
    folder.measured(cell, 1000, random_calibration=True, layers={"quantized": 1, "float": 0})
    folder.inspected(cell, "fp32 Conv")
    assert (row_of(folder)["grade"], row_of(folder)["notes"]) == ("B", f"1 of 1 quantized layers ran in fp32; {RANDOM}")


@pytest.mark.parametrize(
    ("opened", "kernels", "notes"),
    [
        ({}, ["int8 QGemm"], None),
        ({"random_calibration": True}, ["int8 QGemm"], RANDOM),
        ({"layers": {"quantized": 1, "float": 0}}, ["fp32 Gemm"], "1 of 1 quantized layers ran in fp32"),
        (
            {"placement": "9/12 CPU", "random_calibration": True},
            ["int8 QGemm"],
            f"{Finding.of('elsewhere', nodes=9, of=12).sentence}; {RANDOM}",
        ),
    ],
)
def test_the_notes_of_a_check_are_about_answers_and_not_about_times(run_folder, make_cell, opened, kernels, notes):
    cell = make_cell(precision="int8")
    folder = run_folder(cell, kind="check")
    folder.opened(cell, **opened)
    folder.inspected(cell, *kernels)
    assert (row_of(folder)["grade"], row_of(folder)["notes"]) == (None, notes)


def test_without_evidence_of_noise_a_row_is_a_b_at_best(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell)
    for number, latency in enumerate(CALM):
        blind = dict.fromkeys(COUNTERS)
        folder.block(cell, number, [latency] * 40, [latency] * 40, noise={"latency": blind, "throughput": blind})
    folder.finished(cell)
    (row,) = table.build([read_run(folder.path)]).rows
    assert (row["grade"], row["disturbed"]) == ("B", None)
    assert all(name in row["notes"] for name in COUNTERS)
