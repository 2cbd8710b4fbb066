"""An INT8 file as ONNX Runtime's own quantizer makes it over every operator, for a trial of the INT8 doctor.

    python benchmarks/foreign_int8.py FP32.onnx INT8.onnx CALIBRATION.npz [ITEMS]
    bench check --model INT8.onnx --dataset tensors:CALIBRATION.npz --explain

CALIBRATION.npz has an array for each input, or x alone for the only input. `bench export` makes no such file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

BATCH = 8


class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no type hints
    """Gives the quantizer BATCH items at a time."""

    def __init__(self, arrays: dict[str, np.ndarray], items: int) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = (
            {name: array[begin : begin + BATCH] for name, array in arrays.items()} for begin in range(0, items, BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def main() -> None:
    source, target, data = map(Path, sys.argv[1:4])
    items = int(sys.argv[4]) if len(sys.argv) > 4 else 128
    names = [value.name for value in onnx.load(source).graph.input]
    with np.load(data) as file, tempfile.TemporaryDirectory() as folder:
        arrays = {name: file[name if name in file else "x"] for name in names}
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Reader(arrays, min(items, *(len(array) for array in arrays.values()))),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )


if __name__ == "__main__":
    main()
