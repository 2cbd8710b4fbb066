"""The short table of the README and the page of a CPU, from runs."""

from pathlib import Path

import cpu_page
import pytest
import readme_table
from onnxbench.results.store.record import read_run
from readme_table import figures, lines, replaced


def row(name, precision, batch, p50_ms, rate, energy_mj=None, status="ok"):
    backend, _, environment = name.partition("@")
    names = ("backend", "environment", "precision", "batch", "p50_ms", "throughput_per_s", "energy_mj", "status")
    return dict(zip(names, (backend, environment or None, precision, batch, p50_ms, rate, energy_mj, status)))


ROWS = [
    row("ort-cpu", "fp32", 1, 20.04, 60),
    row("ort-cpu", "fp32", 8, 110.0, 80.4),
    row("tensorrt", "fp16", 1, 0.7, 1500, 40.0),
    row("tensorrt", "fp16", 64, 5.0, 13000, 25.06),
    row("tensorrt", "int8", 8, 0.9, 9000, 30.0),
    row("torch-cuda", "int8", 1, None, None, status="unsupported"),
]


def test_a_row_has_the_latency_of_one_item_and_the_best_rate_with_its_batch():
    assert lines(figures(ROWS).values())[2:] == [
        "| ort-cpu | fp32 | 20.040 | 80 | 8 | |",
        "| tensorrt | fp16 | 0.700 | 13,000 | 64 | 25.1 |",
        "| tensorrt | int8 | | 9,000 | 8 | 30 |",
    ]


def test_rows_of_other_settings_are_not_mixed():
    rows = [row("torch-cuda", "fp16", 1, 0.9, 1000), row("torch-cuda@tuned", "fp16", 1, 0.8, 3000)]
    assert [line.split(" | ")[:4] for line in lines(figures(rows).values())[2:]] == [
        ["| torch-cuda", "fp16", "0.900", "1,000"],
        ["| torch-cuda@tuned", "fp16", "0.800", "3,000"],
    ]


def test_rows_that_are_asked_stand_in_their_order_and_a_missing_one_is_an_error():
    found = figures(ROWS, [("tensorrt", "fp16"), ("ort-cpu", "fp32")])
    assert list(found) == [("tensorrt", "fp16"), ("ort-cpu", "fp32")]
    assert "28.63 times" in list(readme_table.ratios(dict(reversed(found.items()))))[1]
    with pytest.raises(SystemExit, match="torch-cuda:int8"):
        figures(ROWS, [("torch-cuda", "int8")])


def test_the_table_replaces_the_one_in_the_page_and_nothing_else():
    new = lines(figures(ROWS).values(), "texts")
    before = "# T\n\n| a | b |\n|---|---|\n\n" + "\n".join(lines([])) + "\n| old | fp32 | 1 | 2 | 3 | |\n\nText.\n"
    after = replaced(before, new)
    assert "| old |" not in after
    assert after.startswith("# T\n\n| a | b |\n|---|---|\n\n| backend | precision | p50 at batch 1, ms | texts a second |")
    assert after.endswith("| tensorrt | int8 | | 9,000 | 8 | 30 |\n\nText.\n")
    assert "mJ a text |" in after
    with pytest.raises(SystemExit, match="no such table"):
        replaced("# T\n", new)


def test_the_page_of_a_cpu_has_every_row_twice_and_its_facts_once():
    run = read_run(Path(__file__).resolve().parents[1] / "data/v0_1/run")
    text = "\n".join(cpu_page.page(run, "Two cores"))
    assert text.startswith("# Two cores\n\nMeasured on 2026-11-28 at `normal`.")
    assert sum(line.startswith("| ort-cpu ") for line in text.splitlines()) == 2 * 4
    assert text.count("host Intel") == 1
    assert "- openvino-cpu fp32 b1,8: throughput with NUM_STREAMS=2" in text
