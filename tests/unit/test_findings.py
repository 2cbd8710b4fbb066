import json

import pytest
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.findings import Finding, grouped
from onnxbench.results.table.kinds import CAUTION, FAILURE, INFO, KINDS
from onnxbench.results.table.render import render

LOSS = {
    **{"package": "onnxruntime", "version": "1.30", "good": "1.28", "metric": "p50"},
    **{"change": 10.0, "low": 8.0, "high": 12.0},
}
SAID = {
    "status": ({"status": "failed", "reason": "no kernel"}, "failed: no kernel"),
    "no_interval": ({"metric": "p50", "rounds": 10}, "no interval of p50: fewer than 10 rounds"),
    "wide_interval": ({"metric": "p50", "half_width": 0.02}, "the interval of p50 is wider than ±2.0%"),
    "disturbed": ({"cause": "other processes computed"}, "blocks were disturbed: other processes computed"),
    "noise_unseen": ({"counters": "steal_ns"}, "noise is not excluded: the system has no steal_ns"),
    "drift": ({"direction": "rose"}, "p50 rose by more than 5 % from the first round to the last"),
    "other_arithmetic": ({"asked": "fp16", "ran": "fp32"}, "fp16 was requested, and fp32 ran"),
    "float_layers": ({"count": 1, "of": "8 quantized layers", "ran": "fp32"}, "1 of 8 quantized layers ran in fp32"),
    "elsewhere": ({"nodes": 3, "of": 4}, "3 of 4 nodes ran on the requested device"),
    "session": ({"remark": "no graph"}, "no graph"),
    "undetermined": ({}, "parity is not determined, so a wrong answer would not show"),
    "conversion": (
        {"precision": "int8", "part": "y (axis 1: 4-83)", "file_db": 0.04, "limit_db": 20.0},
        "the conversion to int8 lost y (axis 1: 4-83): the file itself, run without graph optimizations, has 0.0 dB there;"
        " bench check --explain finds the nodes",
    ),
    "runtime": (
        {"own": "the file itself", "part": "y", "own_db": 41.0, "sqnr_db": 3.0, "limit_db": 31.0},
        "the runtime lost y: the file itself gives 41.0 dB there, and the row has 3.0 dB",
    ),
    "diverged": (
        {"output": "h_out", "steps": 12},
        "the state that h_out hands on is not finite after step 12, so later steps computed with NaN or infinity;"
        " give other inputs with --input",
    ),
    "timed_answer": (
        {"sqnr_db": 120.0, "place": "lane 2 of the last throughput block", "timed_db": 3.0, "output": "y"},
        "the runtime answers otherwise while it is timed: its answer before the measurement has 120.0 dB,"
        " and that of lane 2 of the last throughput block has 3.0 dB in y",
    ),
    "dead": ({"part": "y"}, "y is constant, but varies in the reference"),
    "random_outputs": ({"outputs": "audio"}, "not compared, because they depend on a random generator: audio"),
    "relaxed": (
        {"precision": "fp32", "part": "y", "limit_db": 23.4, "class_db": 80.0, "floor_db": 33.4},
        "the limit is 23.4 dB instead of 80 dB, because the errors of fp32 itself give y a floor of 33.4 dB",
    ),
    "built": ({"remark": "it was damaged"}, "it was damaged"),
    "builds": (
        {"builds": 3, "spread": 10.87, "fastest_ms": 0.046, "slowest_ms": 0.051, "build": 2},
        "3 builds of its engine differ by 10.9 % in p50 (0.046 to 0.051 ms); the row has the middle one, build 2",
    ),
    "builds_repeated": ({"spread": 1.04}, "the same build differs by up to 1.0 % in p50 from one process to another"),
    "builds_of_lives": (
        {"builds": 6, "spread": 2.0, "fastest_ms": 0.1, "slowest_ms": 0.102},
        "its runtime chooses kernels anew in each process: p50 differs by 2.0 % over 6 processes (0.1 to 0.102 ms); the row has"
        " the calls of all",
    ),
    "tuned": (
        {"latency": "a=1", "throughput": "the default", "candidates": "9 candidates", "seconds": 12.3},
        "its options were searched: a=1 for latency, the default for throughput, after 9 candidates in 12 s;"
        " the row was measured afterwards",
    ),
    "tuned_default": (
        {"beside": "ort-cpu", "candidates": "9 candidates", "seconds": 12.3},
        "the search found no faster options than the default (9 candidates in 12 s): its figures are those of ort-cpu,"
        " which has the same options",
    ),
    "tuned_partly": (
        {"of": "throughput", "beside": "ort-cpu"},
        "its options for throughput are the default, so a difference from ort-cpu in throughput is noise",
    ),
    "tuned_dropped": (
        {"options": "a=1", "of": "latency", "reason": "no kernel"},
        "the search dropped a=1 for latency: no kernel",
    ),
    "tuned_untried": (
        {"options": "a, b", "of": "latency"},
        "the search for latency had no time left for a, b; a longer --budget has more time",
    ),
    "same_options": (
        {"beside": "ort-cpu"},
        "has the options of ort-cpu, because the search found none that are faster",
    ),
    "absent_roof": ({"column": "of_roof"}, "of_roof was not measured: give --roof"),
    "absent_search": ({"column": "tuned_latency"}, "tuned_latency: its options were not searched: give --tune"),
    "engine_kept": ({"file": "kept/a.engine"}, "its engine is kept in kept/a.engine"),
    "engine_reused": (
        {"file": "kept/a.engine"},
        "no engine was built: the row has the one that was kept in kept/a.engine",
    ),
    "made_otherwise": (
        {"tool": "0.1"},
        ("onnxbench 0.1 made its file in another way than the version that measured it; make the file again with bench export"),
    ),
    "invalid_file": (
        {"reason": "not sorted"},
        "onnx.checker refuses its file (not sorted), but the runtime runs it; other runtimes may refuse it",
    ),
    "random_weights": (
        {},
        "its weights are random (--random-weights): speed and parity were measured, and accuracy was not",
    ),
    "lowered": (
        {"source": 20, "opset": 17, "sqnr_db": 141.2},
        "its file was lowered from opset 20 to opset 17, the highest that this runtime takes; the lowered file is 141 dB from"
        " its source, both run without graph optimizations",
    ),
    "lowered_by_export": (
        {"source": 20, "opset": 17, "sqnr_db": None},
        "its file was exported at opset 17 from the same module by torch's TorchScript exporter, because the file of opset 20"
        " cannot be lowered",
    ),
    "fixed_shapes": (
        {"shapes": "ids=1x128 mask=1x128", "sqnr_db": 141.2},
        "its file was written for the shapes ids=1x128 mask=1x128, because this runtime does not compute all sizes in the"
        " file; the written file is 141 dB from its source, both run without graph optimizations",
    ),
    "random_calibration": ({}, "calibrated on random inputs, so its accuracy may be better with real inputs"),
    "program": (
        {"form": "driven in blocks"},
        "your program: latency is the time of one call as the program reports it (driven in blocks)",
    ),
    "program_parts": (
        {"parts": "copy_in 41%, compute 53%", "rest": 0.06},
        "of the time of one call: copy_in 41%, compute 53%; in no phase 6%",
    ),
    "unfinished": ({}, "not all of its rounds were measured (--resume measures the rest)"),
    "not_warm": ({}, "latency was still changing when the warm-up ended"),
    "reopened": (
        {"openings": "2 later openings", "difference": "cuda_graph=off instead of on"},
        "2 later openings of its session had cuda_graph=off instead of on",
    ),
    "slow_lives": (
        {"slow": 2, "lives": 8, "ratio": 2.01},
        "p50 of 2 of 8 processes was 2.0 times the usual one",
    ),
    "repetition": (
        {"change": -20.0, "low": -22.0, "high": -18.0},
        "latency depends on repetition: one array again and again takes -20 % against the same array in turn with others"
        " (95 %: -22 to -18 %)",
    ),
    "array_dependent": (
        {"array": 3, "of": 8, "arrays": 1, "change": 8.24, "low": 6.0, "high": 10.5},
        "latency depends on the array: number 3 of 8 takes +8.24 % against the mean of the others (95 %: +6 to +10.5 %);"
        " shown for 1 of 8 arrays",
    ),
    "withheld": ({"percentile": 99, "samples": 368}, "p99 withheld: fewer than 368 samples"),
    "busy_threads": ({}, "its threads were still busy while other cells were measured"),
    "throttled": (
        {"count": "2 measurements"},
        "2 measurements dropped and repeated after a pause, because the GPU's clocks were throttled",
    ),
    "ambiguous_speedup": (
        {"time": 1.1, "cycles": 1.0, "mhz": 1980.0, "base_mhz": 1800.0, "base": "ort-cuda"},
        "the speed-up is ambiguous: 1.1x in time and 1x in cycles, because the GPU ran at 1980 MHz here and at 1800 MHz for"
        " ort-cuda; --lock-clocks gives both one clock",
    ),
    "ambiguous_change": (
        {"cell": "ort-cuda", "metric": "p50_ms", "change": 10.0, "cycles": 0.1, "base_mhz": 1980.0, "new_mhz": 1800.0},
        "ort-cuda p50_ms is ambiguous: +10 % in time and +0.1 % in cycles, because the GPU ran at 1980 MHz in base and at"
        " 1800 MHz in new; --lock-clocks gives both one clock",
    ),
    "power_limit": ({}, "the GPU ran at its power limit"),
    "step_failed": ({"step": "load", "reason": "killed"}, "the step 'load' failed, the other figures are kept: killed"),
    "rate_untold": ({"percentile": 99.0}, "no rate: too few items arrived for p99"),
    "rate_queue": ({"rate": 1234.0}, "no rate: its queue already grows at 1.23e+03/s"),
    "rate_latency": ({"percentile": 99.0, "latency_ms": 12.3, "rate": 50.0}, "no rate: p99 is already 12.3 ms at 50/s"),
    "rate_at_least": ({"percentile": 99.0}, "p99 is within the limit at the highest rate that was tried"),
    "load_disturbed": ({"causes": "steal"}, "disturbed under load: steal"),
    "gpu_untold": ({"reason": "no NVML"}, "GPU evidence is missing: no NVML"),
    "definition": ({"text": "measured by trtexec"}, "measured by trtexec"),
    "absent": ({"column": "x"}, "x is not in the run"),
    "absent_because": ({"column": "x", "reason": "no NVML"}, "x: no NVML"),
    "absent_percentile": (
        {"metric": "p99", "samples": 368},
        "p99 was withheld (fewer than 368 samples): measure with --metric p99",
    ),
    "absent_interval": ({"column": "x", "rounds": 10}, "x needs 10 rounds: measure at --budget normal"),
    "absent_upper": (
        {"column": "p99_ci_high_ms", "metric": "p99"},
        "p99_ci_high_ms is above the longest call: measure p99 longer, with --metric p99",
    ),
    "absent_baseline": ({"column": "x"}, "x needs another row to compare with: measure with --baseline"),
    "absent_labels": ({"column": "x"}, "x needs labelled samples: give --dataset"),
    "absent_top5": ({"column": "x"}, "x needs labelled samples of over five classes: give --dataset"),
    "absent_parity": ({"column": "x"}, "x: the answers were not compared with the FP32 reference"),
    "absent_floor": ({"column": "x"}, "x is measured only where a row misses the least SQNR of its precision"),
    "absent_build": ({"column": "x"}, "x: this runtime compiles nothing ahead"),
    "absent_conversion": ({"column": "x"}, "x: this runtime reads ONNX files"),
    "absent_builds": ({"column": "x"}, "x needs several builds: give --builds 3"),
    "absent_cold": ({"column": "x"}, "x was not measured: give --cold"),
    "absent_at_quick": ({"column": "x"}, "x is not measured at --budget quick: give --budget normal"),
    "absent_when_cold": (
        {"column": "throughput_per_s"},
        "throughput_per_s is not measured with --cache cold: a flush between calls would be most of its time",
    ),
    "absent_step": ({"column": "x"}, "x needs the length of the signal in one call: give --step-seconds"),
    "absent_on_one_gpu": ({"column": "x"}, "x is of a row on several GPUs: measure with --device cuda:all"),
    "absent_one_gpu": ({"column": "x"}, "x needs rounds of the same row on one GPU"),
    "absent_load_on_gpus": ({"column": "x"}, "x: rows on several GPUs are not measured under load"),
    "absent_load": ({"column": "x"}, "x was not measured: give --load poisson --slo p99=10ms"),
    "absent_passes": ({"column": "x"}, "x needs several passes near the limit: measure at --budget normal or thorough"),
    "absent_on_cpu": ({"column": "x"}, "x is measured on GPUs only"),
    "absent_phase": (
        {"column": "wait_ms"},
        "wait_ms: only a program of your own reports it, one for each call (docs/own-loop.md)",
    ),
    "absent_program": ({"column": "load_s"}, "load_s: a program of your own does not report it"),
    "absent_import": ({"column": "x", "tool": "trtexec"}, "x: trtexec does not report it"),
    "int8_time": ({"kernels_ms": 1.0, "fp32_ms": 2.5, "speedup": 2.5}, "kernels take 1 ms, in fp32 2.5 ms (2.5 x)"),
    "int8_time_alone": ({"kernels_ms": 2.5}, "kernels take 2.5 ms"),
    "int8_layers": ({"share": 0.55}, "55% in INT8 layers"),
    "int8_other": ({"share": 0.05, "kernels": "int8 QLinearAdd"}, "5% in int8 QLinearAdd"),
    "int8_float_layers": ({"share": 0.15, "nodes": "/Conv_7"}, "15% in layers that stayed in float (/Conv_7)"),
    "int8_float_between": (
        {"share": 0.1, "kernels": "fp32 Relu x2, fp32 Softmax"},
        "10% between layers, in fp32 Relu x2, fp32 Softmax",
    ),
    "int8_unfused": (
        {"share": 0.05, "kernels": "QuantizeLinear, DequantizeLinear"},
        "5% in Q/DQ pairs that were not fused (QuantizeLinear, DequantizeLinear)",
    ),
    "int8_moving": ({"share": 0.1, "kernels": "ReorderInput"}, "10% in moving or converting data (ReorderInput)"),
    "int8_other_scheme": (
        {"count": 1, "of": "1 quantized layers", "ran": "fp32", "scheme": "ort"},
        "1 of 1 quantized layers ran in fp32; bench export --int8 ort makes the file that suits this runtime",
    ),
    "no_integer_units": (
        {"units": "avx512_vnni, i8mm"},
        "this CPU has none of avx512_vnni, i8mm, so INT8 products are hardly faster than those of floats",
    ),
    "int8_sqnr": ({"sqnr_db": 18.04}, "SQNR 18.0 dB with all nodes in INT8"),
    "int8_node_sqnr": ({"node": "/Gemm_3", "sqnr_db": 21.5}, "21.5 dB with only /Gemm_3 in INT8"),
    "int8_no_cost": ({}, "no single node costs accuracy"),
    "int8_exclude": (
        {"nodes": "/Gemm_3", "sqnr_before_db": 18.24, "sqnr_after_db": 33.67, "items": 360, "data": "test images of digits"},
        "--exclude /Gemm_3: SQNR 18.2 -> 33.7 dB on 360 test images of digits",
    ),
    "int8_exclude_agreement": (
        {
            "nodes": "/Gemm_3",
            "sqnr_before_db": 18.24,
            "sqnr_after_db": 33.67,
            "items": 360,
            "data": "test images of digits",
            "agreement_before": 91.02,
            "agreement_after": 99.41,
        },
        "--exclude /Gemm_3: SQNR 18.2 -> 33.7 dB, agreement 91.0 -> 99.4 % on 360 test images of digits",
    ),
    "int8_output": (
        {"output": "boxes", "sqnr_db": 4.21, "node": "/Mul_3", "node_db": 5.5, "after_db": 31.24},
        "output boxes: 4.2 dB with all nodes in INT8, 5.5 dB with only /Mul_3, 31.2 dB without the excluded nodes",
    ),
    "int8_top1": (
        {"before": 55.5, "after": 97.25, "fp32": 97.5, "items": 360, "data": "test images of digits"},
        "top-1 55.50 -> 97.25 % (FP32 97.50 %) with these nodes in float, on 360 test images of digits",
    ),
    "int8_command": (
        {"command": "bench export --model cnn --exclude a", "sqnr_before_db": 2.24, "sqnr_after_db": 44.1, "data": "digits"},
        "SQNR 2.2 -> 44.1 dB on the data that chose the nodes (digits); type: bench export --model cnn --exclude a",
    ),
    "int8_no_gain": (
        {"tried": "1, 2, 3", "sqnr_before_db": 12.04, "sqnr_after_db": 13.56},
        "no node stands out: the worst 1, 2, 3 nodes in float change the SQNR from 12.0 to 13.6 dB at best",
    ),
    "own_reference": (
        {"precision": "int8"},
        "compared with the file itself without graph optimizations, because its FP32 file is not known: SQNR,"
        " agreement and drop do not show what int8 costs",
    ),
    "int8_search": (
        {"command": "bench export --model cnn --precision int8 --min sqnr=20"},
        "to try every scheme, with nodes in float where that helps, type:"
        " bench export --model cnn --precision int8 --min sqnr=20",
    ),
    "int8_not_proven": (
        {"sqnr_before_db": 12.04, "sqnr_after_db": 12.1, "items": 64, "data": "new random inputs"},
        "no exclusion is proposed: the best one changes the SQNR from 12.0 to 12.1 dB on 64 new random inputs,"
        " which did not choose the nodes",
    ),
    "int8_no_outlier": ({}, "no node stands out, so there is nothing to exclude"),
    "int8_not_explained": (
        {"reason": "this INT8 file was not made by bench export"},
        "this INT8 file was not made by bench export",
    ),
    "changed": ({"what": "threads", "old": "1", "new": "2"}, "threads: 1 -> 2"),
    "only_in": ({"side": "base", "cells": "a, b"}, "only in base, not compared: a, b"),
    "no_figures": ({"side": "new", "why": "failed: x", "cells": "a"}, "not compared in new (failed: x): a"),
    "control": ({"target": "null"}, "the ratio of the control null is divided out of all timings"),
    "no_control_of_lives": (
        {},
        "one run a side and no control: intervals include the difference of processes, and nothing for drift between the runs",
    ),
    "no_control": (
        {"allowance": 0.02},
        (
            "one run a side and no control: drift between the runs is not measured; intervals include 2% for the"
            " difference of two processes, and nothing for drift"
        ),
    ),
    "undecided_rounds": (
        {"rounds": 3, "budget": "quick", "needed": 10},
        "Nothing can be decided: both runs have 3 rounds (--budget quick), 10 are needed; use --budget normal",
    ),
    "undecided_rounds_of_sides": (
        {"base": 3, "new": 12, "needed": 10},
        "Nothing can be decided: base has 3 rounds and new has 12, 10 are needed; use --budget normal",
    ),
    "undecided_runs": (
        {"base": 2, "new": 1, "needed": 3},
        "Nothing can be decided: base has 2 runs and new has 1, 3 a side are needed",
    ),
    "overall": (
        {"verdict": "mixed", "counts": "3 slower, 1 better"},
        "Verdict: mixed (3 slower, 1 better)",
    ),
    "folded": ({"counts": "3 inconclusive"}, "not in the table: 3 inconclusive; --all shows each"),
    "limit_unsure_cells": (
        {"limit": "--fail-on p50>5%", "unsure": 2, "cells": 9, "reason": "other host"},
        "--fail-on p50>5% is inconclusive for 2 of 9 cells (other host)",
    ),
    "limit_undecided": (
        {"limit": "--fail-on p50>5%", "cells": 9, "reason": "other host", "remedy": "compare runs of one host"},
        "--fail-on p50>5% failed: 0 of 9 cells could be decided (other host); compare runs of one host,"
        " or let it pass with --inconclusive warn",
    ),
    "limit_partly_decided": (
        {"limit": "--fail-on p50>5%", "unsure": 2, "cells": 9, "reason": "other host", "remedy": "compare runs of one host"},
        "--fail-on p50>5% failed: 2 of 9 cells could not be decided (other host), and --inconclusive fail accepts none;"
        " compare runs of one host",
    ),
    "limit_passed_undecided": (
        {"limit": "--fail-on p50>5%", "cells": 9, "reason": "other host"},
        "--fail-on p50>5% passed by --inconclusive warn, although 0 of 9 cells could be decided (other host)",
    ),
    "change": (
        {
            "cell": "cnn/ort-cpu/cpu/fp32/b1",
            "metric": "p50_ms",
            "unit": "ms",
            "base": 4.0,
            "new": 5.0,
            "ratio": 1.25,
            "change": 25.0,
            "low": 22.0,
            "high": 28.1,
            "change_unit": "%",
            "verdict": "slower",
            "reason": None,
        },
        "cnn/ort-cpu/cpu/fp32/b1 p50_ms 4 -> 5 ms, slower: +25 % (95 %: +22 to +28.1 %)",
    ),
    "limit_broken": (
        {
            "limit": "--fail-on p50>5%",
            "cell": "cnn/ort-cpu/cpu/fp32/b1",
            "metric": "p50_ms",
            "unit": "ms",
            "base": 4.0,
            "new": 5.0,
            "ratio": 1.25,
            "change": 25.0,
            "low": 22.0,
            "high": 28.1,
            "change_unit": "%",
            "verdict": "slower",
            "reason": None,
        },
        ("--fail-on p50>5% failed: cnn/ort-cpu/cpu/fp32/b1 p50_ms 4 -> 5 ms, slower: +25 % (95 %: +22 to +28.1 %)"),
    ),
    "limit_unsure": (
        {
            "limit": "--fail-on p50>25%",
            "cell": "cnn/ort-cpu/cpu/fp32/b1",
            "metric": "p50_ms",
            "unit": "ms",
            "base": 4.0,
            "new": 5.0,
            "ratio": 1.25,
            "change": 25.0,
            "low": 22.0,
            "high": 28.1,
            "change_unit": "%",
            "verdict": "slower",
            "reason": None,
        },
        ("--fail-on p50>25% is inconclusive: cnn/ort-cpu/cpu/fp32/b1 p50_ms 4 -> 5 ms, +25 % (95 %: +22 to +28.1 %)"),
    ),
    "limit_unsure_no_interval": (
        {
            "limit": "--fail-on p50>5%",
            "cell": "cnn/ort-cpu/cpu/fp32/b1",
            "metric": "p50_ms",
            "unit": "ms",
            "base": 4.0,
            "new": 5.0,
            "ratio": 1.25,
            "change": 25.0,
            "low": None,
            "high": None,
            "change_unit": "%",
            "verdict": "inconclusive",
            "reason": "fewer than 10 rounds",
        },
        (
            "--fail-on p50>5% is inconclusive: cnn/ort-cpu/cpu/fp32/b1 p50_ms 4 -> 5 ms, +25 % without an"
            " interval (fewer than 10 rounds)"
        ),
    ),
    "unlike_settings": (
        {"tool": "trtexec", "model": "net", "settings": "transfers=off"},
        "trtexec measured net with different settings (transfers=off), so these figures do not mean the same",
    ),
    "history_worse": (
        {
            "cell": "ort-cpu fp32 b1",
            "metric": "p50_ms",
            "run": "c",
            "before": 4,
            "after": 5,
            "unit": "ms",
            "change": 25,
            "low": 20,
            "high": 30,
            "change_unit": "%",
            "p": 0.01,
            "runs_before": 5,
            "runs_after": 4,
            "also": "",
        },
        (
            "ort-cpu fp32 b1 p50_ms became worse at c: 4 -> 5 ms, +25 % (95 %: +20 to +30 %; p 0.01; 5 runs before, "
            "4 from there)"
        ),
    ),
    "history_step": (
        {
            "cell": "ort-cpu fp32 b1",
            "metric": "p50_ms",
            "run": "c",
            "before": 4,
            "after": 5,
            "unit": "ms",
            "change": 25,
            "low": 20,
            "high": 30,
            "change_unit": "%",
            "p": 0.01,
            "runs_before": 5,
            "runs_after": 4,
            "also": "",
        },
        ("ort-cpu fp32 b1 p50_ms changed at c: 4 -> 5 ms, +25 % (95 %: +20 to +30 %; p 0.01; 5 runs before, 4 from there)"),
    ),
    "history_level": ({"cells": "a, b"}, "no step is shown in a, b"),
    "history_few": ({"needed": 8, "cells": "a"}, "too few runs to find steps, 8 are needed: a"),
    "history_partial": ({"count": 2, "runs": 9, "cells": "a"}, "only 2 of 9 runs have a figure of a"),
    "history_single": ({"cells": "a"}, "in one run only, and left out: a"),
    "bisect_first": (
        {**LOSS, "before": "1.29", "runs": 3},
        "onnxruntime 1.30 is the first version that is shown to be slower than 1.28: p50 +10 % (95 %: +8 to +12 %; runs: 3);"
        " 1.29 is not slower",
    ),
    "bisect_range": (
        {**LOSS, "before": "1.28", "candidates": "1.29, 1.30", "between": "1.29", "why": "undecided or skipped"},
        "the first slower version of onnxruntime is one of 1.29, 1.30: 1.29 are undecided or skipped; 1.30 is slower than 1.28"
        " (p50 +10 %, 95 %: +8 to +12 %), and 1.28 is not",
    ),
    "bisect_stopped": (
        {**LOSS, "before": "1.29"},
        "stopped before the end: onnxruntime 1.30 is slower than 1.28 (p50 +10 %, 95 %: +8 to +12 %), and 1.29 is not",
    ),
    "bisect_none": (
        {**LOSS, "runs": 5},
        "onnxruntime 1.30 is not shown to be slower than 1.28: p50 +10 % (95 %: +8 to +12 %; runs: 5)",
    ),
    "bisect_none_no_interval": (
        LOSS,
        "onnxruntime 1.30 is not shown to be slower than 1.28: p50 +10 % without an interval",
    ),
    "bisect_unmeasured": (
        {"package": "onnxruntime", "version": "1.30", "reason": "no wheel"},
        "onnxruntime 1.30 could not be measured: no wheel",
    ),
    "bisect_nothing": ({"package": "onnxruntime"}, "stopped before any version of onnxruntime was measured"),
    "missing": ({"reason": "no CUDA"}, "unavailable: no CUDA"),
    "missing_install": ({"reason": "no CUDA", "install": "pip install x"}, "unavailable: no CUDA (pip install x)"),
    "limit_unknown": ({"limit": "--max a=1", "column": "a"}, "--max a=1 failed: no row has a"),
    "limit_missed": (
        {"limit": "--max p99=1", "column": "p99_ms", "value": 2.0, "unit": " ms"},
        "--max p99=1 failed: p99_ms is 2 ms",
    ),
    "drop_unsure": (
        {"limit": 0.5, "images": 360, "high": 1.239},
        ("top1_drop is within 0.5, but with 360 samples it may be 1.24; --max top1_drop_ci_high=0.5 requires certainty"),
    ),
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
        (
            "for 500/s: 3 of this machine, each at 200/s at full load, without a limit on latency; measure with"
            " --load poisson --slo p99=10ms for the rate within a limit"
        ),
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
        (
            "--max p50=2ms: p50_ms is 4 ms, 2 ms above the limit; without the limit this row would be better than"
            " the pick (p50 4 ms)"
        ),
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
        (
            "--max p50=2ms: p50_ms is 4 ms, 2 ms above the limit; without the limit and --max peak_rss=50 this"
            " row would be better than the pick (p50 4 ms)"
        ),
    ),
    "half_written": ({"run": "mine", "finished": 1, "rows": 2}, "mine is half-written: 1 of 2 rows are finished and are used"),
    "mean_speedup": (
        {"models": "3 models", "mean": 2.0, "low": 1.5, "high": 2.666},
        "geometric mean of the speed-ups over 3 models: 2x (95 %: 1.5 to 2.67x)",
    ),
    "mean_speedup_few": (
        {"models": "2 models", "mean": 2.0, "needed": 3},
        "geometric mean of the speed-ups over 2 models: 2x; no interval: 3 models are needed",
    ),
    "mean_speedup_lacks": (
        {"models": "a, b"},
        "the geometric mean lacks models without an ok row that has a speed-up: a, b",
    ),
    "other_tool": (
        {"row": "a b1", "tool": "trtexec"},
        "a b1 was measured by trtexec, whose definitions differ; see bench show",
    ),
    "one_gpu_answers": ({"device": "cuda:0"}, "one call uses one of its GPUs; see the row on cuda:0"),
    "one_process_a_gpu": (
        {"gpus": 2.0, "device": "cuda:0-1"},
        "the figure is of 2 processes, one on each of cuda:0-1: run the program once for each of them, with"
        " CUDA_VISIBLE_DEVICES set to its GPU",
    ),
    "one_call": ({"lanes": 4.0}, "p50 and p99 are of one call in flight; with all 4 lanes busy each call takes longer"),
    "unlike_memory": (
        {"on_cpu": "peak_rss_mb", "on_gpu": "device_mem_mb"},
        "memory has two meanings here: peak_rss_mb on the CPU, device_mem_mb on a GPU",
    ),
    "profile_absent": (
        {"status": "unsupported", "reason": "it reports no times"},
        "no profile (unsupported): it reports no times",
    ),
    "profile_empty": ({}, "no profile: the runtime reported no time of any kernel"),
    "profile_totals": (
        {"p50_ms": 1.234, "kernels_ms": 1.2, "sum_p": 97.2, "mapped_p": 99.5, "cost_p": 4.2, "calls": 50},
        "p50 1.234 ms without the profiler; the kernels take 1.2 ms (97 % of p50), and 99.5 % of their time is mapped to nodes;"
        " the profiler adds 4.2 % to a call (50 calls)",
    ),
    "profile_start": (
        {"cold_ms": 812.3, "process_ms": 100.2, "import_ms": 300.4, "load_ms": 250.0, "first_ms": 12.2, "rest_ms": 149.5},
        "812 ms from the start of a process to the first output: process 100, import 300, load 250, first call 12, rest 150 ms"
        " (inputs, and the build of an engine where none was)",
    ),
    "profile_opening": (
        {"parts": "parse 3, optimize and allocate 150", "source": "clock", "load_ms": 158.4},
        "parts of its load (158 ms): parse 3, optimize and allocate 150 ms, by clock",
    ),
    "profile_gaps": (
        {"gap_p": 40.2, "kernels": 12, "gap_us": 3.21, "cut_p": 2.0},
        "40 % of p50 is not in kernels: 3.2 us for each of 12 kernels, in which the runtime starts them; 2 % of p50 is at most"
        " the rounding of its clock",
    ),
    "profile_graph": (
        {"gap_p": 40.2, "option": "--option torch-cuda.cuda_graph=on"},
        "40 % of p50 is not in kernels, and it has no CUDA graph: use one (--option torch-cuda.cuda_graph=on)",
    ),
    "profile_roof": (
        {"of_roof_p": 62.4, "bound": "compute"},
        "a call reaches 62 % of what this machine attains; its bound is compute",
    ),
    "profile_room": (
        {"operators": "Conv+Relu", "node": "c1", "share_p": 40.0, "of_roof_p": 25.0, "room_p": 30.0},
        "Conv+Relu (c1) takes 40 % of the kernels' time at 25 % of the roof: at the roof, all kernels together would take 30 %"
        " less",
    ),
    "help_memory": (
        {"share_p": 91.0, "weights_p": 99.0},
        "it reads at 91 % of the memory bandwidth that this machine attains, and 99 % of its bytes are weights: INT8 has fewer"
        " bytes, and a larger batch reads the weights once for more items",
    ),
    "help_memory_batch": (
        {"share_p": 91.0, "weights_p": 99.0},
        "it reads at 91 % of the memory bandwidth that this machine attains, and 99 % of its bytes are weights: a larger batch"
        " reads the weights once for more items",
    ),
    "help_memory_values": (
        {"share_p": 91.0, "weights_p": 3.0},
        "it moves bytes at 91 % of the memory bandwidth that this machine attains, and only 3 % of them are weights: smaller"
        " inputs and outputs, or a narrower type for them, would help",
    ),
    "help_compute": (
        {"share_p": 88.0, "type": "fp32", "other": "int8", "ratio": 3.14},
        "it computes at 88 % of the rate of matrix products in fp32 here: int8 would help, in which products are 3.1 times as"
        " fast here, or a model with fewer operations",
    ),
    "help_compute_alone": (
        {"share_p": 88.0, "type": "fp32"},
        "it computes at 88 % of the rate of matrix products in fp32 here: only fewer operations, or another type, would make it"
        " much faster",
    ),
    "help_launch": (
        {"share_p": 64.0, "kernels": 120},
        "the start of its 120 kernels explains 64 % of its time: a larger batch does more in each, and a runtime that fuses"
        " more has fewer",
    ),
    "help_graph": (
        {"share_p": 64.0, "kernels": 120, "option": "--option torch-cuda.cuda_graph=on"},
        "the start of its 120 kernels explains 64 % of its time, and it has no CUDA graph: use one (--option"
        " torch-cuda.cuda_graph=on)",
    ),
    "help_profile": (
        {"largest_p": 12.0},
        "computing, memory and launches explain at most 12 % of its time: bench profile --roof shows the layers that take it",
    ),
    "help_batch": (
        {"of_roof_p": 20.0, "other_p": 80.0, "batch": 32},
        "it reaches 20 % of the roof, and 80 % at batch 32: a larger batch uses more of the machine",
    ),
    "profile_slowed": (
        {"sum_p": 30.0, "cost_p": 35.0, "cost_us": 12.34, "kernels": 9},
        "the kernels take 30 % more than p50, because the profiler slows them: by 12 us for each of 9 kernels (+35 % on a"
        " call); times and shares of kernels as short as that are too large",
    ),
    "profile_unsteady": (
        {"sum_p": 30.0, "cost_p": -12.0},
        "the kernels differ from p50 by +30 %, and the profiler does not explain it (-12 % on a call): other work disturbed the"
        " calls; profile it again on a quiet machine",
    ),
    "profile_coarse": (
        {"nodes": 300, "kernels": "1 kernel"},
        "it runs 300 nodes in 1 kernel, whose time cannot be divided: they have lines of their own, and its layers cannot be"
        " compared with those of another runtime",
    ),
    "profile_moves": (
        {"share_p": 21.4, "kernels": 3, "operators": "Reorder 20%, Transpose 1%"},
        "21 % of the kernels' time moves data or changes its layout or type (Reorder 20%, Transpose 1%)",
    ),
    "profile_qdq": (
        {"share_p": 12.0, "kernels": 4, "operators": "QuantizeLinear 12%"},
        "12 % of the kernels' time quantizes and dequantizes outside of layers (QuantizeLinear 12%)",
    ),
    "profile_operator": (
        {"operator": "Resize", "share_p": 35.0, "ms": 1.2, "lines": 3, "other": "b", "other_share_p": 4.0, "other_ms": 0.1},
        "Resize takes 35 % (1.2 ms in 3 lines), and 4 % (0.1 ms) on b",
    ),
    "profile_slower": (
        {"operators": "Conv+Relu", "node": "c1", "ms": 1.5, "first": "a", "first_ms": 1.0, "excess_ms": 0.5, "total_ms": -0.25},
        "Conv+Relu (c1) takes 1.5 ms, and 1 ms on a: 0.5 ms more, where all kernels together differ by -0.25 ms",
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
