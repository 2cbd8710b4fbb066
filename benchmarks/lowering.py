"""Lowering of ONNX's own node tests to an earlier opset, each compared with the original in ONNX Runtime.

    python benchmarks/lowering.py [--opset 17] [--only WORD] [--page docs/results/lowering.md]

A case counts if its operator changed after the target opset, and if ONNX Runtime runs it. Where the rules need a parameter as
a constant (axes, pads, sizes), the case is lowered with its parameters as constants, as exporters write them. A lowered case
passes onnx.checker with strict inference, and is at least 120 dB from the original; with 16-bit floats the limit of fp16, or
as near as the original with graph optimizations.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnxbench.errors import BenchError, one_line
from onnxbench.exporters.graph import opset as opset_of
from onnxbench.exporters.lowering import lower, since
from onnxbench.exporters.repair import graphs
from onnxbench.spec import PRECISIONS

LEAST_DB, EXACT_DB, GOAL = 120.0, 1000.0, 0.9
LOWERED, FROZEN = "lowered", "lowered with constant parameters"
REFUSED, WRONG = "refused", "wrong"
Arrays = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one case: its operator, one of the four words above, and the reason of a case that is not lowered."""

    case: str
    operator: str
    result: str
    reason: str = ""


def run(model: onnx.ModelProto, arrays: Arrays, optimize: bool = False) -> list[Any]:
    """Outputs of `model` in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(arrays)))


def distance_db(outputs: Sequence[Any], expected: Sequence[Any]) -> float:
    """SQNR of the worst output, in dB; 0 for another shape or type."""
    return min((_distance_db(*pair) for pair in zip(outputs, expected)), default=EXACT_DB)


def _distance_db(output: Any, expected: Any) -> float:
    if isinstance(expected, list):
        return distance_db(output, expected)
    left, right = np.asarray(output), np.asarray(expected)
    if left.shape != right.shape or left.dtype != right.dtype:
        return 0.0
    if right.dtype.kind not in "fiub":
        return EXACT_DB if (left == right).all() else 0.0
    left, right = left.astype(np.float64), right.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    noise = float((np.where(same, 0, left - right) ** 2).sum())
    signal = float((np.where(np.isfinite(right), right, 0) ** 2).sum())
    if noise == 0:
        return EXACT_DB
    return 10 * float(np.log10(signal / noise)) if np.isfinite(noise) and signal > 0 else 0.0


def frozen(model: onnx.ModelProto, arrays: Arrays) -> tuple[onnx.ModelProto, Arrays]:
    """`model` with all inputs after the first as constants, and the array of the first."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for value in list(copy.graph.input)[1:]:
        if isinstance(arrays.get(value.name), np.ndarray):
            copy.graph.initializer.append(numpy_helper.from_array(arrays[value.name], value.name))
            copy.graph.input.remove(value)
    kept = {value.name for value in copy.graph.input}
    return copy, {name: array for name, array in arrays.items() if name in kept}


def changed(model: onnx.ModelProto, opset: int) -> str:
    """The first operator of `model` that is newer than `opset`; empty without one."""
    current = opset_of(model)
    nodes = (node for graph in graphs(model.graph) for node in graph.node if node.domain in ("", "ai.onnx"))
    return next((node.op_type for node in nodes if since(node.op_type, current) > opset), "")


def cases(opset: int, word: str) -> Iterator[tuple[str, str, onnx.ModelProto, Arrays, list[Any]]]:
    """Name, operator, model, inputs and outputs of each case that counts."""
    for case in collect_testcases(None):
        model = case.model
        if model is None or word not in case.name or opset_of(model) <= opset or not (operator := changed(model, opset)):
            continue
        arrays = dict(zip((value.name for value in model.graph.input), case.data_sets[0][0]))
        try:
            yield case.name, operator, model, arrays, run(model, arrays)
        except Exception:  # of a case that ONNX Runtime does not run
            continue


