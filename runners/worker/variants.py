"""Variants of a model that differ from it only by the rounding of a precision. onnx, inside functions; NumPy.

Each function changes a loaded model in place. runners/worker/floors.py runs the variants and measures their distance.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends.protocol import Array
from ...models.generators import subgraphs
from ...models.onnx_file import external_files, tensors

if TYPE_CHECKING:
    import onnx

FLOAT = 1  # of onnx.TensorProto
LEAST_OPSET = 13  # has each operator that the variants add
LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
EXACT = (  # operators that move or select values, and do not round them
    *("Constant", "ConstantOfShape", "Identity", "Cast", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand"),
    *("Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Tile", "Pad"),
    *("Relu", "Neg", "Abs", "Max", "Min", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "Clip", "Where", "Dropout"),
    *("If", "Loop", "Scan", "TopK", "Floor", "Ceil", "Round", "Sign", "OneHot", "Range", "DequantizeLinear"),
)
SIZED_BY_VALUES = ("Resize", "Upsample", "Range")  # a rounded parameter may change their output's shape
MOST_WEIGHT_BYTES = 256 * 1024**2  # larger weights are not copied
HALF_ULP, ULP = 2.0**-24, 2.0**-23  # of FP32, relative
TF32_SPLIT = 2.0**13 + 1  # Veltkamp's factor: keeps 11 of 24 significant bits, 10 of them stored
WHOLE_BELOW = 2.0**24  # every larger FP32 number is whole
SUMMED = ("Conv", "MatMul", "Gemm")
SUM_BLOCK = 16  # products that a tensor core adds before it rounds a sum in FP16: mma.m16n8k16 of NVIDIA's PTX ISA
SUM_ERROR = 0.735 * 2.0**-11 / 3**0.5  # of one rounding to FP16, relative, root mean square over numbers of all mantissas
STEP_SHARE = 0.01  # of the values of a quantized activation
DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")  # quantize their first input, an FP32 one
DYNAMIC_STEPS = 255.0  # between the least and the largest value of an activation

Nodes = list["onnx.NodeProto"]


def load(path: Path) -> onnx.ModelProto:
    """Load the model at `path` without weights in other files. Functions become nodes of the graph."""
    import onnx
    from onnx import inliner

    model = onnx.load(str(path), load_external_data=False)
    return _raised(inliner.inline_local_functions(model) if model.functions else model)


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at LEAST_OPSET, if its opset is lower and can be raised: older opsets lack operators of the variants."""
    from onnx import version_converter

    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), LEAST_OPSET)
    # The converter drops the places of weights that are in other files.
    if opset >= LEAST_OPSET or any(tensor.external_data for tensor in tensors(model)):
        return model
    with suppress(Exception):  # the converter's C++ errors have no common base
        return version_converter.convert_version(model, LEAST_OPSET)
    return model


def weight_bytes(model: onnx.ModelProto) -> int:
    """Size of the FP32 weights."""
    return sum(4 * int(np.prod(tensor.dims)) for tensor in tensors(model) if tensor.data_type == tensor.FLOAT)


def perturb(array: Array, seed: int) -> Array:
    """A float32 array times 1 +- 2^-24 with random signs: a change by one unit in the last place. Other types are kept."""
    if array.dtype != np.float32:
        return array
    signs = np.random.default_rng(seed).choice([-HALF_ULP, HALF_ULP], array.shape)
    return np.asarray(array * (1 + signs), np.float32)


