"""The measuring engine on real processes and real runtimes: memory, cold starts, searches, looks, plans, groups."""

import json
from dataclasses import replace

import numpy as np
import pytest
from onnxbench.budgets import BUDGETS
from onnxbench.results.store import record
from onnxbench.runners import infer as sweeps
from onnxbench.spec import Sweep
from onnxfiles import MINI

COLD = ("cold_s", "cold_process_s", "cold_import_s", "cold_load_s", "cold_first_ms")


def test_a_cold_start_is_timed_from_the_process_to_the_first_answer(shell, null_file):
    rows = shell.rows(
        "infer", "--model", null_file, "--backend", "null,ort-cpu", "--batch", "1", *MINI, "--cold", "--out", "run"
    )
    for row in rows:
        parts = row["cold_process_s"] + row["cold_import_s"] + row["cold_load_s"] + row["cold_first_ms"] / 1e3
        assert 0 < parts < row["cold_s"] + 0.1
        assert min(row[name] for name in COLD) > 0
        assert row["peak_rss_mb"] > 10
    starts = [len(cell.cold) for cell in record.read_run(shell.folder / "run").cells]
    assert starts == [3, 3]
    assert rows[1]["cold_import_s"] > rows[0]["cold_import_s"]


def test_quick_measures_no_memory_and_says_so_by_null(shell, null_file):
    (row,) = shell.rows("infer", "--model", null_file, "--backend", "null", "--batch", "1", *MINI)
    assert row["peak_rss_mb"] is None
    assert row["cold_s"] is None


@pytest.mark.parametrize(("budget", "memory"), [("quick", False), ("normal", True)])
def test_what_ended_a_row_is_in_it(shell, null_file, budget, memory):
    (row,) = shell.rows("infer", "--model", null_file, "--backend", "null", "--batch", "1", "--budget", budget)
    assert row["stopped"] in ("interval", "budget")
    assert (row["peak_rss_mb"] is not None) is memory
    assert (row["p50_ci_low_ms"] is not None) is memory
    assert row["grade"] in ("ABC" if memory else "C")


def test_a_percentile_that_is_asked_for_is_known(shell, null_file):
    (row,) = shell.rows("infer", "--model", null_file, "--backend", "ort-cpu", "--batch", "1", *MINI, "--metric", "p99")
    assert row["p99_ms"] > 0
    assert row["samples"] >= 368


def test_settings_for_throughput_are_printed_to_be_pasted(shell, null_file):
    done = shell.bench("infer", "--model", null_file, "--backend", "openvino-cpu,ort-cpu", "--batch", "1", *MINI)
    assert "openvino-cpu fp32 b1: throughput with NUM_STREAMS=" in done.stdout
    assert "ort-cpu fp32 b1: throughput with intra_op_num_threads=" in done.stdout


def test_bf16_is_a_precision_of_its_own(small):
    """PyTorch's is in the contract suite."""
    how = ("--precision", "fp32,bf16", "--backend", "ort-cpu,openvino-cpu", "--batch", "1")
    done = small.bench("infer", *how, *MINI, "--out", "bf16", "--format", "json")
    rows = json.loads(done.stdout)["rows"]
    found = {(row["backend"], row["precision"]): (row["status"], row["executed"]) for row in rows}
    assert done.returncode == (0 if found["openvino-cpu", "bf16"][0] == "ok" else 3), done.stderr
    assert found["ort-cpu", "bf16"] == ("unsupported", None)
    assert found["openvino-cpu", "fp32"] == ("ok", "fp32")
    assert found["openvino-cpu", "bf16"][0] in ("ok", "unavailable")
    assert "bf16" in (found["openvino-cpu", "bf16"][1] or "bf16")


def test_a_dry_run_prints_the_plan_and_does_nothing(shell, null_file):
    done = shell.bench("infer", "--model", null_file, "--backend", "null,torch-cpu", "--dry-run", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert all("PyTorch" in row["reason"] for row in told["rows"] if row["backend"] == "torch-cpu")
    assert {(row["backend"], row["status"]) for row in told["rows"]} == {
        ("null", "planned"),
        ("torch-cpu", "unsupported"),
    }
    assert told["plan"][0].startswith("3 cells ")
    assert list(shell.folder.iterdir()) == []


def test_a_dry_run_refuses_what_a_run_would(shell, null_file):
    np.save(shell.folder / "x.npy", np.zeros((1, 4), np.int64))
    asked = ("infer", "--model", null_file, "--backend", "null", "--input", "x=x.npy", "--budget", "quick")
    dry, real = shell.bench(*asked, "--dry-run"), shell.bench(*asked)
    assert (dry.returncode, real.returncode) == (2, 2)
    assert "int64" in real.stderr
    assert dry.stderr.splitlines()[-1] == real.stderr.splitlines()[-1]


def test_a_dry_run_trains_and_exports_nothing(shell):
    done = shell.bench("infer", "--dry-run", "--backend", "torch-cpu")
    assert "cnn would be trained, then exported first" in done.stdout
    assert list(shell.folder.iterdir()) == []


def test_what_does_not_fit_into_memory_is_measured_after_the_rest_beside_the_baseline(shell, null_file, monkeypatch):
    monkeypatch.setattr(sweeps, "MEMORY_SHARE", 0.0)
    monkeypatch.chdir(shell.folder)
    asked = Sweep(
        model=str(null_file),
        backends=("null", "ort-cpu", "openvino-cpu"),
        batches=(1,),
        baseline="null",
        budget=replace(BUDGETS["quick"], looks=(2,)),
    )
    sweeps.infer(asked, sweeps.Surroundings(out=shell.folder / "run"))
    rounds = {cell.cell.backend: sorted(cell.blocks) for cell in record.read_run(shell.folder / "run").cells}
    assert rounds == {"null": [0, 1, 2, 3], "ort-cpu": [0, 1], "openvino-cpu": [2, 3]}
