"""Graphs of the kinds that once had a wrong `ok`, a false `mismatch` or a needless refusal, each made by code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

IR = 9
EVERY = ("fp32", "fp16", "int8")
MS = "com.microsoft"
value, node = helper.make_tensor_value_info, helper.make_node
RNG = np.random.default_rng(7)


def weights(name: str, *shape: int, scale: float = 0.25) -> Any:
    return numpy_helper.from_array((RNG.standard_normal(shape) * scale).astype(np.float32), name)


def array(name: str, values: Any, dtype: Any = np.int64) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def floats(name: str, *dims: Any) -> Any:
    return value(name, Type.FLOAT, dims)


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], tensors: list[Any], opset: int = 17, **how: Any) -> Any:
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR, **how)


def _detector() -> Any:
    """Boxes of 0 to 320 and scores of 0 to 1 in one output."""
    nodes = [
        node("Conv", ["image", "k"], ["f"], strides=[8, 8]),
        node("Relu", ["f"], ["r"]),
        node("Conv", ["r", "kb"], ["b"]),
        node("Sigmoid", ["b"], ["bs"]),
        node("Mul", ["bs", "size"], ["boxes"]),
        node("Conv", ["r", "kc"], ["c"]),
        node("Sigmoid", ["c"], ["scores"]),
        node("Concat", ["boxes", "scores"], ["both"], axis=1),
        node("Reshape", ["both", "flat"], ["rows"]),
        node("Transpose", ["rows"], ["detections"], perm=[0, 2, 1]),
    ]
    tensors = [
        weights("k", 8, 3, 8, 8),
        weights("kb", 4, 8, 1, 1),
        weights("kc", 20, 8, 1, 1),
        array("size", 320.0, np.float32),
    ]
    ends = [floats("image", "batch", 3, 32, 32)], [floats("detections", "batch", 16, 24)]
    return model(nodes, *ends, [*tensors, array("flat", [0, 24, -1])])


def _near_zero() -> Any:
    """Outputs that are what is left of a cancellation, at 30 to 40 dB of their own rounding."""
    nodes = [node("MatMul", ["x", "k"], ["a"]), node("Add", ["a", "c"], ["big"]), node("Sub", ["big", "c"], ["y"])]
    return model(
        nodes, [floats("x", "batch", 32)], [floats("y", "batch", 32)], [weights("k", 32, 32), weights("c", 32, scale=3e5)]
    )


def _computed_size() -> Any:
    """A size that is a product of a shape, for Resize."""
    nodes = [
        node("Conv", ["x", "k"], ["f"], pads=[1, 1, 1, 1]),
        node("Shape", ["f"], ["s"]),
        node("Cast", ["s"], ["sf"], to=Type.FLOAT),
        node("Mul", ["sf", "twice"], ["double"]),
        node("Cast", ["double"], ["sizes"], to=Type.INT64),
        node("Resize", ["f", "", "", "sizes"], ["large"], mode="nearest"),
        node("Relu", ["large"], ["y"]),
    ]
    ends = [floats("x", "batch", 3, 12, 12)], [floats("y", "batch", 4, 24, 24)]
    return model(nodes, *ends, [weights("k", 4, 3, 3, 3), array("twice", [1, 1, 2, 2], np.float32)])


def _sequence_first() -> Any:
    """One utterance [T, 1, 20]: T is a length and no batch."""
    nodes = [
        node("GRU", ["frames", "w", "r"], ["y", ""], hidden_size=8),
        node("Squeeze", ["y", "one"], ["s"]),
        node("MatMul", ["s", "k"], ["z"]),
    ]
    tensors = [weights("w", 1, 24, 20), weights("r", 1, 24, 8), weights("k", 8, 5), array("one", [1])]
    return model(nodes, [floats("frames", "T", 1, 20)], [floats("z", "T", 1, 5)], tensors)


def _declared_output() -> Any:
    """An output that is declared for one item, behind an open batch."""
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "k"], ["y"])]
    return model(nodes, [floats("x", None, 2, 6)], [floats("y", 1, 5)], [weights("k", 12, 5)])


def _noise() -> Any:
    """A random output beside one that is not."""
    nodes = [
        node("MatMul", ["x", "k"], ["mean"]),
        node("RandomNormalLike", ["mean"], ["noise"]),
        node("Add", ["mean", "noise"], ["audio"]),
    ]
    return model(
        nodes, [floats("x", "batch", 16)], [floats("mean", "batch", 16), floats("audio", "batch", 16)], [weights("k", 16, 16)]
    )


def _counted_boxes() -> Any:
    """As many outputs as boxes are above a threshold."""
    nodes = [
        node("MatMul", ["x", "k"], ["s"]),
        node("Sigmoid", ["s"], ["scores"]),
        node("Greater", ["scores", "half"], ["above"]),
        node("NonZero", ["above"], ["places"]),
    ]
    ends = [floats("x", 1, 64)], [value("places", Type.INT64, [2, "boxes"]), floats("scores", 1, 400)]
    return model(nodes, *ends, [weights("k", 64, 400), array("half", 0.5, np.float32)])


def _four_bits(level: int) -> Callable[[], Any]:
    """Weights of 4 bits. `level` 4 lets ONNX Runtime quantize activations to 8 bits."""

    def make() -> Any:
        packed = RNG.integers(0, 255, (32, 2, 16)).astype(np.uint8)
        scales = (RNG.random(64) * 0.02 + 0.01).astype(np.float32)
        how = {"domain": MS, "K": 64, "N": 32, "bits": 4, "block_size": 32, "accuracy_level": level}
        tensors = [array("q", packed, np.uint8), array("s", scales, np.float32)]
        return model(
            [node("MatMulNBits", ["x", "q", "s"], ["y"], **how)],
            [floats("x", "batch", 64)],
            [floats("y", "batch", 32)],
            tensors,
        )

    return make


def _dynamic() -> Any:
    """Activations that are quantized by their own range."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "k", "z"], ["i"]),
        node("Cast", ["i"], ["f"], to=Type.FLOAT),
        node("Mul", ["f", "s"], ["scaled"]),
        node("Mul", ["scaled", "ks"], ["y"]),
    ]
    tensors = [array("k", RNG.integers(-127, 127, (32, 16)), np.int8), array("ks", 0.004, np.float32)]
    return model(nodes, [floats("x", "batch", 32)], [floats("y", "batch", 16)], tensors)


