"""Make the model and the labelled images of tests/data/v0_1 (seeded)."""
import sys
from pathlib import Path
import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

folder = Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)
nodes, weights, last, width = [], [], "image", 3
for layer in range(7):
    shape = (16, width, 3, 3)
    w = rng.standard_normal(shape) * np.sqrt(2 / (width * 9))
    weights += [nh.from_array(w.astype(np.float32), f"w{layer}"), nh.from_array(np.zeros(16, np.float32), f"b{layer}")]
    nodes += [h.make_node("Conv", [last, f"w{layer}", f"b{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1, 1, 1, 1]),
              h.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"relu{layer}")]
    last, width = f"r{layer}", 16
nodes += [h.make_node("MaxPool", [last], ["p"], name="pool", kernel_shape=[12, 12], strides=[12, 12]), h.make_node("Flatten", ["p"], ["f"], name="flatten"),
          h.make_node("Gemm", ["f", "wg", "bg"], ["logits"], name="gemm")]
weights += [nh.from_array((rng.standard_normal((256, 10)) / 11).astype(np.float32), "wg"), nh.from_array(np.zeros(10, np.float32), "bg")]
graph = h.make_graph(nodes, "small", [h.make_tensor_value_info("image", T.FLOAT, ["batch", 3, 48, 48])],
                     [h.make_tensor_value_info("logits", T.FLOAT, ["batch", 10])], weights)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, folder / "small.onnx")
x = rng.integers(0, 256, (640, 8, 8), dtype=np.uint8)
np.savez_compressed(folder / "images.npz", x=x, y=rng.integers(0, 10, 640))
