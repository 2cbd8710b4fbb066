"""Conversion of a file from FP32 to INT8 with Q/DQ pairs, in one of three schemes. onnx and ONNX Runtime's quantizer, inside
functions; run in a worker.

ONNX Runtime, OpenVINO and TensorRT all accept a `portable` file. The other schemes are the fastest for one runtime.
docs/adr/0010 has the reason for each setting, and the measurements.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BenchError, installed, one_line
from ..spec import Conversion, nearest
from . import graph, shape_nodes
from .calibration import RangeGrowth, calibrate, operators
from .repair import inputs_of as inputs_of_node

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Feeds = Sequence[Mapping[str, NDArray[np.generic]]]

LEAST_OPSET = 13  # the first one with per-channel Q/DQ; below it the quantizer writes invalid files
FEW = 40  # most nodes that an error lists
EXPLAIN = "run bench check --precision int8 --explain, which lists the nodes"
PAIR = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """A quantization scheme in the quantizer's terms. Weights are signed and symmetric, with one scale per channel.

    `activations`: quantized type of activations. `float_outputs`: outputs of the graph stay in floating point.
    """

    activations: str
    float_outputs: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


SCHEMES: Mapping[str, Scheme] = {
    "portable": Scheme(
        activations="QInt8",
        float_outputs=True,
        options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "QDQDisableWeightAdjustForInt32Bias": True,
        },
    ),
    "ort": Scheme(activations="QUInt8", options={"QDQKeepRemovableActivations": True}),
    "openvino": Scheme(activations="QUInt8"),
}


def prepare(source: Path, target: Path) -> None:
    """Write `source` to `target` in the form that the quantizer needs: optimized, with shapes, in opset 13 or later."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = graph.load(source)
    if graph.opset(model) < LEAST_OPSET:
        model = _raised(model, source.name)
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean.onnx"
        graph.save(model, clean)
        large = graph.is_large(model)
        storage = {
            "save_as_external_data": large,
            "all_tensors_to_one_file": large,
            "external_data_location": f"{target.name}.data",
        }
        quant_pre_process(str(clean), str(target), skip_symbolic_shape=True, **(storage if large else {}))
    _split_shapes(target)


def _split_shapes(prepared: Path) -> None:
    """Give the nodes that compute shapes constants of their own."""
    model = graph.load(prepared)
    names = shape_nodes.find_shape_nodes(model.graph)
    if names:
        shape_nodes.split_constants(model.graph, names)
        graph.save(model, prepared)