def _ids_through_nodes() -> Any:
    """Ids that reach their table through Gather, Add and a function of the file."""
    body = helper.make_function(
        "own", "Look", ["table", "ids"], ["rows"], [node("Gather", ["table", "ids"], ["rows"])], [helper.make_opsetid("", 17)]
    )
    nodes = [
        node("Gather", ["ids", "first"], ["one"], axis=1),
        node("Add", ["one", "shift"], ["moved"]),
        node("Look", ["words", "moved"], ["rows"], domain="own"),
        node("Relu", ["rows"], ["y"]),
    ]
    tensors = [weights("words", 9, 4), array("first", 0), array("shift", 2)]
    return model(nodes, [value("ids", Type.INT64, ["batch", 3])], [floats("y", "batch", 4)], tensors, functions=[body])


def _graph_network() -> Any:
    """Edges whose ids are nodes of the other input."""
    nodes = [
        node("Gather", ["edges", "zero"], ["from"], axis=0),
        node("Gather", ["x", "from"], ["message"], axis=0),
        node("MatMul", ["message", "k"], ["y"]),
    ]
    ends = [floats("x", "num_nodes", 6), value("edges", Type.INT64, [2, "num_edges"])], [floats("y", "num_edges", 3)]
    return model(nodes, *ends, [weights("k", 6, 3), array("zero", 0)])


def _image_of_bytes() -> Any:
    """An image of bytes that the graph scales itself."""
    nodes = [
        node("Cast", ["image"], ["f"], to=Type.FLOAT),
        node("Div", ["f", "most"], ["s"]),
        node("Transpose", ["s"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "k"], ["y"]),
    ]
    ends = [value("image", Type.UINT8, ["batch", 8, 8, 3])], [floats("y", "batch", 4, 6, 6)]
    return model(nodes, *ends, [weights("k", 4, 3, 3, 3), array("most", 255.0, np.float32)])