def perturb_weights(model: onnx.ModelProto, folder: Path, seed: int) -> None:
    """Perturb every FP32 weight. `folder`: place of weights in other files."""
    from onnx import numpy_helper

    sizes = _sizes(model.graph)
    for number, tensor in enumerate(tensors(model)):
        if tensor.data_type == tensor.FLOAT and tensor.name not in sizes:
            array = perturb(numpy_helper.to_array(tensor, str(folder)), seed + number)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def perturb_layers(model: onnx.ModelProto, seed: int) -> None:
    """Multiply the input of each layer by 1 +- one unit in the last place, for models whose weights are too large to copy."""
    chance = np.random.default_rng(seed)
    names = FreshNames(model.graph)

    def change(node: onnx.NodeProto, types: dict[str, int]) -> Nodes:
        if node.op_type not in LAYERS or not _is_float(node.input[0], types):
            return []
        product = names.new("product")
        factor = names.scalar(1 + float(chance.choice([-ULP, ULP])))
        nodes = [_node("Mul", [node.input[0], factor], [product])]
        node.input[0] = product
        return nodes

    _insert(model, change)


def round_randomly(model: onnx.ModelProto, seed: int) -> None:
    """Move each result of arithmetic by up to one unit in the last place, at random (Monte Carlo arithmetic).

    Perturbed inputs and weights alone miss a cancellation such as (x + 1000) - 1000, which other runtimes may fold.
    """
    names = FreshNames(model.graph)
    sized, limit = _sizes(model.graph), names.scalar(WHOLE_BELOW)

    def change(node: onnx.NodeProto, types: dict[str, int]) -> Nodes:
        if node.op_type in EXACT or not _is_float(node.output[0], types) or node.output[0] in sized:
            return []
        output = node.output[0]
        result, whole, is_whole, size, is_small, stays, factor, move, moved = (names.new("moved") for _ in range(9))
        node.output[0] = result
        bounds = {"low": -ULP, "high": ULP, "dtype": FLOAT}
        return [
            # Whole numbers stay, because they may be exact: indices, masks and sizes.
            _node("Round", [result], [whole]),
            _node("Equal", [result, whole], [is_whole]),
            _node("Abs", [result], [size]),
            _node("Less", [size, limit], [is_small]),
            _node("And", [is_whole, is_small], [stays]),
            _node("RandomUniformLike", [result], [factor], seed=float(seed + len(names.used)), **bounds),
            _node("Mul", [result, factor], [move]),
            _node("Add", [result, move], [moved]),
            _node("Where", [stays, result, moved], [output]),
        ]

    _insert(model, change, after=True)


def round_operands(model: onnx.ModelProto) -> None:
    """Round both operands of each layer to TF32, by Veltkamp's splitting. The layer still accumulates in FP32."""
    names = FreshNames(model.graph)
    factor = names.scalar(TF32_SPLIT)

    def change(node: onnx.NodeProto, types: dict[str, int]) -> Nodes:
        nodes: Nodes = []
        for index, operand in enumerate(node.input[:2] if node.op_type in LAYERS else ()):
            if _is_float(operand, types):
                scaled, low, high = names.new("scaled"), names.new("low"), names.new("high")
                nodes += [_node("Mul", [operand, factor], [scaled]), _node("Sub", [scaled, operand], [low])]
                nodes.append(_node("Sub", [scaled, low], [high]))
                node.input[index] = high
        return nodes

    _insert(model, change)


def round_outputs(model: onnx.ModelProto, kind: str) -> None:
    """Round the output of every node to `kind` (FLOAT16 or BFLOAT16), by a pair of Casts."""
    from onnx import TensorProto

    names, target = FreshNames(model.graph), TensorProto.DataType.Value(kind)
    sized = _sizes(model.graph)

    def change(node: onnx.NodeProto, types: dict[str, int]) -> Nodes:
        nodes: Nodes = []
        for index, output in enumerate(node.output):
            if _is_float(output, types) and output not in sized:
                exact, rounded = names.new("exact"), names.new("rounded")
                nodes += [
                    _node("Cast", [exact], [rounded], to=target),
                    _node("Cast", [rounded], [output], to=TensorProto.FLOAT),
                ]
                node.output[index] = exact
        return nodes

    _insert(model, change, after=True)


