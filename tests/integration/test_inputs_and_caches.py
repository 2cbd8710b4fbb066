"""Several arrays and cold caches in one run of a real runtime, and what reads the run."""

import json
from dataclasses import replace

import onnxfiles
from onnxbench.budgets import BUDGETS

FEW = replace(BUDGETS["quick"], block_ms=5, block_calls=1, warmup_ms=5, warmup_limit_ms=20, images=8, passes=1)


def test_arrays_in_turn_with_warm_and_cold_caches(shell, monkeypatch):
    monkeypatch.setitem(BUDGETS, "quick", FEW)
    model = onnxfiles.write(shell.folder / "dense.onnx", onnxfiles.dense())
    asked = ("infer", "--model", model, "--backend", "ort-cpu", "--batch", "4", "--budget", "quick")
    conditions = ("--inputs", "3", "--cache", "warm,cold")
    planned = shell.rows(*asked, *conditions, "--dry-run")
    assert [(row["inputs"], row["cache"], row["status"]) for row in planned] == [(3, None, "planned"), (3, "cold", "planned")]
    rows = {row["cache"]: row for row in shell.rows(*asked, *conditions, "--out", "run")}
    assert {name: (row["status"], row["inputs"], row["timed_sqnr_db"] >= 80) for name, row in rows.items()} == {
        None: ("ok", 3, True),
        "cold": ("ok", 3, True),
    }
    assert rows["cold"]["p50_ms"] > rows[None]["p50_ms"]
    assert (rows["cold"]["throughput_per_s"], rows[None]["throughput_per_s"] > 0) == (None, True)
    journal = (shell.folder / "run/journal.jsonl").read_text().splitlines()
    blocks = [event for event in map(json.loads, journal) if event["event"] == "block"]
    assert all(len(block["by_array"]["p50_ns"]) == 3 for block in blocks)
    again = {row["cache"]: row["p50_ms"] for row in shell.rows("infer", "--out", "run", "--resume")}
    assert again == {name: row["p50_ms"] for name, row in rows.items()}
    assert len((shell.folder / "run/journal.jsonl").read_text().splitlines()) == len(journal)