def _one_item() -> Any:
    """A Reshape that takes one item only, behind an open batch."""
    nodes = [node("Relu", ["x"], ["r"]), node("Reshape", ["r", "one"], ["f"]), node("MatMul", ["f", "k"], ["y"])]
    return model(nodes, [floats("x", "batch", 4, 5)], [floats("y", "batch", 3)], [array("one", [1, 20]), weights("k", 20, 3)])


def _unsorted() -> Any:
    """Nodes in the wrong order, and an output without a shape."""
    nodes = [node("Relu", ["a"], ["y"]), node("MatMul", ["x", "k"], ["a"])]
    return model(nodes, [floats("x", "batch", 8)], [value("y", Type.FLOAT, None)], [weights("k", 8, 8)])


def _captured() -> Any:
    """Branches that use values of the graph around them, in nodes that stand behind the branches."""
    branches = {
        f"{name}_branch": helper.make_graph([node(kind, ["a", "b"], [name])], name, [], [floats(name, "batch", 8)])
        for name, kind in (("then", "Add"), ("else", "Sub"))
    }
    nodes = [node("If", ["flag"], ["y"], **branches), node("MatMul", ["x", "k"], ["a"]), node("MatMul", ["x", "j"], ["b"])]
    ends = [floats("x", "batch", 8), value("flag", Type.BOOL, [])], [floats("y", "batch", 8)]
    return model(nodes, *ends, [weights("k", 8, 8), weights("j", 8, 8)])


def _passed_through() -> Any:
    """Outputs that are an input and a constant, and one that is listed twice."""
    outputs = [floats("y", "batch", 8), floats("x", "batch", 8), floats("k", 8, 8), floats("y", "batch", 8)]
    return model([node("MatMul", ["x", "k"], ["y"])], [floats("x", "batch", 8)], outputs, [weights("k", 8, 8)])


def _two_lengths() -> Any:
    """One symbol for two lengths."""
    nodes = [
        node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1),
        node("Add", ["b", "m"], ["s"]),
        node("MatMul", ["s", "k"], ["y"]),
    ]
    inputs = [floats(name, "batch", "length", 8) for name in ("a", "b")]
    return model(nodes, inputs, [floats("y", "batch", "length", 8)], [weights("k", 8, 8)])


def _sparse() -> Any:
    """Weights in a sparse tensor."""
    dense = np.where(RNG.random((8, 8)) < 0.2, 1.0, 0.0).astype(np.float32)
    places = np.flatnonzero(dense)
    made = model([node("MatMul", ["x", "k"], ["y"])], [floats("x", "batch", 8)], [floats("y", "batch", 8)], [])
    tensor = helper.make_sparse_tensor(array("k", dense.ravel()[places], np.float32), array("places", places), [8, 8])
    made.graph.sparse_initializer.append(tensor)
    return made


def _positions() -> Any:
    """A softmax and a probability of classes, which is one distribution and has no slices of its own."""
    nodes = [node("MatMul", ["x", "k"], ["l"]), node("Softmax", ["l"], ["p"], axis=-1)]
    return model(nodes, [floats("x", "batch", 16)], [floats("p", "batch", 50)], [weights("k", 16, 50, scale=2.0)])


def _two_products() -> Any:
    """Two matrix products one behind the other, which a runtime may fuse in INT8."""
    nodes = [node("MatMul", ["x", "k"], ["a"]), node("MatMul", ["a", "j"], ["y"])]
    ends = [floats("x", "batch", 64)], [floats("y", "batch", 64)]
    return model(nodes, *ends, [weights("k", 64, 64), weights("j", 64, 64, scale=0.1)])