def round_sums(model: onnx.ModelProto, seed: int) -> None:
    """Add to each sum of products the error of a sum in FP16, at random, as some kernels of GPUs accumulate.

    A sum of K products is rounded K/16 times. Partial sums grow as in a random walk to the root of the sum of the squared
    products, or to the result itself where that is larger. The error is then that size times SUM_ERROR times
    sqrt((K/16 + 1) / 2), and normally distributed.
    """
    names = FreshNames(model.graph)
    block, one, half, error = (names.scalar(value) for value in (SUM_BLOCK, 1.0, 0.5, SUM_ERROR))

    def change(node: onnx.NodeProto, types: dict[str, int]) -> Nodes:
        operands = node.input[:2]
        if node.op_type not in SUMMED or not all(_is_float(name, types) for name in (*operands, node.output[0])):
            return []
        output, result = node.output[0], names.new("sum")
        node.output[0] = result
        squares = [names.new("square") for _ in operands]
        length, before = _products(node, names)
        energy, blocks, roundings, halved, root, spread, squared, largest, size, chance, sized, noise = (
            names.new("sum") for _ in range(12)
        )
        again = _copy(node)
        again.name = ""  # no two nodes may have one name
        del again.input[:], again.output[:]
        again.input.extend(squares)
        again.output.append(energy)
        for attribute in again.attribute:
            if attribute.name == "alpha":
                attribute.f **= 2
        return [
            *(_node("Mul", [name, name], [square]) for name, square in zip(operands, squares)),
            again,
            _node("Mul", [result, result], [squared]),
            _node("Max", [energy, squared], [largest]),
            _node("Sqrt", [largest], [size]),
            *before,
            _node("Div", [length, block], [blocks]),
            _node("Add", [blocks, one], [roundings]),
            _node("Mul", [roundings, half], [halved]),
            _node("Sqrt", [halved], [root]),
            _node("Mul", [root, error], [spread]),
            _node("RandomNormalLike", [result], [chance], seed=float(seed + len(names.used))),
            _node("Mul", [chance, size], [sized]),
            _node("Mul", [sized, spread], [noise]),
            _node("Add", [result, noise], [output]),
        ]

    _insert(model, change, after=True)


def _products(node: onnx.NodeProto, names: FreshNames) -> tuple[str, Nodes]:
    """Name of the number of products in a sum of `node`, a float, and the nodes that compute it."""
    shape, part, length, number = (names.new("length") for _ in range(4))
    cast = _node("Cast", [length], [number], to=FLOAT)
    if node.op_type == "Conv":  # the weights of one output channel
        size = _node("Size", [node.input[1]], [names.new("length")])
        channels = [_node("Shape", [node.input[1]], [shape]), _node("Gather", [shape, names.whole(0)], [part])]
        return number, [size, *channels, _node("Div", [size.output[0], part], [length]), cast]
    is_turned = any(each.name == "transA" and each.i for each in node.attribute)
    axis = names.whole(0 if is_turned else -1)
    return number, [_node("Shape", [node.input[0]], [shape]), _node("Gather", [shape, axis], [length]), cast]


