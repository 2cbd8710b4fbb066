"""Conversion of a file from FP32 to INT8, in one of the schemes of schemes.py.

docs/adr/0010 and 0035 have the reason for each setting, and the measurements. onnx and ONNX Runtime's quantizer, inside
functions; run in a worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BenchError, installed, one_line
from ..spec import Conversion, nearest
from . import biases, dynamic_int8, graph, shape_nodes, static_int8
from .calibration import RangeGrowth, calibrate
from .schemes import SCHEMES
from .static_int8 import PAIR

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Feeds = Sequence[Mapping[str, NDArray[np.generic]]]

LEAST_OPSET = 13  # the first one with per-channel Q/DQ; below it the quantizer writes invalid files
FEW = 40  # most nodes that an error lists
EXPLAIN = "run bench check --precision int8 --explain, which lists the nodes"


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
    _split_constants(target)


def _split_constants(prepared: Path) -> None:
    """Give the nodes that compute shapes constants of their own, and layers biases of their own."""
    model = graph.load(prepared)
    names = shape_nodes.find_shape_nodes(model.graph)
    if names:
        shape_nodes.split_constants(model.graph, names)
    if biases.separate_biases(model.graph) or names:
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
        check_excluded(graph.load(prepared), conversion.exclude)  # before the calibration, which may take minutes
        ranges, growth = find_ranges(prepared, conversion, feeds)
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


def find_ranges(prepared: Path, conversion: Conversion, feeds: Feeds) -> tuple[Any, RangeGrowth | None]:
    """Ranges for `quantize` and their growth, as `calibrate` computes them; None for a dynamic scheme."""
    return (None, None) if SCHEMES[conversion.scheme].dynamic else calibrate(prepared, conversion.method, feeds)


def quantize(prepared: Path, target: Path, conversion: Conversion, ranges: Any, only: Sequence[str] = ()) -> bool:
    """Write a file that `prepare` wrote to `target` in INT8. `only`: nodes to quantize; empty for all nodes.

    `ranges`: those of `find_ranges`. Return False if no node could be quantized.
    """
    scheme = SCHEMES[conversion.scheme]
    if scheme.dynamic:
        dynamic_int8.quantize(prepared, target, scheme, conversion.exclude, only)
    else:
        static_int8.quantize(prepared, target, scheme, conversion.exclude, ranges, only)
    return any(computes_in_8_bits(node.op_type) for node in graph.load(target).graph.node)


def computes_in_8_bits(operator: str) -> bool:
    """True for the operators that the schemes put into a graph."""
    return operator in PAIR or operator in ("MatMulInteger", "ConvInteger", "DynamicQuantizeLinear")


def check_excluded(model: onnx.ModelProto, exclude: Sequence[str]) -> None:
    """Raise `BadInput` for an excluded node that the graph does not have."""
    names = {node.name for node in model.graph.node}
    for name in exclude:
        if name not in names:
            close = get_close_matches(name, sorted(names), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else nearest(name, names)
            listed = close or len(names) <= FEW
            raise BadInput(f"--exclude {name!r} is no node of the model", hint if listed else EXPLAIN)
