"""Bare runtimes, without this tool, on a model of the census: the second figure beside a mismatch.

They run in a process of their own, which is replaced when it dies or hangs. Plain ONNX Runtime also runs each case that has
inputs of its own: it shows the models that it takes and this tool does not.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from census_models import Case
from onnxbench.runners.worker.distances import measure_parts

TIMEOUT_S = 30.0
EXPECTED, EVALUATOR, UNOPTIMIZED = "ONNX's authors", "onnx's evaluator", "ONNX Runtime without optimizations"
Arrays = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Question:
    """The file of a row, the FP32 file `base` of its reference, its inputs, and the answers that ONNX's authors expect."""

    base: Path
    file: Path
    inputs: Arrays
    expected: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Distances:
    """SQNR of each runtime in dB, against the answers of `against`."""

    against: str = ""
    figures: tuple[tuple[str, float], ...] = ()


class Bare:
    """Process of the bare runtimes."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def plain(self, case: Case) -> tuple[str | None, str]:
        """Refusal by ONNX Runtime of the case with its own inputs (None: there are none), and the difference of its answers."""
        if not case.given and case.kind != "node":
            return None, ""
        answer, failure = self._run(plain_onnxruntime, case)
        return answer or (failure, "")

    def distances(self, question: Question) -> Distances:
        """Distances of the runtimes from the authors' answers, else from onnx's evaluator, else from ONNX Runtime."""
        for against in [EXPECTED] * bool(question.expected) + [EVALUATOR, UNOPTIMIZED]:
            answer, _ = self._run(measure_distances, question, against)
            if answer:
                return answer
        return Distances()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
        """Answer of `function` in the process, and the name of its error."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(function, *arguments).result(TIMEOUT_S), ""
        except (BrokenProcessPool, TimeoutError) as error:
            self.close()
            return None, type(error).__name__
        except Exception as error:  # whatever a runtime raises for a graph that it does not take
            return None, type(error).__name__

    def close(self) -> None:
        """End the process, also in the middle of an answer."""
        if self._pool:
            for process in (self._pool._processes or {}).values():
                process.kill()
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


def measure_distances(question: Question, against: str) -> Distances:
    """Distance of each runtime that takes the file. Raises where `against` has no answers."""
    if against == EXPECTED:
        names = [entry.name for entry in _session(question.base).get_outputs()]
        expected = dict(zip(names, map(np.asarray, question.expected)))
    else:
        expected = RUNTIMES[against](question.base, question.inputs)
    figures = []
    for name, run in RUNTIMES.items():
        if name != against or question.file != question.base:
            with suppress(Exception):  # a runtime that does not take the file has no figure
                parts = measure_parts(run(question.file, question.inputs), expected)
                figures.append((name, min(part.sqnr_db for part in parts)))
    return Distances(against=against, figures=tuple(figures))


def _session(file: Path, optimize: bool = True) -> Any:
    import onnxruntime

    options, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.log_severity_level = 4
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _onnxruntime(file: Path, inputs: Arrays, optimize: bool = True) -> Arrays:
    session = _session(file, optimize)
    fed = {entry.name: inputs[entry.name] for entry in session.get_inputs()}
    return dict(zip([entry.name for entry in session.get_outputs()], session.run(None, fed)))


def _unoptimized(file: Path, inputs: Arrays) -> Arrays:
    return _onnxruntime(file, inputs, optimize=False)


def _evaluator(file: Path, inputs: Arrays) -> Arrays:
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(str(file))
    fed = {name: inputs[name] for name in evaluator.input_names}
    return {name: np.asarray(array) for name, array in zip(evaluator.output_names, evaluator.run(None, fed))}


def _openvino(file: Path, inputs: Arrays) -> Arrays:
    import openvino

    core = openvino.Core()
    graph = core.read_model(str(file))
    fed = [next(inputs[name] for name in entry.names if name in inputs) for entry in graph.inputs]
    # As in a cell: with fixed shapes OpenVINO chooses other kernels than with open ones.
    graph.reshape({entry: list(array.shape) for entry, array in zip(graph.inputs, fed)})
    # Without the hint OpenVINO computes in BF16 on some CPUs.
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled(fed)
    names = [entry.name for entry in _session(file).get_outputs()]
    found = {name: entry for entry in compiled.outputs for name in entry.names}
    return {name: answers[found[name]] for name in names}


RUNTIMES: Mapping[str, Callable[[Path, Arrays], Arrays]] = {
    "ONNX Runtime": _onnxruntime,
    UNOPTIMIZED: _unoptimized,
    "OpenVINO": _openvino,
    EVALUATOR: _evaluator,
}


def plain_onnxruntime(case: Case) -> tuple[str, str]:
    """Refusal of `case` by ONNX Runtime itself, with its own inputs, and the difference from the expected answers."""
    try:
        session = _session(case.file)
        names = {entry.name for entry in session.get_inputs()}
        answers = session.run(None, {name: array for name, array in case.given.items() if name in names})
    except Exception as error:
        return " ".join(str(error).split())[:200], ""
    return "", _difference(answers, case)


def _difference(answers: Sequence[Any], case: Case) -> str:
    for answer, target in zip(answers, case.expected):
        if not isinstance(target, np.ndarray) or target.dtype.kind not in "fiub":
            continue
        if np.shape(answer) != target.shape:
            return f"shape {np.shape(answer)}, expected {target.shape}"
        if not np.allclose(answer, target, rtol=case.rtol, atol=max(case.atol, 1e-6), equal_nan=True):
            return f"differs by up to {np.nanmax(np.abs(np.float64(answer) - np.float64(target))):.3g}"
    return ""