def _raised(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.version_converter.convert_version(model, LEAST_OPSET)
    except Exception as error:  # the converter's C++ errors have no common base
        problem = f"{name} has opset {graph.opset(model)}, but INT8 needs {LEAST_OPSET}; raising it failed ({one_line(error)})"
        raise BadInput(problem, f"export the model again with opset {LEAST_OPSET} or later") from error


def convert(source: Path, target: Path, conversion: Conversion, feeds: Feeds) -> RangeGrowth | None:
    """Write the FP32 file `source` to `target` in INT8, calibrated on `feeds`. Return the growth of the ranges.

    `BadInput` if no node can be quantized, if an excluded node does not exist, or if the quantizer fails.
    """
    with tempfile.TemporaryDirectory() as folder, guarded(source.name):
        prepared = Path(folder) / "prepared.onnx"
        prepare(source, prepared)
        _check_excluded(graph.load(prepared), conversion.exclude)  # before the calibration, which may take minutes
        ranges, growth = calibrate(prepared, conversion.method, feeds)
        if not quantize(prepared, target, conversion, ranges):
            target.unlink()
            kinds = sorted({node.op_type for node in graph.load(source).graph.node})
            raise BadInput(f"nothing can be quantized in a graph of {', '.join(kinds)}", "run it in FP32 or FP16")
    return growth


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions into `BadInput` about the file `name`, and a missing ONNX Runtime into `Unavailable`."""
    try:
        with installed("ONNX Runtime's quantizer", "pip install 'onnxbench[ort]'"):
            yield
    except (BenchError, MemoryError):
        raise
    except Exception as error:  # the quantizer's errors have no common base
        raise BadInput(
            f"{name} cannot be quantized ({type(error).__name__}: {one_line(error)})", "run it in FP32 or FP16"
        ) from error


def _external(path: Path) -> bool:
    return path.with_name(f"{path.name}.data").exists()


def quantize(prepared: Path, target: Path, conversion: Conversion, ranges: Any, only: Sequence[str] = ()) -> bool:
    """Write a file that `prepare` wrote to `target` in INT8. `only`: nodes to quantize; empty for all nodes.

    Return False if no node could be quantized.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    model, scheme = load_model_with_shape_infer(prepared), SCHEMES[conversion.scheme]
    kinds = getattr(QuantType, scheme.activations), QuantType.QInt8
    shapes = set(shape_nodes.find_shape_nodes(model.graph))
    in_float = {node.name: tuple(node.input) for node in model.graph.node if node.name in shapes}
    excluded = [*conversion.exclude, *in_float]
    quantizer = QDQQuantizer(
        model, True, False, kinds[1], kinds[0], ranges, list(only), excluded, operators(), dict(scheme.options)
    )
    quantizer.quantize_model()
    with tempfile.TemporaryDirectory() as folder:
        rough = Path(folder) / "rough.onnx"
        quantizer.model.save_model_to_file(str(rough), _external(prepared))
        quantized = graph.load(rough)
    _restore_inputs(quantized.graph, in_float)
    if scheme.float_outputs:
        _free_outputs(quantized.graph)
    graph.save(quantized, target)
    return any(node.op_type in PAIR for node in quantized.graph.node)


def _restore_inputs(quantized: onnx.GraphProto, inputs_of: Mapping[str, Sequence[str]]) -> None:
    """Give the nodes in `inputs_of` the inputs that they had, and remove the Q/DQ pairs that are then without a user.

    The quantizer puts a pair before all users of a value, also before excluded nodes.
    """
    values = {value.name for value in (*quantized.input, *quantized.initializer)}
    values |= {name for node in quantized.node for name in node.output}
    for node in quantized.node:
        for index, name in enumerate(inputs_of.get(node.name, ())):
            # The quantizer renames the value behind an output of the graph, and the output has the rounded values.
            before = f"{name}_QuantizeLinearInput"
            node.input[index] = before if before in values else name if name in values else node.input[index]
    for kind in reversed(PAIR) if inputs_of else ():
        used = {name for node in quantized.node for name in inputs_of_node(node)} | {value.name for value in quantized.output}
        for node in [node for node in quantized.node if node.op_type == kind and not used & set(node.output)]:
            quantized.node.remove(node)


def _check_excluded(model: onnx.ModelProto, exclude: Sequence[str]) -> None:
    names = {node.name for node in model.graph.node}
    for name in exclude:
        if name not in names:
            close = get_close_matches(name, sorted(names), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else nearest(name, names)
            listed = close or len(names) <= FEW
            raise BadInput(f"--exclude {name!r} is no node of the model", hint if listed else EXPLAIN)


def _free_outputs(quantized: onnx.GraphProto) -> None:
    """Remove the Q/DQ pair before each output: rounding the outputs costs more accuracy than all other nodes do."""
    makers = {output: node for node in quantized.node for output in node.output}
    uses = [name for node in quantized.node for name in node.input]
    for output in quantized.output:
        last = makers.get(output.name)
        first = makers.get(last.input[0]) if last and last.op_type == "DequantizeLinear" else None
        if last is None or first is None or first.op_type != "QuantizeLinear" or uses.count(last.input[0]) != 1:
            continue
        inner, maker = first.input[0], makers.get(first.input[0])
        if maker is None or output.name in uses:
            continue  # an input that is an output too, or an output that another node uses
        for node in quantized.node:
            node.input[:] = [output.name if name == inner else name for name in node.input]
        maker.output[:] = [output.name if name == inner else name for name in maker.output]
        quantized.node.remove(first)
        quantized.node.remove(last)
