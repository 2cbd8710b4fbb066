"""Kinds of findings about a decision of `bench recommend`, which kinds.py joins to all others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .kind import CAUTION, FAILURE, INFO, Kind

DECISION_KINDS: Mapping[str, Kind] = {
    # reasons for a row that cannot be recommended
    "instrument": Kind(severity=INFO, sentence="measures onnxbench itself, and cannot be deployed"),
    "same_options": Kind(severity=INFO, sentence="has the options of {beside}, because the search found none that are faster"),
    "no_price": Kind(severity=INFO, sentence="has no price; give --price {target}=AMOUNT"),
    "one_gpu_answers": Kind(severity=INFO, sentence="one call uses one of its GPUs; see the row on {device}"),
    "breaks_limit": Kind(severity=INFO, sentence="not within {limit}"),
    # of a decision
    "pick": Kind(severity=INFO, sentence="{figures}; grade {grade}, {rounds} rounds"),
    "pick_ungraded": Kind(severity=INFO, sentence="{figures}; no grade"),
    "best": Kind(severity=INFO, sentence="{extreme} {objective} of {rows} feasible rows"),
    "only_feasible": Kind(severity=INFO, sentence="the only feasible row"),
    "machines": Kind(severity=INFO, sentence="for {demand:g}/s: {machines} of this machine, each at {rate:.4g}/s with {slo}"),
    "machines_at_full_load": Kind(
        severity=CAUTION,
        sentence="for {demand:g}/s: {machines} of this machine, each at {rate:.4g}/s at full load, without a limit on latency;"
        " measure with --load poisson --slo p99=10ms for the rate within a limit",
    ),
    "runner_up": Kind(severity=INFO, sentence="{figures}; grade {grade}, {rounds} rounds"),
    "runner_up_ungraded": Kind(severity=INFO, sentence="{figures}; no grade"),
    "no_runner_up": Kind(severity=INFO, sentence="none: no other row is feasible"),
    "differs": Kind(
        severity=INFO,
        sentence="the pick is {change:.3g} % {direction} than the runner-up (95 %: {low:.3g} to {high:.3g} %; {basis})",
    ),
    "uncertain": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction} in {where}, but not certain"
        " (95 %: {low:.3g} to {high:.3g} %; {basis})",
    ),
    "uncertain_few_rounds": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction} in {where}, but not certain: {rounds} rounds, {needed} are needed",
    ),
    "uncertain_once": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction} in {where}, but not certain: {objective} is measured once",
    ),
    "uncertain_import": Kind(
        severity=CAUTION,
        sentence="the pick is {change:.3g} % {direction}, but not certain: figures of {tool} have no interval",
    ),
    "runner_up_cheaper": Kind(severity=CAUTION, sentence="the runner-up {advantages}, and the pick is not certainly better"),
    "infeasible": Kind(severity=FAILURE, sentence="nothing is feasible: no row keeps every limit and has every figure"),
    "limit_distance": Kind(
        severity=INFO, sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit"
    ),
    "nearest": Kind(
        severity=INFO,
        sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit; {relaxed} would be enough",
    ),
    "nearest_by_several": Kind(severity=INFO, sentence="no single limit is enough: {misses}"),
    "binds": Kind(
        severity=INFO,
        sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit; without the limit"
        " this row would be better than the pick ({figures})",
    ),
    "binds_with_others": Kind(
        severity=INFO,
        sentence="{limit}: {column} is {value:.4g}{unit}, {distance:.3g}{unit} {side} the limit; without the limit and {others}"
        " this row would be better than the pick ({figures})",
    ),
    "half_written": Kind(
        severity=CAUTION,
        sentence="{run} is half-written: {finished} of {rows} rows are finished and are used",
    ),
    "unlike_settings": Kind(
        severity=CAUTION,
        sentence="{tool} measured {model} with different settings ({settings}), so these figures do not mean the same",
    ),
    "other_tool": Kind(severity=CAUTION, sentence="{row} was measured by {tool}, whose definitions differ; see bench show"),
    "one_call": Kind(
        severity=INFO,
        sentence="p50 and p99 are of one call in flight; with all {lanes:.0f} lanes busy each call takes longer",
    ),
    "one_process_a_gpu": Kind(
        severity=INFO,
        sentence="the figure is of {gpus:.0f} processes, one on each of {device}: run the program once for each of them, with"
        " CUDA_VISIBLE_DEVICES set to its GPU",
    ),
    "unlike_memory": Kind(
        severity=CAUTION,
        sentence="memory has two meanings here: {on_cpu} on the CPU, {on_gpu} on a GPU",
    ),
}
