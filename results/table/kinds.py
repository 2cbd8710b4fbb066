"""Kinds of findings: the severity and the sentence of each. Pure.

With decision_kinds.py and profile_kinds.py, this is the only module with sentences of findings. No code parses a sentence: code
reads the kind and the values of a finding.
"""

from __future__ import annotations

from collections.abc import Mapping

from .advice_kinds import ADVICE_KINDS
from .decision_kinds import DECISION_KINDS
from .kind import CAUTION, FAILURE, INFO, Kind
from .profile_kinds import PROFILE_KINDS

KINDS: Mapping[str, Kind] = {
    "status": Kind(severity=FAILURE, sentence="{status}: {reason}"),
    # reasons for a grade below A
    "no_interval": Kind(severity=CAUTION, sentence="no interval of {metric}: fewer than {rounds} rounds"),
    "wide_interval": Kind(severity=CAUTION, sentence="the interval of {metric} is wider than ±{half_width:.1%}"),
    "disturbed": Kind(severity=CAUTION, sentence="blocks were disturbed: {cause}"),
    "noise_unseen": Kind(severity=CAUTION, sentence="noise is not excluded: the system has no {counters}"),
    "drift": Kind(severity=CAUTION, sentence="p50 {direction} by more than 5 % from the first round to the last"),
    "other_arithmetic": Kind(severity=CAUTION, sentence="{asked} was requested, and {ran} ran"),
    "float_layers": Kind(severity=CAUTION, sentence="{count} of {of} ran in {ran}"),
    "elsewhere": Kind(severity=CAUTION, sentence="{nodes} of {of} nodes ran on the requested device"),
    "session": Kind(severity=CAUTION, sentence="{remark}"),
    "undetermined": Kind(severity=CAUTION, sentence="parity is not determined, so a wrong answer would not show"),
    # parity
    "conversion": Kind(
        severity=FAILURE,
        sentence="the conversion to {precision} lost {part}: the file itself, run without graph optimizations, has"
        " {file_db:.1f} dB there; bench check --explain finds the nodes",
    ),
    "runtime": Kind(
        severity=FAILURE,
        sentence="the runtime lost {part}: {own} gives {own_db:.1f} dB there, and the row has {sqnr_db:.1f} dB",
    ),
    "diverged": Kind(
        severity=FAILURE,
        sentence="the state that {output} hands on is not finite after step {steps}, so later steps computed with NaN or"
        " infinity; give other inputs with --input",
    ),
    "timed_answer": Kind(
        severity=FAILURE,
        sentence="the runtime answers otherwise while it is timed: its answer before the measurement has {sqnr_db:.1f} dB,"
        " and that of {place} has {timed_db:.1f} dB in {output}",
    ),
    "dead": Kind(severity=CAUTION, sentence="{part} is constant, but varies in the reference"),
    "random_outputs": Kind(severity=CAUTION, sentence="not compared, because they depend on a random generator: {outputs}"),
    "relaxed": Kind(
        severity=INFO,
        sentence="the limit is {limit_db:.1f} dB instead of {class_db:g} dB, because the errors of {precision} itself give"
        " {part} a floor of {floor_db:.1f} dB",
    ),
    # other facts of a row
    "built": Kind(severity=INFO, sentence="{remark}"),
    "builds": Kind(
        severity=INFO,
        sentence="{builds} builds of its engine differ by {spread:.1f} % in p50 ({fastest_ms:.4g} to {slowest_ms:.4g} ms);"
        " the row has the middle one, build {build}",
    ),
    "builds_repeated": Kind(
        severity=INFO, sentence="the same build differs by up to {spread:.1f} % in p50 from one process to another"
    ),
    "builds_of_lives": Kind(
        severity=INFO,
        sentence="its runtime chooses kernels anew in each process: p50 differs by {spread:.1f} % over {builds} processes"
        " ({fastest_ms:.4g} to {slowest_ms:.4g} ms); the row has the calls of all",
    ),
    "tuned": Kind(
        severity=INFO,
        sentence="its options were searched: {latency} for latency, {throughput} for throughput, after {candidates}"
        " in {seconds:.0f} s; the row was measured afterwards",
    ),
    "tuned_default": Kind(
        severity=INFO,
        sentence="the search found no faster options than the default ({candidates} in {seconds:.0f} s): its figures are those"
        " of {beside}, which has the same options",
    ),
    "tuned_partly": Kind(
        severity=INFO,
        sentence="its options for {of} are the default, so a difference from {beside} in {of} is noise",
    ),
    "tuned_dropped": Kind(severity=INFO, sentence="the search dropped {options} for {of}: {reason}"),
    "tuned_untried": Kind(
        severity=INFO, sentence="the search for {of} had no time left for {options}; a longer --budget has more time"
    ),
    "engine_kept": Kind(severity=INFO, sentence="its engine is kept in {file}"),
    "engine_reused": Kind(severity=INFO, sentence="no engine was built: the row has the one that was kept in {file}"),
    "made_otherwise": Kind(
        severity=CAUTION,
        sentence="onnxbench {tool} made its file in another way than the version that measured it;"
        " make the file again with bench export",
    ),
    "invalid_file": Kind(
        severity=INFO,
        sentence="onnx.checker refuses its file ({reason}), but the runtime runs it; other runtimes may refuse it",
    ),
    "own_reference": Kind(
        severity=CAUTION,
        sentence="compared with the file itself without graph optimizations, because its FP32 file is not known: SQNR,"
        " agreement and drop do not show what {precision} costs",
    ),
    "random_weights": Kind(
        severity=CAUTION,
        sentence="its weights are random (--random-weights): speed and parity were measured, and accuracy was not",
    ),
    "lowered": Kind(
        severity=INFO,
        sentence="its file was lowered from opset {source} to opset {opset}, the highest that this runtime takes; the lowered"
        " file is {sqnr_db:.0f} dB from its source, both run without graph optimizations",
    ),
    "lowered_by_export": Kind(
        severity=INFO,
        sentence="its file was exported at opset {opset} from the same module by torch's TorchScript exporter, because the file"
        " of opset {source} cannot be lowered",
    ),
    "fixed_shapes": Kind(
        severity=INFO,
        sentence="its file was written for the shapes {shapes}, because this runtime does not compute all sizes in the"
        " file; the written file is {sqnr_db:.0f} dB from its source, both run without graph optimizations",
    ),
    "random_calibration": Kind(
        severity=CAUTION,
        sentence="calibrated on random inputs, so its accuracy may be better with real inputs",
    ),
    "program": Kind(severity=INFO, sentence="your program: latency is the time of one call as the program reports it ({form})"),
    "program_parts": Kind(severity=INFO, sentence="of the time of one call: {parts}; in no phase {rest:.0%}"),
    "unfinished": Kind(severity=CAUTION, sentence="not all of its rounds were measured (--resume measures the rest)"),
    "not_warm": Kind(severity=CAUTION, sentence="latency was still changing when the warm-up ended"),
    "reopened": Kind(severity=CAUTION, sentence="{openings} of its session had {difference}"),
    "slow_lives": Kind(severity=CAUTION, sentence="p50 of {slow} of {lives} processes was {ratio:.1f} times the usual one"),
    "repetition": Kind(
        severity=CAUTION,
        sentence="latency depends on repetition: one array again and again takes {change:+.3g} % against the same array in"
        " turn with others (95 %: {low:+.3g} to {high:+.3g} %)",
    ),
    "array_dependent": Kind(
        severity=CAUTION,
        sentence="latency depends on the array: number {array} of {of} takes {change:+.3g} % against the mean of the others"
        " (95 %: {low:+.3g} to {high:+.3g} %); shown for {arrays} of {of} arrays",
    ),
    "withheld": Kind(severity=INFO, sentence="p{percentile} withheld: fewer than {samples} samples"),
    "busy_threads": Kind(severity=CAUTION, sentence="its threads were still busy while other cells were measured"),
    "throttled": Kind(
        severity=INFO, sentence="{count} dropped and repeated after a pause, because the GPU's clocks were throttled"
    ),
    "ambiguous_speedup": Kind(
        severity=CAUTION,
        sentence="the speed-up is ambiguous: {time:.3g}x in time and {cycles:.3g}x in cycles, because the GPU ran at {mhz:.0f}"
        " MHz here and at {base_mhz:.0f} MHz for {base}; --lock-clocks gives both one clock",
    ),
    "power_limit": Kind(severity=INFO, sentence="the GPU ran at its power limit"),
    "step_failed": Kind(severity=CAUTION, sentence="the step {step!r} failed, the other figures are kept: {reason}"),
    "rate_untold": Kind(severity=INFO, sentence="no rate: too few items arrived for p{percentile:g}"),
    "rate_queue": Kind(severity=INFO, sentence="no rate: its queue already grows at {rate:.3g}/s"),
    "rate_latency": Kind(severity=INFO, sentence="no rate: p{percentile:g} is already {latency_ms:.3g} ms at {rate:.3g}/s"),
    "rate_at_least": Kind(severity=INFO, sentence="p{percentile:g} is within the limit at the highest rate that was tried"),
    "load_disturbed": Kind(severity=CAUTION, sentence="disturbed under load: {causes}"),
    "gpu_untold": Kind(severity=CAUTION, sentence="GPU evidence is missing: {reason}"),
    "definition": Kind(severity=INFO, sentence="{text}"),
    # reasons for a measured row without a figure in a column
    "absent": Kind(severity=INFO, sentence="{column} is not in the run"),
    "absent_because": Kind(severity=INFO, sentence="{column}: {reason}"),
    "absent_percentile": Kind(
        severity=INFO, sentence="{metric} was withheld (fewer than {samples} samples): measure with --metric {metric}"
    ),
    "absent_interval": Kind(severity=INFO, sentence="{column} needs {rounds} rounds: measure at --budget normal"),
    "absent_upper": Kind(
        severity=INFO, sentence="{column} is above the longest call: measure {metric} longer, with --metric {metric}"
    ),
    "absent_baseline": Kind(severity=INFO, sentence="{column} needs another row to compare with: measure with --baseline"),
    "absent_labels": Kind(severity=INFO, sentence="{column} needs labelled samples: give --dataset"),
    "absent_top5": Kind(severity=INFO, sentence="{column} needs labelled samples of over five classes: give --dataset"),
    "absent_parity": Kind(severity=INFO, sentence="{column}: the answers were not compared with the FP32 reference"),
    "absent_floor": Kind(
        severity=INFO, sentence="{column} is measured only where a row misses the least SQNR of its precision"
    ),
    "absent_build": Kind(severity=INFO, sentence="{column}: this runtime compiles nothing ahead"),
    "absent_conversion": Kind(severity=INFO, sentence="{column}: this runtime reads ONNX files"),
    "absent_builds": Kind(severity=INFO, sentence="{column} needs several builds: give --builds 3"),
    "absent_search": Kind(severity=INFO, sentence="{column}: its options were not searched: give --tune"),
    "absent_roof": Kind(severity=INFO, sentence="{column} was not measured: give --roof"),
    "absent_cold": Kind(severity=INFO, sentence="{column} was not measured: give --cold"),
    "absent_at_quick": Kind(severity=INFO, sentence="{column} is not measured at --budget quick: give --budget normal"),
    "absent_when_cold": Kind(
        severity=INFO, sentence="{column} is not measured with --cache cold: a flush between calls would be most of its time"
    ),
    "absent_step": Kind(severity=INFO, sentence="{column} needs the length of the signal in one call: give --step-seconds"),
    "absent_load": Kind(severity=INFO, sentence="{column} was not measured: give --load poisson --slo p99=10ms"),
    "absent_passes": Kind(
        severity=INFO, sentence="{column} needs several passes near the limit: measure at --budget normal or thorough"
    ),
    "absent_on_cpu": Kind(severity=INFO, sentence="{column} is measured on GPUs only"),
    "absent_on_one_gpu": Kind(severity=INFO, sentence="{column} is of a row on several GPUs: measure with --device cuda:all"),
    "absent_one_gpu": Kind(severity=INFO, sentence="{column} needs rounds of the same row on one GPU"),
    "absent_load_on_gpus": Kind(severity=INFO, sentence="{column}: rows on several GPUs are not measured under load"),
    "absent_phase": Kind(
        severity=INFO, sentence="{column}: only a program of your own reports it, one for each call (docs/own-loop.md)"
    ),
    "absent_program": Kind(severity=INFO, sentence="{column}: a program of your own does not report it"),
    "absent_import": Kind(severity=INFO, sentence="{column}: {tool} does not report it"),
    # the INT8 doctor on the time of one call; a share is of all kernels' time
    "int8_time": Kind(severity=INFO, sentence="kernels take {kernels_ms:.3g} ms, in fp32 {fp32_ms:.3g} ms ({speedup:.1f} x)"),
    "int8_time_alone": Kind(severity=INFO, sentence="kernels take {kernels_ms:.3g} ms"),
    "int8_layers": Kind(severity=INFO, sentence="{share:.0%} in INT8 layers"),
    "int8_other": Kind(severity=INFO, sentence="{share:.0%} in {kernels}"),
    "int8_float_layers": Kind(severity=INFO, sentence="{share:.0%} in layers that stayed in float ({nodes})"),
    "int8_float_between": Kind(severity=INFO, sentence="{share:.0%} between layers, in {kernels}"),
    "int8_unfused": Kind(severity=INFO, sentence="{share:.0%} in Q/DQ pairs that were not fused ({kernels})"),
    "int8_moving": Kind(severity=INFO, sentence="{share:.0%} in moving or converting data ({kernels})"),
    "int8_other_scheme": Kind(
        severity=INFO,
        sentence="{count} of {of} ran in {ran}; bench export --int8 {scheme} makes the file that suits this runtime",
    ),
    "no_integer_units": Kind(
        severity=INFO, sentence="this CPU has none of {units}, so INT8 products are hardly faster than those of floats"
    ),
    # the INT8 doctor on accuracy
    "int8_sqnr": Kind(severity=INFO, sentence="SQNR {sqnr_db:.1f} dB with all nodes in INT8"),
    "int8_node_sqnr": Kind(severity=INFO, sentence="{sqnr_db:.1f} dB with only {node} in INT8"),
    "int8_no_cost": Kind(severity=INFO, sentence="no single node costs accuracy"),
    "int8_exclude": Kind(
        severity=INFO,
        sentence="--exclude {nodes}: SQNR {sqnr_before_db:.1f} -> {sqnr_after_db:.1f} dB on {items} {data}",
    ),
    "int8_exclude_agreement": Kind(
        severity=INFO,
        sentence="--exclude {nodes}: SQNR {sqnr_before_db:.1f} -> {sqnr_after_db:.1f} dB,"
        " agreement {agreement_before:.1f} -> {agreement_after:.1f} % on {items} {data}",
    ),
    "int8_output": Kind(
        severity=INFO,
        sentence="output {output}: {sqnr_db:.1f} dB with all nodes in INT8, {node_db:.1f} dB with only {node},"
        " {after_db:.1f} dB without the excluded nodes",
    ),
    "int8_top1": Kind(
        severity=INFO,
        sentence="top-1 {before:.2f} -> {after:.2f} % (FP32 {fp32:.2f} %) with these nodes in float, on {items} {data}",
    ),
    "int8_command": Kind(
        severity=INFO,
        sentence="SQNR {sqnr_before_db:.1f} -> {sqnr_after_db:.1f} dB on the data that chose the nodes ({data});"
        " type: {command}",
    ),
    "int8_no_gain": Kind(
        severity=INFO,
        sentence="no node stands out: the worst {tried} nodes in float change the SQNR from {sqnr_before_db:.1f} to"
        " {sqnr_after_db:.1f} dB at best",
    ),
    "int8_search": Kind(severity=INFO, sentence="to try every scheme, with nodes in float where that helps, type: {command}"),
    "int8_not_proven": Kind(
        severity=INFO,
        sentence="no exclusion is proposed: the best one changes the SQNR from {sqnr_before_db:.1f} to {sqnr_after_db:.1f} dB"
        " on {items} {data}, which did not choose the nodes",
    ),
    "int8_no_outlier": Kind(severity=INFO, sentence="no node stands out, so there is nothing to exclude"),
    "int8_not_explained": Kind(severity=INFO, sentence="{reason}"),
    # of all models on one backend in one precision
    "mean_speedup": Kind(
        severity=INFO, sentence="geometric mean of the speed-ups over {models}: {mean:.3g}x (95 %: {low:.3g} to {high:.3g}x)"
    ),
    "mean_speedup_few": Kind(
        severity=INFO,
        sentence="geometric mean of the speed-ups over {models}: {mean:.3g}x; no interval: {needed} models are needed",
    ),
    "mean_speedup_lacks": Kind(
        severity=CAUTION, sentence="the geometric mean lacks models without an ok row that has a speed-up: {models}"
    ),
    # of two sides
    "changed": Kind(severity=INFO, sentence="{what}: {old} -> {new}"),
    "only_in": Kind(severity=CAUTION, sentence="only in {side}, not compared: {cells}"),
    "no_figures": Kind(severity=CAUTION, sentence="not compared in {side} ({why}): {cells}"),
    "control": Kind(severity=INFO, sentence="the ratio of the control {target} is divided out of all timings"),
    "no_control": Kind(
        severity=CAUTION,
        sentence="one run a side and no control: drift between the runs is not measured; intervals include {allowance:.0%}"
        " for the difference of two processes, and nothing for drift",
    ),
    "no_control_of_lives": Kind(
        severity=CAUTION,
        sentence="one run a side and no control: intervals include the difference of processes, and nothing for drift"
        " between the runs",
    ),
    "undecided_rounds": Kind(
        severity=CAUTION,
        sentence="Nothing can be decided: both runs have {rounds} rounds (--budget {budget}), {needed} are needed;"
        " use --budget normal",
    ),
    "undecided_rounds_of_sides": Kind(
        severity=CAUTION,
        sentence="Nothing can be decided: base has {base} rounds and new has {new}, {needed} are needed; use --budget normal",
    ),
    "undecided_runs": Kind(
        severity=CAUTION,
        sentence="Nothing can be decided: base has {base} runs and new has {new}, {needed} a side are needed",
    ),
    "overall": Kind(severity=INFO, sentence="Verdict: {verdict} ({counts})"),
    "folded": Kind(severity=INFO, sentence="not in the table: {counts}; --all shows each"),
    "ambiguous_change": Kind(
        severity=CAUTION,
        sentence="{cell} {metric} is ambiguous: {change:+.3g} % in time and {cycles:+.3g} % in cycles, because the GPU ran at"
        " {base_mhz:.0f} MHz in base and at {new_mhz:.0f} MHz in new; --lock-clocks gives both one clock",
    ),
    # of one metric of one cell on two sides; {change}, {low} and {high} are in {change_unit}: % of base, or points
    "change": Kind(
        severity=INFO,
        sentence="{cell} {metric} {base:.4g} -> {new:.4g} {unit}, {verdict}: {change:+.3g} {change_unit}"
        " (95 %: {low:+.3g} to {high:+.3g} {change_unit})",
    ),
    "limit_broken": Kind(
        severity=FAILURE,
        sentence="{limit} failed: {cell} {metric} {base:.4g} -> {new:.4g} {unit}, {verdict}: {change:+.3g} {change_unit}"
        " (95 %: {low:+.3g} to {high:+.3g} {change_unit})",
    ),
    "limit_unsure": Kind(
        severity=CAUTION,
        sentence="{limit} is inconclusive: {cell} {metric} {base:.4g} -> {new:.4g} {unit}, {change:+.3g} {change_unit}"
        " (95 %: {low:+.3g} to {high:+.3g} {change_unit})",
    ),
    "limit_unsure_no_interval": Kind(
        severity=CAUTION,
        sentence="{limit} is inconclusive: {cell} {metric} {base:.4g} -> {new:.4g} {unit}, {change:+.3g} {change_unit}"
        " without an interval ({reason})",
    ),
    # of a metric over many runs; {before} and {after} are levels, the means of {runs_before} and {runs_after} runs
    "history_worse": Kind(
        severity=CAUTION,
        sentence="{cell} {metric} became worse at {run}: {before:.4g} -> {after:.4g} {unit}, {change:+.3g} {change_unit}"
        " (95 %: {low:+.3g} to {high:+.3g} {change_unit}; p {p:.2g}; {runs_before} runs before, {runs_after} from there){also}",
    ),
    "history_step": Kind(
        severity=INFO,
        sentence="{cell} {metric} changed at {run}: {before:.4g} -> {after:.4g} {unit}, {change:+.3g} {change_unit}"
        " (95 %: {low:+.3g} to {high:+.3g} {change_unit}; p {p:.2g}; {runs_before} runs before, {runs_after} from there){also}",
    ),
    "history_level": Kind(severity=INFO, sentence="no step is shown in {cells}"),
    "history_few": Kind(severity=CAUTION, sentence="too few runs to find steps, {needed} are needed: {cells}"),
    "history_partial": Kind(severity=INFO, sentence="only {count} of {runs} runs have a figure of {cells}"),
    "history_single": Kind(severity=INFO, sentence="in one run only, and left out: {cells}"),
    "limit_unsure_cells": Kind(severity=CAUTION, sentence="{limit} is inconclusive for {unsure} of {cells} cells ({reason})"),
    "limit_undecided": Kind(
        severity=FAILURE,
        sentence="{limit} failed: 0 of {cells} cells could be decided ({reason}); {remedy},"
        " or let it pass with --inconclusive warn",
    ),
    "limit_partly_decided": Kind(
        severity=FAILURE,
        sentence="{limit} failed: {unsure} of {cells} cells could not be decided ({reason}), and --inconclusive fail"
        " accepts none; {remedy}",
    ),
    "limit_passed_undecided": Kind(
        severity=CAUTION,
        sentence="{limit} passed by --inconclusive warn, although 0 of {cells} cells could be decided ({reason})",
    ),
    # of a bisection; {change}, {low} and {high} are in % of the good version's figure
    "bisect_first": Kind(
        severity=CAUTION,
        sentence="{package} {version} is the first version that is shown to be slower than {good}: {metric} {change:+.3g} %"
        " (95 %: {low:+.3g} to {high:+.3g} %; runs: {runs}); {before} is not slower",
    ),
    "bisect_range": Kind(
        severity=CAUTION,
        sentence="the first slower version of {package} is one of {candidates}: {between} are {why}; {version} is slower than"
        " {good} ({metric} {change:+.3g} %, 95 %: {low:+.3g} to {high:+.3g} %), and {before} is not",
    ),
    "bisect_stopped": Kind(
        severity=CAUTION,
        sentence="stopped before the end: {package} {version} is slower than {good} ({metric} {change:+.3g} %,"
        " 95 %: {low:+.3g} to {high:+.3g} %), and {before} is not",
    ),
    "bisect_none": Kind(
        severity=CAUTION,
        sentence="{package} {version} is not shown to be slower than {good}: {metric} {change:+.3g} %"
        " (95 %: {low:+.3g} to {high:+.3g} %; runs: {runs})",
    ),
    "bisect_none_no_interval": Kind(
        severity=CAUTION,
        sentence="{package} {version} is not shown to be slower than {good}: {metric} {change:+.3g} % without an interval",
    ),
    "bisect_unmeasured": Kind(severity=FAILURE, sentence="{package} {version} could not be measured: {reason}"),
    "bisect_nothing": Kind(severity=FAILURE, sentence="stopped before any version of {package} was measured"),
    # of a machine
    "missing": Kind(severity=INFO, sentence="unavailable: {reason}"),
    "missing_install": Kind(severity=INFO, sentence="unavailable: {reason} ({install})"),
    # of limits that a user set
    "limit_unknown": Kind(severity=FAILURE, sentence="{limit} failed: no row has {column}"),
    "limit_missed": Kind(severity=FAILURE, sentence="{limit} failed: {column} is {value:.4g}{unit}"),
    "drop_unsure": Kind(
        severity=CAUTION,
        sentence="top1_drop is within {limit:g}, but with {images} samples it may be {high:.2f};"
        " --max top1_drop_ci_high={limit:g} requires certainty",
    ),
    **DECISION_KINDS,
    **PROFILE_KINDS,
    **ADVICE_KINDS,
}
"""Every kind of finding, in the order in which a table shows them."""
