"""Nodes that an FP16 file computes in FP32, because their values are beyond FP16's range. onnx and ONNX Runtime, inside
functions; run in a worker.

FP16 has no number above 65504: a converter clips a larger weight, and a larger result becomes infinite. Often that does no
harm. A mask adds the lowest number of FP32 to scores, and minus infinity has the same effect. So the effect decides: the graph
runs with every result rounded to FP16, with the nodes in FP32 and without (docs/adr/0055).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ..spec import PRECISIONS
from . import graph

if TYPE_CHECKING:
    import onnx

LARGEST = 65504.0  # of FP16 (IEEE 754 binary16)
MOST = LARGEST / 2  # that a value may reach on the calibration data: other inputs may have larger values
LEAST_DB = 6.0  # half the error; a smaller gain is not worth a node in FP32
EXACT_DB, USELESS_DB = 200.0, 0.0
FLAT, ZERO, HALF = "_onnxbench_flat", "_onnxbench_zero", "_onnxbench_half"  # ends of new names
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")  # their nodes are not looked at

Message = TypeVar("Message")  # of protobuf
Arrays = Mapping[str, Any]
Feeds = Sequence[Arrays]


@dataclass(frozen=True)
class Extremes:
    """Least and largest number of a value, and 0 between them."""

    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, array: Any) -> Extremes:
        return cls(float(np.min(array, initial=0.0)), float(np.max(array, initial=0.0)))

    def __or__(self, other: Extremes) -> Extremes:
        return Extremes(min(self.low, other.low), max(self.high, other.high))


def find_overflows(model: onnx.ModelProto, feeds: Feeds) -> list[str]:
    """Names of the nodes to keep in FP32, in the order of the graph. Empty for a model that is too large for one file.

    Candidates read or write a number whose size is above MOST, on any of `feeds` (arrays of each call by input name). First
    those of a positive number are tried, then all: the lowest numbers are often masks. A group is kept if the answers to the
    first call are below the floor of FP16, and it halves their error. Raises whatever ONNX Runtime raises if the graph does
    not run.
    """
    if graph.is_large(model):
        return []
    floats = _results(model)
    spans = _spans(model, floats, feeds)
    positive = _users(model, [name for name, span in spans.items() if span.high > MOST])
    either = _users(model, [name for name, span in spans.items() if max(span.high, -span.low) > MOST])
    if not either:
        return []
    answers = _Answers(model, [*floats, *(name for name, array in feeds[0].items() if _is_float(array))], feeds[0])
    best, best_db = list[str](), answers.least_db([])
    for names in (positive, either):
        if best_db >= PRECISIONS["fp16"].floor_db:
            break
        db = answers.least_db(names)
        if db >= best_db + LEAST_DB:
            best, best_db = names, db
    return best


def _users(model: onnx.ModelProto, values: Collection[str]) -> list[str]:
    """Names of the nodes that read or write one of the values."""
    candidates = (node for node in model.graph.node if node.op_type not in (*CONTROL_FLOW, "Constant"))
    return [node.name for node in candidates if {*node.input, *node.output} & {*values}]


def _is_float(array: Any) -> bool:
    return bool(np.asarray(array).dtype == np.float32)


def _results(model: onnx.ModelProto) -> list[str]:
    """Names of the FP32 results of nodes. A result whose type cannot be inferred is not among them."""
    from onnx import TensorProto, shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    makers = (node for node in model.graph.node if node.op_type not in ("Constant", *CONTROL_FLOW))
    return [name for node in makers for name in node.output if types.get(name) == TensorProto.FLOAT]


def _constants(own: onnx.GraphProto) -> dict[str, Any]:
    """Arrays of the FP32 constants."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in own.initializer}
    for node in own.node:
        if node.op_type == "Constant":
            tensors |= zip(node.output, (attribute.t for attribute in node.attribute if attribute.name == "value"))
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if tensor.data_type == tensor.FLOAT}


def _spans(model: onnx.ModelProto, results: Sequence[str], feeds: Feeds) -> dict[str, Extremes]:
    """Spans of the FP32 constants, inputs and `results`, over all feeds."""
    spans = {name: Extremes.of(array) for name, array in _constants(model.graph).items()}
    session = _session(_with_ends(model, results))
    for arrays in feeds:
        ends = iter(_run(session, arrays, len(model.graph.output))) if results else iter(())
        answer = {name: Extremes(float(low), float(high)) for name, (low, high) in zip(results, zip(ends, ends))}
        answer |= {name: Extremes.of(array) for name, array in arrays.items() if _is_float(array)}
        spans |= {name: span | spans.get(name, Extremes()) for name, span in answer.items()}
    return spans


