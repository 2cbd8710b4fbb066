"""FP32 -> INT8 as Q/DQ pairs, in one of three schemes. onnx and ONNX Runtime's quantizer, inside functions; run in a worker.

`portable` is one file that ONNX Runtime, OpenVINO and TensorRT all take; the others are what one runtime likes best.
docs/adr/0010 says what each setting is for, and what was measured.
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
from . import graph

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Feeds = Sequence[Mapping[str, NDArray[np.generic]]]

LEAST_OPSET = 13  # per-channel Q/DQ came with it; below it the quantizer writes a file that no runtime takes
FEEDS_AT_ONCE = 4  # whose activations are in memory at the same time
FEW = 40  # nodes that an error lists
EXPLAIN = "run bench check --precision int8 --explain, which lists the nodes"
PAIR = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """How values become 8 bits, in the quantizer's terms. Weights are signed and symmetric, one scale a channel.

    `activations`: their type. `float_outputs`: the graph's outputs are not rounded to 8 bits.
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

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "minmax": ("MinMax", {}),
    "entropy": ("Entropy", {"num_bins": 2048, "num_quantized_bins": 128}),
    "percentile": ("Percentile", {}),
}
"""In the calibrator's terms, with its defaults, but for entropy's bins: with as many of them as quantized ones there is no
threshold to choose. 2048 and 128 are those of Migacz, 8-bit Inference with TensorRT, GTC 2017."""


def prepare(source: Path, target: Path) -> None:
    """Write `source` to `target` as the quantizer wants it: optimized, with shapes, in a recent opset."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = graph.load(source)
    if graph.opset(model) < LEAST_OPSET:
        model = _raised(model, source.name)
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean.onnx"
        graph.save(model, clean)
        large = graph.is_large(model)
        where = {
            "save_as_external_data": large,
            "all_tensors_to_one_file": large,
            "external_data_location": f"{target.name}.data",
        }
        quant_pre_process(str(clean), str(target), skip_symbolic_shape=True, **(where if large else {}))


def _raised(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.version_converter.convert_version(model, LEAST_OPSET)
    except Exception as error:  # C++ errors as they come
        found = f"{name} has opset {graph.opset(model)}, INT8 needs {LEAST_OPSET}, and it cannot be raised ({one_line(error)})"
        raise BadInput(found, "export it again with a newer opset") from error


def convert(source: Path, target: Path, how: Conversion, feeds: Feeds) -> None:
    """Write the FP32 file `source` to `target` in INT8, calibrated on `feeds`.

    `BadInput` if nothing of it can be quantized, if an excluded node is not there, or if the quantizer raises.
    """
    with tempfile.TemporaryDirectory() as folder, guarded(source.name):
        prepared = Path(folder) / "prepared.onnx"
        prepare(source, prepared)
        _check_excluded(graph.load(prepared), how.exclude)  # before the calibration, which may take minutes
        if not quantize(prepared, target, how, calibrate(prepared, how, feeds)):
            target.unlink()
            kinds = sorted({node.op_type for node in graph.load(source).graph.node})
            raise BadInput(f"nothing can be quantized in a graph of {', '.join(kinds)}", "run it in FP32 or FP16")


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """What ONNX Runtime raises becomes `BadInput` about the file `name`, or `Unavailable` without it."""
    try:
        with installed("ONNX Runtime's quantizer", "pip install 'onnxbench[ort]'"):
            yield
    except (BenchError, MemoryError):
        raise
    except Exception as error:  # the quantizer raises whatever it meets
        raise BadInput(
            f"{name} cannot be quantized ({type(error).__name__}: {one_line(error)})", "run it in FP32 or FP16"
        ) from error


def calibrate(prepared: Path, how: Conversion, feeds: Feeds) -> Any:
    """The ranges of all values in a file that `prepare` wrote, over `feeds`, for `quantize`."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    method, options = METHODS[how.method]
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            prepared,
            _operators(),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=getattr(CalibrationMethod, method),
            use_external_data_format=_external(prepared),
            extra_options=dict(options),
        )
        for start in range(0, len(feeds), FEEDS_AT_ONCE):
            calibrator.collect_data(_Reader(feeds[start : start + FEEDS_AT_ONCE]))
        return calibrator.compute_data()


class _Reader:
    """Feeds one after the other, as the calibrator reads them."""

    def __init__(self, feeds: Feeds) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[np.generic]] | None:
        return next(self._left, None)


def _operators() -> list[str]:
    """Every operator that the quantizer knows, in one order, since the result depends on it."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _external(path: Path) -> bool:
    return path.with_name(f"{path.name}.data").exists()


def quantize(prepared: Path, target: Path, how: Conversion, ranges: Any, only: Sequence[str] = ()) -> bool:
    """Write a file that `prepare` wrote to `target` in INT8, all of it or the nodes `only`; whether anything could be."""
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    model, scheme = load_model_with_shape_infer(prepared), SCHEMES[how.scheme]
    kinds = getattr(QuantType, scheme.activations), QuantType.QInt8
    quantizer = QDQQuantizer(
        model, True, False, kinds[1], kinds[0], ranges, list(only), list(how.exclude), _operators(), dict(scheme.options)
    )
    quantizer.quantize_model()
    with tempfile.TemporaryDirectory() as folder:
        rough = Path(folder) / "rough.onnx"
        quantizer.model.save_model_to_file(str(rough), _external(prepared))
        quantized = graph.load(rough)
    if scheme.float_outputs:
        _free_outputs(quantized.graph)
    graph.save(quantized, target)
    return any(node.op_type in PAIR for node in quantized.graph.node)


def _check_excluded(model: onnx.ModelProto, exclude: Sequence[str]) -> None:
    names = {node.name for node in model.graph.node}
    for name in exclude:
        if name not in names:
            close = get_close_matches(name, sorted(names), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else nearest(name, names)
            listed = close or len(names) <= FEW
            raise BadInput(f"--exclude {name!r} is no node of the model", hint if listed else EXPLAIN)


def _free_outputs(quantized: onnx.GraphProto) -> None:
    """Take the Q/DQ pair before each output away: rounding the result costs more than all else (docs/adr/0010)."""
    makers = {output: node for node in quantized.node for output in node.output}
    uses = [name for node in quantized.node for name in node.input]
    for output in quantized.output:
        last = makers.get(output.name)
        first = makers.get(last.input[0]) if last and last.op_type == "DequantizeLinear" else None
        if last is None or first is None or first.op_type != "QuantizeLinear" or uses.count(last.input[0]) != 1:
            continue
        inner, maker = first.input[0], makers.get(first.input[0])
        if maker is None or output.name in uses:
            continue  # an input that goes straight to an output, or an output that is used again
        for node in quantized.node:
            node.input[:] = [output.name if name == inner else name for name in node.input]
        maker.output[:] = [output.name if name == inner else name for name in maker.output]
        quantized.node.remove(first)
        quantized.node.remove(last)
