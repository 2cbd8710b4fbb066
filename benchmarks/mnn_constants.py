"""Products and sums of MNN with a constant, held against ONNX Runtime: which of them are wrong.

    pip install mnn onnx onnxruntime
    python benchmarks/mnn_constants.py

Each network is a convolution, and a node that combines its answer with ones. Only the shape and the place of the ones differ.
MNN 3.6.1 computes those wrongly whose ones are the first operand and have as many dimensions as the answer of the convolution.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CONVERT = "import sys, _tools; _tools.mnnconvert(['MNNConvert', *sys.argv[1:]])"
INPUT, KERNEL = (1, 4, 8, 20), (6, 4, 1, 5)


def network(operator: str, shape: tuple[int, ...], first: bool) -> onnx.ModelProto:
    """A convolution, and its answer combined with ones of `shape`, which are the `first` operand or the second."""
    weights = np.random.default_rng(0).standard_normal(KERNEL).astype(np.float32)
    operands = ["ones", "c"] if first else ["c", "ones"]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=KERNEL[2:]), helper.make_node(operator, operands, ["y"])]
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(shape, np.float32), "ones")]
    result = (INPUT[0], KERNEL[0], INPUT[2], INPUT[3] - KERNEL[3] + 1)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", INPUT), ("y", result))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def answer_of_mnn(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    import MNN.expr as F
    from MNN import nn

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "net.onnx")
        files = ("--modelFile", "net.onnx", "--MNNModel", "net.mnn", "--bizCode", "onnxbench")
        subprocess.run([sys.executable, "-c", CONVERT, "-f", "ONNX", *files], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        manager = nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": 1},))
        net = nn.load_module_from_file(str(folder / "net.mnn"), ["x"], ["y"], runtime_manager=manager)
        return np.array(net.forward([F.const(x, x.shape, F.NCHW, F.float)])[0].read())


def main() -> None:
    import onnxruntime

    x = np.random.default_rng(1).standard_normal(INPUT).astype(np.float32)
    for operator in ("Add", "Mul"):
        for shape in ((), (1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)):
            for first in (True, False):
                model = network(operator, shape, first)
                session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
                (expected,) = session.run(None, {"x": x})
                error = float(np.abs(answer_of_mnn(model, x) - expected).max())
                place = "first" if first else "second"
                print(f"{operator}, ones of shape {shape} as the {place} operand: largest error {error:.2g}", flush=True)


if __name__ == "__main__":
    main()