def _with_ends(model: onnx.ModelProto, results: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model with two more outputs for each result: the least and the largest number of it and 0."""
    from onnx import TensorProto, helper, numpy_helper

    probe = _copy(model)
    probe.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), FLAT))
    probe.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), ZERO))
    for name in results:
        flat, joined = f"{name}{FLAT}", f"{name}{ZERO}"
        probe.graph.node.append(helper.make_node("Reshape", [name, FLAT], [flat]))
        probe.graph.node.append(helper.make_node("Concat", [flat, ZERO], [joined], axis=0))  # a result may be empty
        for operator in ("ReduceMin", "ReduceMax"):
            probe.graph.node.append(helper.make_node(operator, [joined], [f"{name}{operator}{ZERO}"], keepdims=0))
            probe.graph.output.append(helper.make_tensor_value_info(f"{name}{operator}{ZERO}", TensorProto.FLOAT, []))
    return probe


@dataclass(frozen=True)
class _Answers:
    """Answers of the model to one call, with the FP32 values `floats` rounded to FP16 except in some nodes."""

    model: onnx.ModelProto
    floats: Collection[str]
    arrays: Arrays

    def least_db(self, in_float: Collection[str]) -> float:
        """SQNR in dB of the worst output, with the nodes called `in_float` in FP32."""
        exact, rounded = (_run(_session(each), self.arrays) for each in (self.model, self._rounded({*in_float})))
        makers = {name: node.name for node in self.model.graph.node for name in node.output}
        stays = [makers.get(output.name) in in_float for output in self.model.graph.output]
        with np.errstate(over="ignore"):
            answer = [
                array if is_exact or not _is_float(array) else array.astype(np.float16)
                for array, is_exact in zip(rounded, stays)
            ]
        return min(map(_sqnr_db, answer, exact), default=EXACT_DB)

    def _rounded(self, in_float: Collection[str]) -> onnx.ModelProto:
        """A copy of the model in which the other nodes read rounded values, and clipped constants."""
        from onnx import numpy_helper

        probe = _copy(self.model)
        constants = {
            name: array for name, array in _constants(probe.graph).items() if np.max(np.abs(array), initial=0) > LARGEST
        }
        halves = {name for node in probe.graph.node if node.name not in in_float for name in node.output}
        nodes: list[onnx.NodeProto] = []
        copies: dict[str, str] = {}
        for node in map(_copy, probe.graph.node):
            for index, name in enumerate(node.input):
                if (node.name in in_float and name not in halves) or not (name in self.floats or name in constants):
                    continue
                if name not in copies:
                    copies[name] = name + HALF
                    if name in constants:
                        clipped = np.clip(constants[name], -LARGEST, LARGEST)
                        probe.graph.initializer.append(numpy_helper.from_array(clipped, name + HALF))
                    else:
                        nodes += _cast_pair(name)
                node.input[index] = copies[name]
            nodes.append(node)
        del probe.graph.node[:]
        probe.graph.node.extend(nodes)
        return probe


def _cast_pair(name: str) -> list[onnx.NodeProto]:
    """Nodes that round a value to FP16."""
    from onnx import TensorProto, helper

    back = name + HALF
    rounded = f"{back}_"
    return [
        helper.make_node("Cast", [name], [rounded], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [rounded], [back], to=TensorProto.FLOAT),
    ]


def _copy(message: Message) -> Message:
    """A copy of a protobuf message that belongs to no other."""
    copy: Any = type(message)()
    copy.CopyFrom(message)
    return cast("Message", copy)


def _session(model: onnx.ModelProto) -> Any:
    """The model on ONNX Runtime, which keeps every value as it is in the graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: Any, arrays: Arrays, first: int = 0) -> list[Any]:
    """Outputs from number `first` on."""
    takes = {item.name for item in session.get_inputs()}
    names = [item.name for item in session.get_outputs()][first:]
    return list(session.run(names, {name: array for name, array in arrays.items() if name in takes}))


def _sqnr_db(answer: Any, exact: Any) -> float:
    """Power of an exact array over that of the error, in dB from USELESS_DB to EXACT_DB. Arrays without floats are exact."""
    if not np.issubdtype(np.asarray(exact).dtype, np.floating):
        return EXACT_DB
    numbers = np.isfinite(exact)
    if not np.array_equal(numbers, np.isfinite(answer)):
        return USELESS_DB
    power = float(np.sum(np.square(exact[numbers], dtype=np.float64)))
    error = float(np.sum(np.square(answer[numbers].astype(np.float64) - exact[numbers])))
    if error == 0:
        return EXACT_DB
    return float(np.clip(10 * np.log10(power / error), USELESS_DB, EXACT_DB)) if power else USELESS_DB
