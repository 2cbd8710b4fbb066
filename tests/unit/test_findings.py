import json

import pytest
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.findings import CAUTION, FAILURE, INFO, KINDS, Finding, grouped
from onnxbench.results.table.render import render

SAID = {
    "status": ({"status": "failed", "reason": "no kernel"}, "failed: no kernel"),
    "no_interval": ({"metric": "p50", "rounds": 10}, "no interval of p50: fewer than 10 rounds"),
    "wide_interval": ({"metric": "p50", "half_width": 0.02}, "the interval of p50 is wider than ±2.0%"),
    "disturbed": ({"cause": "other processes computed"}, "blocks disturbed: other processes computed"),
    "noise_unseen": ({"counters": "steal_ns"}, "no evidence of noise: the system has no steal_ns"),
    "drift": ({"direction": "rose"}, "p50 rose by more than 5 % from the first round to the last"),
    "other_arithmetic": ({"asked": "fp16", "ran": "fp32"}, "fp16 was asked for and fp32 ran"),
    "float_layers": ({"count": 1, "of": "8 quantized layers", "ran": "fp32"}, "1 of 8 quantized layers ran in fp32"),
    "elsewhere": ({"nodes": 3, "of": 4}, "3 of 4 nodes ran on the device"),
    "session": ({"remark": "no graph"}, "no graph"),
    "built": ({"remark": "it was damaged"}, "it was damaged"),
    "made_otherwise": (
        {"tool": "0.1"},
        "its file was made by onnxbench 0.1, in another way than the version that measured it does:"
        " bench export makes it again",
    ),
    "random_calibration": ({}, "calibrated on random inputs, so what it costs in accuracy is not that of real ones"),
    "unfinished": ({}, "its rounds were not all measured: --resume goes on with it"),
    "not_warm": ({}, "latency was still changing when the warm-up ended"),
    "withheld": ({"percentile": 99, "samples": 368}, "p99 withheld: fewer than 368 samples"),
    "busy_threads": ({}, "its threads were still busy while others were measured"),
    "power_limit": ({}, "the GPU ran at its power limit"),
    "step_failed": ({"step": "load", "reason": "killed"}, "the step 'load' failed, the other figures are kept: killed"),
    "rate_untold": ({"percentile": 99.0}, "no rate: too few items arrived to tell p99"),
    "rate_queue": ({"rate": 1234.0}, "no rate: its queue grows at 1.23e+03/s already"),
    "rate_latency": ({"percentile": 99.0, "latency_ms": 12.3, "rate": 50.0}, "no rate: p99 is 12.3 ms at 50/s already"),
    "rate_at_least": ({"percentile": 99.0}, "p99 holds at the highest rate that was tried"),
    "load_disturbed": ({"causes": "steal"}, "disturbed under load: steal"),
    "gpu_untold": ({"reason": "no NVML"}, "GPU evidence is missing: no NVML"),
    "definition": ({"text": "measured by trtexec"}, "measured by trtexec"),
    "changed": ({"what": "threads", "old": "1", "new": "2"}, "threads: 1 -> 2"),
    "only_in": ({"side": "base", "cells": "a, b"}, "only in base, not compared: a, b"),
    "no_figures": ({"side": "new", "why": "failed (x)", "cells": "a"}, "new has no figures, failed (x): a"),
    "limit_broken": ({"limit": "--fail-on p50>5%", "change": "cnn 1 -> 2"}, "--fail-on p50>5% failed: cnn 1 -> 2"),
    "limit_unsure": ({"limit": "--fail-on p50>5%", "change": "x"}, "--fail-on p50>5% is inconclusive: x"),
    "instrument": ({}, "measures onnxbench itself, and cannot be deployed"),
    "no_price": ({"target": "ort-cpu"}, "has no price; give --price ort-cpu=AMOUNT"),
    "breaks_limit": ({"limit": "--max p50=2ms"}, "not within --max p50=2ms"),
    "pick": ({"figures": "p50 2 ms", "grade": "A", "rounds": 30}, "p50 2 ms; grade A, 30 rounds"),
    "pick_ungraded": ({"figures": "p50 2 ms"}, "p50 2 ms; no grade"),
    "best": ({"extreme": "lowest", "objective": "latency", "rows": 3}, "lowest latency of 3 feasible rows"),
    "only_feasible": ({}, "the only feasible row"),
    "machines": (
        {"machines": 3, "demand": 500.0, "rate": 200.0, "slo": "p99 <= 10 ms"},
        "for 500/s: 3 of this machine, each at 200/s with p99 <= 10 ms",
    ),
    "machines_at_full_load": (
        {"machines": 3, "demand": 500.0, "rate": 200.0},
        "for 500/s: 3 of this machine, each at 200/s at full load, without a limit on latency;"
        " measure with --load poisson --slo p99=10ms for the rate within a limit",
    ),
    "runner_up": ({"figures": "p50 2 ms", "grade": "C", "rounds": 3}, "p50 2 ms; grade C, 3 rounds"),
    "runner_up_ungraded": ({"figures": "p50 2 ms"}, "p50 2 ms; no grade"),
    "no_runner_up": ({}, "none: no other row is feasible"),
    "differs": (
        {"change": 13.9, "direction": "better", "low": -8.45, "high": 41.7, "basis": "paired in 10 rounds"},
        "the pick is 13.9 % better than the runner-up (95 %: -8.45 to 41.7 %; paired in 10 rounds)",
    ),
    "uncertain": (
        {
            "change": 13.9,
            "direction": "better",
            "low": -8.45,
            "high": 41.7,
            "basis": "paired in 10 rounds",
            "where": "this run",
        },
        "the pick is 13.9 % better in this run, but not certain (95 %: -8.45 to 41.7 %; paired in 10 rounds)",
    ),
    "uncertain_few_rounds": (
        {"change": 93.2, "direction": "better", "where": "this run", "rounds": 3, "needed": 10},
        "the pick is 93.2 % better in this run, but not certain: 3 rounds, 10 are needed",
    ),
    "uncertain_once": (
        {"change": 93.2, "direction": "better", "where": "these runs", "objective": "memory"},
        "the pick is 93.2 % better in these runs, but not certain: memory is measured once",
    ),
    "uncertain_import": (
        {"change": 93.2, "direction": "better", "tool": "trtexec"},
        "the pick is 93.2 % better, but not certain: figures of trtexec have no interval",
    ),
    "runner_up_cheaper": ({"advantages": "costs less"}, "the runner-up costs less, and the pick is not certainly better"),
    "infeasible": ({}, "nothing is feasible: no row keeps every limit and has every figure"),
    "limit_distance": (
        {"limit": "--max p50=2ms", "column": "p50_ms", "value": 4.0, "distance": 2.0, "unit": " ms", "side": "above"},
        "--max p50=2ms: p50_ms is 4 ms, 2 ms above the limit",
    ),
    "nearest": (
        {
            "limit": "--max p50=2ms",
            "column": "p50_ms",
            "value": 4.0,
            "distance": 2.0,
            "unit": " ms",
            "side": "above",
            "relaxed": "--max p50=4ms",
        },
        "--max p50=2ms: p50_ms is 4 ms, 2 ms above the limit; --max p50=4ms would be enough",
    ),
    "nearest_by_several": ({"misses": "a; b"}, "no single limit is enough: a; b"),
    "binds": (
        {
            "limit": "--max p50=2ms",
            "column": "p50_ms",
            "value": 4.0,
            "distance": 2.0,
            "unit": " ms",
            "side": "above",
            "figures": "p50 4 ms",
        },
        "--max p50=2ms: p50_ms is 4 ms, 2 ms above the limit; without the limit this row would be"
        " better than the pick (p50 4 ms)",
    ),
    "binds_with_others": (
        {
            "limit": "--max p50=2ms",
            "column": "p50_ms",
            "value": 4.0,
            "distance": 2.0,
            "unit": " ms",
            "side": "above",
            "figures": "p50 4 ms",
            "others": "--max peak_rss=50",
        },
        "--max p50=2ms: p50_ms is 4 ms, 2 ms above the limit; without the limit and --max"
        " peak_rss=50 this row would be better than the pick (p50 4 ms)",
    ),
    "half_written": ({"run": "mine", "finished": 1, "rows": 2}, "mine is half-written: 1 of 2 rows are finished and are used"),
    "several_models": ({"models": "a, b"}, "rows of several models are compared: a, b"),
    "other_tool": (
        {"row": "a b1", "tool": "trtexec"},
        "a b1 is measured by trtexec, whose definitions differ: bench show says how",
    ),
    "one_call": (
        {"lanes": 4.0},
        "p50 and p99 are of one call in flight; with all 4 lanes busy each call takes longer",
    ),
    "absent": ({"column": "x"}, "x is not in the run"),
    "absent_because": ({"column": "x", "reason": "no NVML"}, "x: no NVML"),
    "absent_percentile": (
        {"metric": "p99", "samples": 368},
        "p99 was withheld (fewer than 368 samples): measure with --metric p99",
    ),
    "absent_interval": ({"column": "x", "rounds": 10}, "x needs 10 rounds: measure at --budget normal"),
    "absent_baseline": ({"column": "x"}, "x needs another row to compare with: measure with --baseline"),
    "absent_labels": ({"column": "x"}, "x needs labelled samples: give --dataset"),
    "absent_parity": ({"column": "x"}, "x: the answers were not compared with the FP32 reference"),
    "absent_build": ({"column": "x"}, "x: this runtime compiles nothing ahead"),
    "absent_cold": ({"column": "x"}, "x was not measured: give --cold"),
    "absent_at_quick": ({"column": "x"}, "x is not measured at --budget quick: give --budget normal"),
    "absent_load": ({"column": "x"}, "x was not measured: give --load poisson --slo p99=10ms"),
    "absent_on_cpu": ({"column": "x"}, "x is measured on GPUs only"),
    "absent_import": ({"column": "x", "tool": "trtexec"}, "x: trtexec does not report it"),
    "missing": ({"reason": "no CUDA"}, "not here: no CUDA"),
    "missing_install": ({"reason": "no CUDA", "install": "pip install x"}, "not here: no CUDA (pip install x)"),
    "limit_unknown": ({"limit": "--max a=1", "column": "a"}, "--max a=1 failed: no row has a"),
    "limit_missed": (
        {"limit": "--max p99=1", "column": "p99_ms", "value": 2.0, "unit": " ms"},
        "--max p99=1 failed: p99_ms is 2 ms",
    ),
    "drop_unsure": (
        {"limit": 0.5, "images": 360, "high": 1.239},
        "top1_drop is within 0.5, but 360 samples leave 1.24 points possible; --max top1_drop_ci_high=0.5 requires certainty",
    ),
    "unlike_memory": (
        {"on_cpu": "peak_rss_mb", "on_gpu": "device_mem_mb"},
        "memory is not the same thing in all rows: peak_rss_mb on the CPU, device_mem_mb on a GPU",
    ),
}
"""Each kind with values, and its sentence: the one place that tests sentences of findings."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_sentence_of_its_values(kind):
    values, sentence = SAID[kind]
    assert Finding.of(kind, **values).sentence == sentence
    assert KINDS[kind].severity in (INFO, CAUTION, FAILURE)


def test_a_finding_of_several_rows_is_told_once_with_their_names():
    one, other = Finding.of("not_warm"), Finding.of("withheld", percentile=99, samples=368)
    told = grouped([("a", one), ("a", other), ("b", other)])
    assert [(finding.kind, finding.rows) for finding in told] == [("not_warm", ("a",)), ("withheld", ("a", "b"))]


def test_json_has_the_findings_of_its_rows_beside_their_notes(run_folder, make_cell):
    cell, failed = make_cell(), make_cell(batch=8)
    folder = run_folder(cell, failed)
    folder.measured(cell, 1000)
    folder.add("opened", cell, info={"executed": "fp32", "remarks": ["it warns; twice"]})
    folder.add("failed", failed, status="failed", reason="no kernel; no luck")
    data = json.loads(render(table.build([read_run(folder.path)]), "json"))
    found = {finding["kind"]: finding for finding in data["findings"]}
    assert found["session"]["values"] == {"remark": "it warns; twice"}  # a runtime's words are not cut
    assert (found["session"]["rows"], found["session"]["severity"]) == (["ort-cpu fp32 b1"], "caution")
    assert (found["status"]["rows"], found["status"]["severity"]) == (["ort-cpu fp32 b8"], "failure")
    (row, _) = data["rows"]
    assert found["session"]["sentence"] in row["notes"]
