"""Write small.onnx (seeded weights) and images.npz (seeded, with random labels) to the folder that is given."""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, CHANNELS, CLASSES, IMAGES = 7, 16, 10, 640

folder = Path(sys.argv[1])
rng = np.random.default_rng(7)
nodes, weights, last, width = [], [], "image", 3


def weight(array, name):
    weights.append(numpy_helper.from_array(array.astype(np.float32), name))


for layer in range(LAYERS):
    weight(rng.standard_normal((CHANNELS, width, 3, 3)) * np.sqrt(2 / (width * 9)), f"w{layer}")
    weight(np.zeros(CHANNELS), f"b{layer}")
    nodes += [
        helper.make_node("Conv", [last, f"w{layer}", f"b{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"relu{layer}"),
    ]
    last, width = f"r{layer}", CHANNELS
nodes += [
    helper.make_node("MaxPool", [last], ["p"], name="pool", kernel_shape=[12, 12], strides=[12, 12]),
    helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
    helper.make_node("Gemm", ["f", "wg", "bg"], ["logits"], name="gemm"),
]
weight(rng.standard_normal((CHANNELS * 16, CLASSES)) / 11, "wg")
weight(np.zeros(CLASSES), "bg")
image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 48, 48])
logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
graph = helper.make_graph(nodes, "small", [image], [logits], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, folder / "small.onnx")
images = rng.integers(0, 256, (IMAGES, 8, 8), dtype=np.uint8)
np.savez_compressed(folder / "images.npz", x=images, y=rng.integers(0, CLASSES, IMAGES))