def judge(case: tuple[str, str, onnx.ModelProto, Arrays, list[Any]], opset: int) -> Outcome:
    """Lower one case, and compare it."""
    name, operator, model, arrays, expected = case
    result = LOWERED
    try:
        try:
            made = lower(model, opset, Path())
        except BenchError:
            frozen_model, arrays = frozen(model, arrays)
            made, result = lower(frozen_model, opset, Path()), FROZEN
        onnx.checker.check_model(made, full_check=True)
        found_db = distance_db(run(made, arrays), expected)
    except BenchError as error:
        return Outcome(case=name, operator=operator, result=REFUSED, reason=error.message)
    except Exception as error:  # of onnx.checker, or of ONNX Runtime without a kernel for an older operator
        return Outcome(case=name, operator=operator, result=WRONG, reason=one_line(error, 160))
    if found_db < min(_least_db(model), distance_db(run(model, case[3], optimize=True), expected)):
        return Outcome(case=name, operator=operator, result=WRONG, reason=f"{found_db:.0f} dB from the original")
    return Outcome(case=name, operator=operator, result=result)


def _least_db(model: onnx.ModelProto) -> float:
    """Least distance of a lowered case: an output of 16-bit floats rounds at each node."""
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    return PRECISIONS["fp16"].floor_db if kinds & halves else LEAST_DB


def page(outcomes: Sequence[Outcome], opset: int) -> str:
    """The result as a Markdown page."""
    lines = [f"# ONNX's node tests at opset {opset}", "", *_summary(outcomes, opset), "", "## Not lowered", ""]
    lines += ["| operator | cases | reason | examples |", "|---|---|---|---|"]
    groups: dict[tuple[str, str], list[str]] = {}
    for item in (item for item in outcomes if item.result in (REFUSED, WRONG)):
        groups.setdefault((item.operator, _general(item)), []).append(item.case.removeprefix("test_"))
    lines += [
        f"| {operator} | {len(names)} | {reason.replace('|', '/')} | {', '.join(names[:3])} |"
        for (operator, reason), names in sorted(groups.items())
    ]
    operators = sorted({item.operator for item in outcomes if item.result in (LOWERED, FROZEN)})
    return "\n".join([*lines, "", "## Operators with lowered cases", "", *_wrapped(operators), ""])


def _general(item: Outcome) -> str:
    """The reason without the name of its node, which differs from case to case."""
    head, _, tail = item.reason.partition(": ")
    return tail if item.result == REFUSED and tail and "cannot be lowered" in head else item.reason


def _wrapped(words: Sequence[str], width: int = 108) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > width:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}{',' if word != words[-1] else '.'}"
    return lines


def _summary(outcomes: Sequence[Outcome], opset: int) -> list[str]:
    counts = {result: sum(item.result == result for item in outcomes) for result in (LOWERED, FROZEN, REFUSED, WRONG)}
    good = counts[LOWERED] + counts[FROZEN]
    versions = f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}"
    return [
        f"{good} of {len(outcomes)} cases ({good / max(1, len(outcomes)):.1%}) are lowered to opset {opset} ({versions}).",
        f"A case counts if ONNX Runtime runs it, and if it has an operator that changed after opset {opset}. onnx.checker",
        f"accepts the lowered file. Its answers are at least {LEAST_DB:.0f} dB from the original without optimizations, at",
        f"least {PRECISIONS['fp16'].floor_db:.0f} dB in 16-bit floats, or as near as the original with graph optimizations.",
        "",
        f"- {counts[LOWERED]} as they are.",
        f"- {counts[FROZEN]} with their parameters as constants, as exporters write them. The tests have them as inputs.",
        f"- {counts[REFUSED]} refused by the name of the operator.",
        f"- {counts[WRONG]} lowered, and then refused by onnx.checker, ONNX Runtime or the comparison, as `bench` would do.",
        "",
        "`python benchmarks/lowering.py --page docs/results/lowering.md` makes this page.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    onnxruntime.set_default_logger_severity(4)
    outcomes = [judge(case, options.opset) for case in cases(options.opset, options.only)]
    text = page(outcomes, options.opset)
    print(text)
    if options.page:
        options.page.write_text(text)
    share = sum(item.result in (LOWERED, FROZEN) for item in outcomes) / max(1, len(outcomes))
    raise SystemExit(share < GOAL)


if __name__ == "__main__":
    main()