def step_activations(model: onnx.ModelProto, seed: int) -> None:
    """Move 1 % of the values of each quantized activation by one step, up or down."""
    names = FreshNames(model.graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    low, high = names.scalar(STEP_SHARE / 2), names.scalar(1 - STEP_SHARE / 2)

    def change(node: onnx.NodeProto, types: dict[str, int]) -> Nodes:
        value = node.input[0] if node.input else ""
        # onnx infers no types behind the operators of ONNX Runtime.
        is_quantized = node.op_type in DYNAMIC or (node.op_type == "QuantizeLinear" and _is_float(value, types))
        if not is_quantized or value in constants:
            return []
        step, before = _step(node, constants, names)
        if not step:
            return []
        chance, is_up, is_down, up, down, steps, moves, moved = (names.new("step") for _ in range(8))
        node.input[0] = moved
        return [
            *before,
            _node("RandomUniformLike", [value], [chance], seed=float(seed + len(names.used))),
            _node("Greater", [chance, high], [is_up]),
            _node("Less", [chance, low], [is_down]),
            *(_node("Cast", [flag], [number], to=FLOAT) for flag, number in ((is_up, up), (is_down, down))),
            _node("Sub", [up, down], [steps]),
            _node("Mul", [steps, step], [moves]),
            _node("Add", [value, moves], [moved]),
        ]

    _insert(model, change)


def _step(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], names: FreshNames) -> tuple[str, Nodes]:
    """Name of the step of a quantized activation, and the nodes that compute it. Empty for a step of each channel."""
    if node.op_type == "QuantizeLinear":
        scale = constants.get(node.input[1])
        return (scale.name if scale is not None and np.prod(scale.dims) == 1 else ""), []
    least, largest, spread, step = (names.new("range") for _ in range(4))
    return step, [
        _node("ReduceMin", [node.input[0]], [least], keepdims=0),
        _node("ReduceMax", [node.input[0]], [largest], keepdims=0),
        _node("Sub", [largest, least], [spread]),
        _node("Div", [spread, names.scalar(DYNAMIC_STEPS)], [step]),
    ]


@dataclass
class FreshNames:
    """New names of values in a graph, and scalar constants."""

    graph: Any

    def __post_init__(self) -> None:
        self.used = {name for node in _all_nodes(self.graph) for name in (*node.input, *node.output)}

    def new(self, what: str) -> str:
        """A name that no value has."""
        name = next(name for number in range(len(self.used), 2**31) if (name := f"{what}_{number}") not in self.used)
        self.used.add(name)
        return name

    def scalar(self, value: float) -> str:
        """Add a float32 constant to the graph, and return its name."""
        return self._constant(np.array(value, np.float32))

    def whole(self, value: int) -> str:
        """Add an int64 constant to the graph, and return its name."""
        return self._constant(np.array(value, np.int64))

    def _constant(self, array: Array) -> str:
        from onnx import numpy_helper

        name = self.new("constant")
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def _node(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(operator, inputs, outputs, **attributes)


def _insert(model: onnx.ModelProto, change: Callable[[onnx.NodeProto, dict[str, int]], Nodes], after: bool = False) -> None:
    """Call `change` for each node, also in subgraphs, and insert the nodes that it returns before or after the node."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model)
    types: dict[str, int] = {}
    for graph in _all_graphs(inferred.graph):
        types |= {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for graph in list(_all_graphs(model.graph)):
        nodes = []
        for node in graph.node:
            added = change(node, types)
            nodes += [node, *added] if after else [*added, node]
        copies = [_copy(node) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)


def _sizes(graph: onnx.GraphProto) -> set[str]:
    """FreshNames of values that set the shape of an output."""
    return {
        name for node in _all_nodes(graph) if node.op_type in SIZED_BY_VALUES for name in node.input[node.op_type != "Range" :]
    }


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy that the graph does not own."""
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _is_float(name: str, types: dict[str, int]) -> bool:
    from onnx import TensorProto

    return types.get(name) == TensorProto.FLOAT


def _all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _all_graphs(inner)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for each in _all_graphs(graph):
        yield from each.node


def store(model: onnx.ModelProto, source: Path, folder: Path) -> Path:
    """Write a variant of the file `source` to `folder`, beside links to its weights in other files."""
    import onnx

    for file in external_files(source):
        target = folder / file.relative_to(source.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _link(file, target)
    path = folder / "variant.onnx"
    onnx.save(model, str(path))
    return path


def _link(file: Path, target: Path) -> None:
    """Link `file` at `target`. A symbolic link would not do: ONNX Runtime refuses weights outside the model's folder."""
    try:
        os.link(file.resolve(), target)
    except OSError:  # another disk
        shutil.copyfile(file, target)