SHORT: Mapping[str, Any] = {"shapes": {"a": ("batch", 12, 8), "b": ("batch", 5, 8)}}
GRAPHS: Mapping[str, tuple[str, Callable[[], Any], Mapping[str, Any]]] = {
    "two-scales-in-one-output": ("parity", _detector, {"precisions": EVERY}),
    "outputs-near-zero": ("parity", _near_zero, {"precisions": ("fp32", "fp16")}),
    "probabilities": ("parity", _positions, {"precisions": EVERY}),
    "random-output": ("parity", _noise, {"precisions": ("fp32", "fp16")}),
    "counted-outputs": ("parity", _counted_boxes, {"precisions": EVERY}),
    "four-bit-weights": ("quantized", _four_bits(0), {}),
    "four-bit-weights-int8-activations": ("quantized", _four_bits(4), {}),
    "dynamic-quantization": ("quantized", _dynamic, {}),
    "two-matrix-products": ("quantized", _two_products, {"precisions": EVERY}),
    "size-of-resize": ("conversions", _computed_size, {"precisions": EVERY}),
    "captured-values": ("conversions", _captured, {"precisions": EVERY}),
    "passed-through": ("conversions", _passed_through, {"precisions": EVERY}),
    "sparse-weights": ("conversions", _sparse, {"precisions": EVERY}),
    "sequence-first": ("people's shapes", _sequence_first, {"precisions": EVERY, "dims": {"T": 30}}),
    "output-of-one-item": ("people's shapes", _declared_output, {"precisions": EVERY}),
    "reshape-of-one-item": ("people's shapes", _one_item, {}),
    "one-symbol-two-lengths": ("people's shapes", _two_lengths, {"precisions": EVERY, **SHORT}),
    "ids-through-nodes": ("people's inputs", _ids_through_nodes, {}),
    "ids-of-nodes": ("people's inputs", _graph_network, {"dims": {"num_nodes": 10, "num_edges": 24}}),
    "image-of-bytes": ("people's inputs", _image_of_bytes, {"precisions": EVERY}),
    "unsorted-nodes": ("people's files", _unsorted, {}),
}


def write_kinds(folder: Path) -> Iterator[tuple[str, str, Path, Mapping[str, Any]]]:
    """Write each graph: its name, kind and file, and the options of the user."""
    for name, (kind, make, options) in GRAPHS.items():
        onnx.save(make(), folder / f"{name}.onnx")
        yield name, kind, folder / f"{name}.onnx", options
    yield "weights-of-branches-in-a-file", "people's files", _branch_weights(folder), {"precisions": EVERY}
    yield "hub-cache", "people's files", _hub(folder), {"precisions": EVERY}


def _branch_weights(folder: Path) -> Path:
    """Weights in another file, for tensors inside a branch alone."""
    tensors = {name: weights(name, 8, 8, scale=scale) for name, scale in (("then", 0.5), ("else", 0.1))}
    content = b""
    for tensor in tensors.values():
        raw = tensor.raw_data
        onnx.external_data_helper.set_external_data(tensor, "branches.bin", offset=len(content), length=len(raw))
        tensor.ClearField("raw_data")
        content += raw
    (folder / "branches.bin").write_bytes(content)
    branches = {
        f"{name}_branch": helper.make_graph(
            [node("Identity", [name], [f"{name}_o"])], name, [], [floats(f"{name}_o", 8, 8)], [tensor]
        )
        for name, tensor in tensors.items()
    }
    nodes = [node("If", ["flag"], ["k"], **branches), node("MatMul", ["x", "k"], ["y"])]
    made = model(nodes, [floats("x", "batch", 8), value("flag", Type.BOOL, [])], [floats("y", "batch", 8)], [])
    onnx.save(made, folder / "branches.onnx")
    return folder / "branches.onnx"


def _hub(folder: Path) -> Path:
    """Links of the hub's cache, for the model and its weights."""
    root = folder / "models--acme--tiny"
    blobs, snapshot = root / "blobs", root / "snapshots/0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    made = model(
        [node("MatMul", ["x", "k"], ["y"])], [floats("x", "batch", 16)], [floats("y", "batch", 16)], [weights("k", 16, 16)]
    )
    onnx.save(made, blobs / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    for name in ("model.onnx", "model.onnx_data"):
        (blobs / name).rename(blobs / f"blob-{name}")
        (snapshot / name).symlink_to(f"../../blobs/blob-{name}")
    return snapshot / "model.onnx"
