"""The table of a check."""

import pytest
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.findings import Finding
from onnxbench.results.table.render import render

ANSWERS = (
    *("executed", "placement", "top1", "top1_drop", "top1_drop_ci_low", "top1_drop_ci_high"),
    *("images", "agreement", "sqnr_db", "max_abs_err", "rel_err"),
)
TIMED = (
    *("p50_ms", "p50_ci_low_ms", "p50_ci_high_ms", "p90_ms", "p95_ms", "p99_ms"),
    *("samples", "rounds", "disturbed", "stopped"),
    *("e2e_p50_ms", "throughput_per_s", "lanes", "throughput_threads", "throughput_settings"),
    *("speedup", "speedup_ci_low", "speedup_ci_high", "verdict", "grade"),
)


@pytest.fixture
def check(run_folder, make_cell):
    """A check of ort-cpu: fp32 is ok, fp16 a mismatch, and int8 was interrupted."""
    cells = [make_cell(batch=8, precision=precision) for precision in ("fp32", "fp16", "int8")]
    folder = run_folder(*cells, kind="check", name="check")
    for cell, sqnr_db, lost in zip(cells, (120.0, 12.0, 0.0), (0, 1000, 0)):
        changed = {"images": 10_000, "lost": lost, "gained": 0, "agreement": 100 - lost / 100}
        folder.opened(cell, conversion=f"{cell.precision} of a file")
        folder.verified(cell, sqnr_db, top1=97.5 - lost / 100, top1_drop=lost / 100, **changed)
    for cell in cells[:2]:
        folder.inspected(cell, "fp32 Conv")
    return folder


@pytest.fixture
def alike(run_folder, make_cell):
    """A check of two batches of which the same was found."""
    cells = [make_cell(batch=batch) for batch in (1, 8)]
    folder = run_folder(*cells, kind="check", name="alike")
    for cell in cells:
        folder.opened(cell)
        folder.verified(cell, top1=97.5, top1_drop=0.25, images=400, lost=1, gained=0)
        folder.inspected(cell, "fp32 Conv")
    return folder


def shown(folder):
    return [field.name for field in table.build([read_run(folder.path)]).fields]


def test_rows_of_a_check_have_figures_of_their_answers_and_none_of_time(check):
    ok, mismatch, failed = table.build([read_run(check.path)], "ort-cpu").rows
    assert [row["status"] for row in (ok, mismatch, failed)] == ["ok", "mismatch", "failed"]
    assert [(row["top1"], row["sqnr_db"]) for row in (ok, mismatch, failed)] == [(97.5, 120.0), (87.5, 12.0), (None, None)]
    assert [name for row in (ok, mismatch, failed) for name in TIMED if row[name] is not None] == []
    assert [row["load_s"] for row in (ok, mismatch, failed)] == [0.25, 0.25, None]


def test_a_mismatch_of_a_check_keeps_its_figures_and_says_why(check):
    _, row, _ = table.build([read_run(check.path)]).rows
    assert all(part in row["reason"] for part in ("12.0 dB", "fp16", "50 dB"))
    assert row["notes"] == Finding.of("other_arithmetic", asked="fp16", ran="fp32").sentence
    assert (row["executed"], row["placement"]) == ("fp32", "12/12 CPU, fp16 0/1 nodes")
    assert (row["top1_drop"], row["images"], row["agreement"], row["max_abs_err"]) == (10.0, 10_000, 90.0, 0.001)
    assert row["top1_drop_ci_low"] < 10 < row["top1_drop_ci_high"]


def test_people_see_of_a_check_what_is_about_answers(check):
    assert shown(check) == ["backend", "precision", "batch", "status", *ANSWERS]


def test_people_see_the_answers_of_a_check_where_all_rows_agree_too(alike):
    assert shown(alike) == ["backend", "batch", *ANSWERS]


def test_what_stands_in_the_table_of_a_check_is_not_said_above_it(alike):
    assert table.build([read_run(alike.path)]).facts[0] == (
        "host Test CPU · model cnn · device cpu · precision fp32 · threads 2 · file 20.4 MB"
    )


def test_people_see_shares_of_answers_with_two_decimals_and_errors_in_powers_of_ten(check):
    text = render(table.build([read_run(check.path)]), "markdown")
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")]
    names = ("top1 %", "drop points", "agreement %", "SQNR dB", "max abs error", "rel error")
    assert [rows[3][rows[0].index(name)] for name in names] == ["87.50", "10.00", "90.00", "12.0", "1.0e-03", "1.0e-04"]
    assert [rows[2][rows[0].index(name)] for name in ("from points", "to points")] == ["-0.04", "0.04"]


def test_beside_a_run_with_times_a_check_is_shown_as_that_is(check, run_folder, make_cell):
    folder = run_folder(make_cell())
    folder.measured(make_cell(), 10**6)
    found = {field.name for field in table.build([read_run(check.path), read_run(folder.path)]).fields}
    assert {"p50_ms", "throughput_per_s", "sqnr_db"} <= found
    assert not {"placement", "agreement", "max_abs_err", "rel_err"} & found


def test_answers_that_all_rows_of_a_measurement_share_are_said_above_it(run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (1, 8)]
    folder = run_folder(*cells)
    for cell in cells:
        folder.measured(cell, 10**6)
        folder.verified(cell, top1=97.5, top1_drop=0.25, images=400, lost=1, gained=0)
    built = table.build([read_run(folder.path)])
    drop = "top-1 drop 0.25 points (95 %: -1.09 to 1.58)"
    assert built.facts[0].endswith(f"threads 2 · top1 97.50 % · {drop} · images 400 · file 20.4 MB")
    assert built.rows[0]["top1_drop_ci_low"] < 0.25 < built.rows[0]["top1_drop_ci_high"]
    assert not {"top1", "top1_drop_ci_low"} & set(shown(folder))


def test_how_files_were_converted_is_said_once_for_each(check, run_folder, make_cell):
    again = run_folder(make_cell(batch=1))
    again.measured(make_cell(batch=1), 10**6, conversion="fp32 of a file")
    remarks = table.build([read_run(check.path), read_run(again.path)]).remarks
    assert [line for line in remarks if "of a file" in line] == ["cnn fp32: fp32 of a file", "cnn fp16: fp16 of a file"]
